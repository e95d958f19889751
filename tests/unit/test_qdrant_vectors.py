"""Vectors are read out of JSON in a compiled loop as a parser reads them, and nothing else is."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandbox.model import Point
from sandbox.stores.qdrant.batches import masked, parsed
from sandbox.stores.qdrant.vectors import LEAST, apart

singles = st.floats(width=32, allow_nan=False, allow_infinity=False).map(np.float32)
numbers = st.one_of(
    singles.map(lambda value: orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**63), 2**64 - 1).map(str),
    st.sampled_from(("0", "-0.0", "1e5", "1E-5", "1.5e+30", "9007199254740993", "0." + "0" * 30)),
    st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][-+]?[0-9]{1,2})?", fullmatch=True),
)
blanks = st.sampled_from(("", " ", "\n\t"))


@st.composite
def dense(draw: st.DrawFn) -> str:
    comma, blank = draw(st.sampled_from((",", ", ", " ,\n"))), draw(blanks)
    return f"[{blank}{comma.join(draw(st.lists(numbers, max_size=2 * LEAST)))}{blank}]"


several = st.lists(dense(), max_size=3).map(lambda lists: f"[{','.join(lists)}]")
sparse = st.just('{"indices": [1, 2, 3, 4, 5, 6, 7, 8], "values": [1, 2, 3, 4, 5, 6, 7, 8.5]}')
one = dense() | several | st.just("null")
named = st.dictionaries(st.sampled_from(("a", 'b"', "vector")), one | sparse, max_size=3).map(
    lambda made: "{" + ", ".join(f"{json.dumps(name)}:{text}" for name, text in made.items()) + "}"
)
texts = st.text(max_size=4) | st.sampled_from(("vector", '"vector":[', "\\", "[1,2,3,4,5,6,7,8]"))
payloads = st.recursive(
    texts | st.none() | st.integers() | st.lists(st.integers(0, 9), min_size=LEAST, max_size=LEAST),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=6,
)


@st.composite
def points(draw: st.DrawFn) -> bytes:
    made = []
    for _ in range(draw(st.integers(0, 4))):
        parts = [
            f'"id":{draw(st.sampled_from(("1", json.dumps("vector"))))}',
            f'"payload" : {json.dumps(draw(payloads))}',
            f'"vector"{draw(blanks)}:{draw(blanks)}{draw(one | named)}',
        ]
        made.append("{" + f"{draw(blanks)},".join(draw(st.permutations(parts))) + "}")
    return f"[{','.join(made)}]".encode()


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        wanted = np.array(other, dtype=np.float64).astype(np.float32)
        return one.dtype == np.float32 and one.tobytes() == wanted.tobytes()
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[name], other[name]) for name in one)
    return bool(one == other) and type(one) is type(other)


@given(points())
@example(b"")
@example(b'[{"vector":[0,-0,-0.0,-0e0,1,2,3,4]}]')
@example(b'[{"vector":[1,2,3,4,5,6,7,8')
@example(b'[{"vector')
@example(b'[{"vector"')
@example(b'[{"vector":[1,2,3,4,5,6,7,8e')
@example(b'[{"vector":[1,2,3,4,5,6,7,"8"]}]')
@example(b'[{"vector":["\\')
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_the_same_is_read(data: bytes) -> None:
    try:
        wanted = orjson.loads(data)
    except ValueError:
        with pytest.raises(orjson.JSONDecodeError):
            parsed(data, many=True)
        return
    found = parsed(data, many=True)
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert list(ours) == list(theirs)
        assert all(same(ours[key], theirs[key]) for key in ours if key == "vector")
        assert all(ours[key] == theirs[key] for key in ours if key != "vector")


def test_vectors_become_no_objects_of_numbers() -> None:
    """Each list of many numbers is cut out, single and named."""
    vector = np.linspace(-1, 1, 300, dtype=np.float32)
    turned = vector[::-1].copy()
    held = [
        {"id": 1, "vector": vector},
        {"id": 2, "vector": {"a": vector, "b": turned, "c": {"indices": [1], "values": [2]}}},
    ]
    text, vectors = apart(orjson.dumps(held, option=orjson.OPT_SERIALIZE_NUMPY))
    assert orjson.loads(text)[0] == {"id": 1, "vector": 0}
    assert orjson.loads(text)[1]["vector"] == {
        "a": 1, "b": 2, "c": {"indices": [1], "values": [2]}
    }  # fmt: skip
    for found, wanted in zip(vectors, (vector, vector, turned), strict=True):
        assert np.array_equal(found, wanted)


def test_a_mask_makes_the_same_of_both() -> None:
    class Turned:
        def points(self, collection: str, points: list[Point]) -> list[Point]:
            for one in points:
                one.vector = np.array(one.vector, dtype=np.float32)[::-1].copy()
            return points

    vector = np.linspace(-1, 1, 300, dtype=np.float32)
    data = orjson.dumps(
        [{"id": 1, "payload": {"n": 1}, "vector": vector}], option=orjson.OPT_SERIALIZE_NUMPY
    )
    mask: Any = Turned()
    assert masked(data, "points", mask, many=True) == masked(data, "points", mask, many=False)
