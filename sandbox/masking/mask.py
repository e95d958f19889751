"""The policy, ready to apply: `PolicyMask(policy, key=...)` is the contract's `Mask`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from sandbox.contract import Batches, Codec, Rows
from sandbox.errors import ConfigError
from sandbox.masking import sql
from sandbox.masking.entries import Keys
from sandbox.masking.leaks import Originals
from sandbox.masking.loops import worth
from sandbox.masking.paths import Directory
from sandbox.masking.patterns import template
from sandbox.masking.policy import Policy
from sandbox.masking.pseudonyms import FORMS, Pseudonyms, read_key
from sandbox.masking.rules import Rule, Tree
from sandbox.masking.strategies import Function, Tools, make, many
from sandbox.masking.strategies.vectors import is_named
from sandbox.masking.subset import ROWS, Links, Values, loose, starts
from sandbox.masking.suggest import suggest
from sandbox.masking.tables import Table, Texts
from sandbox.masking.tokens import characters, fold, phrase
from sandbox.masking.trees import Walker
from sandbox.model import Dataset, Entry, FileEntry, Point, Start

MOST = 1000  # uncovered names that are kept


class PolicyMask:
    """See `contract.Mask`. Shared by threads.

    `originals` collects fingerprints of every value that is changed. What PostgreSQL masks itself
    is fed to `note` by the caller: the columns that `searched` names. Feeding them before reading
    lets free text recognise the same people.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        key: str,
        predicates: Mapping[str, str] | None = None,
        originals: Originals | None = None,
    ):
        self.originals = Originals() if originals is None else originals
        self._pseudonyms = Pseudonyms(key=read_key(key), record=self.originals.record)
        self._policy = policy
        self._predicates = dict(predicates or {})
        self._uncovered: dict[str, str] = {}
        self.uncovered: Mapping[str, str] = self._uncovered
        self._redact = policy.unknown == "redact"
        paths = [
            template(f"{directory}/{rule.name}", "/")
            for directory, rules in policy.files.items()
            for rule in rules
            if rule.content != "link"
        ]
        self._tools = Tools(
            pseudonyms=self._pseudonyms, known=self.originals.index, paths=tuple(paths)
        )
        self._tables: dict[tuple[Any, ...], Table] = {}
        self._collections = {
            name: self._walker(f"mongo.{name}", tree) for name, tree in policy.mongo.items()
        }
        self._payload = self._walker("qdrant.payload", policy.payload or Tree())
        self._vectors = {name: make(rule, self._tools) for name, rule in policy.vectors.items()}
        self._keys = Keys(policy.redis, self._tools, self._told, redact=self._redact)
        self._directories = {
            name: Directory(name, rules, self._tools, self._told, redact=self._redact)
            for name, rules in policy.files.items()
        }
        self._points = 0
        self.links = Links.of(policy)

    def again(self, texts: Iterable[str]) -> PolicyMask:
        """The same mask, to read once more: it remembers an original only if it is one of these."""
        folded = [fold(text) for text in texts]
        only = {*map(phrase, folded), *map(characters, folded)}
        key = self._pseudonyms.key.hex()
        return PolicyMask(self._policy, key=key, originals=Originals(only=only))

    def knowing(self) -> PolicyMask:
        """The same mask, to read once more: it knows every original that this one has met."""
        key = self._pseudonyms.key.hex()
        return PolicyMask(
            self._policy, key=key, predicates=self._predicates, originals=self.originals
        )

    def _walker(self, place: str, tree: Tree) -> Walker:
        def uncovered(path: str, value: Any) -> None:
            self._told(f"{place}.{path}", f'suggested: "{path}" = "{suggest(path, value)}"')

        return Walker(tree, self._tools, uncovered, redact=self._redact)

    def _told(self, name: str, note: str) -> None:
        if len(self._uncovered) < MOST:
            self._uncovered.setdefault(name[:200], note)

    # --- what the receipt says ------------------------------------------------------------------

    @property
    def policy_hash(self) -> str:
        return self._policy.hash

    @property
    def key_id(self) -> str:
        return self._pseudonyms.key_id

    @property
    def counts(self) -> Mapping[str, int]:
        """Masked values by rule. For columns that PostgreSQL masks: the table's estimated rows."""
        found: dict[str, int] = {}
        for table in self._tables.values():
            found.update(table.counts())
        walkers = [(f"mongo.{name}", walker) for name, walker in self._collections.items()]
        walkers.append(("qdrant.payload", self._payload))
        walkers += [(f"redis.{key.rule.name}", key.walker) for key in self._keys.rules]
        for directory, held in self._directories.items():
            walkers += [(f"files.{directory}.{one.rule.name}", one.walker) for one in held.rules]
            for one in held.rules:
                found[f"files.{directory}.{one.rule.name}: {one.rule.content}"] = one.count
        for key in self._keys.rules:
            found[f"redis.{key.rule.name}: key"] = key.count
        for place, walker in walkers:
            for node in walker.nodes:
                if node.rule is not None and not node.keep:
                    name = f"{place}: {node.rule.strategy}"
                    found[name] = found.get(name, 0) + node.count
        if any(not rule.keeps for rule in self._policy.vectors.values()):
            found["qdrant.vector: vector"] = self._points
        return {name: count for name, count in sorted(found.items()) if count}

    # --- a subset (docs/subset.md) ---------------------------------------------------------------

    @property
    def starts(self) -> Mapping[str, Start]:
        return starts(self._policy, self._pseudonyms)

    def loose(self, tables: Iterable[Dataset]) -> Mapping[str, Sequence[str]]:
        return loose(self._policy, tables)

    @property
    def declared(self) -> Mapping[str, str]:
        """[links] as they are written: place -> column."""
        return dict(self._policy.links)

    @property
    def linked(self) -> Sequence[tuple[str, str]]:
        """The (table, column) pairs that places in other stores are declared to refer to."""
        return self.links.targets

    @property
    def subset(self) -> dict[str, Any]:
        """What the manifest says of [rows] and [links]. A filter may name a person, so its text is
        left to the policy."""
        rows = {
            table: {"filtered": bool(rule.where), "percent": rule.percent, "by": rule.by,
                    "children": rule.children}
            for table, rule in self._policy.rows.items()
        }  # fmt: skip
        return {"rows": rows, "links": dict(self._policy.links), "values": self.links.kept()}

    def follow(self, values: Mapping[tuple[str, str], Values]) -> None:
        """From now on, what refers to none of these values does not come along."""
        self.links = self.links.within(values)

    # --- PostgreSQL -----------------------------------------------------------------------------

    @property
    def settings(self) -> Mapping[str, str]:
        domains = {"enum", "ip", "date"}
        for tree in self._policy.postgres.values():
            domains |= {rule.strategy for rule in tree.rules()}
        domains |= {ROWS} if self._policy.rows else set()
        wanted = {d for d in domains if d in FORMS or d in ("enum", "ip", "date", ROWS)}
        return sql.settings(self._pseudonyms, wanted)

    def columns(self, table: Dataset) -> Mapping[str, str]:
        made = self._table(table)
        for name, note in made.uncovered.items():
            self._told(name, note)
        return made.expressions

    def texts(self, table: Dataset) -> Mapping[str, Texts]:
        return self._table(table).texts

    def bulk(self, table: Dataset) -> Rows | None:
        made = self._table(table)
        bulk = made.bulk
        if bulk is None:
            return None
        if self.recognises:
            return bulk.change  # all originals were taken up before

        def seen(lines: bytes) -> None:
            made.take(bulk.columns, lines, self.originals)

        return lambda messages, count: bulk.change(messages, count, seen)

    def where(self, table: Dataset) -> str:
        return self._predicates.get(table.name, "")

    @property
    def recognises(self) -> bool:
        """Whether a rule looks for known people inside free text: they must be known by then."""
        return any(place[0] == "text" for place in list(self._tools.made))

    def searched(self, table: Dataset) -> Sequence[str]:
        """Columns that PostgreSQL masks itself and whose originals can be searched for."""
        return tuple(self._table(table).noted)

    def unseen(self, table: Dataset) -> Sequence[str]:
        """Those of them that are to be fed while a table is read: the others come by in `bulk`."""
        made = self._table(table)
        met = () if made.bulk is None or self.recognises else made.bulk.columns
        return tuple(column for column in made.noted if column not in met)

    def take(self, table: Dataset, columns: Sequence[str], lines: bytes) -> None:
        """Take up the originals of these columns, as lines of PostgreSQL's COPY text."""
        self._table(table).take(columns, lines, self.originals)

    def note(self, table: Dataset, column: str, values: Iterable[str]) -> None:
        """The same of one column, as PostgreSQL's text of each value."""
        self._table(table).note(column, values, self.originals)

    def unique(self, table: Dataset) -> Mapping[str, str]:
        """Columns whose values must stay apart, though a pseudonym leaves something of them out:
        SQL of what it does not. Where two rows have the same, `alike` says what is wrong."""
        return self._table(table).unique

    def alike(self, table: Dataset, column: str) -> ConfigError:
        return self._table(table).alike(column)

    def _table(self, dataset: Dataset) -> Table:
        place = (dataset.name, dataset.fields)
        made = self._tables.get(place)
        if made is None:
            tree = self._policy.postgres.get(dataset.name, Tree())
            made = self._tables[place] = Table(
                dataset, tree, self._tools, self._told, redact=self._redact
            )
        return made

    # --- records --------------------------------------------------------------------------------

    def documents(
        self, collection: str, documents: Sequence[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        if self.links.active:
            followed = [self.links.document(collection, one) for one in documents]
            documents = [one for one in followed if one is not None]
        return self._collection(collection).documents(documents)

    def encoded(self, collection: Dataset, codec: Codec) -> Batches | None:
        if self.links.active or not worth(collection.rows):
            return None
        return self._collection(collection.name).encoded(codec)

    def _collection(self, name: str) -> Walker:
        walker = self._collections.get(name)
        if walker is None:
            walker = self._collections[name] = self._walker(f"mongo.{name}", Tree())
        return walker

    def points(self, collection: str, points: Sequence[Point]) -> list[Point]:
        if self.links.active:
            points = [one for one in map(self.links.point, points) if one is not None]
        self._points += len(points)
        payloads = self._payload.documents(point.payload for point in points)
        vectors = self._vectors_of([point.vector for point in points])
        return [
            Point(id=self._point_id(point.id), vector=vector, payload=payload)
            for point, vector, payload in zip(points, vectors, payloads, strict=True)
        ]

    def _point_id(self, identity: Any) -> Any:
        rule = self._policy.point_id
        if rule is None:
            self._told("qdrant.id", 'suggested: id = "keep"')
        elif not rule.keeps:
            return make(rule, self._tools)(identity)
        return identity

    def _vectors_of(self, vectors: Sequence[Any]) -> list[Any]:
        """Vectors by name, those of one name together; "" is the name of the only one."""
        named = [is_named(vector) for vector in vectors]
        out: list[Any] = [{} if one else None for one in named]
        places: dict[str, list[tuple[int, Any]]] = {}
        for at, vector in enumerate(vectors):
            for name, one in vector.items() if named[at] else [("", vector)]:
                if one is not None:
                    places.setdefault(name, []).append((at, one))
        for name, held in places.items():
            function = self._vector_rule(name)
            if function is None:
                continue
            for (at, _), made in zip(held, many(function, [one for _, one in held]), strict=True):
                if named[at]:
                    out[at][name] = made
                else:
                    out[at] = made
        return out

    def _vector_rule(self, name: str) -> Function | None:
        if name not in self._vectors and not self._redact:
            place = f"qdrant.vectors.{name}" if name else "qdrant.vector"
            self._told(place, 'suggested: { strategy = "vector", method = "rotate" }')
        return self._vectors.get(name)

    def entries(self, entries: Sequence[Entry]) -> list[Entry | None]:
        if not self.links.active:
            return self._keys.entries(entries)
        followed = [self.links.entry(one) for one in entries]
        made = iter(self._keys.entries([one for one in followed if one is not None]))
        return [None if one is None else next(made) for one in followed]

    def file(self, directory: str, file: FileEntry) -> FileEntry | None:
        if self.links.active and not self.links.file(directory, file):
            return None
        held = self._directories.get(directory)
        if held is None:
            self._told(f"files.{directory}", "a directory without rules")
            return None
        return held.file(file)

    def content(self, directory: str, file: FileEntry, stream: IO[bytes]) -> Iterator[bytes]:
        held = self._directories.get(directory)
        return iter(()) if held is None else held.content(file, stream)

    def keeps(self, dataset: Dataset) -> bool:
        if self.links.active and dataset.store != "postgres":
            return False
        if dataset.store == "postgres":
            made = self._table(dataset)
            masked = made.expressions or made.texts or made.bulk
            return not (masked or made.uncovered or self.where(dataset))
        if dataset.store == "mongo":
            walker = self._collections.get(dataset.name)
            return walker is not None and walker.keeps
        if dataset.store == "qdrant":
            rules: list[Rule | None] = [self._policy.point_id, *self._policy.vectors.values()]
            return self._payload.keeps and all(rule is not None and rule.keeps for rule in rules)
        return False
