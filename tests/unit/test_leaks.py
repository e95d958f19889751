"""The leak search: what it must find wherever it stands, and what it must not take for a leak."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from sandbox.masking.known import Index
from sandbox.masking.leaks import OVERLAP, WINDOW, Originals, scan

PEOPLE = ("Ágnes Grønbech", "José Álvarez", "Ann Lee", "Ζωή Παππά", "李小明", "Łucja Ørsted")


@pytest.fixture
def originals() -> Originals:
    held = Originals()
    for number, name in enumerate(PEOPLE):
        held.record("person", name, f"Wim Wirth-{number}")
    held.record("email", "ann@x.com", "u0123456789abcdef@masked.example")
    return held


def found(pieces: Sequence[bytes], originals: Originals) -> list[str]:
    return [suspect.text for suspect in scan(pieces, originals)]


@pytest.mark.parametrize("name", PEOPLE)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("Hello ", ", hello"),
        ("。", "。"),
        ("影片", "的声音"),
        ("…", "»"),
        ("\0\x0f", "\0"),
    ],
)
def test_a_name_is_found_beside_any_punctuation_and_script(
    name: str, before: str, after: str, originals: Originals
) -> None:
    text = f"{before}{name}{after}"
    assert found([text.encode()], originals) == [name]
    known = originals.index.find(text)
    assert [text[one.start : one.end] for one in known] == [name]


def test_two_characters_count_only_alone(originals: Originals) -> None:
    originals.record("person", "小明", "王芳")
    assert found(["你好，欧阳小明".encode()], originals) == []
    assert found(["name: 小明\n".encode()], originals) == ["小明"]


def test_a_word_that_only_contains_a_name_is_not_it(originals: Originals) -> None:
    text = "Joann Lee, Ann Leeé, Ann Leem"
    assert found([text.encode()], originals) == []
    assert originals.index.find(text) == []


@pytest.mark.parametrize("at", range(-40, 12))
def test_a_pseudonym_cut_between_two_windows_is_no_leak(at: int, originals: Originals) -> None:
    text = b"u0123456789abcdef@masked.example, Wim Wirth-1 "
    filler = b"x" * (WINDOW + at)
    assert found([filler, b" " + text, text * 20_000], originals) == []
    assert found([filler + b" " + text[:29], text[29:], text * 20_000], originals) == []


@pytest.mark.parametrize("at", (-300, -40, -20, -8, -4, -1, 0, 3, 300))
@pytest.mark.parametrize("name", ["Ágnes Grønbech", "李小明", "ann@x.com", "bob@else.where"])
def test_a_leak_cut_between_two_windows_is_found(at: int, name: str, originals: Originals) -> None:
    data = b"x" * (WINDOW + at) + b" " + name.encode() + b" " + b"y" * OVERLAP * 3
    cuts = (WINDOW - 5, WINDOW, WINDOW + 7)
    pieces = [data[a:b] for a, b in zip((0, *cuts), (*cuts, len(data)), strict=True)]
    assert name in found(pieces, originals)


def test_short_values_are_not_remembered() -> None:
    index = Index()
    index.add("person", "Bo")
    assert index.find("Bo and Bo") == []


def test_random_bytes_are_nobody(originals: Originals) -> None:
    """Pictures and vectors: what looks like an address there is none."""
    noise = random.Random(7).randbytes(1 << 20)
    planted = noise[:999] + b"xd9@s.k" + noise[999:2000] + b"a@b.cd" + noise[2000:]
    assert found([planted], originals) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (b"\0\0\0\x09", b"\xff\xff\xff\xff"),
        (b"\0\0\0\xf9", b"\0\0\0\x02ab"),
        (b"\0\0\x01\x9a\x01\x02\x03\x99session:", b"V\0\0\0\x09"),
        (b"\0\0\x01\x9a\x01\x02\x03\x99", b"E\0\0\0\0"),
        (b"\xff" * 8, b"V\0\0\0\x09"),
        (b"\x02email\0\x0a\0\0\0", b"\0\x10age\0"),
        ("担当は".encode(), "です".encode()),
        (b'"', b'"}'),
    ],
)
def test_a_strange_address_is_seen_in_every_frame(
    before: bytes, after: bytes, originals: Originals
) -> None:
    data = before + b"bob@else.where" + after
    assert any("bob@else.where" in text for text in found([data], originals))
