"""Pseudonyms that look like real values: one that is also somebody's original is no leak."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import accumulate

import numpy as np

from sandbox.masking.known import batches
from sandbox.masking.prints import Array, Prints
from sandbox.masking.pseudonyms import HOUSES, joined_name, joined_street
from sandbox.masking.tokens import Tokens, characters, coded, fold, phrase
from sandbox.masking.words import lists, words

MOST = 200_000  # are remembered one by one; then all that the lists can make count as made


class Made:
    """Fingerprints of what was made from the word lists."""

    def __init__(self) -> None:
        self._texts: set[str] = set()
        self._prints = Prints()
        self._all = False
        self._lock = threading.Lock()

    def add(self, pseudonym: str) -> None:
        if pseudonym in self._texts or self._all:
            return
        self._texts.add(pseudonym)
        folded = fold(pseudonym)
        self._prints.add(phrase(folded))
        self._prints.add(characters(folded))
        if len(self._texts) >= MOST:
            self.all_of_them()

    def add_all(self, pseudonyms: Sequence[str]) -> None:
        """`add` for many: a fraction of the time."""
        new = [] if self._all else sorted(set(pseudonyms).difference(self._texts))
        if not new:
            return
        self._texts.update(new)
        self._prints.add_all(prints_of(new))
        if len(self._texts) >= MOST:
            self.all_of_them()

    def all_of_them(self) -> None:
        """So many were made that nearly every one was: from here on all of them count."""
        with self._lock:
            if not self._all:
                self._prints.add_all(possible())
                self._all, self._texts = True, set()

    def __contains__(self, print_: int) -> bool:
        return self._prints.get(print_) != 0

    def among(self, prints: Array) -> Array:
        found: Array = self._prints.marks(prints) != 0
        return found


@cache
def possible() -> Array:
    """Of every name, street, city and company that the lists can make, as words and as written."""
    return prints_of(_possible())


def prints_of(texts: Iterable[str]) -> Array:
    """Fingerprints of texts, of their characters and of their words."""
    found = []
    for batch in batches(map(fold, texts)):
        tokens = Tokens(coded("\n".join(batch)))
        ends = np.fromiter(accumulate(len(text) + 1 for text in batch), np.int64, len(batch)) - 1
        starts = np.concatenate(([0], ends[:-1] + 1))
        first = np.searchsorted(tokens.starts, starts)
        count = np.searchsorted(tokens.starts, ends) - first
        found += [tokens.characters(starts, ends), tokens.sequences(first, count)]
    return np.concatenate(found)


def _possible() -> Iterator[str]:
    for kind, script in lists():
        known = words(kind, script)
        if kind == "first":
            last = words("last", script)
            yield from (joined_name(script, one, other) for one in known for other in last)
        elif kind == "street":
            for number in range(1, HOUSES + 1):
                yield from (joined_street(script, road, number) for road in known)
        elif kind != "last":
            yield from known
