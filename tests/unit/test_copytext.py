"""COPY text: some fields change, the others stay byte by byte."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import Refused
from sandbox.stores.postgres.copytext import changer, escaped, unescaped

VALUES = st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8))


@given(values=VALUES)
def test_every_text_comes_back(values: list[str]) -> None:
    fields = escaped(values)
    assert unescaped(fields) == values
    assert not any(char in field for field in fields for char in (b"\t", b"\n", b"\r"))


def test_columns_change_in_the_functions_order() -> None:
    seen: list[Sequence[str]] = []

    def note(values: Sequence[str]) -> list[str | None]:
        seen.append(values)
        return [None if value == "gone" else value.upper() for value in values]

    change = changer(["id", "note", "name"], {"name": note, "note": note})
    made = change(b"1\ta\\tb\tann\n2\t\\N\tgone\n3\t\tbo\\\\\n", 3)
    assert made == b"1\tA\\tB\tANN\n2\t\\N\t\\N\n3\t\tBO\\\\\n"
    assert seen == [["ann", "gone", "bo\\"], ["a\tb", ""]]


def test_a_value_that_no_text_can_hold_is_refused() -> None:
    change = changer(["a"], {"a": lambda values: ["x\0y" for _ in values]})
    with pytest.raises(Refused, match="NUL"):
        change(b"1\n", 1)
