"""Lists of numbers are cut out of text in a compiled loop as the regular expression cuts them."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandbox.masking import leaks
from sandbox.masking.leaks import NUMBERS, Originals, scan
from sandbox.masking.loops.numbers import LEAST, without

numbers = st.sampled_from(
    (
        "0.5",
        "-1.25",
        "123.0",
        "1234.5",
        "1.",
        ".5",
        "7",
        "1e5",
        "1.5e5",
        "1.5E-05",
        "2.5e+",
        "--1.5",
    )
)
between = st.sampled_from((",", ", ", ",  ", " ", ",\n"))
lists = st.lists(st.tuples(numbers, between), max_size=2 * LEAST).map(
    lambda parts: "".join(map("".join, parts))
)
whole = st.lists(st.tuples(st.just("-0.25"), st.sampled_from((",", ", "))), max_size=40).map(
    lambda parts: "".join(map("".join, parts))
)
texts = st.lists(st.sampled_from(("[", "]", "[[", "a", '"', "é", "王")) | lists | whole, max_size=8)


@given(texts.map("".join))
@example("")
@example("[")
@example("[" + "1.5," * LEAST)
@example("[" + "1.5, " * LEAST + "1.5e")
@example("[" + "1.5," * (LEAST - 1) + "1.5]")
@example("[" + "1.5," * LEAST + "+44.5,")
def test_the_same_is_cut_out(text: str) -> None:
    data = text.encode()
    assert without(data) == NUMBERS.sub(b" ", data)


def test_what_stands_among_many_numbers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a stream that is long enough for the loop, at every place of a list."""
    monkeypatch.setattr(leaks, "MUCH", 1)
    originals = Originals()
    originals.record("phone", "4915123456789", "x")
    originals.record("person", "Ann Lee", "x")
    vector = [0.125] * 400
    for at in (0, 20, 399):
        held = orjson.dumps(
            {"vector": [*vector[:at], 4915123456789, *vector[at:]], "by": "Ann Lee"}
        )
        found = {one.text for one in scan([held], originals)}
        assert found == {"4915123456789", "Ann Lee"}
