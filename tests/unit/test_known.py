"""Fingerprints of originals: one by one, in bulk, packed and above the limit, all know the same."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.masking import prints
from sandbox.masking.known import DOUBTFUL, Index
from sandbox.masking.leaks import Originals, scan
from sandbox.masking.mask import PolicyMask
from sandbox.masking.policy import parse
from sandbox.masking.prints import Prints

WORDS = st.text(st.sampled_from("abcXYZ019 .-_@'éЖ王\n"), max_size=16)
DOMAINS = st.sampled_from(["email", "person", "phone", "username", "token"])


@given(domain=DOMAINS, values=st.lists(WORDS, min_size=8, max_size=40), text=WORDS)
@settings(deadline=None)
def test_many_at_once_are_the_same_as_one_by_one(domain: str, values: list[str], text: str) -> None:
    one, many = Index(), Index()
    for value in values:
        one.add(domain, value)
        many.note(domain, value)
    for looked in (text, *values, *(f"<{value}>, {text}" for value in values)):
        assert one.find(looked) == many.find(looked)


def test_packed_fingerprints_are_what_a_dictionary_would_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prints, "FRESH", 64)
    draw = random.Random(1)
    held, plain = Prints(), dict[int, int]()
    words = [f"word{draw.randrange(3000)}" for _ in range(5000)]
    for word in words:
        mark = draw.randrange(16)
        held.add(hash(word), mark)
        plain[hash(word)] = plain.get(hash(word), 0) | 1 << mark
    asked = [f"word{number}" for number in range(6000)]
    assert [held.get(hash(word)) for word in asked] == [plain.get(hash(w), 0) for w in asked]
    assert held.known(asked) == {word for word in asked if hash(word) in plain}
    assert len(held._levels) < 12


def test_above_the_limit_a_filter_knows_and_a_second_look_tells() -> None:
    held = Index(limit=2)
    for number in range(500):
        held.note("username", f"person_{number:04d}")
    found = held.find("seen: person_0400")
    assert [one.domain for one in found] == [DOUBTFUL]
    text = "seen: person_0400"[found[0].start : found[0].end]
    doubtful = Index(only={hash("person 0400")})
    for number in range(500):
        doubtful.note("username", f"person_{number:04d}")
    assert [one.domain for one in doubtful.find(text)] == ["username"]
    assert doubtful.find("person_0399") == []


def test_what_is_doubtful_is_looked_for_once_more() -> None:
    policy = parse('version = 1\n[mongo.c]\nname = "username"\n', file="masking.toml")
    full = PolicyMask(policy, key="0" * 64, originals=Originals(limit=2))
    documents = [{"name": f"person_{number:04d}"} for number in range(64)]
    for document in documents:
        full.document("c", document)
    (suspect,) = scan([b"x person_0050 y"], full.originals)
    assert suspect.rule == DOUBTFUL
    second = full.again([suspect.text, "never_seen"])
    for document in documents:
        second.document("c", document)
    assert [one.domain for one in second.originals.index.find(suspect.text)] == ["username"]
    assert second.originals.index.find("never_seen") == [] and len(second.originals) == 1
