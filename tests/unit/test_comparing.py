"""Streams are compared by rows: order does not count, every row does, in all five formats."""

from __future__ import annotations

import io
import random
import struct
import tarfile
from collections.abc import Callable, Sequence

import orjson
import pytest
from bson import BSON

from sandbox.comparing import compare, digest
from sandbox.model import Kind
from sandbox.stores.redis import stream

Maker = Callable[[Sequence[str]], bytes]


def copy_binary(rows: Sequence[str]) -> bytes:
    fields = [
        struct.pack(">hi", 2, len(row)) + row.encode() + struct.pack(">i", -1) for row in rows
    ]
    return b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"".join(fields) + b"\xff\xff"


def copy_text(rows: Sequence[str]) -> bytes:
    return b"".join(f"{row}\t\\N\n".encode() for row in rows)


def documents(rows: Sequence[str]) -> bytes:
    return b"".join(BSON.encode({"_id": row, "more": {"a": 1}}) for row in rows)


def points(rows: Sequence[str]) -> bytes:
    made = [{"id": row, "vector": [0.5], "payload": {"n": row}} for row in rows]
    return b"".join(
        orjson.dumps({"count": 1, "points": made[start : start + 2]}) + b"\n"
        for start in range(0, len(made), 2)
    )


def key(name: bytes, kind: str, *records: bytes) -> bytes:
    return b"".join([stream.begin(name, kind, None), *records, stream.end()])


def entries(rows: Sequence[str]) -> bytes:
    return stream.HEADER + b"".join(key(row.encode(), "string") for row in rows)


def members(rows: Sequence[str]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for row in rows:
            info = tarfile.TarInfo(row)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
    return file.getvalue()


FORMATS: list[tuple[Kind, Maker]] = [
    ("postgres", copy_binary),
    ("postgres", copy_text),
    ("mongo", documents),
    ("qdrant", points),
    ("redis", entries),
    ("files", members),
]


def cut(stream: bytes, seed: int) -> list[bytes]:
    """The same stream in pieces of any size."""
    chance, pieces = random.Random(seed), []
    while stream:
        size = chance.randint(1, 40)
        pieces.append(stream[:size])
        stream = stream[size:]
    return pieces


@pytest.mark.parametrize(("kind", "make"), FORMATS)
def test_rows_are_found_whatever_their_order_and_the_pieces(kind: Kind, make: Maker) -> None:
    rows = [f"row-{number}" for number in range(20)]
    other = [*rows[3:][::-1], "row-new"]
    for seed in range(5):
        assert compare(kind, cut(make(rows), seed), cut(make(rows[::-1]), seed + 1)) == (0, 0)
        assert compare(kind, cut(make(rows), seed), cut(make(other), seed + 1)) == (3, 1)
    assert compare(kind, [make([])], [make(rows)]) == (0, 20)
    assert compare(kind, [make(["same", "same"])], [make(["same"])]) == (1, 0)


def test_slices_of_a_table_are_several_streams_in_a_row() -> None:
    rows = [f"row-{number}" for number in range(9)]
    sliced = copy_binary(rows[:4]) + copy_binary(rows[4:])
    assert compare("postgres", [sliced], [copy_binary(rows)]) == (0, 0)


def record(tag: int, *items: bytes) -> bytes:
    return stream.items(tag, items)


def redis_differs(one: bytes, other: bytes) -> bool:
    return compare("redis", [stream.HEADER + one], [stream.HEADER + other]) != (0, 0)


@pytest.mark.parametrize(("kind", "width"), [("set", 1), ("zset", 2), ("hash", 2)])
def test_an_order_that_is_the_servers_own_does_not_count(kind: str, width: int) -> None:
    """Each Redis process mixes its tables in another way; a window may tell an element twice."""
    elements = [[b"e%d" % number, b"v"][:width] for number in range(9)]
    flat = [item for element in elements for item in element]
    back = [item for element in elements[::-1] for item in element]
    whole = key(b"k", kind, record(stream.VALUES, *flat))
    windows = record(stream.VALUES, *back[: 4 * width]), record(stream.VALUES, *back[3 * width :])
    assert not redis_differs(whole, key(b"k", kind, *windows))
    assert redis_differs(whole, key(b"k", kind, record(stream.VALUES, *flat[width:])))
    assert redis_differs(whole, key(b"k", kind, record(stream.VALUES, *flat[:-1], b"other")))
    assert redis_differs(whole, key(b"k", "list", record(stream.VALUES, *flat)))


def test_an_order_that_an_application_sees_counts() -> None:
    one = key(b"k", "list", record(stream.VALUES, b"a", b"b"))
    assert redis_differs(one, key(b"k", "list", record(stream.VALUES, b"b", b"a")))


def test_a_fields_expiry_counts_and_its_place_does_not() -> None:
    fields = record(stream.VALUES, b"a", b"1", b"b", b"2")
    one = key(b"k", "hash", fields, record(stream.FIELD_TTLS, b"a", b"77", b"b", b"88"))
    assert not redis_differs(
        one, key(b"k", "hash", fields, record(stream.FIELD_TTLS, b"b", b"88", b"a", b"77"))
    )
    assert redis_differs(
        one, key(b"k", "hash", fields, record(stream.FIELD_TTLS, b"a", b"77", b"b", b"89"))
    )
    assert redis_differs(one, key(b"k", "hash", fields))


def test_when_an_entry_was_delivered_does_not_count_and_to_whom_does() -> None:
    """It is told as an age: two looks at the same entry differ by a millisecond now and then."""

    def pending(*facts: bytes) -> bytes:
        return key(
            b"k", "stream", record(stream.PENDING, b"group", b"1-0", b"ann", b"1700", b"1", *facts)
        )

    one = pending(b"2-0", b"ann", b"1700", b"1")
    assert not redis_differs(one, pending(b"2-0", b"ann", b"1701", b"1"))
    assert redis_differs(one, pending(b"2-0", b"bob", b"1700", b"1"))
    assert redis_differs(one, pending(b"2-0", b"ann", b"1700", b"2"))
    assert redis_differs(one, pending())


def test_a_digest_does_not_know_the_pieces() -> None:
    assert digest([b"ab", b"c"]) == digest([b"abc"]) != digest([b"abd"])
