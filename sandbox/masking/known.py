"""Originals as fingerprints: enough to recognise a value when it comes by, never to say it.

A fingerprint is Python's hash of a string: SipHash under a key that is random in each process.
Values are compared without case and without what separates their words, so that `Ann.Lee@x.com`
is found in `mailto:ann.lee@x.com`, and a name in `interview_Ann Lee.json`. Values in Chinese,
Japanese and Korean are found inside running text, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

SEPARATORS = bytes(
    ord(chr(b).lower()) if b >= 0x80 or chr(b).isalnum() else 0x20 for b in range(128)
) + bytes(range(128, 256))
_UNSPACED = "\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3"
CJK = re.compile(f"[{_UNSPACED}]")
# Letters and digits of any script: a full stop or an ideograph beside a name is not part of it.
TOKEN = re.compile(rf"[{_UNSPACED}]+|[^\W_{_UNSPACED}]+")
GAP = re.compile(
    r"[^0-9A-Za-z\x00-\x08\t\n\v\f\r\x0e-\x1f\x7f]{0,3}"
)  # between two words of one value
GRAM = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Where a known value stands in a text, and of which domain it is."""

    start: int
    end: int
    domain: str


def in_word(char: str) -> bool:
    """Whether a character would belong to the word beside it ("" at the end of a text does not)."""
    return char.isalnum() and not CJK.match(char)


