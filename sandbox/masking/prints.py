"""Sets of 64-bit fingerprints that are added to and asked by the thousand, in bounded memory.
Threads may add and ask at the same time."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
FRESH = 1 << 13  # entries that stand in a dictionary before they are packed
LATE = 1 << 18  # that wait unsorted until they are asked for
KINDS = 16  # marks that an entry can bear
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Level:
    """Sorted fingerprints and their marks, as bits."""

    keys: Array
    marks: Array
    view: memoryview = field(repr=False)

    def get(self, print_: int) -> int:
        at = bisect_left(self.view, print_)
        return int(self.marks[at]) if at < len(self.view) and self.view[at] == print_ else 0


def packed(keys: Array, marks: Array, *, merged: bool = False) -> Level:
    """`merged`: they are two sorted parts."""
    order = np.argsort(keys, kind="stable" if merged else None)
    keys, marks = keys[order], marks[order]
    first = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    if len(first) < len(keys):
        keys, marks = keys[first], np.bitwise_or.reduceat(marks, first)
    return Level(keys=keys, marks=marks, view=keys.data)


class Prints:
    """Exact: `add` a fingerprint with marks as bits; `get` all its marks, 0 for none."""

    def __init__(self) -> None:
        self._fresh: dict[int, int] = {}
        self._late: list[tuple[Array, Array]] = []
        self._waiting = 0
        self._levels: tuple[Level, ...] = ()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._waiting + len(self._fresh) + sum(len(level.keys) for level in self._levels)

    def add(self, print_: int, marks: int = 1) -> None:
        with self._lock:
            fresh = self._fresh
            fresh[print_] = fresh.get(print_, 0) | marks
            if len(fresh) >= FRESH:
                self._pack()

    def add_all(self, prints: Array, marks: Array | int = 1) -> None:
        """`marks`: for all the same, or one for each."""
        if not len(prints):
            return
        every = np.broadcast_to(np.asarray(marks, dtype=np.uint16), prints.shape)
        with self._lock:
            self._late.append((prints, every))
            self._waiting += len(prints)
            if self._waiting >= LATE:
                self._sort()

    def get(self, print_: int) -> int:
        if self._late:
            with self._lock:
                self._sort()
        found = self._fresh.get(print_, 0)
        for level in self._levels:
            found |= level.get(print_)
        return found

    def marks(self, prints: Array) -> Array:
        """The marks of each."""
        self._settle()
        found = np.zeros(len(prints), dtype=np.uint16)
        if not len(prints):
            return found
        order = np.argsort(prints)  # near places of a level one after the other
        asked = prints[order]
        for level in self._levels:
            at = level.keys.searchsorted(asked)
            at[at == len(level.keys)] = 0
            found |= np.where(level.keys[at] == asked, level.marks[at], 0).astype(np.uint16)
        made = np.empty_like(found)
        made[order] = found
        return made

    def _settle(self) -> None:
        if self._fresh or self._late:
            with self._lock:
                self._pack()
                self._sort()

    def _pack(self) -> None:
        fresh = self._fresh
        count = len(fresh)
        keys = np.fromiter(fresh, dtype=np.uint64, count=count)
        marks = np.fromiter(fresh.values(), dtype=np.uint16, count=count)
        if count:
            self._push(packed(keys, marks))
        self._fresh = {}  # seen twice rather than not at all

    def _sort(self) -> None:
        if self._late:
            keys, marks = (np.concatenate(part) for part in zip(*self._late, strict=True))
            self._push(packed(keys, marks))
            self._late, self._waiting = [], 0  # seen twice rather than not at all

    def _push(self, level: Level) -> None:
        """Levels of about one size become one."""
        levels = [*self._levels, level]
        while len(levels) > 1 and len(levels[-2].keys) <= 3 * len(levels[-1].keys):
            last, before = levels.pop(), levels.pop()
            keys = np.concatenate((before.keys, last.keys))
            marks = np.concatenate((before.marks, last.marks))
            levels.append(packed(keys, marks, merged=True))
        self._levels = tuple(levels)


class Bits:
    """A filter of 2^`power` bits, with so many `places` for a fingerprint: what was added is found,
    and now and then something else. The system gives its memory as it is used."""

    def __init__(self, power: int, places: int) -> None:
        self._bits = np.zeros(1 << power - 3, dtype=np.uint8)
        self._view = self._bits.data
        self._mask, self._places = (1 << power) - 1, places
        self._lock = threading.Lock()

    def add(self, print_: int) -> None:
        with self._lock:
            for place in self._each(print_):
                self._view[place >> 3] |= 1 << (place & 7)

    def add_all(self, prints: Array) -> None:
        with self._lock:
            for place in self._all(prints):
                bit = np.left_shift(1, place & 7, dtype=np.uint8, casting="unsafe")
                np.bitwise_or.at(self._bits, place >> 3, bit)

    def __contains__(self, print_: int) -> bool:
        view = self._view
        return all(view[place >> 3] >> (place & 7) & 1 for place in self._each(print_))

    def among(self, prints: Array) -> Array:
        """Whether each may be here."""
        found = np.ones(len(prints), dtype=bool)
        for place in self._all(prints):
            found &= (self._bits[place >> 3] >> (place & 7).astype(np.uint8) & 1).astype(bool)
        return found

    def _each(self, print_: int) -> Iterable[int]:
        step = print_ >> 32 | 1
        return [print_ + turn * step & self._mask for turn in range(self._places)]

    def _all(self, prints: Array) -> Iterable[Array]:
        step, mask = prints >> np.uint64(32) | np.uint64(1), np.uint64(self._mask)
        for turn in range(self._places):
            yield (prints + np.uint64(turn) * step & mask).astype(np.int64)


class Marks(Generic[T]):
    """Numbers for what fingerprints are marked with; the last one stands for all that came late."""

    def __init__(self) -> None:
        self._numbers: dict[T, int] = {}
        self._listed: dict[int, tuple[T, ...]] = {}

    def of(self, one: T) -> int:
        """Its bit."""
        number = self._numbers.get(one)
        if number is None:
            number = self._numbers[one] = min(len(self._numbers), KINDS - 1)
            self._listed = {}
        return 1 << number

    @property
    def all(self) -> tuple[T, ...]:
        return tuple(self._numbers)

    def among(self, marks: int) -> tuple[T, ...]:
        listed = self._listed
        found = listed.get(marks)
        if found is None:
            numbers = list(self._numbers.items())
            found = listed[marks] = tuple(one for one, number in numbers if marks >> number & 1)
        return found

    def first(self, marks: int) -> T:
        return self.among(marks)[0]
