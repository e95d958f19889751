"""Vectors are masked by the matrix: each comes out as it would alone, in every form."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import ConfigError
from sandbox.masking.known import Index
from sandbox.masking.pseudonyms import Pseudonyms
from sandbox.masking.rules import Rule
from sandbox.masking.strategies import Tools, make, many

NUMBERS = st.floats(-1e6, 1e6, width=32)
VECTORS = st.lists(st.lists(NUMBERS, min_size=1, max_size=9), min_size=1, max_size=12)
METHODS = ("noise", "random", "rotate")


def function(method: str) -> Any:
    tools = Tools(pseudonyms=Pseudonyms(key=b"k" * 32), known=Index())
    return make(Rule(strategy="vector", options={"method": method}), tools)


@pytest.mark.parametrize("method", METHODS)
@given(vectors=VECTORS)
def test_together_is_as_alone_and_text_as_numbers(method: str, vectors: list[list[float]]) -> None:
    masked = function(method)
    together = [list(map(float, one)) for one in many(masked, vectors)]
    assert together == [list(map(float, masked(one))) for one in vectors]
    texts = [orjson.dumps(one).decode() for one in vectors]
    assert [np.float32(orjson.loads(one)).tolist() for one in many(masked, texts)] == together
    assert [len(one) for one in together] == [len(one) for one in vectors]


@given(vectors=st.lists(st.lists(NUMBERS, min_size=4, max_size=4), min_size=2, max_size=6))
def test_rotation_keeps_distances(vectors: list[list[float]]) -> None:
    made = np.array(many(function("rotate"), vectors), dtype=np.float64)
    before = np.array(vectors)
    for one, other in zip(range(len(vectors)), range(1, len(vectors)), strict=False):
        distance = np.linalg.norm(before[one] - before[other])
        rounding = 1e-6 * (np.linalg.norm(before[one]) + np.linalg.norm(before[other]))
        assert np.linalg.norm(made[one] - made[other]) == pytest.approx(
            distance, rel=1e-5, abs=rounding
        )


@pytest.mark.parametrize("method", METHODS)
def test_multi_and_sparse_vectors(method: str) -> None:
    masked = function(method)
    multi = masked([[0.5, 1.0], [2.0, 0.0]])
    assert [one.tolist() for one in multi] == [masked([0.5, 1.0]).tolist(), masked([2, 0]).tolist()]
    sparse = {"indices": [3, 9], "values": [0.5, 1.0]}
    if method == "rotate":
        with pytest.raises(ConfigError, match="cannot be rotated"):
            masked(sparse)
    else:
        made = masked(sparse)
        assert made["indices"] == [3, 9] and made["values"].tolist() == masked([0.5, 1.0]).tolist()


def test_what_is_no_dense_vector_is_refused() -> None:
    with pytest.raises(ConfigError, match="only dense vectors"):
        many(function("noise"), ["[1,2]", "{1:0.5}/3"])


def test_numbers_beyond_a_float_stay_numbers() -> None:
    largest = float(np.finfo(np.float32).max)
    (made,) = many(function("noise"), [f"[{largest},{-largest}]"])
    assert "null" not in made and np.isfinite(np.float32(orjson.loads(made))).all()
