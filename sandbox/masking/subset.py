"""[rows] and [links] of the policy: where a subset begins, and how other stores follow it.

A percentage is decided by a keyed hash of one value, so the same subjects come each time and in
every table. Links work on originals, before anything is masked.
"""

from __future__ import annotations

import hashlib
import posixpath
import uuid
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sandbox.errors import ConfigError
from sandbox.masking import sql
from sandbox.masking.patterns import MASKED, Template, template
from sandbox.masking.policy import Policy, RowRule
from sandbox.masking.pseudonyms import Pseudonyms
from sandbox.masking.rules import ITEMS, split
from sandbox.masking.trees import parse_json
from sandbox.model import Dataset, Entry, FileEntry, Point, Start

ROWS = "rows"  # the domain of the hash that decides who is in a percentage
Target = tuple[str, str]  # table, column
Path = tuple[str, ...]


# --- rows ----------------------------------------------------------------------------------------


def starts(policy: Policy, pseudonyms: Pseudonyms) -> dict[str, Start]:
    """Each rule of [rows] as SQL; what it reads is in the mask's settings."""
    return {
        table: Start(where=_where(rule), children=rule.children, line=rule.line)
        for table, rule in policy.rows.items()
    }


def _where(rule: RowRule) -> str | None:
    """None: no row for its own sake, only those that others refer to."""
    if not rule.where and not rule.by:
        return None if rule.children else "true"
    parts = [f"({rule.where})"] if rule.where else []
    if rule.by and rule.percent < 100:
        value = f"convert_to({sql.identifier(rule.by)}::text COLLATE \"C\", 'UTF8')"
        bound = threshold(rule.percent).hex()
        parts.append(f"substr({sql.hmac(ROWS, value)}, 1, 8) < '\\x{bound}'::bytea")
    return " AND ".join(parts) or "true"


def threshold(percent: float) -> bytes:
    """The first 8 bytes of an HMAC are below this for `percent` of all values."""
    return min(int(percent / 100 * 2**64), 2**64 - 1).to_bytes(8, "big")


def loose(policy: Policy, tables: Iterable[Dataset]) -> dict[str, tuple[str, ...]]:
    """Columns that the policy makes null: what they refer to need not come along."""
    found: dict[str, tuple[str, ...]] = {}
    for table in tables:
        tree = policy.postgres.get(table.name)
        if tree is None:
            continue
        nodes = {one.name: tree.get(one.name) for one in table.fields}
        found[table.name] = tuple(
            name for name, node in nodes.items() if node and node.rule and _nulls(node.rule)
        )
    return found


def _nulls(rule: Any) -> bool:
    return bool(rule.strategy == "null")


# --- values --------------------------------------------------------------------------------------