def fold(text: str) -> str:
    """Lower case, one character for each character."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)


class Bits:
    """A Bloom filter of 2^27 bits: what does not fit the exact set any more (16 MiB)."""

    def __init__(self) -> None:
        self._bits = bytearray(1 << 24)

    def add(self, value: int) -> None:
        for place in self._places(value):
            self._bits[place >> 3] |= 1 << (place & 7)

    def __contains__(self, value: int) -> bool:
        return all(self._bits[place >> 3] >> (place & 7) & 1 for place in self._places(value))

    def _places(self, value: int) -> tuple[int, int, int, int]:
        low, high = value & 0x7FFFFFF, value >> 27 & 0x7FFFFFF
        return low, high, (low + 2 * high) & 0x7FFFFFF, (low + 5 * high) & 0x7FFFFFF


class Index:
    """Fingerprints of known values by domain. Threads may add and find at the same time."""

    def __init__(self, *, limit: int = 4_000_000) -> None:
        self._limit = limit
        self.exact: dict[int, str] = {}  # fingerprint of the words -> domain
        self.strict: set[int] = set()  # of values of digits alone: as they are written
        self.anchors: dict[int, tuple[tuple[int, int], ...]] = {}  # word -> (its place, words)
        self.grams: dict[int, tuple[int, ...]] = {}  # first three characters -> lengths
        self.overflow: Bits | None = None
        self._shapes: set[tuple[int, int]] = set()  # of what went into the filter

    def __len__(self) -> int:
        return len(self.exact)

    def add(self, domain: str, value: str) -> None:
        """Remember a value; those too short to tell from chance are left out."""
        folded = fold(value)
        if CJK.search(folded) and not re.search(r"[\x00-\x2f\x3a-\x60\x7b-\x7f]", folded):
            self._add_run(domain, folded)
            return
        tokens = TOKEN.findall(folded)
        if not worth(tokens):
            return
        self._add_words(domain, tokens)
        if all(token.isdigit() for token in tokens):
            self.strict.add(hash(folded))
            digits = "".join(tokens)
            if len(tokens) > 1 and len(digits) >= 8 and domain == "phone":
                self.strict.update((hash(digits), hash("+" + digits)))
                self._add_words(domain, [digits])

    def _add_run(self, domain: str, folded: str) -> None:
        fingerprint = hash(folded)
        if len(folded) < 2 or fingerprint in self.exact:
            return
        self.exact[fingerprint] = domain
        gram = hash(folded[:GRAM])
        lengths = self.grams.get(gram, ())
        if len(folded) not in lengths:
            self.grams[gram] = (*lengths, len(folded))

    def _add_words(self, domain: str, tokens: list[str]) -> None:
        fingerprint = hash(" ".join(tokens))
        if fingerprint in self.exact:
            return
        place = max(range(len(tokens)), key=lambda i: len(tokens[i]))
        shape, anchor = (place, len(tokens)), hash(tokens[place])
        if len(self.exact) >= self._limit:
            self.overflow = self.overflow or Bits()
            self.overflow.add(fingerprint)
            self.overflow.add(anchor)
            self._shapes.add(shape)
            return
        self.exact[fingerprint] = domain
        shapes = self.anchors.get(anchor, ())
        if shape not in shapes:
            self.anchors[anchor] = (*shapes, shape)

    def domain_of(self, fingerprint: int) -> str | None:
        known = self.exact.get(fingerprint)
        if known is None and self.overflow is not None and fingerprint in self.overflow:
            return "a value"
        return known

    def shapes_of(self, token: str) -> tuple[tuple[int, int], ...]:
        fingerprint = hash(token)
        known = self.anchors.get(fingerprint, ())
        if self.overflow is not None and fingerprint in self.overflow:
            return (*known, *self._shapes)
        return known

    def find(self, text: str) -> list[Found]:
        """Known values in a text, longest first where they overlap, in the order of the text."""
        folded = fold(text)
        found = list(self._find_words(folded))
        if not folded.isascii():
            found.extend(self._find_runs(folded))
        return apart(found)

    def _find_words(self, folded: str) -> Iterator[Found]:
        spans = [match.span() for match in TOKEN.finditer(folded)]
        tokens = [folded[start:end] for start, end in spans]
        for i, token in enumerate(tokens):
            for place, count in self.shapes_of(token):
                first = i - place
                if first < 0 or first + count > len(tokens):
                    continue
                domain = self.domain_of(hash(" ".join(tokens[first : first + count])))
                if domain is None or not close(folded, spans[first : first + count]):
                    continue
                start, end = spans[first][0], spans[first + count - 1][1]
                if self._as_written(tokens[first : first + count], folded, start, end):
                    start -= folded[start - 1 : start] == "+"
                    yield Found(start=start, end=end, domain=domain)

    def _as_written(self, tokens: list[str], folded: str, start: int, end: int) -> bool:
        """Values of digits alone only count as they were written: numbers are everywhere."""
        if not all(token.isdigit() for token in tokens):
            return True
        return hash(folded[start:end]) in self.strict or (
            start > 0 and hash(folded[start - 1 : end]) in self.strict
        )

    def _find_runs(self, folded: str) -> Iterator[Found]:
        for i in range(len(folded) - 1):
            if folded[i] < "\u0080":
                continue
            for gram in (folded[i : i + GRAM], folded[i : i + 2]):
                for length in self.grams.get(hash(gram), ()):
                    domain = self.exact.get(hash(folded[i : i + length]))
                    if domain is not None and i + length <= len(folded):
                        yield Found(start=i, end=i + length, domain=domain)


def worth(tokens: list[str]) -> bool:
    """Long enough not to be met by chance: four characters, and more than a small number."""
    size = sum(map(len, tokens))
    if size < 4:
        return False
    return not all(token.isdigit() for token in tokens) or size >= 6


def close(text: str, spans: list[tuple[int, int]]) -> bool:
    """Whether only a few separators, and no end of a line or field, stand between the words."""
    return all(GAP.fullmatch(text, end, start) for (_, end), (start, _) in pairwise(spans))


def apart(found: list[Found]) -> list[Found]:
    found.sort(key=lambda one: (one.start, one.start - one.end))
    kept: list[Found] = []
    for one in found:
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
        elif one.end - one.start > kept[-1].end - kept[-1].start:
            kept[-1] = one
    return kept
