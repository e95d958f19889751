"""PostgreSQL's COPY text format: some fields changed without knowing the others.

https://www.postgresql.org/docs/current/sql-copy.html, "Text Format".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from sandbox.contract import Texts

Change = Callable[[Sequence[bytes]], bytes]
NULL = b"\\N"
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPED = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_TO_ESCAPE = re.compile(r"[\\\b\f\n\r\t\v]")
_ESCAPE_OF = {"\\": "\\\\"} | {char: f"\\{letter}" for letter, char in _ESCAPES.items()}


def unescape(field: bytes) -> str:
    """A field of COPY text as the value's own text."""
    text = field.decode("utf-8")
    return _ESCAPED.sub(_meant, text) if "\\" in text else text


def escape(text: str) -> bytes:
    if "\\" not in text and text.isprintable():  # nearly every text, and asked at memory's speed
        return text.encode("utf-8")
    return _TO_ESCAPE.sub(lambda match: _ESCAPE_OF[match[0]], text).encode("utf-8")


def changer(columns: Sequence[str], functions: Mapping[str, Texts]) -> Change:
    """A function over lines of COPY text that changes the given columns, in the functions' order:
    each sees the values of all lines at once."""
    places = [(columns.index(column), function) for column, function in functions.items()]

    def change(lines: Sequence[bytes]) -> bytes:
        rows = [line[:-1].split(b"\t") for line in lines]
        for index, function in places:
            held = [row for row in rows if row[index] != NULL]
            made = function([unescape(row[index]) for row in held])
            for row, masked in zip(held, made, strict=True):
                row[index] = NULL if masked is None else escape(masked)
        return b"".join([b"\t".join(row) + b"\n" for row in rows])

    return change


def _meant(match: re.Match[str]) -> str:
    inside = match[1]
    if inside in _ESCAPES:
        return _ESCAPES[inside]
    if inside[0] == "x" and len(inside) > 1:
        return chr(int(inside[1:], 16))
    return chr(int(inside, 8)) if inside[0] in "01234567" else inside