class Values:
    """The texts that were chosen, as sorted hashes of 8 bytes: one in 10**12 others is let in."""

    def __init__(self, texts: Iterable[str]) -> None:
        held = bytearray()
        for text in texts:
            held += _digest(text)
        self._hashes = np.unique(np.frombuffer(held, dtype=">u8").astype(np.uint64)).data

    def __len__(self) -> int:
        return len(self._hashes)

    def __contains__(self, value: Any) -> bool:
        wanted = int.from_bytes(_digest(as_text(value)), "big")
        at = bisect_left(self._hashes, wanted)  # of one number, numpy's takes ten times as long
        return at < len(self._hashes) and self._hashes[at] == wanted


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def as_text(value: Any) -> str:
    """A value as PostgreSQL writes it, so that a number, its text and its float are the same."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bytes):
        is_uuid = getattr(value, "subtype", None) in (3, 4) and len(value) == 16
        return str(uuid.UUID(bytes=bytes(value))) if is_uuid else value.decode("utf-8", "replace")
    return str(value)


# --- links ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Link:
    """One place that refers to a column. `template`: of a key's or file's name, the reference in
    its braces; `path`: inside a document, payload, or the members of a key of that name."""

    store: str
    name: str = ""  # collection or directory
    template: Template | None = None
    path: Path = ()
    target: Target

    def part(self, text: str) -> str | None:
        """What stands in the braces; None when the name is not of this form."""
        assert self.template is not None
        found = self.template.regex.fullmatch(text)
        if found is None:
            return None
        groups = zip(self.template.groups, found.groups(), strict=True)
        return next((part for (kind, _), part in groups if kind == MASKED), "")

    # Whether all that a record refers to is among `values`: it would pass a subset as it is.

    def in_document(self, document: Mapping[str, Any], values: Values) -> bool:
        return _leads(document, self.path, values)

    def in_point(self, point: Point, values: Values) -> bool:
        return point.id in values if self.name == "id" else _leads(point.payload, self.path, values)

    def in_name(self, text: str, values: Values) -> bool:
        """Of a key's or file's name."""
        part = self.part(text)
        return part is None or part in values

    def in_entry(self, name: str, entry: Entry, values: Values) -> bool:
        if not self.path:
            return self.in_name(name, values)
        return not self.has_members(name, entry) or all(
            self.in_member(entry.type, one, values) for one in entry.value
        )

    def has_members(self, name: str, entry: Entry) -> bool:
        assert self.template is not None
        return isinstance(entry.value, list) and bool(self.template.regex.fullmatch(name))

    def in_member(self, kind: str, member: Any, values: Values) -> bool:
        """Of an element of a list, set or sorted set, a hash's field or a stream's entry."""
        path = self.path[1:]
        if kind in ("zset", "hash"):
            member = member[0]
        if kind == "stream":
            member = {_text(name): _text(value) for name, value in member[1]}
        elif path:
            try:
                member = parse_json(_text(member))
            except ValueError:
                return True
        else:
            return _text(member) in values
        return _pruned(member, path, values)[0]

    def in_file(self, file: FileEntry, values: Values) -> bool:
        """A link to a file refers to what that one refers to."""
        return all(self.in_name(path, values) for path in _paths(file))


@dataclass(frozen=True, kw_only=True)
class Links:
    """What is declared in [links]; `values` are there once rows have been chosen."""

    links: tuple[Link, ...] = ()
    values: Mapping[Target, Values] = field(default_factory=dict)

    @staticmethod
    def of(policy: Policy) -> Links:
        """Raises ConfigError for a place that is none."""
        return Links(links=tuple(_link(policy, place) for place in policy.links))

    @property
    def targets(self) -> Sequence[Target]:
        return tuple(dict.fromkeys(link.target for link in self.links))

    def kept(self) -> dict[str, int]:
        """How many values each column that is linked to still has, for the manifest."""
        return {f"{table}.{column}": len(held) for (table, column), held in self.values.items()}

    @property
    def active(self) -> bool:
        return bool(self.values)

    def of_store(self, store: str) -> bool:
        """Whether the store follows a subset, now that rows have been chosen."""
        return self.active and any(link.store == store for link in self.links)

    def within(self, values: Mapping[Target, Values]) -> Links:
        """Links to a table that is read whole are left out: they let everything through."""
        kept = tuple(link for link in self.links if link.target in values)
        return Links(links=kept, values=values if kept else {})

    def document(self, collection: str, document: dict[str, Any]) -> dict[str, Any] | None:
        return self._fields("mongo", collection, document)

    def point(self, point: Point) -> Point | None:
        for link in self._among("qdrant"):
            if link.name == "id" and point.id not in self.values[link.target]:
                return None
        payload = self._fields("qdrant", "payload", point.payload)
        return None if payload is None else replace(point, payload=payload)

    def entry(self, entry: Entry) -> Entry | None:
        name = key_text(entry)
        for link in self._among("redis"):
            values = self.values[link.target]
            if not link.path:
                if not link.in_name(name, values):
                    return None
            elif link.has_members(name, entry):
                kept = [one for one in entry.value if link.in_member(entry.type, one, values)]
                entry = replace(entry, value=kept)
        return entry

    def file(self, directory: str, file: FileEntry) -> bool:
        """A link to a file that does not come along does not come along either."""
        links = self._among("files", directory)
        return all(link.in_file(file, self.values[link.target]) for link in links)

    def _among(self, store: str, name: str = "") -> list[Link]:
        return [one for one in self.links if one.store == store and name in ("", one.name)]

    def _fields(self, store: str, name: str, document: dict[str, Any]) -> dict[str, Any] | None:
        for link in self._among(store, name):
            kept, document = _pruned(document, link.path, self.values[link.target])
            if not kept:
                return None
        return document


def key_text(entry: Entry) -> str:
    return entry.key.decode("utf-8", "surrogateescape")


def _paths(file: FileEntry) -> list[str]:
    """The names that links may be written for."""
    if file.type == "directory":
        return [f"{file.path}/"]
    if file.type != "symlink":
        return [file.path]
    there = posixpath.normpath(posixpath.join(posixpath.dirname(file.path), file.target))
    return [file.path, there, there + "/"]


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _pruned(value: Any, path: Path, values: Values) -> tuple[bool, Any]:
    """Whether a value may stay, and the value, without elements of arrays that may not. What refers
    to nothing (no such field, or null) stays."""
    if value is None:
        return True, value
    if not path:
        return value in values, value
    first, rest = path[0], path[1:]
    if first == ITEMS:
        if not isinstance(value, list):
            return True, value
        judged = [_pruned(one, rest, values) for one in value]
        return True, [one for kept, one in judged if kept]
    if not isinstance(value, Mapping) or first not in value:
        return True, value
    kept, made = _pruned(value[first], rest, values)
    return kept, value if made is value[first] else {**value, first: made}


def _leads(value: Any, path: Path, values: Values) -> bool:
    """Whether `_pruned` would leave a value as it is."""
    if value is None:
        return True
    if not path:
        return value in values
    first, rest = path[0], path[1:]
    if first == ITEMS:
        return not isinstance(value, list) or all(_leads(one, rest, values) for one in value)
    if not isinstance(value, Mapping) or first not in value:
        return True
    return _leads(value[first], rest, values)


# --- how a link is written -----------------------------------------------------------------------


def _link(policy: Policy, place: str) -> Link:
    where = f"{policy.file}: links: {place}"
    parts = policy.links[place].split(".")
    if len(parts) != 3 or parts[0] != "postgres":
        raise ConfigError(f"{policy.links[place]} is no column", where=where, hint=TARGET)
    target = (parts[1], parts[2])
    store, _, rest = place.partition(".")
    if store == "mongo":
        name = next((n for n in policy.mongo if rest.startswith(f"{n}.")), rest.partition(".")[0])
        path = split(rest[len(name) + 1 :])
        if path:
            return Link(store=store, name=name, path=path, target=target)
    elif place == "qdrant.id":
        return Link(store=store, name="id", target=target)
    elif store == "qdrant" and rest.startswith("payload."):
        return Link(store=store, name="payload", path=split(rest[8:]), target=target)
    elif store == "redis" and ITEMS in rest:
        name, _, inside = rest.partition(ITEMS)
        made = _template(name, ":", where)
        return Link(store=store, template=made, path=split(ITEMS + inside), target=target)
    elif store in ("redis", "files"):
        name, _, text = ("", "", rest) if store == "redis" else rest.partition(".")
        made = _template(text, ":" if store == "redis" else "/", where)
        if len(made.strategies) == 1:
            return Link(store=store, name=name, template=made, target=target)
    raise ConfigError("a link cannot be written so", where=where, hint=FORMS)


def _template(text: str, separators: str, where: str) -> Template:
    try:
        return template(text, separators)
    except ValueError as error:
        raise ConfigError(f"not a template: {error}", where=where) from None


TARGET = 'write "postgres.table.column"'
FORMS = (
    "mongo.<collection>.<path>, qdrant.payload.<path>, qdrant.id, redis.<key with one {part}>, "
    "redis.<key>[].<path>, files.<directory>.<path with one {part}>; docs/subset.md"
)

__all__ = ["ROWS", "Link", "Links", "Values", "key_text", "loose", "starts", "threshold"]
