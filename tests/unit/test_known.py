"""Fingerprints of originals: one by one, in bulk, packed and above the limit, all know the same."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.masking import made, prints, tokens
from sandbox.masking.known import DOUBTFUL, Index
from sandbox.masking.leaks import Originals, scan
from sandbox.masking.mask import PolicyMask
from sandbox.masking.policy import parse
from sandbox.masking.prints import Bits, Prints
from sandbox.masking.pseudonyms import Pseudonyms
from sandbox.masking.tokens import EVERY, phrase

WORDS = st.text(st.sampled_from("abcXYZ019 .-_@'éЖ王Σς٣İ\n"), max_size=16)
DOMAINS = st.sampled_from(["email", "person", "phone", "username", "token"])


@given(text=st.text(max_size=60))
def test_many_fingerprints_at_once_are_those_of_one_by_one(text: str) -> None:
    made = tokens.Tokens(tokens.coded(text))
    words = tokens.TOKEN.findall(tokens.fold(text))
    prints = list(map(tokens.characters, words))
    assert made.words.tolist() == prints
    for count in (1, 2, 3):
        first = np.arange(max(len(words) - count + 1, 0))
        wanted = [tokens.sequence(prints[at : at + count]) for at in first]
        assert made.sequences(first, count).tolist() == wanted


@given(domain=DOMAINS, values=st.lists(WORDS, min_size=8, max_size=40), text=WORDS)
def test_many_at_once_are_the_same_as_one_by_one(domain: str, values: list[str], text: str) -> None:
    one, many = Index(), Index()
    for value in values:
        one.add(domain, value)
        many.note(domain, value)
    looked = (text, *values, *(f"<{value}>, {text}" for value in values))
    found = [one.find(each) for each in looked]
    assert found == [many.find(each) for each in looked] == many.find_all(looked)
    assert found == [one._find_in([each])[0] for each in looked]  # no short way


@given(values=st.lists(st.text("ab19+ ()王李小é", min_size=1, max_size=12), min_size=1, max_size=9))
def test_what_is_found_in_a_text_is_found_by_the_search(values: list[str]) -> None:
    held = Originals()
    for value in values:
        held.record("phone", value, "+999")
    for value in values:
        whole = [one for one in held.index.find(value) if one.end - one.start == len(value)]
        told = {suspect.text for suspect in scan([f"\n{value}\n".encode()], held)}
        assert not whole or value in told or any(value.strip("+ ()") in text for text in told)


def test_packed_fingerprints_are_what_a_dictionary_would_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prints, "FRESH", 64)
    draw = random.Random(1)
    held, plain = Prints(), dict[int, int]()
    for _ in range(5000):
        print_, mark = draw.randrange(3000) << 40, 1 << draw.randrange(16)
        held.add(print_, mark)
        plain[print_] = plain.get(print_, 0) | mark
    more = np.array([draw.randrange(3000) << 40 for _ in range(500)], dtype=np.uint64)
    held.add_all(more, 4)
    for print_ in more.tolist():
        plain[print_] = plain.get(print_, 0) | 4
    asked = [number << 40 for number in range(6000)]
    wanted = [plain.get(print_, 0) for print_ in asked]
    assert [held.get(print_) for print_ in asked] == wanted
    assert held.marks(np.array(asked, dtype=np.uint64)).tolist() == wanted
    assert len(held._levels) < 12


def test_the_filter_before_them_grows_and_forgets_nothing() -> None:
    """It stays a small part of what it stands before, and lets through little that is not there."""
    draw = np.random.default_rng(1)
    held, added = Prints(), draw.integers(0, 1 << 64, 100_000, dtype=np.uint64)
    sizes = []
    for part in np.split(added, 50):
        held.add_all(part)
        sizes.append(held.filter().nbytes)
        assert held.marks(part).all()
    assert held.marks(added).all()
    assert sizes[0] <= 64 << 10 and sizes[-1] <= 1 << 20
    others = draw.integers(0, 1 << 64, 100_000, dtype=np.uint64)
    assert held._any.among(others).sum() < 1000 and not held.marks(others).any()


def test_a_filter_forgets_nothing() -> None:
    draw = random.Random(1)
    held, added = Bits(16, words=2, bits=3), [draw.randrange(1 << 64) for _ in range(1000)]
    held.add_all(np.array(added[:500], dtype=np.uint64))
    for print_ in added[500:]:
        held.add(print_)
    assert held.among(np.array(added, dtype=np.uint64)).all()
    assert all(print_ in held for print_ in added)
    others = np.array([draw.randrange(1 << 64) for _ in range(10_000)], dtype=np.uint64)
    assert held.among(others).sum() < 20


def test_above_the_limit_a_filter_knows_and_a_second_look_tells() -> None:
    held = Index(limit=2)
    for number in range(500):
        held.note("username", f"person_{number:04d}")
        held.note("phone", f"+44 20 {number:08d}")
    held.settle()
    (found,) = held.find("seen: person_0400")
    assert found.domain == "username" and not held.sure(phrase("person 0400"))
    assert [one.domain for one in held.find("+44 20 00000123")] == ["phone"]
    assert held.find("44-20 00000123") == []  # numbers count as they were written
    doubtful = Index(only={phrase("person 0400")})
    for number in range(500):
        doubtful.note("username", f"person_{number:04d}")
    assert [one.domain for one in doubtful.find("person_0400")] == ["username"]
    assert doubtful.find("person_0399") == []


def test_more_values_take_no_more_memory_than_the_limit() -> None:
    held = Index(limit=2000)
    for start in range(0, 40_000, 1000):
        held.add_all("token", [f"value{number}" for number in range(start, start + 1000)])
    assert len(held) < 2 * 2000
    assert all(held.find(f"value{number}") for number in range(0, 40_000, 997))
    assert not any(held.find(f"other{number}") for number in range(1000))


def test_names_of_which_very_many_were_made_are_all_pseudonyms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(made, "MOST", 3)
    held, key = Originals(), Pseudonyms(key=bytes(32))
    person, street = key.function("person"), key.function("street")
    for number in range(3):
        assert not held.is_pseudonym(person(f"Ann Lee{number + 9}"))
        held.record("person", f"Ann Lee{number}", person(f"Ann Lee{number}"))
    for value in ("Ann Lee9", "李小明", "Ζωή Παππά", "やまだ たろう", "김철수"):
        assert held.is_pseudonym(person(value)) and held.is_pseudonym(street(value))
    assert not held.is_pseudonym("Ann Lee9")


def test_what_is_doubtful_is_looked_for_once_more() -> None:
    policy = parse('version = 1\n[mongo.c]\nname = "username"\n', file="masking.toml")
    full = PolicyMask(policy, key="0" * 64, originals=Originals(limit=2))
    documents = [{"name": f"person_{number:04d}"} for number in range(64)]
    for document in documents:
        full.documents("c", [document])
    (suspect,) = scan([b"x person_0050 y"], full.originals)
    assert suspect.rule == DOUBTFUL
    second = full.again([suspect.text, "never_seen"])
    for document in documents:
        second.documents("c", [document])
    assert [one.domain for one in second.originals.index.find(suspect.text)] == ["username"]
    assert second.originals.index.find("never_seen") == [] and len(second.originals) == 1


@pytest.mark.parametrize("strange", ("\U0003ffff", "\U000e0041", "\U000f0000", "\U0010ffff"))
def test_characters_beyond_the_letters_stand_between_words(strange: str) -> None:
    """They share one key: there are no letters or digits among them, in any version of Unicode."""
    held = Originals()
    held.record("person", "Ann Lee", "x")
    held.record("person", "李小明", "x")
    held.record("person", f"Bo{strange}Ray", "x")
    for text in (f"{strange}Ann Lee{strange}", f"{strange}李小明{strange}", f"a {strange} b"):
        inner = text.strip(f"ab {strange}")
        wanted = [inner] if inner else []
        assert [text[one.start : one.end] for one in held.index.find(text)] == wanted
        assert [one.text for one in scan([text.encode()], held)] == wanted
    assert [one.text for one in scan([f"by Bo{strange}Ray".encode()], held)] == [f"Bo{strange}Ray"]
    assert not any(map(str.isalnum, map(chr, range(EVERY, 0x110000))))
