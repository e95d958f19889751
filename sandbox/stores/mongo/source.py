"""Reads collections as BSON: raw where all is kept, decoded without loss where it is masked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import bson
from bson import json_util

from sandbox.contract import Access, Cut, Mask, Tool
from sandbox.errors import ConfigError
from sandbox.model import Dataset, Kind, Marker
from sandbox.stores.mongo.session import (
    LOSSLESS,
    MARKER,
    OLD,
    STAGED,
    Client,
    connect,
    read_marker,
    space_of,
)

PIECE = 1 << 20  # bytes


class MongoSource:
    """A database that is read and never written."""

    kind: Kind = "mongo"

    def __init__(self, access: Access, *, tool: Tool | None = None) -> None:
        self._access = access
        self._space = space_of(access)
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = connect(self._access)
        return self._client

    def ready(self) -> str:
        return f"MongoDB {self.client.server_info()['version']}"

    def marker(self) -> Marker | None:
        return read_marker(self.client, self._space.database)

    @contextmanager
    def cut(self) -> Iterator[Cut]:
        """The time is recorded; collections are read one after the other's start, not at once."""
        yield Cut(facts={"time": time.time(), "consistent": False})

    def datasets(self, cut: Cut) -> Sequence[Dataset]:
        """The declared collections. Raises ConfigError naming one that is not declared."""
        database = self.client[self._space.database]
        infos = {
            info["name"]: info
            for info in database.list_collections()
            if not _is_ours(info["name"]) and not info["name"].startswith("system.")
        }
        unknown = sorted(set(infos) - set(self._space.collections))
        if unknown:
            raise ConfigError(
                f"collections that are not declared: {', '.join(unknown)}",
                where="sandbox.toml: mongo.collections",
                hint="add them, and their rules to the policy",
            )
        return tuple(self._dataset(name, info) for name, info in sorted(infos.items()))

    def catalog(self, cut: Cut) -> bytes:
        return b""

    def read(self, cut: Cut, dataset: Dataset, mask: Mask) -> Iterator[tuple[int, bytes]]:
        collection = self.client[self._space.database][dataset.name]
        if mask.keeps(dataset):
            for raw in collection.find_raw_batches(batch_size=1000):
                batch = cast(bytes, raw)
                yield _documents(batch), batch
            return
        held: list[bytes] = []
        size = rows = 0
        for document in collection.with_options(codec_options=LOSSLESS).find(batch_size=1000):
            masked = mask.document(dataset.name, document)
            if masked is None:
                continue
            held.append(bson.encode(masked, codec_options=LOSSLESS))
            size += len(held[-1])
            rows += 1
            if size >= PIECE:
                yield rows, b"".join(held)
                held, size, rows = [], 0, 0
        if held:
            yield rows, b"".join(held)

    def originals(self, cut: Cut, dataset: Dataset, fields: Sequence[str]) -> Iterator[str]:
        return iter(())

    def count(self) -> Mapping[str, int]:
        database = self.client[self._space.database]
        names = [n for n in database.list_collection_names() if not _is_ours(n)]
        return {name: database[name].count_documents({}) for name in sorted(names)}

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _dataset(self, name: str, info: Mapping[str, Any]) -> Dataset:
        collection = self.client[self._space.database][name]
        indexes = [dict(index) for index in collection.list_indexes()]
        for index in indexes:
            index["key"] = list(dict(index["key"]).items())
            index.pop("ns", None)
        options = {"indexes": indexes, "create": info.get("options", {})}
        return Dataset(
            store="mongo",
            name=name,
            rows=collection.estimated_document_count(),
            options={"ejson": json_util.dumps(options)},
        )


def _is_ours(name: str) -> bool:
    return name == MARKER or name.startswith((STAGED, OLD))


def _documents(batch: bytes) -> int:
    """How many documents stand in a row: each begins with its length."""
    at = count = 0
    while at < len(batch):
        at += int.from_bytes(batch[at : at + 4], "little")
        count += 1
    return count
