"""Which values of a column were not met before: originals come again and again, and taking one up
costs a hundred times as much as knowing it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from sandbox.compiling import compiled
from sandbox.masking.loops.kernels import Array
from sandbox.masking.loops.latest import FACTOR, KEYS, fingerprints

SLOTS = 1 << 18  # fingerprints; when half of them are taken, it begins anew
MOSTLY = 0.5  # of the values are new: looking for others does not pay


class Seen:
    """Shared by threads, and by all tables of a mask. Two of them at once may both meet a value for
    the first time; none is lost."""

    def __init__(self) -> None:
        self._prints = np.zeros(SLOTS, dtype=np.uint64)
        self._count = 0
        self._numbers: dict[Hashable, int] = {}

    def new(self, table: str, columns: Sequence[str], lines: bytes) -> list[list[bytes]] | None:
        """Of lines of COPY text with these columns: the fields of each that were not met before;
        None when most were not."""
        data = np.frombuffer(bytearray(lines), dtype=np.uint8)
        ends = np.flatnonzero((data == 9) | (data == 10))
        starts = np.concatenate(([0], ends[:-1] + 1))[: len(ends)]
        rows = len(ends) // len(columns)
        numbers = [
            self._numbers.setdefault((table, column), len(self._numbers)) for column in columns
        ]
        place = np.tile(np.arange(len(columns)), rows)
        found = np.stack((place, starts, ends, np.array(numbers)[place]), axis=1)
        prints = np.empty(len(found), dtype=np.uint64)
        fingerprints(data, found, KEYS, FACTOR, prints)
        if self._count + len(found) > SLOTS // 2:
            self._prints, self._count = np.zeros(SLOTS, dtype=np.uint64), 0
        fresh = np.empty(len(found), dtype=bool)
        count = added(prints, self._prints, fresh)
        self._count += count
        if count > MOSTLY * len(found):
            return None
        fields: list[list[bytes]] = [[] for _ in columns]
        for one, start, end, _ in found[fresh].tolist():
            fields[one].append(lines[start:end])
        return fields


def of(made: dict[Any, Any]) -> Seen:
    """That of one mask: `made` is what its strategies share."""
    known: Seen = made.setdefault(("seen",), Seen())
    return known


@compiled
def added(wanted: Array, prints: Array, fresh: Array) -> int:
    """Each is put into the table; whether it was not there, and how many were not."""
    count = 0
    low = len(prints) - 1
    for one in range(len(wanted)):
        slot = np.int64(wanted[one] & np.uint64(low))
        while prints[slot] != 0 and prints[slot] != wanted[one]:
            slot = (slot + 1) & low
        fresh[one] = prints[slot] == 0
        if fresh[one]:
            prints[slot] = wanted[one]
            count += 1
    return count
