"""Links across stores that lead nowhere in production already: counted while a snapshot reads, so
that the manifest can say of which there were how many. Nothing is left out because of them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import IO, Any, TypeVar

from sandbox.contract import Batches, Codec, Documents, Mask
from sandbox.masking.subset import Links, Target, Values
from sandbox.model import Dataset, Entry, FileEntry, Point

T = TypeVar("T")


def each(written: Mapping[str, str], links: Links) -> dict[str, Links]:
    """Every link of the policy alone, by how it is written."""
    return {
        f"{place} -> {target}": Links(links=(link,))
        for (place, target), link in zip(written.items(), links.links, strict=True)
    }


class Watched:
    """A mask that looks at each record's declared links before the real one sees it."""

    def __init__(self, mask: Mask, links: Mapping[str, Links]) -> None:
        """`links`: each alone, by how it is written; they count from `begin` on."""
        self._mask, self._links = mask, dict(links)
        self.uncovered = mask.uncovered
        self._stores: frozenset[str] = frozenset()
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mask, name)

    def begin(self, values: Mapping[Target, Values]) -> None:
        """What the links' columns hold; a link to another table is not looked at."""
        kept = {name: one.within(values) for name, one in self._links.items()}
        self._links = {name: one for name, one in kept.items() if one.active}
        self._stores = frozenset(one.links[0].store for one in self._links.values())

    @property
    def dangling(self) -> dict[str, int]:
        """Records by link, where there are any."""
        return {name: count for name, count in sorted(self._counts.items()) if count}

    def documents(self, collection: str, documents: Documents) -> Documents:
        self._look(collection, documents)
        return self._mask.documents(collection, documents)

    def encoded(self, collection: Dataset, codec: Codec) -> Batches | None:
        change = self._mask.encoded(collection, codec)
        if change is None or "mongo" not in self._stores:
            return change

        def looked(batch: bytes) -> tuple[int, bytes]:
            self._look(collection.name, codec.decode(batch))
            return change(batch)

        return looked

    def _look(self, collection: str, documents: Documents) -> None:
        self._note("mongo", documents, lambda link, one: link.document(collection, one) == one)

    def points(self, collection: str, points: Sequence[Point]) -> Sequence[Point]:
        self._note("qdrant", points, lambda link, one: _same_payload(link.point(one), one))
        return self._mask.points(collection, points)

    def entries(self, entries: Sequence[Entry]) -> Sequence[Entry | None]:
        self._note("redis", entries, lambda link, one: link.entry(replace(one)) == one)
        return self._mask.entries(entries)

    def file(self, directory: str, file: FileEntry) -> FileEntry | None:
        self._note("files", [file], lambda link, one: link.file(directory, one))
        return self._mask.file(directory, file)

    def content(self, directory: str, file: FileEntry, stream: IO[bytes]) -> Iterator[bytes]:
        return self._mask.content(directory, file, stream)

    def keeps(self, dataset: Dataset) -> bool:
        """Bytes that nobody looks at cannot be counted."""
        return dataset.store not in self._stores and self._mask.keeps(dataset)

    def _note(self, store: str, records: Sequence[T], whole: Callable[[Links, T], bool]) -> None:
        if store not in self._stores:
            return
        for name, link in self._links.items():
            if link.links[0].store == store:
                loose = sum(not whole(link, one) for one in records)
                with self._lock:
                    self._counts[name] += loose


def _same_payload(made: Point | None, point: Point) -> bool:
    return made is not None and made.payload == point.payload
