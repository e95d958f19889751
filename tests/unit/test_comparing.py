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


def entries(rows: Sequence[str]) -> bytes:
    made = [
        struct.pack(">cI", b"K", len(row)) + row.encode() + struct.pack(">cI", b"E", 0)
        for row in rows
    ]
    return b"sandbox redis 1\n" + b"".join(made)


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


def test_a_digest_does_not_know_the_pieces() -> None:
    assert digest([b"ab", b"c"]) == digest([b"abc"]) != digest([b"abd"])
