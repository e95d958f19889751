"""docs/pseudonyms.md is what the code does, and what anyone can do with HMAC-SHA256 alone."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import ConfigError
from sandbox.masking.known import Index
from sandbox.masking.pseudonyms import (
    FORMS,
    Limits,
    Pseudonyms,
    domain_key,
    hmac_sha256,
    normalise,
    read_key,
)
from sandbox.masking.rules import Rule
from sandbox.masking.strategies import Tools, make

PAGE = (Path(__file__).parents[2] / "docs/pseudonyms.md").read_text()
KEY = bytes(range(32))
VECTORS = re.findall(r"^\| (\w+) \| `([^`]*)` \| `([^`]*)` \|$", PAGE, re.MULTILINE)


def tools(key: bytes = KEY) -> Tools:
    return Tools(pseudonyms=Pseudonyms(key=key), known=Index())


@pytest.mark.parametrize(("domain", "value", "pseudonym"), VECTORS)
def test_published_vectors(domain: str, value: str, pseudonym: str) -> None:
    assert make(Rule(strategy=domain), tools())(value) == pseudonym
    assert make(Rule(strategy=domain), tools(bytes(32)))(value) != pseudonym


def test_vectors_cover_every_domain_and_the_key() -> None:
    assert {domain for domain, _, _ in VECTORS} >= set(FORMS)
    assert f"`{KEY.hex()}`, its id `{Pseudonyms(key=KEY).key_id}`" in PAGE
    assert domain_key(KEY, "email").hex() in PAGE


def test_an_address_by_hand() -> None:
    """A second implementation, of the page's words alone."""
    inner = hmac.new(KEY, b"sandbox masking 1: email", "sha256").digest()
    digest = hmac.new(inner, b"ann.lee@example.com", "sha256").hexdigest()
    assert ("email", "ann.lee@example.com", f"u{digest[:16]}@masked.example") in VECTORS
    assert digest in PAGE


@given(key=st.binary(min_size=32, max_size=64), message=st.binary(max_size=300))
def test_the_quick_hmac_is_hmac(key: bytes, message: bytes) -> None:
    assert hmac_sha256(key)(message) == hmac.digest(key, message, "sha256")


@given(value=st.text(max_size=40))
def test_normalising_twice_changes_nothing(value: str) -> None:
    for domain in FORMS:
        once = normalise(domain, value)
        assert normalise(domain, once) == once


@pytest.mark.parametrize(
    ("domain", "spellings"),
    [
        ("email", ("Ann@X.com", " ann@x.com\t")),
        ("email", ("a.b@gmail.com", "AB@GMAIL.COM")),
        ("phone", ("+44 (20) 7946-0018", "442079460018", 442079460018)),
        ("uuid", ("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc999c0b4ef8bb6d6bb9bd380a11")),
    ],
)
def test_spellings_of_one_value_agree(domain: str, spellings: tuple[object, ...]) -> None:
    function = make(Rule(strategy=domain), tools())
    assert len({str(function(one)).lstrip("+") for one in spellings}) == 1


def test_dots_matter_elsewhere() -> None:
    function = make(Rule(strategy="email"), tools())
    assert function("a.b@x.com") != function("ab@x.com")


def test_keys() -> None:
    assert read_key(KEY.hex()) == KEY
    phrase = "a phrase of thirty characters!"
    assert read_key(phrase) == hashlib.sha256(phrase.encode()).digest()
    with pytest.raises(ConfigError, match="too short"):
        read_key("short")


@given(values=st.sets(st.integers(1, 10_000), min_size=2), domain=st.sampled_from(sorted(FORMS)))
def test_unique_columns_stay_unique(values: set[int], domain: str) -> None:
    """1,000 people of one made-up name are 1,000 different texts where the column is unique."""
    function = Pseudonyms(key=KEY).function(domain, Limits(unique=True))
    made = {function(f"value {number}") for number in values}
    assert len(made) == len(values)


@given(values=st.sets(st.integers(5, 600), min_size=2))
def test_numbers_are_permuted_without_collisions(values: set[int]) -> None:
    rule = Rule(strategy="integer", options={"min": 5, "max": 600})
    function = make(rule, tools())
    made = [function(value) for value in values]
    assert len(set(made)) == len(values) and all(5 <= one <= 600 for one in made)
    assert [function(str(value)) for value in values] == [str(one) for one in made]
    assert sorted(function(value) for value in range(5, 601)) == list(range(5, 601))
