"""Links across stores that lead nowhere in production already: counted while a snapshot reads, so
that the manifest can say of which there were how many. Nothing is left out because of them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import IO, Any

from sandbox.contract import Mask
from sandbox.masking.subset import Links, Target, Values
from sandbox.model import Dataset, Entry, FileEntry, Point


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
        return dict(sorted(self._counts.items()))

    def document(self, collection: str, document: dict[str, Any]) -> dict[str, Any] | None:
        self._note("mongo", lambda one: one.document(collection, document) == document)
        return self._mask.document(collection, document)

    def point(self, collection: str, point: Point) -> Point | None:
        self._note("qdrant", lambda one: _same_payload(one.point(point), point))
        return self._mask.point(collection, point)

    def entry(self, entry: Entry) -> Entry | None:
        self._note("redis", lambda one: one.entry(replace(entry)) == entry)
        return self._mask.entry(entry)

    def file(self, directory: str, file: FileEntry) -> FileEntry | None:
        self._note("files", lambda one: one.file(directory, file))
        return self._mask.file(directory, file)

    def content(self, directory: str, file: FileEntry, stream: IO[bytes]) -> Iterator[bytes]:
        return self._mask.content(directory, file, stream)

    def keeps(self, dataset: Dataset) -> bool:
        """Bytes that nobody looks at cannot be counted."""
        return dataset.store not in self._stores and self._mask.keeps(dataset)

    def _note(self, store: str, whole: Any) -> None:
        if store not in self._stores:
            return
        for name, one in self._links.items():
            if one.links[0].store == store and not whole(one):
                with self._lock:
                    self._counts[name] += 1


def _same_payload(made: Point | None, point: Point) -> bool:
    return made is not None and made.payload == point.payload
