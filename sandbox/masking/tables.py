"""One PostgreSQL table: which columns the server masks, which go through Python, alone or in bulk,
and which are kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sandbox.errors import ConfigError
from sandbox.masking import pgtext, sql
from sandbox.masking.leaks import SEARCHED, Originals
from sandbox.masking.loops import MANY, TEXTUAL, VECTOR, available, worth
from sandbox.masking.pseudonyms import FORMS, FROM_LISTS
from sandbox.masking.rules import ANY, DEEP, ITEMS, Rule, Tree
from sandbox.masking.strategies import STRATEGIES, Looped, Tools, make, many
from sandbox.masking.strategies.names import fitting
from sandbox.masking.strategies.vectors import Vectors
from sandbox.masking.suggest import suggest
from sandbox.masking.tokens import coded
from sandbox.masking.trees import Node, Walker
from sandbox.model import Dataset, Field

if TYPE_CHECKING:
    from sandbox.masking.loops.bulk import Bulk
    from sandbox.masking.loops.spans import InLoops

Text = Callable[[str], str | None]
Texts = Callable[[Sequence[str]], Sequence[str | None]]  # of one column, row by row
Told = Callable[[str, str], None]
# Many values become one: in a unique column the load would fail at the second row.
ALIKE = frozenset({"redact", "constant", "truncate", "round", "geo"})
LARGE = 100_000  # rows: below, compiled loops take longer to load than they save
IN_BULK = frozenset(FORMS) - {"uuid", "mac"}  # what `bulk.py` has forms of
MOST = 20_000  # values of a column whose pseudonyms are made to be known


class Table:
    """A table's columns against its rules. Raises ConfigError for a rule that cannot hold."""

    def __init__(
        self, dataset: Dataset, tree: Tree, tools: Tools, told: Told, *, redact: bool
    ) -> None:
        self.place, self._rows = f"postgres.{dataset.name}", dataset.rows
        self.expressions: dict[str, str] = {}
        self.texts: dict[str, Texts] = {}
        self.noted: dict[str, tuple[Rule, Field]] = {}
        self.unique: dict[str, str] = {}
        self.uncovered: dict[str, str] = {}
        self._loops: dict[str, Callable[[], InLoops]] = {}
        self._matrices: dict[str, Callable[[Any], Any]] = {}  # of vectors, instead of their texts
        self._named: dict[str, int] = {}  # values whose pseudonyms were made to be known
        self._tools, self._told, self._redact = tools, told, redact
        self._strategies: dict[str, str] = {}
        self._nodes: list[Node] = []
        self._missing(dataset, tree)
        for field in dataset.fields:
            if not field.generated:
                self._column(field, tree.get(field.name) or tree.children.get(DEEP))
        self.texts = dict(sorted(self.texts.items(), key=lambda one: self._last(one[0])))
        self.bulk = self._bulk(dataset)

    def _bulk(self, dataset: Dataset) -> Bulk | None:
        """Of a large table that travels in binary, what the server would take longer to make, and
        what only Python can."""
        if dataset.rows < (MANY if self.texts else LARGE) or dataset.options.get("text"):
            return None
        written = [field.name for field in dataset.fields if not field.generated]
        names = [name for name in written if self._in_bulk(name)]
        plain = all(self._textual(field) for field in dataset.fields if field.name in self.texts)
        if not (names or self.texts) or not plain or not available():
            return None
        from sandbox.masking.loops.bulk import Bulk, Column, Other  # loaded for large tables alone
        from sandbox.masking.loops.latest import of

        held: dict[str, Column] = {}
        for name in names:
            rule, field = self.noted[name]
            wanted = fitting(rule.strategy, rule, sql.limits(field))
            place = written.index(name)
            held[name] = Column(domain=rule.strategy, limits=wanted, place=place)
            del self.expressions[name]
        kinds = {field.name: sql.kind_of(field) for field in dataset.fields}
        others = [
            Other(
                place=written.index(name),
                type=kinds[name],
                function=self._matrices.get(name, function),
                loops=self._loops[name]() if name in self._loops else None,
            )
            for name, function in self.texts.items()
        ]
        latest = of(self._tools.made)
        return Bulk(held, self._tools.pseudonyms, len(written), others, latest)

    def _textual(self, field: Field) -> bool:
        kind = sql.kind_of(field)
        return kind in TEXTUAL or (kind == VECTOR and field.name in self._matrices)

    def _in_bulk(self, name: str) -> bool:
        if name not in self.noted:
            return False
        rule, field = self.noted[name]
        textual = sql.kind_of(field) in ("text", "character varying") and not field.values
        return textual and rule.strategy in IN_BULK

    def _last(self, column: str) -> int:
        """Free text comes last: the values beside it are known by then."""
        known = STRATEGIES.get(self._strategies[column])
        return 2 if known is not None and known.late else self._strategies[column] == "json"

    def _missing(self, dataset: Dataset, tree: Tree) -> None:
        known = {field.name for field in dataset.fields}
        for name, node in tree.children.items():
            if name not in known and name not in (ANY, DEEP):
                where = next(iter(node.rules())).where
                raise ConfigError(f"{dataset.name} has no column {name}", where=where)

    def _column(self, field: Field, node: Tree | None) -> None:
        rule = None if node is None else node.rule
        deep = None if node is None else node.children.get(DEEP)
        if deep is not None and deep.rule is not None and node and len(node.children) == 1:
            rule = deep.rule
        elif node is not None and sql.is_json(field) and (rule is None or rule.keeps):
            if rule is not None:
                self._unnamed(field, f'JSON: name its paths, or "{field.name}.**" = "keep"')
            else:
                self._json(field, node)
            return
        items = None if node is None else node.children.get(ITEMS)
        if field.parts and node is not None and node.children and deep is None:
            self._composite(field, node)
        elif rule is None and items is not None and items.rule is not None:
            self._items(field, items.rule)
        elif rule is None and node is not None and node.children:
            self._json(field, node)
        elif rule is None:
            self._unnamed(field, f'{field.name} = "{_suggested(field)}"')
        elif not rule.keeps:
            self._rule(field, rule)

    def _unnamed(self, field: Field, suggestion: str) -> None:
        if not self._redact:
            name = f"{self.place}.{field.name}"
            self.uncovered[name] = f"seen as {field.type}; suggested: {suggestion}"
        strategy = "null" if field.nullable else "redact"
        if self._redact:
            self._apart(field, Rule(strategy=strategy, where=f"{self.place}.{field.name}"))
        made = sql.expression(Rule(strategy=strategy), field)
        self.expressions[field.name] = made or "NULL"

    def _apart(self, field: Field, rule: Rule) -> None:
        if field.unique and rule.strategy in ALIKE:
            raise ConfigError(
                f"{rule.strategy} makes many values one, and {self.place}.{field.name} is unique",
                where=rule.where,
                hint="use null where it may be, hash, token or another that keeps values apart",
            )

    def _rule(self, field: Field, rule: Rule) -> None:
        self._apart(field, rule)
        self._strategies[field.name] = rule.strategy
        expression = sql.expression(rule, field)
        if expression is None:
            function = make(rule, self._tools, sql.limits(field))
            self.texts[field.name] = lambda values: list(map(_text, many(function, values)))
            if isinstance(function, Vectors):
                self._matrices[field.name] = function.matrix
            elif isinstance(function, Looped) and function.loopable:
                self._loops[field.name] = function.in_loops
            return
        self.expressions[field.name] = expression
        self._note_later(field, rule)

    def _items(self, field: Field, rule: Rule) -> None:
        if rule.keeps:
            return
        if not sql.is_array(field):
            raise ConfigError(f"{field.name} is no array, it is {field.type}", where=rule.where)
        self._strategies[field.name] = rule.strategy
        expression = sql.elements(rule, field)
        if expression is None:
            function = make(rule, self._tools)
            self.texts[field.name] = _each(pgtext.over_elements(_over(function)))
            return
        self.expressions[field.name] = expression
        self._note_later(field, rule)

    def _composite(self, field: Field, node: Tree) -> None:
        """Each field of a composite by a rule of its own; so in an array of them."""
        listed = sql.is_array(field)
        held = node.children.get(ITEMS, Tree()) if listed else node
        functions: list[Text | None] = []
        for name, kind in field.parts:
            part = held.get(name)
            rule = None if part is None else part.rule
            place = f"{field.name}{ITEMS if listed else ''}.{name}"
            if rule is None and not self._redact:
                note = f'seen as {kind}; suggested: "{place}" = "{suggest(name)}"'
                self.uncovered[f"{self.place}.{place}"] = note
            rule = rule or Rule(strategy="null")
            size = re.search(r"char\w*(?: varying)?\((\d+)\)$", kind)
            one = Field(name=place, type=kind, length=int(size[1]) if size else None)
            if rule.strategy in FORMS:
                sql.refuse_type(rule, one)
            function = make(rule, self._tools, sql.limits(one))
            functions.append(None if rule.keeps else _over(function))
        for name, part in held.children.items():
            if name not in {*dict(field.parts), ANY}:
                where = next(iter(part.rules())).where
                raise ConfigError(f"{field.name} has no field {name}", where=where)
        self._strategies.setdefault(field.name, "composite")
        over = pgtext.over_fields(functions)
        self.texts[field.name] = _each(pgtext.over_elements(over) if listed else over)

    def _note_later(self, field: Field, rule: Rule) -> None:
        if rule.strategy in SEARCHED | FROM_LISTS:
            self.noted[field.name] = (rule, field)
            plain = sql.plain(rule, field)
            if field.unique and plain is not None:
                self.unique[field.name] = plain

    def _json(self, field: Field, tree: Tree) -> None:
        place = f"{self.place}.{field.name}"

        def uncovered(path: str, value: Any) -> None:
            note = f'suggested: "{field.name}.{path}" = "{suggest(path, value)}"'
            self._told(f"{place}.{path}", note)

        walker = Walker(tree, self._tools, uncovered, redact=self._redact)
        self._nodes += walker.nodes
        self._strategies.setdefault(field.name, "json")

        self.texts[field.name] = walker.texts
        self._loops[field.name] = walker.in_loops

    # --- originals ------------------------------------------------------------------------------

    def take(self, columns: Sequence[str], lines: bytes, originals: Originals) -> None:
        """Lines of COPY text with these columns. All at once, but for elements of arrays and for
        what is made from lists: which names these become must be known, too."""
        new = self._new(columns, lines)
        if new is None:
            self._take_all(columns, lines, originals)
            return
        for column, fields in zip(columns, new, strict=True):
            self.note(column, pgtext.values(field.decode() for field in fields), originals)

    def _new(self, columns: Sequence[str], lines: bytes) -> list[list[bytes]] | None:
        """The fields of each that were not met before; None where that is not known to be few."""
        if not worth(self._rows):
            return None
        from sandbox.masking.loops.seen import of

        return of(self._tools.made).new(self.place, columns, lines)

    def _take_all(self, columns: Sequence[str], lines: bytes, originals: Originals) -> None:
        codes = coded(pgtext.spaced(lines))
        ends = np.flatnonzero((codes == 9) | (codes == 10))
        if not len(ends):
            return
        starts = np.concatenate(([0], ends[:-1] + 1))
        place = np.arange(len(ends)) % len(columns)
        plain = [not sql.is_array(self.noted[column][1]) for column in columns]
        domains = [self.noted[column][0].strategy for column in columns]
        whole = np.array(plain)[place]
        if all(plain):
            originals.index.take(codes, starts, ends, domains)
        elif any(plain):
            kept = [domain for domain, one in zip(domains, plain, strict=True) if one]
            originals.index.take(codes, starts[whole], ends[whole], kept)
        for number, column in enumerate(columns):
            if not plain[number] or (domains[number] in FROM_LISTS and not self._many(column)):
                self.note(column, pgtext.column(lines, number), originals)

    def _many(self, column: str) -> bool:
        return self._named.get(column, 0) >= MOST

    def note(self, column: str, values: Iterable[str], originals: Originals) -> None:
        if column not in self.noted:
            return
        rule, field = self.noted[column]
        if sql.is_array(field):
            values = (element for text in values for element in pgtext.elements(text))
        domain = rule.strategy
        if domain not in FROM_LISTS:
            for value in values:
                originals.index.note(domain, value)
            return
        pseudonym = self._tools.pseudonyms.maker(domain, fitting(domain, rule, sql.limits(field)))
        distinct = set(values)
        originals.record_all(domain, [(value, pseudonym(value)) for value in distinct])
        self._named[column] = self._named.get(column, 0) + len(distinct)
        if self._many(column):
            originals.made.all_of_them()

    def alike(self, column: str) -> ConfigError:
        return ConfigError(
            f"two values of {self.place}.{column}, which is unique, differ only in "
            "what the pseudonym leaves out (case, spaces)",
            where=self.noted[column][0].where,
            hint='add exact = true to the rule: { strategy = "...", exact = true }',
        )

    def counts(self) -> dict[str, int]:
        found = {
            f"{self.place}.{name}: {strategy}": self._rows
            for name, strategy in self._strategies.items()
            if strategy != "json"
        }
        for node in self._nodes:
            if node.rule is not None and not node.keep and node.count:
                name = f"{self.place}: {node.rule.strategy} in JSON"
                found[name] = found.get(name, 0) + node.count
        return found


def _text(made: Any) -> str | None:
    return made if made is None or isinstance(made, str) else str(made)


def _each(function: Text) -> Texts:
    return lambda values: list(map(function, values))


def _over(function: Callable[[Any], Any]) -> Text:
    return lambda value: _text(function(value))


def _suggested(field: Field) -> str:
    """By name; of a text that says nothing, not even that it may be kept."""
    textual = sql.base(field.type) in ("text", "character varying", "character", "citext", "json")
    found = suggest(field.name)
    return "redact" if found == "keep" and textual else found
