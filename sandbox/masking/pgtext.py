"""PostgreSQL's text forms of arrays and composites: elements or fields in, the same out; and
columns of COPY text.

https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO
https://www.postgresql.org/docs/current/rowtypes.html#ROWTYPES-IO-SYNTAX
https://www.postgresql.org/docs/current/sql-copy.html, "Text Format"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

_ELEMENT = re.compile(r'"((?:[^"\\]|\\.)*)"|([^{},"]+)|([{},])', re.DOTALL)
_FIELD = re.compile(r'((?:[^,"()\\]|\\.|"(?:[^"\\]|\\.|"")*")*)[,)]', re.DOTALL)
_MEANT = re.compile(r'"((?:[^"\\]|\\.|"")*)"|\\(.)|([^"\\]+)', re.DOTALL)
_BACKSLASH = re.compile(r"\\(.)", re.DOTALL)

_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def spaced(lines: bytes) -> bytes:
    """COPY text in which escaped characters, and NULL, are spaces: what stands between words."""
    if b"\\" not in lines:
        return lines
    lines = lines.replace(rb"\\", b"  ")
    for letter in b"bfnrtvN":
        lines = lines.replace(b"\\%c" % letter, b"  ")
    return lines


def column(lines: bytes, number: int) -> Iterator[str]:
    """The values of one column of COPY text, NULLs left out."""
    return values(line.split("\t")[number] for line in lines.decode().split("\n")[:-1])


def values(fields: Iterable[str]) -> Iterator[str]:
    """The values of fields of COPY text, NULLs left out."""
    for field in fields:
        if field != "\\N":
            yield _BACKSLASH.sub(_escaped, field) if "\\" in field else field


def _escaped(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[1], match[1])


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


def over_fields(functions: Sequence[Callable[[str], str | None] | None]) -> Callable[[str], str]:
    """A function over the text of a composite that changes its fields in turn; None keeps one."""

    def masked(text: str) -> str:
        written = _FIELD.findall(text, 1)
        if text[:1] != "(" or len(written) != len(functions):
            raise ValueError("not a composite of this type")
        return "(" + ",".join(map(_changed, written, functions)) + ")"

    return masked


def _changed(written: str, function: Callable[[str], str | None] | None) -> str:
    """An empty field is NULL."""
    if not written or function is None:
        return written
    made = function(_MEANT.sub(_meant, written))
    return "" if made is None else quote(made)


def _meant(match: re.Match[str]) -> str:
    quoted, escaped, plain = match.groups()
    if quoted is None:
        return escaped if escaped is not None else plain
    return _BACKSLASH.sub(r"\1", quoted.replace('""', '"'))
