"""Loads collections under staging names, then renames them into place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from bson import json_util
from bson.raw_bson import RawBSONDocument

from sandbox.contract import Access, Tool
from sandbox.model import Dataset, Identity, Marker, Space
from sandbox.stores.mongo.session import MARKER, OLD, STAGED, need_own, write_marker
from sandbox.stores.mongo.source import MongoSource

BATCH = 2000  # documents
BATCH_BYTES = 16 << 20


class MongoStore(MongoSource):
    """The playground's database, as keeper."""

    def __init__(
        self, access: Access, *, owner: Identity, production: Space, tool: Tool | None = None
    ) -> None:
        super().__init__(access, tool=tool)
        self._production = production.name
        self._datasets: tuple[Dataset, ...] = ()

    def stage(self, datasets: Sequence[Dataset], catalog: bytes) -> None:
        self._need_own()
        self._drop_all(STAGED)
        self._drop_all(OLD)
        self._datasets = tuple(datasets)
        for dataset in datasets:
            options = json_util.loads(dataset.options["ejson"])["create"]
            self._database.create_collection(STAGED + dataset.name, **options)

    def write(self, dataset: Dataset, pieces: Iterable[bytes]) -> int:
        rows = size = 0
        batch: list[RawBSONDocument] = []
        target = self._database[STAGED + dataset.name]
        for raw in _split(pieces):
            batch.append(RawBSONDocument(raw))
            size += len(raw)
            rows += 1
            if len(batch) == BATCH or size >= BATCH_BYTES:
                target.insert_many(batch, ordered=False)
                batch, size = [], 0
        if batch:
            target.insert_many(batch, ordered=False)
        return rows

    def finish(self, marker: Marker) -> Sequence[str]:
        """Indexes after the data, then the marker."""
        for dataset in self._datasets:
            for index in json_util.loads(dataset.options["ejson"])["indexes"]:
                if index["name"] == "_id_":
                    continue
                keys = [(field, order) for field, order in index.pop("key")]
                index.pop("v", None)
                self._database[STAGED + dataset.name].create_index(keys, **index)
        write_marker(self.client, self._space.database, marker, STAGED + MARKER)
        return ()

    def swap(self) -> None:
        """Collection by collection; the staged marker goes last, so that a swap that was
        interrupted is seen and can be repeated or undone."""
        names = set(self._database.list_collection_names())
        if STAGED + MARKER not in names:
            return
        self._need_own()
        for name in sorted(names):
            if not name.startswith((STAGED, OLD)) and OLD + name not in names and name != MARKER:
                self._rename(name, OLD + name)
        for name in sorted(names):
            if name.startswith(STAGED) and name != STAGED + MARKER:
                self._rename(name, name.removeprefix(STAGED))
        self._database[MARKER].aggregate([{"$out": OLD + MARKER}])
        self._rename(STAGED + MARKER, MARKER, drop=True)

    def undo(self) -> None:
        names = set(self._database.list_collection_names())
        old = {name for name in names if name.startswith(OLD)}
        if not old:
            return
        self._need_own()
        for name in sorted(old - {OLD + MARKER}):
            self._rename(name, name.removeprefix(OLD), drop=True)
        if OLD + MARKER in old:
            for name in names:
                if not name.startswith((STAGED, OLD)) and OLD + name not in old:
                    self._database.drop_collection(name)
            self._rename(OLD + MARKER, MARKER, drop=True)
        self._drop_all(STAGED)

    def settle(self) -> None:
        self._drop_all(OLD)
        self._drop_all(STAGED)

    def search(self, needles: Sequence[str]) -> Sequence[str]:
        found = set()
        for name in self._database.list_collection_names():
            if name.startswith((STAGED, OLD)) or name == MARKER:
                continue
            for document in self._database[name].find():
                for path, value in _leaves(document, ""):
                    if any(needle.lower() in str(value).lower() for needle in needles):
                        found.add(f"{name}.{path}")
        return sorted(found)

    @property
    def _database(self) -> Any:
        return self.client[self._space.database]

    def _need_own(self) -> None:
        need_own(self.client, self._space.database, self._production)

    def _drop_all(self, prefix: str) -> None:
        for name in self._database.list_collection_names():
            if name.startswith(prefix):
                self._database.drop_collection(name)

    def _rename(self, old: str, new: str, *, drop: bool = False) -> None:
        self._database[old].rename(new, dropTarget=drop)


def _split(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Single BSON documents, wherever the pieces end."""
    left = b""
    for piece in pieces:
        left = left + piece if left else piece
        at = 0
        while len(left) - at >= 4:
            length = int.from_bytes(left[at : at + 4], "little")
            if len(left) - at < length:
                break
            yield left[at : at + length]
            at += length
        left = left[at:]


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, f"{path}[]")
    else:
        yield path, value
