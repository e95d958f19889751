"""Two streams of one dataset in the artifact's formats -> how many rows each has that the other has
not, whatever order they come in. Memory grows with the rows, eight bytes and a bit for each."""

from __future__ import annotations

import hashlib
import struct
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import IO, cast

import orjson

from sandbox.contract import BINARY_COPY
from sandbox.model import Kind

Pieces = Iterable[bytes]
SIZE = 8  # bytes of a row's hash
PIECE = 1 << 20  # bytes
UNORDERED = {"set": 1, "zset": 2, "hash": 2}  # of Redis -> items of an element
_short, _long, _little = struct.Struct(">h"), struct.Struct(">i"), struct.Struct("<i")


def digest(pieces: Pieces) -> bytes:
    """Equal for equal streams."""
    made = hashlib.blake2b(digest_size=32)
    for piece in pieces:
        made.update(piece)
    return made.digest()


def compare(kind: Kind, one: Pieces, other: Pieces) -> tuple[int, int]:
    """Rows of `one` that `other` has not, and the reverse."""
    split = SPLITTERS[kind]
    first, second = (Counter(map(_hash, split(_Reader(pieces)))) for pieces in (one, other))
    return (first - second).total(), (second - first).total()


def _hash(row: bytes) -> bytes:
    return hashlib.blake2b(row, digest_size=SIZE).digest()


class _Reader:
    """Pieces as a file that is read by exact sizes; shorter only at its end."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = iter(pieces)
        self._held = memoryview(b"")

    def read(self, size: int) -> bytes:
        if len(self._held) >= size:
            found, self._held = self._held[:size], self._held[size:]
            return bytes(found)
        parts, left = [], size
        while left:
            if not self._held:
                self._held = memoryview(next(self._pieces, b""))
                if not self._held:
                    break
            part = self._held[:left]
            self._held = self._held[len(part) :]
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def lines(self) -> Iterator[bytes]:
        held = b""
        for piece in chain([bytes(self._held)], self._pieces):
            *whole, held = (held + piece).split(b"\n")
            yield from whole
        if held:
            yield held

    def put_back(self, data: bytes) -> None:
        self._held = memoryview(data + bytes(self._held))


def _copied(reader: _Reader) -> Iterator[bytes]:
    """Rows of PostgreSQL's COPY, binary or text. Several slices are several streams in a row."""
    head = reader.read(len(BINARY_COPY))
    if head != BINARY_COPY:
        reader.put_back(head)
        yield from reader.lines()
        return
    while head == BINARY_COPY:
        reader.read(4)
        reader.read(_long.unpack(reader.read(4))[0])
        while (fields := reader.read(2)) not in (b"\xff\xff", b""):
            row = [fields]
            for _ in range(_short.unpack(fields)[0]):
                size = reader.read(4)
                row += [size, reader.read(max(_long.unpack(size)[0], 0))]
            yield b"".join(row)
        head = reader.read(len(BINARY_COPY))


def _documents(reader: _Reader) -> Iterator[bytes]:
    while head := reader.read(4):
        yield head + reader.read(_little.unpack(head)[0] - 4)


def _points(reader: _Reader) -> Iterator[bytes]:
    for line in reader.lines():
        for point in orjson.loads(line)["points"]:
            yield orjson.dumps(point, option=orjson.OPT_SORT_KEYS)


def _entries(reader: _Reader) -> Iterator[bytes]:
    """Redis keys (docs/redis.md).

    A server tells the elements of a set, a sorted set and a hash in an order of its own, and may
    tell one twice: of these the hashes are sorted. When a stream's entry was delivered is told as
    an age, to a millisecond or two: it does not count."""
    from sandbox.stores.redis import stream  # its driver is imported when it is asked for

    key: list[bytes] = []
    elements: set[bytes] = set()
    width = 0  # items of an element, where their order is the server's own
    for tag, payload in stream.records(iter(partial(reader.read, PIECE), b"")):
        if tag == stream.KEY:
            width = UNORDERED.get(stream.begun(payload).type, 0)
        if tag == stream.END:
            yield b"".join([*key, *sorted(elements)])
            key, elements = [], set()
        elif width and tag in (stream.VALUES, stream.FIELD_TTLS):
            items = stream.listed(payload)
            size = 2 if tag == stream.FIELD_TTLS else width
            parts = (items[at : at + size] for at in range(0, len(items), size))
            elements.update(_hash(stream.items(tag, part)) for part in parts)
        elif tag == stream.PENDING:
            items = stream.listed(payload)
            del items[3::4]  # the group, then by four: id, consumer, when, how often
            key.append(stream.items(tag, items))
        else:
            key.append(stream.raw(tag, payload))


def _members(reader: _Reader) -> Iterator[bytes]:
    with tarfile.open(fileobj=cast("IO[bytes]", reader), mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            made = hashlib.blake2b(digest_size=SIZE)
            while content and (piece := content.read(PIECE)):
                made.update(piece)
            facts = (member.name, member.type, member.mode, member.linkname, member.pax_headers)
            yield repr(facts).encode() + made.digest()


SPLITTERS: dict[Kind, Callable[[_Reader], Iterator[bytes]]] = {
    "postgres": _copied,
    "mongo": _documents,
    "qdrant": _points,
    "redis": _entries,
    "files": _members,
}
