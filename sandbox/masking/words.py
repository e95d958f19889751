"""The word lists that made-up names come from, and which script a value is written in."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

# In the order in which they are tried; the first with a character in the value wins. Plain ranges
# of code points, so that PostgreSQL's regular expressions say exactly the same.
SCRIPTS: tuple[tuple[str, str], ...] = (
    ("kana", "\u3041-\u30ff"),
    ("hangul", "\uac00-\ud7a3"),
    ("han", "\u3400-\u4dbf\u4e00-\u9fff"),
    ("cyrillic", "\u0400-\u04ff"),
    ("greek", "\u0370-\u03ff"),
    ("arabic", "\u0600-\u06ff"),
    ("devanagari", "\u0900-\u097f"),
)
UNSPACED = frozenset({"han", "hangul"})  # family name first, nothing between
FAMILY_FIRST = frozenset({"kana"})  # family name first, a space between
_PATTERNS = tuple((script, re.compile(f"[{ranges}]")) for script, ranges in SCRIPTS)


def script_of(value: str) -> str:
    """`latin` for whatever has no character of the listed scripts."""
    if value.isascii():
        return "latin"
    for script, pattern in _PATTERNS:
        if pattern.search(value):
            return script
    return "latin"


@cache
def lists() -> dict[tuple[str, str], tuple[str, ...]]:
    """Words by (kind, script)."""
    text = files("sandbox.masking").joinpath("names/words.txt").read_text("utf-8")
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            head, _, tail = line.partition(": ")
            kind, _, script = head.partition(" ")
            found[kind, script] = tuple(tail.split(", "))
    return found


@cache
def words(kind: str, script: str) -> tuple[str, ...]:
    """The list for a script, or the Latin one where that script has none."""
    known = lists()
    return known.get((kind, script)) or known[kind, "latin"]


def scripts_with(kind: str) -> tuple[str, ...]:
    """The scripts that have a list of their own, in the order in which they are tried."""
    known = lists()
    return tuple(script for script, _ in SCRIPTS if (kind, script) in known)
