"""PostgreSQL's COPY text format: one field changed without knowing the others.

https://www.postgresql.org/docs/current/sql-copy.html, "Text Format".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

Change = Callable[[bytes], bytes]
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
    return _TO_ESCAPE.sub(lambda match: _ESCAPE_OF[match[0]], text).encode("utf-8")


def changer(columns: Sequence[str], functions: Mapping[str, Callable[[str], str | None]]) -> Change:
    """A function over one line of COPY text that changes the given columns."""
    places = [(i, functions[column]) for i, column in enumerate(columns) if column in functions]

    def change(line: bytes) -> bytes:
        fields = line.rstrip(b"\n").split(b"\t")
        for index, function in places:
            if fields[index] != NULL:
                masked = function(unescape(fields[index]))
                fields[index] = NULL if masked is None else escape(masked)
        return b"\t".join(fields) + b"\n"

    return change


def _meant(match: re.Match[str]) -> str:
    inside = match[1]
    if inside in _ESCAPES:
        return _ESCAPES[inside]
    if inside[0] == "x" and len(inside) > 1:
        return chr(int(inside[1:], 16))
    return chr(int(inside, 8)) if inside[0] in "01234567" else inside
