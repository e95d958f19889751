"""Words of a text and their fingerprints: 64 bits, under a key that is random in each process.

    characters   sum of key[c] * B^i over the characters c, without case; mod 2^64, then mixed
    sequence     sum of word * B^i over words; a word's fingerprint is that of its characters

Sums over any part are differences of running sums, so a window of text costs a few passes of numpy,
however many parts are asked for. The key makes what is found together a matter of chance: 2^-64 a
pair. `characters` and `sequence` do the same for one short text, in Python.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
UNSPACED_RANGES = "\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3"
# Letters and digits of any script: a full stop or an ideograph beside a name is not part of it.
TOKEN = re.compile(rf"[{UNSPACED_RANGES}]+|[^\W_{UNSPACED_RANGES}]+")
CJK = re.compile(f"[{UNSPACED_RANGES}]")
WORD, UNSPACED = 1, 2  # kinds of characters; all others stand between words
ASCII = 128
LONGEST_GAP = 3  # characters between two words of one value
# Code points that have a key of their own: letters and digits stand in the first four planes. Of
# all beyond, which are for private use or nothing yet, LAST stands in for each.
EVERY = 0x40000
LAST = EVERY - 1
PLANE = 1 << 16  # that are looked at together
FIRST = 1 << 18  # powers that are made at first: enough for a window
_BITS = (1 << 64) - 1
BASE = secrets.randbits(61) << 3 | 3
_INVERSE = pow(BASE, -1, 1 << 64)
_SECRET = secrets.randbits(64)
_MIX = 0x94D049BB133111EB


def fold(text: str) -> str:
    """Lower case, one character for each character."""
    lowered = text.lower()
    if len(lowered) != len(text):
        lowered = "\u0130".join([part.lower() for part in text.split("\u0130")])  # İ becomes two
    return lowered if lowered.isascii() else lowered.replace("ς", "σ")


def coded(text: str | bytes) -> Array:
    """The characters as numbers below EVERY; bytes that are no text become U+FFFD."""
    if isinstance(text, bytes):
        if text.isascii():
            return np.frombuffer(text, dtype=np.uint8)
        text = text.decode("utf-8", "replace")
    elif text.isascii():
        return np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return np.minimum(codes, np.uint32(LAST))


# --- tables --------------------------------------------------------------------------------------


class _Powers:
    """B^i and B^-i, as many as were asked for yet."""

    def __init__(self, count: int) -> None:
        self.up, self.down = (
            np.concatenate(
                (np.ones(1, np.uint64), np.cumprod(np.full(count, base, dtype=np.uint64)))
            )
            for base in (BASE, _INVERSE)
        )


_powers = _Powers(FIRST)


def _powers_for(count: int) -> _Powers:
    """Of a longer text than windows are they are not kept."""
    return _powers if count <= FIRST else _Powers(count)


@cache
def tables_of(count: int) -> tuple[Array, Array]:
    """The key and the kind of each of the first code points; a letter's are its lower case's."""
    keys, kinds = np.empty(count, dtype=np.uint64), np.zeros(count, dtype=np.uint8)
    for start in range(0, count, PLANE):  # all at once would take four times the memory
        end = min(start + PLANE, count)
        codes = np.arange(start, end, dtype=np.uint32)
        text = codes.tobytes().decode("utf-32-le", "surrogatepass")
        folded = np.frombuffer(fold(text).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        made = folded.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(_SECRET)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, _MIX), (31, 1)):  # splitmix64
            made = (made ^ (made >> np.uint64(shift))) * np.uint64(factor)
        keys[start:end] = made
        for match in TOKEN.finditer(text):
            kind = UNSPACED if CJK.match(match[0]) else WORD
            kinds[start + match.start() : start + match.end()] = kind
    return keys, kinds


_ASCII_KEYS: list[int] = tables_of(ASCII)[0].tolist()


def tables(codes: Array) -> tuple[Array, Array]:
    return tables_of(ASCII if codes.dtype == np.uint8 else EVERY)


@cache
def decimals() -> Array:
    text = np.arange(EVERY, dtype=np.uint32).tobytes().decode("utf-32-le", "surrogatepass")
    found = np.zeros(EVERY, dtype=bool)
    found[[match.start() for match in re.finditer(r"\d", text)]] = True
    return found


def figures(codes: Array) -> Array:
    """Which characters are digits."""
    found: Array = (codes >= 48) & (codes <= 57)
    if codes.dtype != np.uint8:
        found |= decimals()[codes]
    return found


def mixed(sums: Array) -> Array:
    sums = (sums ^ (sums >> np.uint64(31))) * np.uint64(_MIX)
    found: Array = sums ^ (sums >> np.uint64(29))
    return found


# --- many ----------------------------------------------------------------------------------------


class Tokens:
    """The words of a window: where they begin and end, in characters, and their fingerprints."""

    def __init__(self, codes: Array) -> None:
        self.codes, count = codes, len(codes)
        keys, kinds = tables(codes)
        powers = _powers_for(count)
        self._down = powers.down
        kind = kinds[codes]
        bounds = np.flatnonzero(kind[1:] != kind[:-1])
        bounds += 1
        bounds = np.concatenate(([0], bounds, [count])) if count else np.zeros(1, np.int64)
        inside = kind[bounds[:-1]] != 0
        self.kind = kind
        self.starts, self.ends = bounds[:-1][inside], bounds[1:][inside]
        weighed = keys[codes]
        weighed *= powers.up[:count]
        self._sums = np.zeros(count + 1, dtype=np.uint64)
        np.cumsum(weighed, out=self._sums[1:])
        self.words = self.characters(self.starts, self.ends)
        self._whole = np.zeros(len(self.words) + 1, dtype=np.uint64)
        np.cumsum(self.words * powers.up[: len(self.words)], out=self._whole[1:])

    def sums(self, starts: Array, ends: Array) -> Array:
        """Of the characters from start to end, before they are mixed."""
        found: Array = (self._sums[ends] - self._sums[starts]) * self._down[starts]
        return found

    def characters(self, starts: Array, ends: Array) -> Array:
        return mixed(self.sums(starts, ends))

    def sequences(self, first: Array, count: Array | int) -> Array:
        """Of so many words from each of these on."""
        found: Array = (self._whole[first + count] - self._whole[first]) * self._down[first]
        return found

    def close(self, first: Array, last: Array) -> Array:
        """Whether nothing but a few separators stands between the words from first to last, and no
        end of a line or field. See `known.close`."""
        gaps = self.starts[1:] - self.ends[:-1]
        controls = np.concatenate(
            ([0], np.cumsum((self.codes < 32) | (self.codes == 127), dtype=np.int32))
        )
        wide = (gaps > LONGEST_GAP) | (controls[self.starts[1:]] != controls[self.ends[:-1]])
        sums = np.concatenate(([0], np.cumsum(wide, dtype=np.int32)))
        found: Array = sums[last] == sums[first]
        return found


def up(places: Array) -> Array:
    """B to the power of each."""
    found: Array = _powers_for(int(places.max(initial=0))).up[places]
    return found


# --- one -----------------------------------------------------------------------------------------


class _Keys(dict[str, int]):
    """The key of each character that was met."""

    def __missing__(self, char: str) -> int:
        key = self[char] = int(tables_of(EVERY)[0][min(ord(char), LAST)])
        return key


_keys = _Keys()


def _keys_of(folded: str) -> list[int]:
    if folded.isascii():
        return [_ASCII_KEYS[code] for code in folded.encode("ascii")]
    return [_keys[char] for char in folded]


def characters(folded: str) -> int:
    """The fingerprint of a text of one piece, or of one word."""
    total = 0
    for key in reversed(_keys_of(folded)):
        total = total * BASE + key & _BITS
    total = (total ^ total >> 31) * _MIX & _BITS
    return total ^ total >> 29


def sequence(words: Sequence[int]) -> int:
    """Of words by their fingerprints."""
    if len(words) == 1:
        return words[0]
    total = 0
    for word in reversed(words):
        total = total * BASE + word & _BITS
    return total


class Words:
    """Fingerprints of words, the latest ones remembered: those of a language come again."""

    def __init__(self, bound: int = 1 << 15) -> None:
        self._known: dict[str, int] = {}
        self._bound = bound

    def __call__(self, word: str) -> int:
        found = self._known.get(word)
        if found is None:
            found = characters(word)
            if len(self._known) >= self._bound:
                self._known = {}
            self._known[word] = found
        return found


word = Words()


def phrase(folded: str) -> int:
    """The fingerprint of a text's words."""
    return sequence([word(one) for one in TOKEN.findall(folded)])
