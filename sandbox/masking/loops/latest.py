"""The latest pseudonyms, where a compiled loop finds them: by a fingerprint of the original and of
what made it, in bounded memory."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import numpy as np

from sandbox.compiling import compiled
from sandbox.masking.loops.kernels import Array

SLOTS = 1 << 18
MOST = SLOTS // 2  # pseudonyms; then it begins anew
ARENA = 1 << 22  # bytes of pseudonyms; the same
ERRORS = "surrogatepass"  # what JSON may hold, and UTF-8 may not
FACTOR = np.uint64(secrets.randbits(61) << 3 | 3)
KEYS = np.frombuffer(secrets.token_bytes(8 * 256), dtype=np.uint64)
Make = Callable[[bytes], bytes]


class Held(NamedTuple):
    """An open table: fingerprints (0 for none) and where their pseudonym stands in `made`."""

    prints: Array
    places: Array
    sizes: Array
    made: Array


class Latest:
    """Shared by threads, and by all rules of a mask."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._makes: list[Make] = []
        self._lock = threading.RLock()
        self._clear()

    def _clear(self) -> None:
        """Who still reads the former ones keeps them."""
        self._held = Held(
            prints=np.zeros(SLOTS, dtype=np.uint64),
            places=np.zeros(SLOTS, dtype=np.int32),
            sizes=np.zeros(SLOTS, dtype=np.int32),
            made=np.empty(ARENA // 8, dtype=np.uint8),
        )
        self._count = self._size = 0

    def number(self, what: Hashable, make: Make) -> int:
        """Of a function over bytes that makes the same of the same; `what` tells it from others."""
        with self._lock:
            number = self._numbers.get(what)
            if number is None:
                number = self._numbers[what] = len(self._makes)
                self._makes.append(make)
            return number

    def take(self, data: Array, found: Array) -> tuple[Array, Array, Array]:
        """The pseudonyms of these spans, (text, start, end, number): where they stand in an array
        of bytes, and their sizes."""
        prints = np.empty(len(found), dtype=np.uint64)
        places, sizes = np.empty((2, len(found)), dtype=np.int64)
        fingerprints(data, found, KEYS, FACTOR, prints)
        with self._lock:
            if self._count > MOST or self._size > ARENA:
                self._clear()
            if looked_up(prints, *self._held[:3], places, sizes):
                self._make(data, found, prints, np.flatnonzero(places < 0))
                looked_up(prints, *self._held[:3], places, sizes)
            return self._held.made, places, sizes

    def _make(self, data: Array, found: Array, prints: Array, missing: Array) -> None:
        _, first = np.unique(prints[missing], return_index=True)
        while 2 * (self._count + len(first)) > len(self._held.prints):
            self._grow()
        new = missing[np.sort(first)]
        made = [
            self._makes[number](data[start:end].tobytes())
            for _, start, end, number in found[new].tolist()
        ]
        self._add(prints[new], made)

    def _add(self, prints: Array, made: list[bytes]) -> None:
        joined = np.frombuffer(b"".join(made), dtype=np.uint8)
        begin, end = self._size, self._size + len(joined)
        if end > len(self._held.made):
            larger = np.empty(max(2 * len(self._held.made), end), dtype=np.uint8)
            larger[:begin] = self._held.made[:begin]
            self._held = self._held._replace(made=larger)
        self._held.made[begin:end] = joined
        lengths = np.fromiter(map(len, made), np.int32, len(made))
        places = np.cumsum(lengths, dtype=np.int32) - lengths + np.int32(begin)
        held(prints, places, lengths, *self._held[:3])
        self._size, self._count = end, self._count + len(made)

    def _grow(self) -> None:
        """One text may have more values than are remembered."""
        former = self._held
        prints = np.zeros(2 * len(former.prints), dtype=np.uint64)
        places, sizes = np.empty((2, len(prints)), dtype=np.int32)
        held(*former[:3], prints, places, sizes)
        self._held = Held(prints, places, sizes, former.made)


def plain(function: Callable[[Any], Any]) -> Make:
    """A function over texts, over their bytes."""

    def make(value: bytes) -> bytes:
        return str(function(value.decode("utf-8", ERRORS))).encode("utf-8", ERRORS)

    return make


def of(made: dict[Any, Any]) -> Latest:
    """That of one mask: `made` is what its strategies share."""
    known: Latest = made.setdefault(("latest",), Latest())
    return known


@compiled
def fingerprints(data: Array, found: Array, keys: Array, factor: Any, prints: Array) -> None:
    """Of each span's bytes and number; never 0."""
    for one in range(len(found)):
        total = np.uint64(found[one, 3]) * keys[0] + np.uint64(1)
        power = factor
        for k in range(found[one, 1], found[one, 2]):
            total += keys[data[k]] * power
            power *= factor
        total = (total ^ (total >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
        total ^= total >> np.uint64(29)
        prints[one] = total if total else np.uint64(1)


@compiled
def _slot(print_: Any, prints: Array) -> Any:
    """Where a fingerprint is, or would be put."""
    low = np.uint64(len(prints) - 1)
    slot = np.int64(print_ & low)
    while prints[slot] != 0 and prints[slot] != print_:
        slot = (slot + 1) & (len(prints) - 1)
    return slot


@compiled
def looked_up(
    wanted: Array, prints: Array, places: Array, sizes: Array, at: Array, size: Array
) -> int:
    """Where each stands and its size, -1 where it is not held; how many those are."""
    missing = 0
    for one in range(len(wanted)):
        slot = _slot(wanted[one], prints)
        if prints[slot] == 0:
            at[one] = -1
            missing += 1
        else:
            at[one], size[one] = places[slot], sizes[slot]
    return missing


@compiled
def held(print_: Array, at: Array, size: Array, prints: Array, places: Array, sizes: Array) -> None:
    """What is new is put into the table, where 0 is nothing."""
    for one in range(len(print_)):
        if print_[one]:
            slot = _slot(print_[one], prints)
            prints[slot], places[slot], sizes[slot] = print_[one], at[one], size[one]
