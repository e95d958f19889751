"""What was seen of production: places, and a few of their values: in memory only, never shown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sandbox.masking.rules import ANY, ITEMS
from sandbox.model import Field

MOST = 200  # values of one place
LONGEST = 4000  # characters of one value
FIELDS = 40  # more names than this below one place are data, not names
NAME = re.compile(r"[^\W\d][\w .$/-]{0,63}")  # of a field
Path = tuple[str, ...]


@dataclass(kw_only=True)
class Leaf:
    """One place. `column`: as PostgreSQL declares it; `seen`: values by kind."""

    column: Field | None = None
    values: dict[str, None] = field(default_factory=dict, repr=False)  # distinct, in order
    seen: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return sum(self.seen.values())

    @property
    def texts(self) -> list[str]:
        return list(self.values)

    def add(self, value: Any) -> None:
        kind = kind_of(value)
        self.seen[kind] += 1
        if len(self.values) < MOST and kind in ("text", "number"):
            self.values.setdefault(str(value)[:LONGEST])

    def join(self, other: Leaf) -> None:
        self.seen += other.seen
        for value in other.texts[: MOST - len(self.values)]:
            self.values.setdefault(value)


def kind_of(value: Any) -> str:
    """text, number, flag, time, binary, vector or other."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, (datetime, date)):
        return "time"
    if isinstance(value, bytes):
        return "binary"
    return "other"


Leaves = dict[Path, Leaf]


def collect(value: Any, into: Leaves, path: Path = ()) -> None:
    """Every scalar below a document, payload or JSON text, by path."""
    from sandbox.masking.trees import parse_json

    if isinstance(value, Mapping):
        for name, inner in value.items():
            collect(inner, into, (*path, str(name)))
    elif isinstance(value, list):
        for inner in value:
            collect(inner, into, (*path, ITEMS))
    elif value is not None:
        if isinstance(value, str) and value[:1] in ("{", "["):
            try:
                inner = parse_json(value)
            except ValueError:
                inner = None
            if isinstance(inner, (dict, list)):
                collect(inner, into, path)
                return
        into.setdefault(path, Leaf()).add(value)


def folded(leaves: Leaves) -> Leaves:
    """Names that are data (a map by user, by day) become `*`: neither listed nor shown."""
    below: dict[Path, set[str]] = {}
    for path in leaves:
        for at, part in enumerate(path):
            if part != ITEMS:
                below.setdefault(path[:at], set()).add(part)
    many = {path for path, names in below.items() if _are_data(names)}
    found: Leaves = {}
    for path, leaf in leaves.items():
        made: Path = ()
        for at, part in enumerate(path):
            made = (*made, ANY if path[:at] in many and part != ITEMS else part)
        if made in found:
            found[made].join(leaf)
        else:
            found[made] = leaf
    return found


def _are_data(names: set[str]) -> bool:
    """Too many to be fields, or dates, ids and addresses rather than words."""
    odd = [name for name in names if not NAME.fullmatch(name) or sum(map(str.isdigit, name)) > 3]
    return len(names) > FIELDS or 2 * len(odd) > len(names) or any("@" in name for name in odd)


@dataclass(kw_only=True)
class KeyGroup:
    """Keys of one form and type: parts of the name that vary, what is in them, fields' names."""

    template: tuple[str | None, ...]  # None: a part that varies
    type: str
    example: tuple[str, tuple[str, ...]] = field(default=("", ()), repr=False)
    parts: list[Leaf] = field(default_factory=list)  # of the varying ones
    leaves: Leaves = field(default_factory=dict)
    names: Leaf = field(default_factory=Leaf)
    count: int = 0


@dataclass(kw_only=True)
class FileGroup:
    """Files of one form, as above. `content`: json, jsonl, csv, text, binary, archive, link."""

    template: tuple[str | None, ...]
    content: str
    example: tuple[str, tuple[str, ...]] = field(default=("", ()), repr=False)
    parts: list[Leaf] = field(default_factory=list)
    leaves: Leaves = field(default_factory=dict)
    count: int = 0


@dataclass(kw_only=True)
class Seen:
    """All five stores. `whole`: the datasets of which everything was read, as `store.name`."""

    tables: dict[str, Leaves] = field(default_factory=dict)
    collections: dict[str, Leaves] = field(default_factory=dict)
    payload: Leaves | None = None
    vectors: dict[str, Leaf] = field(default_factory=dict)
    keys: list[KeyGroup] = field(default_factory=list)
    files: dict[str, list[FileGroup]] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)

    def leaves(self) -> Iterator[tuple[Path, Leaf]]:
        """Every place with the names that lead to it."""
        for name, found in [*self.tables.items(), *self.collections.items()]:
            yield from (((name, *path), leaf) for path, leaf in found.items())
        yield from (self.payload or {}).items()
        for key in self.keys:
            words = tuple(part for part in key.template if part is not None)
            yield from (((*words, *path), leaf) for path, leaf in key.leaves.items())
        for groups in self.files.values():
            for one in groups:
                yield from one.leaves.items()


def distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
