"""Looks for originals of masked values in what a copy holds (P8), as fast as it is read.

Each window is cut into words by numpy; the fingerprints of sequences of words are asked for
among those of the originals, and only where they meet does a precise second look follow.
Also found: e-mail addresses and international phone numbers that are no pseudonym. Not found:
values shorter than four characters, small numbers, two Chinese characters inside other text, and
what is compressed, encrypted or in base64.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from sandbox.masking.known import DOUBTFUL, Index, close, in_word, spans_of
from sandbox.masking.loops import available
from sandbox.masking.made import Made
from sandbox.masking.prints import Array
from sandbox.masking.pseudonyms import FROM_LISTS
from sandbox.masking.shapes import Place, shaped
from sandbox.masking.tokens import TOKEN, Tokens, characters, coded, fold, phrase

WINDOW = 1 << 17  # bytes that are looked at together: what is made of them stays in the cache
# At a cut a value may go on, so nothing in these many characters is believed; the next window sees
# them again. An escaped character takes six bytes: what is in doubt here is well inside there.
OVERLAP = 4096
EDGE = 256
# Cities and companies are shared by many and stand in time zones, settings and headlines.
SEARCHED = frozenset(
    {"email", "person", "username", "phone", "street", "ip", "mac", "uuid", "token", "hash", "path"}
)
LONGEST_HEAD = 9  # bytes of a length or an expiry before a text, in binary frames
AROUND = 3  # words on either side that may make a match part of a longer pseudonym
MUCH = 4 << 20  # bytes of a stream from which on compiled loops look through it
# A vector as text: nothing in it is anybody's value, and most of a collection is this.
NUMBERS = re.compile(rb"\[(?:-?\d{1,3}\.\d+(?:[eE][-+]?\d+)?, ?){16,}")
_UNICODE = re.compile(rb"\\u([0-9a-fA-F]{4})")
_ESCAPES = ((rb"\n", b"  "), (rb"\t", b"  "), (rb"\r", b"  "), (rb"\/", b" /"))


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A value that should not be there. `text` is for looking the place up: never print it."""

    dataset: str
    rule: str
    text: str = field(repr=False)


class Originals:
    """Fingerprints of the values that were changed, and of pseudonyms that look like real names.

    Filled by threads while they mask. `len()` is the number of originals held.
    """

    def __init__(self, *, limit: int = 2_000_000, only: Collection[int] | None = None) -> None:
        self.index = Index(limit=limit, only=only)
        self.made = Made()

    def __len__(self) -> int:
        self.index.settle()
        return len(self.index)

    def record(self, domain: str, original: str, pseudonym: str) -> None:
        """One value was masked."""
        if original == pseudonym:
            return
        self.index.note(domain, original)
        if domain in FROM_LISTS:
            self.made.add(pseudonym)

    def record_all(self, domain: str, pairs: Sequence[tuple[str, str]]) -> None:
        """`record` for many (original, pseudonym)."""
        changed = [(original, made) for original, made in pairs if original != made]
        self.index.add_all(domain, [original for original, _ in changed])
        if domain in FROM_LISTS:
            self.made.add_all([made for _, made in changed])

    def is_pseudonym(self, text: str) -> bool:
        folded = fold(text)
        return phrase(folded) in self.made or characters(folded) in self.made

    def within_pseudonym(self, folded: str, start: int, end: int) -> bool:
        """Whether the place is a pseudonym, or part of a longer one."""
        before = max(start - 60, 0)
        window = folded[before : end + 60]
        start, end = start - before, end - before
        if characters(window[start:end]) in self.made:
            return True
        spans = [match.span() for match in TOKEN.finditer(window)]
        words = [window[a:b] for a, b in spans]
        inside = [i for i, (a, b) in enumerate(spans) if a < end and b > start]
        if not inside:
            return False
        first, last = inside[0], inside[-1]
        return any(
            phrase(" ".join(words[i : j + 1])) in self.made
            for i in range(max(first - AROUND, 0), first + 1)
            for j in range(last, min(last + AROUND + 1, len(words)))
        )


def scan(pieces: Iterable[bytes], originals: Originals, *, dataset: str = "") -> Iterator[Suspect]:
    """Every original, once, that stands in a stream of bytes."""
    originals.index.settle()
    told: set[tuple[str, str]] = set()
    for window in _windows(pieces):
        for place in _look(window.data, originals):
            if (place.rule, place.text) not in told and window.holds(place):
                told.add((place.rule, place.text))
                yield Suspect(dataset=dataset, rule=place.rule, text=place.text)


@dataclass(frozen=True, kw_only=True)
class Window:
    """A part of a stream; what stands at a cut is left to the window that has it whole."""

    data: bytes = field(repr=False)
    first: bool
    last: bool

    def holds(self, place: Place) -> bool:
        after_cut = self.first or place.start >= EDGE
        return after_cut and (self.last or place.end <= place.size - EDGE)


def _windows(pieces: Iterable[bytes]) -> Iterator[Window]:
    data, first, size = b"", True, 0
    for piece in pieces:
        size += len(piece)
        data += _without_numbers(piece, size)
        while len(data) > WINDOW:
            yield Window(data=data[:WINDOW], first=first, last=False)
            data, first = data[WINDOW - OVERLAP :], False
    yield Window(data=data, first=first, last=True)


