"""PostgreSQL's COPY text format: some fields changed without knowing the others.

https://www.postgresql.org/docs/current/sql-copy.html, "Text Format".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.contract import Rows, Texts
from sandbox.errors import Refused

NULL = b"\\N"
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPED = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_TO_ESCAPE = re.compile(rb"[\\\b\f\n\r\t\v]")
_ESCAPE_OF = {b"\\": rb"\\"} | {
    char.encode(): b"\\" + letter.encode() for letter, char in _ESCAPES.items()
}


def unescaped(fields: Sequence[bytes]) -> list[str]:
    """Fields of COPY text as the values' own text. No text in PostgreSQL has a NUL in it."""
    if not fields:
        return []
    texts = b"\0".join(fields).decode("utf-8")
    values = texts.split("\0")
    return [_ESCAPED.sub(_meant, one) for one in values] if "\\" in texts else values


def escaped(values: Sequence[str]) -> list[bytes]:
    """The reverse."""
    if not values:
        return []
    texts = "\0".join(values).encode()
    if texts.count(b"\0") >= len(values):
        raise Refused("a masked value holds a NUL, which no text in PostgreSQL can")
    if any(char in texts for char in _ESCAPE_OF):  # a tenth of the time of a search for any of them
        texts = _TO_ESCAPE.sub(lambda match: _ESCAPE_OF[match[0]], texts)
    return texts.split(b"\0")


def changer(columns: Sequence[str], functions: Mapping[str, Texts]) -> Rows:
    """A function over lines of COPY text that changes the given columns, in the functions' order:
    each sees the values of all lines at once."""
    places = [(columns.index(column), function) for column, function in functions.items()]

    def change(lines: Any, count: int) -> bytes:
        rows = [line.split(b"\t") for line in bytes(lines).split(b"\n")[:count]]
        for index, function in places:
            held = [row for row in rows if row[index] != NULL]
            made = function(unescaped([row[index] for row in held]))
            fields = escaped(["" if one is None else one for one in made])
            for row, one, field in zip(held, made, fields, strict=True):
                row[index] = NULL if one is None else field
        return b"".join([b"\t".join(row) + b"\n" for row in rows])

    return change


def _meant(match: re.Match[str]) -> str:
    inside = match[1]
    if inside in _ESCAPES:
        return _ESCAPES[inside]
    if inside[0] == "x" and len(inside) > 1:
        return chr(int(inside[1:], 16))
    return chr(int(inside, 8)) if inside[0] in "01234567" else inside
