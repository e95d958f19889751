"""Many texts masked in compiled loops: their personal parts are found, made and put in place.

A finder tells spans: parts of texts, each with the number of what makes its pseudonym. What is made
is remembered by `latest.Latest`, and only what is met for the first time goes through Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np

from sandbox.compiling import compiled
from sandbox.masking.loops.kernels import Array
from sandbox.masking.loops.latest import ERRORS, Latest

WINDOW = 1 << 18  # bytes that are looked at together
Slow = Callable[[Sequence[str]], Sequence[str | None]]


class Finder(Protocol):
    def find(self, data: Array, starts: Array, ends: Array, hard: Array) -> Array:
        """Spans of the texts that stand there in the bytes, as (text, start, end, number), in their
        order and none inside another. `hard`: by text, set where only Python can tell."""
        ...


class Masked(NamedTuple):
    """Texts one behind the other: their bytes, how many each has, and how many characters. A hard
    one is yet to be masked."""

    data: Array
    sizes: Array
    characters: Array
    hard: Array


class InLoops:
    """A rule over texts. `slow`: the same rule in Python; `length`: the most characters of a
    result, longer ones are left to it. Shared by threads."""

    def __init__(
        self, finder: Finder, latest: Latest, slow: Slow, *, length: int | None = None
    ) -> None:
        self.finder, self.slow = finder, slow
        self._latest, self._length = latest, length

    def texts(self, values: Sequence[str]) -> list[str | None]:
        """Each text masked."""
        raw = bytearray("".join(values).encode("utf-8", ERRORS))
        data = np.frombuffer(raw, dtype=np.uint8)
        lengths = np.fromiter(map(len, values), np.int64, len(values))
        begins = np.empty(len(values) + 1, dtype=np.int64)
        begun(data, lengths, begins)
        made = self.masked(data, begins[:-1], begins[1:])
        joined = made.data.tobytes().decode("utf-8", ERRORS)
        cuts = [0, *np.cumsum(made.characters).tolist()]
        out: list[str | None] = [joined[start:end] for start, end in pairwise(cuts)]
        hard = np.flatnonzero(made.hard).tolist()
        if hard:
            for place, text in zip(hard, self.slow([values[place] for place in hard]), strict=True):
                out[place] = text
        return out

    def masked(self, data: Array, starts: Array, ends: Array) -> Masked:
        """The texts that stand there in the bytes, in ascending order."""
        parts = [
            self._window(data, starts[a:b], ends[a:b]) for a, b in windows(np.cumsum(ends - starts))
        ]
        if not parts:
            parts = [self._window(data, starts, ends)]
        return Masked(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def _window(self, data: Array, starts: Array, ends: Array) -> Masked:
        hard = np.zeros(len(starts), dtype=bool)
        found = self.finder.find(data, starts, ends, hard)
        if hard.any():
            found = found[~hard[found[:, 0]]]
        made = replaced(self._latest, data, starts, ends, found)
        if self._length is not None:
            hard |= made.characters > self._length
        return Masked(made.data, made.bytes, made.characters, hard)


class Replaced(NamedTuple):
    """Texts one behind the other: their bytes, how many each has, and how many characters; `sizes`:
    how many bytes each span has now."""

    data: Array
    bytes: Array
    characters: Array
    sizes: Array


def windows(behind: Array) -> Iterator[tuple[int, int]]:
    """Texts that are looked at together, from one to another; `behind`: the bytes up to the end of
    each."""
    if not len(behind):
        return iter(())
    cuts = np.searchsorted(behind, np.arange(WINDOW, int(behind[-1]), WINDOW))
    return pairwise(np.unique(np.concatenate(([0], cuts, [len(behind)]))).tolist())


def replaced(latest: Latest, data: Array, starts: Array, ends: Array, found: Array) -> Replaced:
    """The texts with the pseudonyms of these spans in their place."""
    made, places, sizes = latest.take(data, found)
    into = np.empty(int((ends - starts).sum() + sizes.sum()), dtype=np.uint8)
    bytes_, characters = np.empty((2, len(starts)), dtype=np.int64)
    size = spliced(data, starts, ends, found, made, places, sizes, into, bytes_, characters)
    return Replaced(into[:size], bytes_, characters, sizes)


@compiled
def begun(data: Array, lengths: Array, begins: Array) -> None:
    """Where each text begins in the bytes, by how many characters they have, and where the last one
    ends."""
    at = 0
    for text in range(len(lengths)):
        begins[text] = at
        for _ in range(lengths[text]):
            at += 1
            while at < len(data) and data[at] & 0xC0 == 0x80:
                at += 1
    begins[len(lengths)] = at


@compiled
def _copied(source: Array, begin: Any, end: Any, into: Array, at: Any) -> Any:
    """Where it ends in `into`. Unsigned places cannot be negative ones, which would be checked for
    at each byte: so the processor takes many bytes at once, here and below."""
    size = max(end - begin, 0)
    place, to = np.uintp(begin), np.uintp(at)
    for k in range(np.uintp(size)):
        into[to + k] = source[place + k]
    return at + size


@compiled
def _characters(data: Array, begin: Any, end: Any) -> int:
    place, count = np.uintp(begin), 0
    for k in range(np.uintp(max(end - begin, 0))):
        count += (data[place + k] & 0xC0) != 0x80
    return count


@compiled
def spliced(
    data: Array, starts: Array, ends: Array, found: Array, made: Array, places: Array, sizes: Array,
    into: Array, bytes_: Array, characters: Array
) -> int:  # fmt: skip
    """The texts with what was made in place of their spans, one behind the other; how many bytes.
    `places`, `sizes`: in `made`, by span; `bytes_`, `characters`: how many each text has then."""
    at: Any = np.int64(0)
    one = 0
    for text in range(len(starts)):
        begin, place = at, starts[text]
        while one < len(found) and found[one, 0] == text:
            at = _copied(data, place, found[one, 1], into, at)
            at = _copied(made, places[one], places[one] + sizes[one], into, at)
            place = found[one, 2]
            one += 1
        at = _copied(data, place, ends[text], into, at)
        bytes_[text], characters[text] = at - begin, _characters(into, begin, at)
    return int(at)
