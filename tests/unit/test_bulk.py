"""Compiled loops over rows of binary COPY: the same bytes as Python's pseudonyms, or an error."""

from __future__ import annotations

import hashlib
import hmac
import struct
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.contract import BINARY_COPY
from sandbox.errors import SandboxError
from sandbox.masking import loops
from sandbox.masking.loops import available, kernels
from sandbox.masking.loops.bulk import (
    DOMAINS,
    HEAD,
    Bulk,
    Column,
    padded_key,
)
from sandbox.masking.pseudonyms import FROM_LISTS, Limits, Pseudonyms
from sandbox.masking.tables import IN_BULK

PSEUDONYMS = Pseudonyms(key=bytes(range(32)))
BEGIN, END = BINARY_COPY + bytes(8), b"\xff\xff"
LIMITS = (
    Limits(),
    Limits(exact=True),
    Limits(length=45),
    Limits(unique=True),
    Limits(unique=True, length=20),
)
Row = Sequence[str | None]
AWKWARD = (
    *("", " ", "Ann", "ann lee", "ANN\tLEE", "李小明", "Ærø", "a\\b\nc", "x" * 55, "x" * 56),
    *("A.b@gmail.com", "a.b@GoogleMail.com ", "@gmail.com", "gmail.com", "a.b@xgmail.com"),
    *("+44 (20) 7946-0018", "x" * 1024, "x" * 1025, "y " * 600, "\x01", "\x7f", "\x80"),
)


def row(fields: Row) -> bytes:
    out = struct.pack(">h", len(fields))
    for field in fields:
        text = b"" if field is None else field.encode()
        out += struct.pack(">i", -1 if field is None else len(text)) + text
    return out


def rows_of(data: bytes, width: int) -> list[tuple[str | None, ...]]:
    """An own reader of the format, value by value."""
    at = HEAD if data.startswith(BINARY_COPY) else 0
    found = []
    while at < len(data) and data[at : at + 2] != END:
        assert struct.unpack_from(">h", data, at) == (width,)
        at, fields = at + 2, []
        for _ in range(width):
            (size,) = struct.unpack_from(">i", data, at)
            at += 4
            fields.append(None if size < 0 else data[at : at + size].decode())
            at += max(size, 0)
        found.append(tuple(fields))
    return found


def bulk(domain: str, limits: Limits = LIMITS[0], *, place: int = 1, width: int = 3) -> Bulk:
    column = Column(domain=domain, limits=limits, place=place)
    return Bulk({"it": column}, PSEUDONYMS, width)


def joined(*messages: bytes) -> bytearray:
    return bytearray().join(messages)


def masked(one: Bulk, given_: Sequence[Row]) -> list[tuple[str | None, ...]]:
    messages = [row(fields) for fields in given_]
    out = one.change(joined(BEGIN, *messages, END), len(messages) + 1, lambda lines: None)
    assert out.startswith(BEGIN) and out.endswith(END)
    return rows_of(out, len(given_[0]))


@pytest.mark.parametrize("limits", LIMITS, ids=str)
@pytest.mark.parametrize("domain", sorted(DOMAINS))
def test_awkward_values_become_what_python_makes(domain: str, limits: Limits) -> None:
    python = PSEUDONYMS.maker(domain, limits)
    got = masked(bulk(domain, limits), [("k", value, "z") for value in (*AWKWARD, None)])
    assert [one[1] for one in got] == [*map(python, AWKWARD), None]
    assert {(one[0], one[2]) for one in got} == {("k", "z")}


texts = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=80),
    st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=200),
    st.from_regex(r"[a-zA-Z. ]{0,9}@(gmail|googlemail|mail)\.com ?", fullmatch=True),
)


@settings(max_examples=300)
@given(
    st.sampled_from(sorted(DOMAINS)),
    st.sampled_from(LIMITS),
    st.lists(st.tuples(st.none() | texts, st.none() | texts), min_size=1, max_size=40),
)
def test_any_rows_become_what_python_makes(
    domain: str, limits: Limits, given_: list[tuple[str | None, str | None]]
) -> None:
    python = PSEUDONYMS.maker(domain, limits)
    expected = [(kept, None if it is None else python(it)) for kept, it in given_]
    assert masked(bulk(domain, limits, width=2), given_) == expected


