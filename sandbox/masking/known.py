"""Originals as fingerprints: enough to recognise a value when it comes by, never to say it.

Values are compared without case and without what separates their words, so that `Ann.Lee@x.com`
is found in `mailto:ann.lee@x.com`, and a name in `interview_Ann Lee.json`. Values in Chinese,
Japanese and Korean are found inside running text, too.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from sandbox.masking.prints import Array, Bits, Level, Marks, Prints
from sandbox.masking.tokens import (
    CJK,
    LONGEST_GAP,
    TOKEN,
    UNSPACED,
    Tokens,
    characters,
    coded,
    figures,
    fold,
    mixed,
    sequence,
    up,
    word,
)

GAP = re.compile(rf"[^0-9A-Za-z\x00-\x1f\x7f]{{0,{LONGEST_GAP}}}")  # between two words of a value
GRAM = 3
BATCH = 1024  # values that are taken up together
MOST_GRAMS = 1 << 16  # that are remembered
FEW = 8  # are quicker one by one
TEXTS = 1 << 17  # characters of texts that are looked at together
SHORT = 400  # a text of so many characters is quicker in Python
MOST_WORDS, MOST_CHARACTERS = 64, 32  # of a value and of one in a script without spaces; see _take
DOUBTFUL = "a value"  # the domain of what only the filter knows
STRICT = 1 << 15  # marks values of digits alone, as they are written
STEP = 0x9E3779B97F4A7C15  # between the places in the filter of two marks
UNLIKE_RUN = re.compile(r"[\x00-\x2f\x3a-\x60\x7b-\x7f]")
EMPTY: Array = np.zeros(0, dtype=np.int64)


class Found(NamedTuple):
    """Where a known value stands in a text, and of which domain it is."""

    start: int
    end: int
    domain: str


@dataclass(frozen=True, kw_only=True)
class Hits:
    """Known sequences of words in a window: the first word, how many, their marks and fingerprint;
    `short`: without the first character, as after a length in a binary frame."""

    first: Array
    count: Array
    marks: Array
    prints: Array
    short: Array


class Filters(NamedTuple):
    """What a compiled loop asks before anybody else: the words of `prints.Bits`, and how many words
    values have, and characters in running text, ascending. `known` of no words: ask for all."""

    firsts: Array
    coarse_firsts: Array
    counts: Array
    grams: Array
    coarse_grams: Array
    sizes: Array
    known: Array


def in_word(char: str) -> bool:
    """Whether a character would belong to the word beside it ("" at the end of a text does not)."""
    return char.isalnum() and not CJK.match(char)


class Index:
    """Fingerprints of known values by domain. Threads may add and find at the same time.

    Above `limit` values a filter takes the rest; what it finds is not `sure`. With `only`, nothing
    but values with these fingerprints is taken up: the second look at what was doubtful.
    """

    def __init__(self, *, limit: int = 2_000_000, only: Collection[int] | None = None) -> None:
        self._limit = limit
        self._only = None if only is None else np.sort(np.array(list(only), dtype=np.uint64))
        self._exact = Prints()
        self._overflow: Bits | None = None
        self._any = Bits(28, bits=3)  # what is in the overflow with any mark
        self._firsts = Bits(25)  # first words: most words of a text are none
        self._grams = Bits(25)  # first characters of values that stand in running text
        self._begun: dict[str, tuple[int, ...]] = {}  # see `_begins`
        self._counts: tuple[int, ...] = ()  # how many words values have
        self._lengths: tuple[int, ...] = ()  # how many characters, in running text
        self._domains = Marks[str]()
        self._queues: dict[str, deque[str]] = {}

    def __len__(self) -> int:
        return len(self._exact)

    # --- adding ---------------------------------------------------------------------------------

    def add(self, domain: str, value: str) -> None:
        """Remember a value; those too short to tell from chance are left out."""
        if not value.isascii() or self._only is not None or len(self._exact) >= self._limit:
            self._take_texts(domain, [value])
            return
        words = TOKEN.findall(value.lower())[:MOST_WORDS]
        if not worth(words):
            return
        prints = [word(one) for one in words]
        if all(map(str.isdecimal, words)):
            self._exact.add(characters(value.lower()), STRICT)
            digits = "".join(words)
            if len(words) > 1 and len(digits) >= 8 and domain == "phone":
                self._exact.add(word(digits), STRICT | self._domains.of(domain))
                self._firsts.add(word(digits))
                self._counted(1)
        self._exact.add(sequence(prints), self._domains.of(domain))
        self._firsts.add(prints[0])
        self._counted(len(prints))

    def note(self, domain: str, value: str) -> None:
        """Remember a value some time before the next question: many at once are quicker."""
        queue = self._queues.get(domain)
        if queue is None:
            queue = self._queues.setdefault(domain, deque())
        queue.append(value)
        if len(queue) >= BATCH:
            self.settle()

    def settle(self) -> None:
        """Take up what was noted."""
        for domain, queue in list(self._queues.items()):
            values: list[str] = []
            with suppress(IndexError):  # other threads may be here, too
                while len(values) < BATCH:
                    values.append(queue.popleft())
            self.add_all(domain, values)

    def add_all(self, domain: str, values: Sequence[str]) -> None:
        """`add` for many values."""
        if len(values) < FEW:
            for value in values:
                self.add(domain, value)
            return
        self._take_texts(domain, values)

    def _take_texts(self, domain: str, values: Sequence[str]) -> None:
        for batch in batches(values):
            self._take_batch(domain, batch)

    def _take_batch(self, domain: str, values: Sequence[str]) -> None:
        ends = np.fromiter(accumulate(len(value) + 1 for value in values), np.int64, len(values))
        starts = np.concatenate(([0], ends[:-1]))
        self.take(coded("\n".join(values)), starts, ends - 1, [domain])

    def take(self, codes: Array, starts: Array, ends: Array, domains: Sequence[str]) -> None:
        """Values that stand in a window; they are of the domains in turn, as rows have columns.

        Of a value of more words than MOST_WORDS (or characters, without spaces) the first count.
        """
        tokens = Tokens(codes)
        bits = np.array([self._domains.of(domain) for domain in domains], dtype=np.uint16)
        marks = _in_turn(bits, len(starts))
        phone = _in_turn(np.array([domain == "phone" for domain in domains]), len(starts))
        runs = _runs(tokens, starts, ends)
        first = np.searchsorted(tokens.starts, starts)
        count = np.searchsorted(tokens.starts, ends) - first
        size = _within(tokens.ends - tokens.starts, first, first + count)
        digits = _within(figures(codes), starts, ends) == size
        worthy = (size >= 4) & ~(digits & (size < 6)) & ~runs
        numbers = np.flatnonzero(worthy & digits)
        first, count = first[worthy], np.minimum(count[worthy], MOST_WORDS)
        prints = tokens.sequences(first, count)
        wanted = self._wanted(prints)
        self._hold(prints[wanted], marks[worthy][wanted])
        self._firsts.add_new(tokens.words[first[wanted]])
        self._counted(*np.unique(count[wanted]).tolist())
        if len(numbers):
            self._numbers(tokens, starts[numbers], ends[numbers], marks[numbers], phone[numbers])
        if runs.any():
            self._take_runs(tokens, starts[runs], ends[runs], marks[runs])

    def _numbers(
        self, tokens: Tokens, starts: Array, ends: Array, marks: Array, phone: Array
    ) -> None:
        """Values of digits alone, as they are written; of telephone numbers the digits joined."""
        self._hold(tokens.characters(starts, ends), np.full(len(starts), STRICT, np.uint16))
        first = np.searchsorted(tokens.starts, starts)
        last = np.searchsorted(tokens.starts, ends)
        size = _within(tokens.ends - tokens.starts, first, last)
        several = phone & (last - first > 1) & (size >= 8)
        if several.any():
            prints = _joined(tokens, first[several], last[several])
            wanted = self._wanted(prints)
            self._hold(prints[wanted], marks[several][wanted] | np.uint16(STRICT))
            self._firsts.add_new(prints[wanted])
            self._counted(1)

    def _take_runs(self, tokens: Tokens, starts: Array, ends: Array, marks: Array) -> None:
        ends = np.minimum(ends, starts + MOST_CHARACTERS)
        prints = tokens.characters(starts, ends)
        wanted = self._wanted(prints)
        starts, ends = starts[wanted], ends[wanted]
        self._hold(prints[wanted], marks[wanted])
        grams = tokens.characters(starts, np.minimum(starts + GRAM, ends))
        if not self._grams.among(grams).all():
            self._grams.add_all(grams)
            self._begun = {}
        new = set(np.unique(ends - starts).tolist()).difference(self._lengths)
        if new:
            self._lengths = tuple(sorted({*self._lengths, *new}))

    def _hold(self, prints: Array, marks: Array) -> None:
        room = max(self._limit - len(self._exact), 0)
        self._exact.add_all(prints[:room], marks[:room])
        prints, marks = prints[room:], marks[room:]
        if not len(prints):
            return
        overflow = self._overflow = self._overflow or Bits(29, words=2, bits=3)
        self._any.add_all(prints)
        for bits in np.unique(marks).tolist():
            for number in _bits(bits):
                step = np.uint64(number * STEP & (1 << 64) - 1)
                overflow.add_all(prints[marks == bits] + step)

    def _counted(self, *counts: int) -> None:
        if not set(counts).issubset(self._counts):
            self._counts = tuple(sorted({*self._counts, *counts}))

    def _wanted(self, prints: Array) -> Array:
        if self._only is None:
            return np.ones(len(prints), dtype=bool)
        return np.isin(prints, self._only)

    # --- asking ---------------------------------------------------------------------------------

    def marks(self, prints: Array) -> Array:
        """The marks of each; those of the filter may be wrong, see `sure`."""
        found = self._exact.marks(prints)
        if self._overflow is not None:
            here = np.flatnonzero(self._any.among(prints))
            for number in (*range(len(self._domains.all)), 15):
                step = np.uint64(number * STEP & (1 << 64) - 1)
                marked = self._overflow.among(prints[here] + step)
                found[here] |= marked.astype(np.uint16) << number
        return found

    def filters(self) -> Filters:
        """Of what was taken up so far; `settle` before."""
        known = self._exact.filter() if self._overflow is None else EMPTY.astype(np.uint64)
        return Filters(
            firsts=self._firsts.words,
            coarse_firsts=self._firsts.coarse,
            counts=np.array(self._counts, dtype=np.int64),
            grams=self._grams.words,
            coarse_grams=self._grams.coarse,
            sizes=np.array(self._lengths, dtype=np.int64),
            known=known,
        )

    def levels(self) -> Sequence[Level] | None:
        """All that is known, if it is known exactly."""
        return self._exact.levels() if self._overflow is None else None

    def _marks_of(self, print_: int) -> int:
        if self._overflow is not None:
            return int(self.marks(np.array([print_], dtype=np.uint64))[0])
        return self._exact.get(print_)

    def sure(self, print_: int) -> bool:
        """Whether it is known exactly."""
        return self._overflow is None or self._exact.get(print_) & ~STRICT != 0

    def domain(self, marks: int) -> str | None:
        marks &= ~STRICT
        return self._domains.first(marks) if marks else None

    def written(self, folded: str) -> bool:
        """Whether a value of digits alone was written so."""
        return bool(self._marks_of(characters(folded)) & STRICT)

    def hits(self, tokens: Tokens, *, binary: bool = False) -> Hits:
        """Known sequences of words; `binary`: also without the first character of the first."""
        words = self._sequences(tokens, np.flatnonzero(self._firsts.among(tokens.words)), None)
        found = [words]
        if binary:
            long = np.flatnonzero(tokens.ends - tokens.starts > 1)
            cut = tokens.characters(tokens.starts[long] + 1, tokens.ends[long])
            telling = self._firsts.among(cut)
            found.append(self._sequences(tokens, long[telling], cut[telling]))
        return Hits(
            first=np.concatenate([one[0] for one in found]),
            count=np.concatenate([one[1] for one in found]),
            marks=np.concatenate([one[2] for one in found]),
            prints=np.concatenate([one[3] for one in found]),
            short=np.repeat([False, True][: len(found)], [len(one[0]) for one in found]),
        )

    def _sequences(
        self, tokens: Tokens, first: Array, instead: Array | None
    ) -> tuple[Array, Array, Array, Array]:
        """`instead`: fingerprints in place of the first words'."""
        places, counts, prints = [EMPTY], [EMPTY], [EMPTY.astype(np.uint64)]
        for count in self._counts:
            whole = first + count <= len(tokens.words)
            at = first[whole]
            made = tokens.sequences(at, count)
            if instead is not None:
                made = made - tokens.words[at] + instead[whole]
            places.append(at)
            counts.append(np.full(len(at), count))
            prints.append(made)
        place, count_, print_ = map(np.concatenate, (places, counts, prints))
        marks = self.marks(print_)
        known = marks & np.uint16(~STRICT & 0xFFFF) != 0
        return place[known], count_[known], marks[known], print_[known]

    def runs(self, tokens: Tokens) -> tuple[Array, Array, Array]:
        """Known values in running text: where they start and end, and their marks."""
        codes, found = tokens.codes, []
        if codes.dtype == np.uint8 or not self._lengths:
            return EMPTY, EMPTY, EMPTY
        unspaced = tokens.kind == UNSPACED
        near = unspaced.copy()
        near[:-1] |= unspaced[1:]
        near[:-2] |= unspaced[2:]
        starts = np.flatnonzero(near & (tokens.kind != 0))
        for sizes, gram in (((2,), 2), (self._lengths, GRAM)):
            at = starts[starts + gram <= len(codes)]
            at = at[self._grams.among(tokens.characters(at, at + gram))]
            for size in set(sizes).intersection(self._lengths) - ({2} if gram > 2 else set()):
                whole = at[at + size <= len(codes)]
                marks = self.marks(tokens.characters(whole, whole + size))
                known = marks & np.uint16(~STRICT & 0xFFFF) != 0
                found.append((whole[known], whole[known] + size, marks[known]))
        if not found:
            return EMPTY, EMPTY, EMPTY
        start, end, mark = (np.concatenate(part) for part in zip(*found, strict=True))
        return start, end, mark

    def find(self, text: str) -> list[Found]:
        """Known values in a text, longest first where they overlap, in the order of the text."""
        if any(self._queues.values()):
            self.settle()
        if len(text) > SHORT:
            return self.find_all([text])[0]
        if text.isascii():
            return apart(list(self._find_words(text.lower())))
        folded = fold(text)
        return apart([*self._find_words(folded), *self._find_runs(folded)])

    def find_all(self, texts: Sequence[str]) -> list[list[Found]]:
        """`find` for many texts: some microseconds each."""
        self.settle()
        return [found for batch in batches(texts) for found in self._find_in(batch)]

    def _find_in(self, texts: Sequence[str]) -> list[list[Found]]:
        return self.find_in("\n".join(texts), texts)

    def find_in(
        self, joined: str, texts: Sequence[str], also: Sequence[Found] = ()
    ) -> list[list[Found]]:
        """In texts that are joined by line ends, which nothing that is found reaches over. `also`:
        what was found in the joined text by other means; of two that overlap the longer stays."""
        tokens = Tokens(coded(joined))
        found: list[list[Found]] = [[] for _ in texts]
        places: list[Found] = []
        domains: dict[int, str] = {}
        for part in (self._places(tokens, self.hits(tokens)), self.runs(tokens)):
            for start, end, marks in zip(*(one.tolist() for one in part), strict=True):
                domain = domains.get(marks)
                if domain is None:
                    domain = domains[marks] = str(self.domain(marks))
                places.append(Found(start, end, domain))
        places += also  # what is known keeps its own domain
        if not places:
            return found
        ends = np.fromiter(accumulate(len(text) + 1 for text in texts), np.int64, len(texts))
        text_of = np.searchsorted(ends, [place.start for place in places], side="right").tolist()
        begins = [0, *ends.tolist()]
        for text, (start, end, domain) in zip(text_of, places, strict=True):
            before = begins[text]
            found[text].append(Found(start - before, end - before, domain))
        return [apart(one) for one in found]

    def _places(self, tokens: Tokens, hits: Hits) -> tuple[Array, Array, Array]:
        """Where hits start and end that stand as one value, and their marks: `close` and
        `_as_written` of each."""
        last = hits.first + hits.count - 1
        starts, ends = tokens.starts[hits.first], tokens.ends[last]
        digits = _within(figures(tokens.codes), starts, ends)
        letters = _within(tokens.ends - tokens.starts, hits.first, last + 1)
        stand = tokens.close(hits.first, last)
        numbers = np.flatnonzero(stand & (digits == letters))
        begins = starts[numbers], np.maximum(starts[numbers] - 1, 0)
        as_written = [self.marks(tokens.characters(one, ends[numbers])) & STRICT for one in begins]
        stand[numbers] = (as_written[0] | as_written[1]) != 0
        starts, ends, marks = starts[stand], ends[stand], hits.marks[stand]
        plus = (starts > 0) & (tokens.codes[starts - 1] == ord("+"))
        return starts - plus, ends, marks

    def _find_words(self, folded: str) -> Iterator[Found]:
        """The same for one short text without numpy."""
        spans = [match.span() for match in TOKEN.finditer(folded)]
        prints = [word(folded[start:end]) for start, end in spans]
        for i, print_ in enumerate(prints):
            if print_ not in self._firsts:
                continue
            for count in self._counts:
                if i + count > len(prints):
                    break
                marks = self._marks_of(sequence(prints[i : i + count]))
                domain = self.domain(marks)
                part = spans[i : i + count]
                if domain is None or not close(folded, part) or not self._as_written(folded, part):
                    continue
                start, end = part[0][0], part[-1][1]
                start -= folded[start - 1 : start] == "+"
                yield Found(start, end, domain)

    def _find_runs(self, folded: str) -> Iterator[Found]:
        """The same in running text."""
        for start in range(len(folded) - 1):
            for size in self._begins(folded[start : start + GRAM]):
                for length in (2,) if size == 2 else self._lengths:
                    end = start + length
                    if length < size or end > len(folded) or length not in self._lengths:
                        continue
                    domain = self.domain(self._marks_of(characters(folded[start:end])))
                    if domain is not None:
                        yield Found(start, end, domain)

    def _begins(self, gram: str) -> tuple[int, ...]:
        """Whether a value in running text may begin with these characters: 2 or GRAM of them. A
        language's are asked for again and again, and remembered until a new one is taken up."""
        remembered = self._begun
        found = remembered.get(gram)
        if found is None:
            heads = (gram[:2], gram) if len(gram) == GRAM else (gram,)
            found = tuple(len(one) for one in heads if characters(one) in self._grams)
            if len(remembered) < MOST_GRAMS:
                remembered[gram] = found
        return found

    def _as_written(self, folded: str, spans: list[tuple[int, int]]) -> bool:
        """Values of digits alone only count as they were written: numbers are everywhere."""
        if not _is_number(folded, spans):
            return True
        start, end = spans[0][0], spans[-1][1]
        return self.written(folded[start:end]) or (
            start > 0 and self.written(folded[start - 1 : end])
        )


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts that are looked at together."""
    held: list[str] = []
    size = 0
    for text in texts:
        held.append(text)
        size += len(text) + 1
        if size >= TEXTS:
            yield held
            held, size = [], 0
    if held:
        yield held


def _is_number(folded: str, spans: list[tuple[int, int]]) -> bool:
    return all(folded[start:end].isdecimal() for start, end in spans)


def _in_turn(few: Array, count: int) -> Array:
    """One after the other, again and again; np.resize joins as many arrays as there are turns."""
    found: Array = np.tile(few, -(-count // len(few)))[:count]
    return found


def _within(sizes: Array, first: Array, last: Array) -> Array:
    """Sums of parts."""
    sums = np.zeros(len(sizes) + 1, dtype=np.int32)
    np.cumsum(sizes, dtype=np.int32, out=sums[1:])
    found: Array = sums[last] - sums[first]
    return found


def _runs(tokens: Tokens, starts: Array, ends: Array) -> Array:
    """Which values may stand in running text: one of a script without spaces begins them, and no
    ASCII separator is inside."""
    codes = tokens.codes
    if codes.dtype == np.uint8:
        return np.zeros(len(starts), dtype=bool)
    apart_ = (codes < 128) & (tokens.kind == 0)
    unspaced = tokens.kind == UNSPACED
    head = np.minimum(starts + GRAM, ends)
    found: Array = (
        (ends - starts >= 2)
        & (_within(apart_, starts, ends) == 0)
        & (_within(unspaced, starts, head) > 0)
    )
    return found


def _joined(tokens: Tokens, first: Array, last: Array) -> Array:
    """Fingerprints of words written as one."""
    count = last - first
    value = np.repeat(np.arange(len(first)), count)
    ends = np.cumsum(count)
    place = np.arange(len(value)) - np.repeat(ends - count, count) + np.repeat(first, count)
    starts, stops = tokens.starts[place], tokens.ends[place]
    before = np.cumsum(stops - starts) - (stops - starts)
    before -= np.repeat(before[ends - count], count)
    sums = tokens.sums(starts, stops) * up(before)
    return mixed(np.add.reduceat(sums, ends - count))


def _bits(marks: int) -> list[int]:
    return [number for number in range(16) if marks >> number & 1]


def spans_of(tokens: Tokens, first: int, count: int) -> list[tuple[int, int]]:
    """Where these words stand, in characters."""
    part = slice(first, first + count)
    return list(zip(tokens.starts[part].tolist(), tokens.ends[part].tolist(), strict=True))


def worth(tokens: list[str]) -> bool:
    """Long enough not to be met by chance: four characters, and more than a small number."""
    size = sum(map(len, tokens))
    if size < 4:
        return False
    return not all(token.isdecimal() for token in tokens) or size >= 6


def close(text: str, spans: list[tuple[int, int]]) -> bool:
    """Whether only a few separators, and no end of a line or field, stand between the words."""
    return all(GAP.fullmatch(text, end, start) for (_, end), (start, _) in pairwise(spans))


def apart(found: list[Found]) -> list[Found]:
    """Where two overlap the longer one stays; in the order of the text."""
    if len(found) < 2:
        return found
    found.sort(key=lambda one: (one.start, one.start - one.end))
    kept: list[Found] = []
    for one in found:
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
        elif one.end - one.start > kept[-1].end - kept[-1].start:
            kept[-1] = one
    return kept
