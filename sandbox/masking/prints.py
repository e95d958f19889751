"""Sets of 64-bit fingerprints that are added to and asked by the thousand, in bounded memory.
Threads may add and ask at the same time."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
FRESH = 1 << 13  # entries that stand in a dictionary before they are packed
FEW = 1 << 9  # that are put there one by one
LATE = 1 << 18  # that wait unsorted until they are asked for
LARGEST = 1 << 18  # entries of one level: making it takes four times its own memory
TOGETHER = 3  # bits of a filter that are looked up at once: a table of 2 MB
FIRST, LAST = 18, 26  # powers of the filter before the levels, which grows with them
ROOM = 32  # of its bits for each entry
KINDS = 16  # marks that an entry can bear
WHOLE = (1 << 64) - 1
COARSE = 64  # words
TURN = 0x9E3779B97F4A7C15  # odd: between the words that a filter keeps a fingerprint in
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Level:
    """Sorted fingerprints and their marks, as bits."""

    keys: Array
    marks: Array
    view: memoryview = field(repr=False)

    @cached_property
    def begins(self) -> Array:
        """By the upper bits of a fingerprint: where those with them begin, and the end of all.
        They are spread evenly, so about one entry has the same."""
        bits = max(len(self.keys).bit_length() - 1, 1)
        upper = np.arange(1 << bits, dtype=np.uint64) << np.uint64(64 - bits)
        found = np.concatenate((self.keys.searchsorted(upper), [len(self.keys)]))
        return found.astype(np.int32)

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


def _near(before: Level, last: Level) -> bool:
    return len(before.keys) <= min(3 * len(last.keys), LARGEST - len(last.keys))


class Prints:
    """Exact: `add` a fingerprint with marks as bits; `get` all its marks, 0 for none."""

    def __init__(self) -> None:
        self._fresh: dict[int, int] = {}
        self._late: list[tuple[Array, Array]] = []
        self._waiting = 0
        self._levels: tuple[Level, ...] = ()
        self._any = Bits(FIRST, bits=3)  # of the levels: most of what is asked for is in none
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
        if len(prints) <= FEW:  # or each question would find one more small level
            for print_, mark in zip(prints.tolist(), every.tolist(), strict=True):
                self.add(print_, mark)
            return
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

    def filter(self) -> Array:
        """The words of the filter that has all of what was added so far: `Bits` of three bits."""
        self._settle()
        return self._any.words

    def levels(self) -> tuple[Level, ...]:
        """All that was added so far."""
        self._settle()
        return self._levels

    def marks(self, prints: Array) -> Array:
        """The marks of each."""
        self._settle()
        made = np.zeros(len(prints), dtype=np.uint16)
        here = np.flatnonzero(self._any.among(prints))
        here = here[np.argsort(prints[here])]  # near places of a level one after the other
        asked, found = prints[here], made[here]
        for level in self._levels:
            at = level.keys.searchsorted(asked)
            at[at == len(level.keys)] = 0
            found |= np.where(level.keys[at] == asked, level.marks[at], 0).astype(np.uint16)
        made[here] = found
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
        """Levels of about one size become one, up to a size that takes little memory to make."""
        levels = [*self._levels, level]
        self._filter(levels)
        while len(levels) > 1 and _near(*levels[-2:]):
            last, before = levels.pop(), levels.pop()
            keys = np.concatenate((before.keys, last.keys))
            marks = np.concatenate((before.marks, last.marks))
            levels.append(packed(keys, marks, merged=True))
        self._levels = tuple(levels)

    def _filter(self, levels: Sequence[Level]) -> None:
        """The last level is new in the filter; where it gets too full, a larger one has all."""
        count, power = sum(len(level.keys) for level in levels), self._any.power
        while power < LAST and ROOM * count > 1 << power:
            power += 2
        if power == self._any.power:
            self._any.add_all(levels[-1].keys)
            return
        larger = Bits(power, bits=3)
        for level in levels:
            larger.add_all(level.keys)
        self._any = larger


class Bits:
    """A filter of 2^`power` bits: what was added is found, and now and then something else. The
    system gives its memory as it is used.

    A fingerprint sets `bits` bits (up to 6) in each of so many `words` of 64 bits: memory is
    reached once a word, not once a bit. `coarse`: COARSE words each as one; that filter fits into
    the processor's cache, and most of what is not here is not there, either.
    """

    def __init__(self, power: int, *, words: int = 1, bits: int = 1) -> None:
        self.power = power
        self.words = np.zeros(1 << power - 6, dtype=np.uint64)
        self._view = self.words.data
        self.coarse = np.zeros(max(len(self.words) // COARSE, 1), dtype=np.uint64)
        self._shift, self._turns, self._bits = 64 - (power - 6), words, bits
        self._lock = threading.Lock()

    def add(self, print_: int) -> None:
        with self._lock:
            for word, bits in self._places(print_):
                self._view[word] |= bits
                self.coarse[word // COARSE] |= np.uint64(bits)

    def add_all(self, prints: Array) -> None:
        with self._lock:
            for word, bits in self._all_places(prints):
                self.words[word] |= bits  # of several in one word only one gets its bits
                left = self.words[word] & bits != bits
                np.bitwise_or.at(self.words, word[left], bits[left])
                np.bitwise_or.at(self.coarse, word // COARSE, bits)

    def add_new(self, prints: Array) -> None:
        """`add_all` where most are here already: asking is quicker."""
        self.add_all(prints[~self.among(prints)])

    def __contains__(self, print_: int) -> bool:
        if self._turns == self._bits == 1:
            return bool(self._view[print_ >> self._shift] >> (print_ & 63) & 1)
        return all(self._view[word] & bits == bits for word, bits in self._places(print_))

    def among(self, prints: Array) -> Array:
        """Whether each may be here."""
        found = np.ones(len(prints), dtype=bool)
        for word, bits in self._all_places(prints):
            found &= self.words[word] & bits == bits
        return found

    def _places(self, print_: int) -> Iterator[tuple[int, int]]:
        """The upper part of a fingerprint tells a word, the lower one its bits."""
        for _ in range(self._turns):
            bits = 0
            for number in range(self._bits):
                bits |= 1 << (print_ >> 6 * number & 63)
            yield print_ >> self._shift, bits
            print_ = (print_ >> 32 | print_ << 32 & WHOLE) * TURN & WHOLE

    def _all_places(self, prints: Array) -> Iterator[tuple[Array, Array]]:
        half = np.uint64(32)
        for _ in range(self._turns):
            bits = np.zeros(len(prints), dtype=np.uint64)
            for number in range(0, self._bits, TOGETHER):
                patterns = _patterns(min(TOGETHER, self._bits - number))
                bits |= patterns[prints >> np.uint64(6 * number) & np.uint64(len(patterns) - 1)]
            yield (prints >> np.uint64(self._shift)).astype(np.int64), bits
            prints = (prints >> half | prints << half) * np.uint64(TURN)


@cache
def _patterns(bits: int) -> Array:
    """The word with so many bits set, by six times as many bits of a fingerprint."""
    made, one = np.zeros(1, dtype=np.uint64), np.uint64(1) << np.arange(64, dtype=np.uint64)
    for _ in range(bits):
        made = (made[:, None] | one).ravel()
    return made


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
