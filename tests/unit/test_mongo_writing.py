"""A stream of documents is cut into what the server takes at once, wherever its pieces end."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import SnapshotBroken
from sandbox.stores.mongo import writing

ROOM, MOST = 300, 7
DOCUMENTS = st.lists(st.integers(0, 400).map(lambda n: bson.encode({"x": b"x" * n})), max_size=40)


def pieces(whole: bytes, cuts: list[int]) -> Iterator[bytes]:
    edges = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    return (whole[a:b] for a, b in itertools.pairwise(edges))


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "BATCH_BYTES", ROOM)
        patch.setattr(writing, "BATCH_ROWS", MOST)
        yield


@given(DOCUMENTS, st.lists(st.integers(0, 5_000), max_size=20))
def test_every_document_once_in_batches_that_are_not_too_large(
    documents: list[bytes], cuts: list[int]
) -> None:
    made = list(writing.batches(pieces(b"".join(documents), cuts)))
    left = iter(documents)
    for batch in made:
        inside = list(itertools.islice(left, batch.rows))
        assert batch.raw == b"".join(inside)
        assert len(inside) == batch.rows <= MOST
        assert len(batch.raw) <= ROOM or batch.rows == 1
    assert next(left, None) is None
    room = [len(batch.raw) + len(after.raw) for batch, after in itertools.pairwise(made)]
    rows = [batch.rows + after.rows for batch, after in itertools.pairwise(made)]
    assert all(a > ROOM or b > MOST for a, b in zip(room, rows, strict=True)), "batches to join"


@given(st.integers(1, 99), st.lists(st.integers(0, 5_000), max_size=5))
def test_a_stream_that_is_cut_off(size: int, cuts: list[int]) -> None:
    whole = bson.encode({"x": 1}) * 5 + bson.encode({"x": b"x" * 100})
    with pytest.raises(SnapshotBroken, match="the last document is cut off"):
        list(writing.batches(pieces(whole[:-size], cuts)))


@pytest.mark.parametrize("length", [0, 4, writing.LONGEST + 1, 2**32 - 1])
def test_a_length_that_no_document_has(length: int) -> None:
    stream = bson.encode({"x": 1}) + length.to_bytes(4, "little") + b"\0"
    with pytest.raises(SnapshotBroken, match="impossible length"):
        list(writing.batches([stream]))
