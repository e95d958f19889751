"""A mask that lets nothing through and remembers what it saw: how classify looks at a store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import orjson

from sandbox.contract import Documents
from sandbox.masking import pgtext, sql
from sandbox.masking.classify_forms import Form, of_keys, of_paths
from sandbox.masking.classify_seen import (
    LONGEST,
    FileGroup,
    KeyGroup,
    Leaf,
    Leaves,
    collect,
    folded,
)
from sandbox.masking.keep import Keep
from sandbox.masking.rules import ITEMS
from sandbox.masking.strategies.vectors import is_named
from sandbox.model import Dataset, Entry, Field, FileEntry, Point

MEMBERS = 100  # of one key
LOOKED_INTO = 5  # files of one form
BEGINNING = 1 << 18  # bytes of one file
TEXT = ("txt", "log", "md", "rst", "srt", "vtt", "html", "xml", "yaml", "yml", "ini", "toml", "tsv")
MEDIA = ("mp4", "mov", "mkv", "webm", "mp3", "wav", "flac", "m4a", "jpg", "jpeg", "png", "gif",
         "webp", "tif", "tiff", "bmp", "heic", "pdf")  # fmt: skip


class Enough(Exception):
    """As many rows as were wanted."""


@dataclass(kw_only=True)
class Gather(Keep):
    """`limit`: rows of one dataset, 0 for all. `inner`: a policy's mask, that is to be asked of the
    same rows for what it does not cover."""

    limit: int = 0
    inner: Any = None
    wanted: frozenset[str] = frozenset()  # files to look into
    rows: int = 0
    leaves: Leaves = field(default_factory=dict)
    vectors: dict[str, Leaf] = field(default_factory=dict)
    seen: list[Entry] = field(default_factory=list, repr=False)  # keys
    files: dict[str, str] = field(default_factory=dict, repr=False)  # path -> type
    inside: dict[str, bytes] = field(default_factory=dict, repr=False)

    def _count(self) -> None:
        if self.limit and self.rows >= self.limit:
            raise Enough
        self.rows += 1

    def keeps(self, dataset: Dataset) -> bool:
        return False

    def documents(self, collection: str, documents: Documents) -> Documents:
        for document in documents:
            self._count()
            collect(document, self.leaves)
            if self.inner is not None:
                self.inner.documents(collection, [document])
        return []

    def points(self, collection: str, points: Sequence[Point]) -> Sequence[Point]:
        for point in points:
            self._count()
            collect(point.payload, self.leaves)
            for name in point.vector if is_named(point.vector) else [""]:
                self.vectors.setdefault(name, Leaf()).seen["vector"] += 1
            if self.inner is not None:
                self.inner.points(collection, [point])
        return []

    def entries(self, entries: Sequence[Entry]) -> Sequence[Entry | None]:
        for entry in entries:
            self._count()
            value = entry.value
            value = value[:MEMBERS] if isinstance(value, list) else value[: 16 * LONGEST]
            self.seen.append(
                Entry(key=entry.key, type=entry.type, value=value, expires_at=entry.expires_at)
            )
            if self.inner is not None:
                self.inner.entries([entry])
        return [None] * len(entries)

    def file(self, directory: str, file: FileEntry) -> FileEntry | None:
        if file.path in self.wanted:
            return file
        if not self.wanted:
            self._count()
            self.files[file.path] = file.type
            if self.inner is not None:
                self.inner.file(directory, file)
        return None

    def content(self, directory: str, file: FileEntry, stream: IO[bytes]) -> Iterator[bytes]:
        if file.path in self.wanted:
            data = stream.read(BEGINNING)
            self.inside[file.path] = data
        return iter(())


# --- columns -------------------------------------------------------------------------------------


def columns(fields: Iterable[Field]) -> Leaves:
    """A place for each column, before a value was seen."""
    return {
        (field.name, ITEMS) if sql.is_array(field) else (field.name,): Leaf(column=field)
        for field in fields
    }


def add_column(field: Field, value: str, leaves: Leaves) -> None:
    """One value as PostgreSQL writes it: elements of an array, what is inside JSON."""
    if sql.is_array(field):
        for element in pgtext.elements(value):
            leaves[field.name, ITEMS].add(element)
        return
    inner: Leaves = {}
    collect(value, inner, (field.name,))
    for path, leaf in inner.items():
        if path in leaves:
            leaves[path].join(leaf)
        else:
            leaves[path] = leaf


# --- what was seen, by form ----------------------------------------------------------------------


def key_groups(entries: list[Entry], is_person: Callable[[str], bool]) -> list[KeyGroup]:
    by_name = {_text(entry.key): entry for entry in entries}
    found: dict[tuple[tuple[str | None, ...], str], KeyGroup] = {}
    for form in of_keys(by_name, is_person):
        for name, parts in form.rows:
            entry = by_name[name]
            place = (form.template, entry.type)
            group = found.setdefault(
                place, KeyGroup(template=form.template, type=entry.type, example=(name, parts))
            )
            _add_parts(group.parts, parts)
            _add_entry(group, entry)
    for group in found.values():
        group.leaves = folded(group.leaves)
    return list(found.values())


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return str(value)


def _value(value: bytes) -> Any:
    """Text where it is text; what is not UTF-8 is binary."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _add_parts(into: list[Leaf], parts: tuple[str, ...]) -> None:
    for at, part in enumerate(parts):
        if at == len(into):
            into.append(Leaf())
        into[at].add(part)


