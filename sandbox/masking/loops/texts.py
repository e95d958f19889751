"""Free text: known values, and what has the shape of one, found in compiled loops.

The second way to what `strategies.texts.Text` finds, for many texts at once: some microseconds of
Python a text become a fraction of one, and the rest runs without the interpreter's lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sandbox.masking.known import STRICT, Index
from sandbox.masking.loops import scanning
from sandbox.masking.loops.kernels import Array
from sandbox.masking.loops.latest import ERRORS, Latest, plain
from sandbox.masking.tokens import BASE

ROOM = 1 << 14  # candidates in a window, at first
UNMARKED = np.uint16(~STRICT & 0xFFFF)
SHAPED = {scanning.EMAIL: "email", scanning.PHONE: "phone", scanning.IP: "ip"}
Ips = Callable[[str], list[tuple[int, int]]]


class TextFinder:
    """`function`: the pseudonyms of a domain; `ips`: where IPv6 addresses stand in a text."""

    def __init__(
        self,
        index: Index,
        latest: Latest,
        function: Callable[[str], Callable[[Any], Any]],
        ips: Ips,
    ) -> None:
        self._index, self._latest, self._function, self._ips = index, latest, function, ips
        self._numbers: dict[str, int] = {}
        self._by_marks = np.full(1 << 16, -1, dtype=np.int64)
        self._by_marks[0] = 0  # is left out
        self._shaped = np.zeros(len(SHAPED) + scanning.EMAIL, dtype=np.int64)
        for one, domain in SHAPED.items():
            self._shaped[one] = self._number(domain)

    def find(self, data: Array, starts: Array, ends: Array, hard: Array) -> Array:
        """See `spans.Finder`. Hard is what has digits of other scripts."""
        self._index.settle()
        size = int((ends - starts).sum())
        codes = np.empty(size, dtype=np.uint32)
        places = np.empty(size, dtype=np.int32)
        begins = np.empty(len(starts) + 1, dtype=np.int64)
        scanning.decoded(data, starts, ends, codes, places, begins)
        found = self._found(codes, begins, hard)
        # A span's last character may be the text's last one: its end is where that one ends.
        last = codes[found[:, 2] - 1]
        width = 1 + (last >= 0x80) + (last >= 0x800) + (last >= 0x10000)
        found[:, 1], found[:, 2] = places[found[:, 1]], places[found[:, 2] - 1] + width
        return found

    def _number_of(self, marks: Array) -> Array:
        """The number of the first domain that each is marked with."""
        numbers: Array = self._by_marks[marks]
        for one in np.unique(marks[numbers < 0]).tolist():
            self._by_marks[one] = self._number(str(self._index.domain(one)))
        return self._by_marks[marks]

    def _number(self, domain: str) -> int:
        known = self._numbers.get(domain)
        if known is None:
            make = plain(self._function(domain))
            known = self._numbers[domain] = self._latest.number(("text", domain), make)
        return known

    def _found(self, codes: Array, begins: Array, hard: Array) -> Array:
        """In characters."""
        states = np.zeros(len(hard), dtype=np.uint8)
        found, prints = self._candidates(codes, begins, states)
        what = found[:, 3]
        figures = np.flatnonzero(what == scanning.FIGURES)
        marks = self._marks(np.concatenate((prints[:, 0], *prints[figures, 1:].T)))
        marks, here, before = np.split(marks, np.cumsum((len(found), len(figures))))
        marks &= UNMARKED
        marks[figures[(here | before) & STRICT == 0]] = 0
        shaped = what > scanning.FIGURES
        found[:, 3] = np.where(shaped, self._shaped[what], self._number_of(marks))
        found = self._with_ips(found[shaped | (marks != 0)], codes, begins, states)
        hard[states == scanning.HARD] = True
        kept = np.empty(len(found), dtype=np.int64)
        return found[kept[: scanning.apart(found, kept)]]

    def _marks(self, prints: Array) -> Array:
        """See `known.Index.marks`."""
        levels = self._index.levels()
        if levels is None:
            return self._index.marks(prints)
        marks = np.zeros(len(prints), dtype=np.uint16)
        for level in levels:
            scanning.marked(prints, level.keys, level.marks, level.begins, marks)
        return marks

    def _with_ips(self, found: Array, codes: Array, begins: Array, states: Array) -> Array:
        """With the IPv6 addresses of texts that may have some, which are few."""
        more: list[tuple[int, int, int, int]] = []
        for text in np.flatnonzero(states == scanning.COLONS).tolist():
            begin, end = begins[text], begins[text + 1]
            shown = codes[begin:end].tobytes().decode("utf-32-le", ERRORS)
            more += [(text, begin + a, begin + b, self._number("ip")) for a, b in self._ips(shown)]
        if not more:
            return found
        found = np.concatenate((found, np.array(more, dtype=np.int64)))
        return found[np.argsort(found[:, 0], kind="stable")]

    def _candidates(self, codes: Array, begins: Array, states: Array) -> tuple[Array, Array]:
        keys, kinds = scanning.tables()
        filters = self._index.filters()
        room = ROOM
        while True:
            found = np.empty((room, 4), dtype=np.int64)
            prints = np.zeros((room, 3), dtype=np.uint64)
            held = scanning.candidates(
                codes, begins, keys, kinds, scanning.CLASSES, np.uint64(BASE),
                *filters, states, found, prints
            )  # fmt: skip
            if held >= 0:
                return found[:held], prints[:held]
            room *= 2