def test_several_columns_are_masked_at_once_and_their_originals_are_seen() -> None:
    columns = {
        "mail": Column(domain="email", limits=LIMITS[0], place=3),
        "name": Column(domain="person", limits=LIMITS[0], place=0),
    }
    seen: list[bytes] = []
    messages = [row(("Ann\nLee", "1", None, "a\\@x.com")), row((None, "2", "b", "王@x.com"))]
    out = Bulk(columns, PSEUDONYMS, 4).change(joined(*messages), 2, seen.append)
    name, mail = PSEUDONYMS.maker("person"), PSEUDONYMS.maker("email")
    assert rows_of(out, 4) == [
        (name("Ann\nLee"), "1", None, mail("a\\@x.com")),
        (None, "2", "b", mail("王@x.com")),
    ]
    assert b"".join(seen) == "a @x.com\tAnn Lee\n王@x.com\t\n".encode()


@pytest.mark.parametrize(
    "data",
    [row(("a",)), row(("a", "b", "c")), row(("a", "b"))[:-1], b"\0", b"\0\2\0\0", BEGIN[:-1]],
    ids=["fewer", "more", "cut", "one byte", "cut length", "cut head"],
)
def test_what_is_not_these_rows_stops_the_copy(data: bytes) -> None:
    with pytest.raises(SandboxError, match="not the rows"):
        bulk("email", width=2).change(bytearray(data), 1, lambda lines: None)


def test_a_value_without_a_pseudonym_never_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the loops to leave one out, its original would stand in its place."""
    real = kernels.pseudonyms

    def forgetful(*args: Any) -> int:
        end = real(*args)
        args[-1][1] = kernels.KEPT  # lengths, of the second row
        return end

    given_ = [("k", "ann", "z"), ("k", "bob", "z")]
    assert len(masked(bulk("person"), given_)) == 2
    monkeypatch.setattr(kernels, "pseudonyms", forgetful)
    with pytest.raises(SandboxError, match="without a pseudonym"):
        masked(bulk("person"), given_)
    assert masked(bulk("person"), [("k", "ann", "z"), ("k", None, "z")])[1][1] is None


def test_no_rows_are_no_error() -> None:
    one = bulk("email", width=2)
    assert one.change(joined(BEGIN, END), 2, lambda lines: None) == BEGIN + END
    assert one.change(bytearray(), 0, lambda lines: None) == b""


@pytest.mark.parametrize("key", [b"k" * 32, b"", b"x" * 64])
def test_hmac_is_the_library_s_for_every_length(key: bytes) -> None:
    """Lanes of different lengths, so that some have ended while others go on."""
    lengths = [*range(0, 140), *range(1000, kernels.LONGEST + 1)]
    messages = [hashlib.shake_128(b"%d" % n).digest(n) for n in lengths]
    for first in range(0, len(messages), kernels.LANES):
        batch = messages[first : first + kernels.LANES]
        batch += [b""] * (kernels.LANES - len(batch))
        lanes = np.full((kernels.LANES, kernels.LONGEST + 72), 7, dtype=np.uint8)
        for lane, text in zip(lanes, batch, strict=True):
            lane[: len(text)] = np.frombuffer(text, dtype=np.uint8)
        made = np.empty((kernels.LANES, 32), dtype=np.uint8)
        work = np.empty((64, kernels.LANES), np.uint32), np.empty((8, kernels.LANES), np.uint32)
        kernels.hmacs(lanes, np.array([*map(len, batch)]), padded_key(key), *work, made)
        expected = [hmac.digest(key, text, "sha256") for text in batch]
        assert [one.tobytes() for one in made] == expected


def test_every_list_domain_is_covered() -> None:
    assert FROM_LISTS <= DOMAINS
    assert IN_BULK == DOMAINS


def test_without_the_compiler_there_is_no_bulk(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available.__wrapped__()
    for name in [name for name in sys.modules if name.startswith("sandbox.masking.loops.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(loops, "kernels")
    monkeypatch.delitem(sys.modules, "sandbox.compiling")
    monkeypatch.setitem(sys.modules, "numba", None)
    assert not available.__wrapped__()
