"""BSON documents, as they lie in the artifact -> raw inserts, a few batches in flight."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection

from sandbox.errors import SnapshotBroken
from sandbox.stores.mongo.session import doing

BATCH_BYTES = 2 << 20  # a message is 48 MB at most; several are in flight, each held twice
BATCH_ROWS = 2_000  # 100,000 is the server's limit
IN_FLIGHT = 2
LONGEST = 16 * 1024 * 1024 + 16 * 1024  # a document's own limit


def documents(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The documents of a stream that comes in pieces of any size."""
    buffer, at = b"", 0
    for piece in pieces:
        buffer = buffer[at:] + piece
        at, size = 0, len(buffer)
        while size - at >= 5:
            length = int.from_bytes(buffer[at : at + 4], "little")
            if not 5 <= length <= LONGEST:
                raise SnapshotBroken("a document has an impossible length", where="mongo")
            if size - at < length:
                break
            yield buffer[at : at + length]
            at += length
    if at < len(buffer):
        raise SnapshotBroken("the last document is cut off", where="mongo")


def batches(pieces: Iterable[bytes]) -> Iterator[list[RawBSONDocument]]:
    batch: list[RawBSONDocument] = []
    size = 0
    for document in documents(pieces):
        batch.append(RawBSONDocument(document))
        size += len(document)
        if size >= BATCH_BYTES or len(batch) >= BATCH_ROWS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def insert(
    collection: Collection[RawBSONDocument], pieces: Iterable[bytes], *, ordered: bool
) -> int:
    """Insert a stream without the collection's validator: production took these documents."""
    rows = 0

    def put(batch: list[RawBSONDocument]) -> None:
        with doing(f"loading {collection.name}"):
            collection.insert_many(batch, ordered=ordered, bypass_document_validation=True)

    if ordered:
        for batch in batches(pieces):
            put(batch)
            rows += len(batch)
        return rows
    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="mongo") as pool:
        flying: list[Future[None]] = []
        for batch in batches(pieces):
            flying.append(pool.submit(put, batch))
            rows += len(batch)
            if len(flying) > IN_FLIGHT:
                flying.pop(0).result()
        for future in flying:
            future.result()
    return rows