def _without_numbers(piece: bytes, size: int) -> bytes:
    """`size`: of the stream up to here."""
    if size < MUCH or not available():
        return NUMBERS.sub(b" ", piece)
    from sandbox.masking.loops.numbers import without

    return without(piece)


def _look(data: bytes, originals: Originals) -> Iterator[Place]:
    plain = _unescaped(data)
    yield from _known(plain, originals)
    yield from shaped(plain)


def _unescaped(data: bytes) -> bytes:
    """JSON's and COPY's escapes of letters would hide words; the rest may stay."""
    if b"\\" not in data:
        return data
    for escape, instead in _ESCAPES:
        data = data.replace(escape, instead)
    if b"\\u" in data:
        data = _UNICODE.sub(_character, data)
    return data


def _character(match: re.Match[bytes]) -> bytes:
    return chr(int(match[1], 16)).encode("utf-8", "replace")


# --- known originals -----------------------------------------------------------------------------


class View:
    """A window as text, for the precise look: made when something was met."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._text: tuple[str, str] | None = None

    @property
    def both(self) -> tuple[str, str]:
        """As it is, and without case."""
        if self._text is None:
            text = self._data.decode("utf-8", "replace")
            self._text = text, fold(text)
        return self._text

    def place(self, rule: str, start: int, end: int) -> Place:
        text = self.both[0]
        return Place(rule=rule, text=text[start:end], start=start, end=end, size=len(text))


def _known(data: bytes, originals: Originals) -> Iterator[Place]:
    tokens, view = Tokens(coded(data)), View(data)
    yield from _words(tokens, view, originals, binary=b"\0" in data)
    yield from _runs(tokens, view, originals)


def _domains(marks: Array, index: Index) -> list[str]:
    """Of each, "" where it is not searched for."""
    known = {one: index.domain(one) or "" for one in np.unique(marks).tolist()}
    searched = {one: domain if domain in SEARCHED else "" for one, domain in known.items()}
    return [searched[one] for one in marks.tolist()]


def _words(tokens: Tokens, view: View, originals: Originals, *, binary: bool) -> Iterator[Place]:
    """Sequences of words that are known whole, and how they stand in the text."""
    index = originals.index
    hits = index.hits(tokens, binary=binary)
    if not len(hits.first):
        return
    made = originals.made.among(hits.prints)
    told: set[int] = set()
    for domain, first, count, print_, short, pseudonym in zip(
        _domains(hits.marks, index),
        *(part.tolist() for part in (hits.first, hits.count, hits.prints, hits.short, made)),
        strict=True,
    ):
        if pseudonym or not domain or print_ in told:
            continue
        spans = spans_of(tokens, first, count)
        if short:
            spans[0] = (spans[0][0] + 1, spans[0][1])
        if not _stands(view.both[1], spans, originals, short=short):
            continue
        rule = domain if index.sure(print_) else DOUBTFUL
        place = view.place(rule, spans[0][0], spans[-1][1])
        if place.start >= EDGE and place.end <= place.size - EDGE:
            told.add(print_)
        yield place


def _stands(
    folded: str, spans: list[tuple[int, int]], originals: Originals, *, short: bool
) -> bool:
    """Whether the words stand as one value, and not within a pseudonym."""
    start, end = spans[0][0], spans[-1][1]
    if in_word(folded[end : end + 1]):
        return False
    if short and "\0" not in folded[max(start - LONGEST_HEAD, 0) : start]:
        return False
    return (
        close(folded, spans)
        and _written(folded, spans, originals.index)
        and not originals.within_pseudonym(folded, start, end)
    )


def _written(folded: str, spans: list[tuple[int, int]], index: Index) -> bool:
    """Numbers alone count only as they were written, and not inside longer ones."""
    if not all(folded[start:end].isdecimal() for start, end in spans):
        return True
    start, end = spans[0][0], spans[-1][1]
    if folded[end : end + 1] == "." and folded[end + 1 : end + 2].isdecimal():
        return False
    if start > 1 and folded[start - 1] == "." and folded[start - 2].isdecimal():
        return False
    return any(index.written(folded[max(at, 0) : end]) for at in (start, start - 1))


def _runs(tokens: Tokens, view: View, originals: Originals) -> Iterator[Place]:
    """Chinese, Japanese and Korean values inside running text; two characters only as a whole."""
    index = originals.index
    starts, ends, marks = index.runs(tokens)
    if not len(starts):
        return
    prints = tokens.characters(starts, ends)
    made = originals.made.among(prints)
    for domain, start, end, print_, pseudonym in zip(
        _domains(marks, index),
        *(part.tolist() for part in (starts, ends, prints, made)),
        strict=True,
    ):
        if pseudonym or not domain:
            continue
        if end - start == 2 and not _alone(tokens.kind, start, end):
            continue
        if end - start > 2 and _within_run(view.both[1], start, end, originals):
            continue
        yield view.place(domain if index.sure(print_) else DOUBTFUL, start, end)


def _alone(kind: Array, start: int, end: int) -> bool:
    return not (start and kind[start - 1]) and not (end < len(kind) and kind[end])


def _within_run(folded: str, start: int, end: int, originals: Originals) -> bool:
    """A longer pseudonym around the match: names are not set apart in these scripts."""
    return any(
        characters(folded[first:last]) in originals.made
        for first in range(max(start - 4, 0), start + 1)
        for last in range(end, min(end + 5, len(folded) + 1))
    )
