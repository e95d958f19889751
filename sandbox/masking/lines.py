"""Which line of a TOML text a key stands on: tomllib does not say."""

from __future__ import annotations

import re

_PART = r'(?:"(?:[^"\\]|\\.)*"|\'[^\']*\'|[A-Za-z0-9_-]+)'
_KEY = re.compile(rf"\s*({_PART}(?:\s*\.\s*{_PART})*)\s*=")
_HEAD = re.compile(rf"\s*\[\[?\s*({_PART}(?:\s*\.\s*{_PART})*)\s*\]\]?\s*(?:#.*)?$")
_SPLIT = re.compile(_PART)

Place = tuple[str, ...]


def _parts(text: str) -> Place:
    return tuple(
        part[1:-1].replace('\\"', '"').replace("\\\\", "\\") if part[0] in "\"'" else part
        for part in _SPLIT.findall(text)
    )


class Lines:
    """Lines of keys and tables, by their whole path."""

    def __init__(self, text: str) -> None:
        self._at: dict[Place, int] = {}
        table: Place = ()
        for number, line in enumerate(text.splitlines(), 1):
            if head := _HEAD.match(line):
                table = _parts(head[1])
                self._note(table, number)
            elif key := _KEY.match(line):
                self._note((*table, *_parts(key[1])), number)

    def _note(self, place: Place, number: int) -> None:
        for end in range(1, len(place) + 1):
            self._at.setdefault(place[:end], number)

    def line(self, place: Place) -> int:
        """The line of a key, else of the nearest table around it; 1 when there is none."""
        for end in range(len(place), 0, -1):
            if place[:end] in self._at:
                return self._at[place[:end]]
        return 1
