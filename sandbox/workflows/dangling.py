"""Links across stores that lead nowhere in production already: counted while a snapshot reads, so
that the manifest can say of which there were how many. Nothing is left out because of them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import IO, Any, NamedTuple, TypeVar

from sandbox.contract import Batches, Codec, Documents, Mask
from sandbox.masking.subset import Link, Links, Target, Values, key_text
from sandbox.model import Dataset, Entry, FileEntry, Kind, Point

T = TypeVar("T")


class Watch(NamedTuple):
    """A link that is looked at: how it is written, and what its column holds."""

    name: str
    link: Link
    values: Values


class Watched:
    """A mask that looks at each record's declared links before the real one sees it."""

    def __init__(self, mask: Mask, written: Mapping[str, str], links: Links) -> None:
        """`written`: the same links as the policy has them; they count from `begin` on."""
        names = [f"{place} -> {target}" for place, target in written.items()]
        self._mask, self._links = mask, dict(zip(names, links.links, strict=True))
        self.uncovered = mask.uncovered
        self._watches: tuple[Watch, ...] = ()
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mask, name)

    def begin(self, values: Mapping[Target, Values]) -> None:
        """What the links' columns hold; a link to another table is not looked at."""
        self._watches = tuple(
            Watch(name, link, values[link.target])
            for name, link in self._links.items()
            if link.target in values
        )

    @property
    def dangling(self) -> dict[str, int]:
        """Records by link, where there are any."""
        return {name: count for name, count in sorted(self._counts.items()) if count}

    def documents(self, collection: str, documents: Documents) -> Documents:
        watches = self._among("mongo", collection)
        self._note(watches, _loose_documents(watches, documents))
        return self._mask.documents(collection, documents)

    def encoded(self, collection: Dataset, codec: Codec) -> Batches | None:
        change = self._mask.encoded(collection, codec)
        watches = self._among("mongo", collection.name)
        if change is None or not watches:
            return change
        from sandbox.masking.loops.references import References

        tests = [(one.link.path, one.values.__contains__) for one in watches]
        references = References(tests, codec, partial(_loose_documents, watches))

        def looked(batch: bytes) -> tuple[int, bytes]:
            self._note(watches, references.loose(batch))
            return change(batch)

        return looked

    def points(self, collection: str, points: Sequence[Point]) -> Sequence[Point]:
        watches = self._among("qdrant")
        self._note(watches, [_loose(points, one.link.in_point, one.values) for one in watches])
        return self._mask.points(collection, points)

    def entries(self, entries: Sequence[Entry]) -> Sequence[Entry | None]:
        watches = self._among("redis")
        named = [(key_text(entry), entry) for entry in entries] if watches else []
        counts = [
            sum(not one.link.in_entry(name, entry, one.values) for name, entry in named)
            for one in watches
        ]
        self._note(watches, counts)
        return self._mask.entries(entries)

    def file(self, directory: str, file: FileEntry) -> FileEntry | None:
        watches = self._among("files", directory)
        self._note(watches, [_loose([file], one.link.in_file, one.values) for one in watches])
        return self._mask.file(directory, file)

    def content(self, directory: str, file: FileEntry, stream: IO[bytes]) -> Iterator[bytes]:
        return self._mask.content(directory, file, stream)

    def keeps(self, dataset: Dataset) -> bool:
        """Bytes that nobody looks at cannot be counted."""
        name = dataset.name if dataset.store == "mongo" else ""
        return not self._among(dataset.store, name) and self._mask.keeps(dataset)

    def _among(self, store: Kind, name: str = "") -> list[Watch]:
        """Those of a store, or of one collection or directory."""
        links = [one for one in self._watches if one.link.store == store]
        return [one for one in links if name in ("", one.link.name)]

    def _note(self, watches: Sequence[Watch], counts: Sequence[int]) -> None:
        with self._lock:
            for one, count in zip(watches, counts, strict=True):
                self._counts[one.name] += count


def _loose_documents(watches: Sequence[Watch], documents: Documents) -> list[int]:
    return [_loose(documents, one.link.in_document, one.values) for one in watches]


def _loose(records: Sequence[T], leads: Callable[[T, Values], bool], values: Values) -> int:
    """How many of the records refer to what is not there."""
    return sum(not leads(one, values) for one in records)