def _add_entry(group: KeyGroup, entry: Entry) -> None:
    group.count += 1
    if entry.type == "string":
        collect(_value(entry.value), group.leaves)
    elif entry.type == "hash":
        collect({_text(name): _value(value) for name, value in entry.value}, group.leaves)
        for name, _ in entry.value:
            group.names.add(_text(name))
    elif entry.type == "stream":
        for _, pairs in entry.value:
            collect({_text(name): _value(value) for name, value in pairs}, group.leaves)
    else:
        for member in entry.value:
            collect(_value(member[0] if entry.type == "zset" else member), group.leaves)


def file_groups(
    files: Mapping[str, str], is_person: Callable[[str], bool]
) -> list[tuple[FileGroup, Form]]:
    """Forms of the names of files and links; folders follow them."""
    found = []
    for link in (False, True):
        names = [path for path, kind in files.items() if kind == ("symlink" if link else "file")]
        for form in of_paths(names, is_person):
            group = FileGroup(
                template=form.template, content=_content(form, link), example=form.rows[0]
            )
            for _, parts in form.rows:
                group.count += 1
                _add_parts(group.parts, parts)
            found.append((group, form))
    return found


def _content(form: Form, link: bool) -> str:
    if link:
        return "link"
    end = form.rows[0][0].rpartition(".")[2].lower()
    if end in ("json", "csv"):
        return end
    if end in ("jsonl", "ndjson"):
        return "jsonl"
    if end in TEXT:
        return "text"
    return "placeholder" if end in MEDIA else "skip"


def look_into(group: FileGroup, contents: list[bytes]) -> None:
    """Places inside files; what cannot be read as what its name says is not to be copied."""
    try:
        for data in contents:
            _look(group, data)
    except ValueError:
        group.leaves, group.content = {}, "placeholder"
    group.leaves = folded(group.leaves)


def _look(group: FileGroup, data: bytes) -> None:
    if group.content == "json":
        if len(data) < BEGINNING:
            collect(orjson.loads(data), group.leaves)
    elif group.content == "jsonl":
        for line in data.splitlines()[:-1] if len(data) == BEGINNING else data.splitlines():
            if line.strip():
                collect(orjson.loads(line), group.leaves)
    elif group.content == "csv":
        _look_at_csv(group, data.decode(errors="strict" if len(data) < BEGINNING else "replace"))
    elif group.content == "text":
        for text in data.decode(errors="replace").splitlines()[:500]:
            group.leaves.setdefault((), Leaf()).add(text)


def _look_at_csv(group: FileGroup, text: str) -> None:
    import csv
    import io

    for row in csv.DictReader(io.StringIO(text)):
        if None in row or None in row.values():
            continue  # cut off
        for name, value in row.items():
            group.leaves.setdefault((name,), Leaf()).add(value)
