"""PostgreSQL's text form of arrays: elements in, elements out.

https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_ELEMENT = re.compile(r'"((?:[^"\\]|\\.)*)"|([^{},"]+)|([{},])', re.DOTALL)
_BACKSLASH = re.compile(r"\\(.)", re.DOTALL)


def elements(text: str) -> Iterator[str]:
    """The elements of an array of any depth, NULLs left out."""
    for match in _ELEMENT.finditer(text[text.index("{") :]):
        quoted, plain, _ = match.groups()
        if quoted is not None:
            yield _BACKSLASH.sub(r"\1", quoted)
        elif plain is not None and plain.upper() != "NULL":
            yield plain


def over_elements(function: Callable[[str], str | None]) -> Callable[[str], str]:
    """A function over the text of an array that changes each element, NULLs apart."""

    def change(match: re.Match[str]) -> str:
        quoted, plain, mark = match.groups()
        if mark is not None:
            return mark
        if plain is not None and plain.upper() == "NULL":
            return plain
        value = _BACKSLASH.sub(r"\1", quoted) if quoted is not None else plain
        made = function(value)
        return "NULL" if made is None else quote(made)

    def masked(text: str) -> str:
        start = text.index("{")  # bounds may stand before it: [2:3]={a,b}
        return text[:start] + _ELEMENT.sub(change, text[start:])

    return masked


def quote(element: str) -> str:
    return '"' + element.replace("\\", "\\\\").replace('"', '\\"') + '"'
