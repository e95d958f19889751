"""Compiled loops over BSON: the same as Python makes of decoded documents, or left to Python."""

from __future__ import annotations

import datetime
from typing import Any

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sandbox.errors import SandboxError
from sandbox.masking.mask import PolicyMask
from sandbox.model import Dataset
from sandbox.stores.mongo.session import CODEC
from tests.unit.test_loops import POLICY, VALUES, at_once, mask_of, texts

assert at_once  # an autouse fixture
MONGO = POLICY[: POLICY.index("place =")].replace("[postgres.t]", "[mongo.t]").replace("data.", "")
MONGO += '"free.*" = "person"\n'
NAMES = [line.split(" = ")[0].strip('"') for line in MONGO.splitlines() if " = " in line][1:]
COLLECTION = Dataset(store="mongo", name="t", rows=1 << 20)

names = texts.map(lambda text: text.replace("\0", ""))
odd = st.sampled_from(
    (
        *(ObjectId(b"123456789012"), Decimal128("1.50"), Int64(7), 1 << 40, True, None, -0.0),
        *(datetime.datetime(1950, 1, 1), Timestamp(1, 2), MinKey(), MaxKey(), b"bytes"),
        *(Binary(b"12", 4), Regex("a.b", "i"), Code("x()"), Code("y()", {"z": 1}), [], {}, ""),
    )
)
scalars = st.one_of(
    texts,
    odd,
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)
things = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "said": texts,
        "note": texts | scalars,
        "notes": st.lists(texts, max_size=3),
        "name": texts | scalars,
        "mail": texts,
        "owner": st.fixed_dictionaries(
            {}, optional={"phone": texts | scalars, "at": st.floats(-90, 90) | st.integers(-9, 9)}
        ),
        "tags": st.lists(scalars, max_size=12),
        "people": st.lists(st.fixed_dictionaries({"name": texts}), max_size=3),
        "kept": things,
        "gone": things,
        "hidden": scalars,
        "other": things,
    },
)


def mask() -> PolicyMask:
    return mask_of(MONGO)


def by_python(mask: PolicyMask, batch: bytes) -> list[dict[str, Any]]:
    return mask.documents("t", CODEC.decode(batch))


def in_loops(mask: PolicyMask, batch: bytes) -> list[RawBSONDocument]:
    change = mask.encoded(COLLECTION, CODEC)
    assert change is not None
    count, made = change(batch)
    found = bson.decode_all(made, bson.CodecOptions(RawBSONDocument))
    assert count == len(found)
    return found


def compare(given_: list[dict[str, Any]]) -> None:
    """One by one: what a hard one holds is known only when Python has masked it."""
    one, other = mask(), mask()
    for document in given_:
        batch = CODEC.encode(document)
        expected = [CODEC.encode(made) for made in by_python(one, batch)]
        assert [made.raw for made in in_loops(other, batch)] == expected
    assert dict(other.uncovered) == dict(one.uncovered)
    assert other.counts == one.counts
    assert len(other.originals.index) == len(one.originals.index)


@settings(max_examples=100)
@given(st.lists(documents, min_size=1, max_size=6))
@example([{"said": "Ann Lee", "owner": {"phone": 5, "at": 1.25}, "people": [{"name": "Bob"}]}])
@example([{"tags": list(VALUES)}, {"kept": {"$ref": "a", "$id": 1}}, {"name": {"$ref": "a"}}])
@example([{"said": "é" * 90, "notes": ["Ann Lee", "王小明", "1.2.3.4"]}])
@example([{"name": Code("x()"), "said": Code("Ann Lee")}])
@example([{"note": 100000, "owner": {"phone": 100000}}])
def test_documents_become_what_python_makes(given_: list[dict[str, Any]]) -> None:
    compare(given_)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["Ann Lee", "", 5, None, [], {}, {"a": 1}, ["x"], b"b", 1.5])
def test_every_rule_takes_every_type(name: str, value: Any) -> None:
    document = value
    for part in reversed(name.replace("[]", ".0").replace("**", "x").split(".")):
        document = [document] if part == "0" else {part: document}
    compare([document])


def test_a_whole_batch_at_once() -> None:
    """Windows, lengths that grow and shrink, and hard ones between easy ones."""
    given_ = [
        {"kept": {"id": n}, "name": VALUES[n % len(VALUES)] * (n % 3), "mail": f"{n}@x.y"}
        | ({"gone": [n]} if n % 7 == 0 else {})
        | {"notes": [f"{n}: Ann Lee"] * (n % 5), "people": [{"name": "x" * (n % 40)}] * (n % 4)}
        for n in range(9_000)
    ]
    batch = b"".join(map(CODEC.encode, given_))
    assert len(batch) > 1 << 19
    expected = [CODEC.encode(made) for made in by_python(mask(), batch)]
    assert [one.raw for one in in_loops(mask(), batch)] == expected


def test_what_a_driver_reads_otherwise_is_left_to_it() -> None:
    """A reference is no document to it, undefined is null, and text is UTF-8."""
    compare([{"free": {"$ref": "Ann Lee", "$id": 1}}, {"free": {"$x": "Ann Lee"}}])
    for name in ("name", "said", "tags", "gone"):
        undefined = CODEC.encode({name: None}).replace(
            b"\x0a" + name.encode(), b"\x06" + name.encode()
        )
        expected = [CODEC.encode(made) for made in by_python(mask(), undefined)]
        assert [made.raw for made in in_loops(mask(), undefined)] == expected
    for text in (
        b"\xff",
        b"\xc0\x80",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe4\xb8",
    ):
        broken = CODEC.encode({"said": "?" * len(text)}).replace(b"?" * len(text), text)
        for way in (by_python, in_loops):
            with pytest.raises(BSONError):
                way(mask(), broken)


@settings(max_examples=100)
@given(documents, st.data())
def test_what_is_damaged_is_never_passed_on(document: dict[str, Any], data: st.DataObject) -> None:
    """Any byte another one, or the end cut off: as Python has it, or an error. (What is kept is
    not decoded: damage in it stays in the copy, as in a raw one.)"""
    document = {key: value for key, value in document.items() if key not in ("kept", "tags")}
    batch = bytearray(CODEC.encode(document))
    for _ in range(data.draw(st.integers(1, 3))):
        batch[data.draw(st.integers(0, len(batch) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(batch[: data.draw(st.integers(len(batch) // 2, len(batch)))])
    one, other = mask(), mask()
    expected: Any
    try:
        expected = [CODEC.encode(made) for made in by_python(one, damaged)]
    except (BSONError, SandboxError, UnicodeError, OverflowError):
        expected = None
    try:
        got = [made.raw for made in in_loops(other, damaged)]
    except (BSONError, SandboxError, UnicodeError, OverflowError):
        return
    assert other.uncovered or got == expected
