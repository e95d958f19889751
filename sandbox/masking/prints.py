"""A set of 64-bit fingerprints, each with a few marks: 10 bytes an entry, and quick to ask for
thousands at once. Threads may add and ask at the same time."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

FRESH = 1 << 17  # entries that stand in a dictionary before they are packed
SLOTS = 1 << 24  # bytes of the table that is asked before the packed ones
KINDS = 16  # marks that an entry can bear
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Level:
    """Sorted fingerprints and their marks, as bits."""

    keys: NDArray[np.int64]
    marks: NDArray[np.uint16]
    view: memoryview = field(repr=False)

    def get(self, print_: int) -> int:
        at = bisect_left(self.view, print_)
        return int(self.marks[at]) if at < len(self.view) and self.view[at] == print_ else 0


def packed(keys: NDArray[np.int64], marks: NDArray[np.uint16]) -> Level:
    order = np.argsort(keys, kind="stable")
    keys, marks = keys[order], marks[order]
    first = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    keys, marks = keys[first], np.bitwise_or.reduceat(marks, first)
    return Level(keys=keys, marks=marks, view=keys.data)


class Prints:
    """`add` a fingerprint with a mark from 0 to 15; `get` all its marks as bits, 0 for none."""

    def __init__(self) -> None:
        self._fresh: dict[int, int] = {}
        self._levels: tuple[Level, ...] = ()
        self._slots: NDArray[np.bool_] | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._fresh) + sum(len(level.keys) for level in self._levels)

    def __contains__(self, print_: int) -> bool:
        return self.get(print_) != 0

    def add(self, print_: int, mark: int = 0) -> None:
        with self._lock:
            fresh = self._fresh
            fresh[print_] = fresh.get(print_, 0) | 1 << mark
            if len(fresh) >= FRESH:
                self._pack()

    def add_all(self, prints: Sequence[int], mark: int = 0) -> None:
        with self._lock:
            fresh, bit = self._fresh, 1 << mark
            if fresh.keys().isdisjoint(prints):
                fresh.update(dict.fromkeys(prints, bit))
            else:
                for one in prints:
                    fresh[one] = fresh.get(one, 0) | bit
            if len(fresh) >= FRESH:
                self._pack()

    def get(self, print_: int) -> int:
        found = self._fresh.get(print_, 0)
        slots = self._slots
        if slots is not None and slots[print_ & (SLOTS - 1)]:
            for level in self._levels:
                found |= level.get(print_)
        return found

    def known(self, words: Iterable[str]) -> set[str]:
        """Those of the words whose fingerprints are here."""
        asked = list(words)
        prints = list(map(hash, asked))
        fresh = self._fresh
        found: set[str] = set()
        if not fresh.keys().isdisjoint(prints):
            found = {word for word, one in zip(asked, prints, strict=True) if one in fresh}
        if self._slots is not None:
            found.update(self._packed_ones(asked, prints, self._slots))
        return found

    def _packed_ones(
        self, asked: Sequence[str], prints: list[int], slots: NDArray[np.bool_]
    ) -> list[str]:
        keys = np.array(prints, dtype=np.int64)
        places = np.flatnonzero(slots[keys & (SLOTS - 1)])
        if not places.size:
            return []
        places = places[np.argsort(keys[places])]
        keys = keys[places]
        met = np.zeros(len(keys), dtype=bool)
        for level in self._levels:
            at = level.keys.searchsorted(keys)
            at[at == len(level.keys)] = 0
            met |= level.keys[at] == keys
        return [asked[place] for place in places[met]]

    def _pack(self) -> None:
        """The dictionary becomes a level; levels of about one size become one."""
        count = len(self._fresh)
        keys = np.fromiter(self._fresh, dtype=np.int64, count=count)
        marks = np.fromiter(self._fresh.values(), dtype=np.uint16, count=count)
        slots = np.zeros(SLOTS, dtype=bool) if self._slots is None else self._slots
        slots[keys & (SLOTS - 1)] = True
        levels = [*self._levels, packed(keys, marks)]
        while len(levels) > 1 and len(levels[-2].keys) <= 2 * len(levels[-1].keys):
            last, before = levels.pop(), levels.pop()
            keys = np.concatenate((before.keys, last.keys))
            levels.append(packed(keys, np.concatenate((before.marks, last.marks))))
        self._levels, self._slots = tuple(levels), slots  # seen twice rather than not at all
        self._fresh = {}


class Bits:
    """A Bloom filter of 2^30 bits (128 MiB): for what does not fit the exact sets any more."""

    def __init__(self) -> None:
        self._bits = np.zeros(1 << 27, dtype=np.uint8)  # the system gives pages as they are used

    def add(self, value: int) -> None:
        for place in self._places(value):
            self._bits[place >> 3] |= 1 << (place & 7)

    def __contains__(self, value: int) -> bool:
        return all(int(self._bits[place >> 3]) >> (place & 7) & 1 for place in self._places(value))

    def _places(self, value: int) -> tuple[int, int, int, int]:
        low, high = value & 0x3FFFFFFF, value >> 30 & 0x3FFFFFFF
        return low, high, (low + 2 * high) & 0x3FFFFFFF, (low + 5 * high) & 0x3FFFFFFF


class Marks(Generic[T]):
    """Numbers for what fingerprints are marked with; the last one stands for all that came late."""

    def __init__(self) -> None:
        self._numbers: dict[T, int] = {}
        self._listed: dict[int, tuple[T, ...]] = {}

    def of(self, one: T) -> int:
        number = self._numbers.get(one)
        if number is None:
            number = self._numbers[one] = min(len(self._numbers), KINDS - 1)
            self._listed = {}
        return number

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
