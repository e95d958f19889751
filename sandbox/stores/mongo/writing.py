"""BSON documents, as they lie in the artifact -> inserts, a few in flight. No document is taken out
of its batch: a batch is sent as the bytes that it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from sandbox.errors import SnapshotBroken
from sandbox.stores.mongo.session import NEW, doing

BATCH_BYTES = 2 << 20  # a message is 48 MB at most; several are in flight, each held twice
BATCH_ROWS = 10_000  # 100,000 is the server's limit
IN_FLIGHT = 2
SHORTEST = 5
LONGEST = 16 * 1024 * 1024 + 16 * 1024  # a document's own limit
EMPTY = b"\5\0\0\0\0"


class Batch(RawBSONDocument):
    """Documents one behind the other. The driver writes what is raw as it is, and `documents` of an
    insert stand in its message just so (OP_MSG, a section of kind 1): the driver's own
    `insert_many` takes six times the processor time to put them there one by one."""

    __slots__ = ("_documents", "rows")

    def __init__(self, documents: bytes, rows: int) -> None:
        super().__init__(EMPTY)
        self._documents = documents
        self.rows = rows

    @property
    def raw(self) -> bytes:
        return self._documents


def batches(pieces: Iterable[bytes]) -> Iterator[Batch]:
    """Whole documents of a stream that comes in pieces of any size. Each batch is no larger than
    BATCH_BYTES, unless it is one document, and has no more than BATCH_ROWS."""
    data, at, rows = b"", 0, 0  # the first `at` bytes are `rows` whole documents
    for piece in pieces:
        data, begin = data + piece, 0
        while True:
            length = _length(data, at)
            full = at > begin and (at - begin + length > BATCH_BYTES or rows == BATCH_ROWS)
            if full:
                yield Batch(data[begin:at], rows)
                begin, rows = at, 0
            if not length or at + length > len(data):
                break
            at += length
            rows += 1
        data, at = data[begin:], at - begin
    if at < len(data):
        raise SnapshotBroken("the last document is cut off", where="mongo")
    if rows:
        yield Batch(data, rows)


def _length(data: bytes, at: int) -> int:
    """How long the document is that begins there; 0 where that is yet to come."""
    if len(data) - at < SHORTEST:
        return 0
    length = int.from_bytes(data[at : at + 4], "little")
    if not SHORTEST <= length <= LONGEST:
        raise SnapshotBroken("a document has an impossible length", where="mongo")
    return length


def insert(collection: Collection[Any], pieces: Iterable[bytes], *, ordered: bool) -> int:
    """Insert a stream without the collection's validator: production took these documents."""
    if ordered:
        return sum(_put(collection, batch, ordered=True) for batch in batches(pieces))
    rows = 0
    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="mongo") as pool:
        flying: list[Future[int]] = []
        for batch in batches(pieces):
            flying.append(pool.submit(_put, collection, batch, ordered=False))
            if len(flying) > IN_FLIGHT:
                rows += flying.pop(0).result()
        return rows + sum(future.result() for future in flying)


def _put(collection: Collection[Any], batch: Batch, *, ordered: bool) -> int:
    """How many documents were put there: all of the batch, or it is an error."""
    command = {
        "insert": collection.name,
        "documents": [batch],
        "ordered": ordered,
        "bypassDocumentValidation": True,
    }
    with doing(f"loading {collection.name.removeprefix(NEW)}"):
        answer = collection.database.command(command)
        late = answer.get("writeConcernError")
        errors = [*answer.get("writeErrors", ()), *([late] if late else ())]
        if errors or answer["n"] != batch.rows:
            raise BulkWriteError({"writeErrors": errors})
    return batch.rows
