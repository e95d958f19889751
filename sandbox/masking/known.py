"""Originals as fingerprints: enough to recognise a value when it comes by, never to say it.

A fingerprint is Python's hash of a string: SipHash under a key that is random in each process.
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
from itertools import pairwise

from sandbox.masking.prints import Bits, Marks, Prints

SEPARATORS = bytes(
    ord(chr(b).lower()) if b >= 0x80 or chr(b).isalnum() else 0x20 for b in range(128)
) + bytes(range(128, 256))
_UNSPACED = "\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3"
CJK = re.compile(f"[{_UNSPACED}]")
RUN = re.compile(f"[0-9A-Za-z{_UNSPACED}]{{2,}}")
# Letters and digits of any script: a full stop or an ideograph beside a name is not part of it.
TOKEN = re.compile(rf"[{_UNSPACED}]+|[^\W_{_UNSPACED}]+")
GAP = re.compile(
    r"[^0-9A-Za-z\x00-\x08\t\n\v\f\r\x0e-\x1f\x7f]{0,3}"
)  # between two words of one value
UNLIKE_RUNS = re.compile(r"[\x00-\x2f\x3a-\x60\x7b-\x7f]")
GRAM = 3
LINES = SEPARATORS[:10] + b"\n" + SEPARATORS[11:]
BATCH = 1024  # values that are taken up together
ALONE = (0, 1)  # the shape of one word
DOUBTFUL = "a value"  # the domain of what only the filter knows
Shape = tuple[int, int]


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
    return "\u0130".join([part.lower() for part in text.split("\u0130")])  # İ becomes two


class Index:
    """Fingerprints of known values by domain. Threads may add and find at the same time.

    Above `limit` values a filter takes the rest; what it finds is DOUBTFUL. With `only`, nothing
    but values with these fingerprints is taken up: the second look at what was doubtful.
    """

    def __init__(self, *, limit: int = 4_000_000, only: Collection[int] | None = None) -> None:
        self._limit, self._only = limit, only
        self.exact = Prints()  # of a value's words; marked with its domain
        self.strict = Prints()  # of values of digits alone: as they are written
        self.anchors = Prints()  # of a value's most telling word; marked with its shape
        self.grams: dict[int, tuple[int, ...]] = {}  # first three characters -> lengths
        self.overflow: Bits | None = None
        self._domains = Marks[str]()
        self._shapes = Marks[Shape]()
        self._queues: dict[str, deque[str]] = {}

    def __len__(self) -> int:
        return len(self.exact)

    def add(self, domain: str, value: str) -> None:
        """Remember a value; those too short to tell from chance are left out."""
        if value.isascii():
            plain = value.encode().translate(SEPARATORS).decode()
            self._add_words(domain, plain.split(), value)
            return
        folded = fold(value)
        if CJK.search(folded) and not UNLIKE_RUNS.search(folded):
            self._add_run(domain, folded)
            return
        self._add_words(domain, TOKEN.findall(folded), value)

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
        plain = [value for value in values if value.isascii() and "\n" not in value]
        full = len(self.exact) + len(plain) > self._limit
        if full or self._only is not None or len(plain) < 8:
            plain = []
        if len(plain) < len(values):
            for value in values if not plain else set(values).difference(plain):
                self.add(domain, value)
        if plain:
            self._add_plain(domain, plain)

    def _add_plain(self, domain: str, values: list[str]) -> None:
        lines = _words_of(values)
        if _words_alone(lines):
            prints = list(map(hash, lines))
            self.exact.add_all(prints, self._domains.of(domain))
            self.anchors.add_all(prints, self._shapes.of(ALONE))
            return
        heads = _words_of([one.partition("@")[0] for one in values]) if domain == "email" else lines
        exact: list[int] = []
        strict: list[int] = []
        anchors: dict[Shape, list[int]] = {ALONE: []}
        for value, line, head in zip(values, lines, heads, strict=True):
            words = line.split()
            if len(words) == 1:
                anchor, shape = words[0], ALONE
            elif words:
                anchor = max(head.split() or words, key=len)
                shape = (words.index(anchor), len(words))
            joined = " ".join(words)
            if len(joined) < 8 and not worth(words):
                continue
            if joined[-1].isdigit() and joined.replace(" ", "").isdigit():
                strict.append(hash(value.lower()))
                digits = "".join(words)
                if len(words) > 1 and len(digits) >= 8 and domain == "phone":
                    strict.append(hash(digits))
                    exact.append(hash(digits))
                    anchors[ALONE].append(hash(digits))
            exact.append(hash(joined))
            anchors.setdefault(shape, []).append(hash(anchor))
        self.strict.add_all(strict)
        self.exact.add_all(exact, self._domains.of(domain))
        for shape, prints in anchors.items():
            self.anchors.add_all(prints, self._shapes.of(shape))

    def _add_run(self, domain: str, folded: str) -> None:
        fingerprint = hash(folded)
        if len(folded) < 2 or not self._wanted(fingerprint):
            return
        self.exact.add(fingerprint, self._domains.of(domain))
        gram = hash(folded[:GRAM])
        lengths = self.grams.get(gram, ())
        if len(folded) not in lengths:
            self.grams[gram] = (*lengths, len(folded))

    def _add_words(self, domain: str, words: list[str], value: str) -> None:
        joined = " ".join(words)
        digits = joined[-1:].isdigit() and joined.replace(" ", "").isdigit()
        if len(joined) < 4 or not worth(words):
            return
        if digits:
            self._add_digits(domain, words, value)
        fingerprint = hash(joined)
        if not self._wanted(fingerprint):
            return
        telling = words
        if domain == "email":  # hosts are shared by many
            local = len(TOKEN.findall(value.partition("@")[0]))
            telling = words[:local] or words
        anchor = max(telling, key=len)
        shape = (words.index(anchor), len(words))
        if len(self.exact) >= self._limit:
            self._overflow(fingerprint, hash(anchor), shape)
            return
        self.exact.add(fingerprint, self._domains.of(domain))
        self.anchors.add(hash(anchor), self._shapes.of(shape))

    def _add_digits(self, domain: str, words: list[str], value: str) -> None:
        self.strict.add(hash(fold(value)))
        digits = "".join(words)
        if len(words) > 1 and len(digits) >= 8 and domain == "phone":
            self.strict.add(hash(digits))
            self._add_words(domain, [digits], digits)

    def _wanted(self, fingerprint: int) -> bool:
        return self._only is None or fingerprint in self._only

    def _overflow(self, fingerprint: int, anchor: int, shape: Shape) -> None:
        self.overflow = self.overflow or Bits()
        self.overflow.add(fingerprint)
        self.overflow.add(anchor)
        self._shapes.of(shape)

    def anchors_among(self, words: Iterable[str]) -> set[str]:
        """Those of the words that are the most telling word of a known value."""
        asked = set(words)
        found = self.anchors.known(asked)
        if self.overflow is not None:
            found.update(word for word in asked if hash(word) in self.overflow)
        return found

    def domain_of(self, fingerprint: int) -> str | None:
        marks = self.exact.get(fingerprint)
        if marks:
            return self._domains.first(marks)
        return DOUBTFUL if self.overflow is not None and fingerprint in self.overflow else None

    def shapes_of(self, token: str) -> Sequence[Shape]:
        """(place of the word in the value, words of the value) of values with this telling word."""
        fingerprint = hash(token)
        if self.overflow is not None and fingerprint in self.overflow:
            return self._shapes.all
        marks = self.anchors.get(fingerprint)
        return self._shapes.among(marks) if marks else ()

    def find(self, text: str) -> list[Found]:
        """Known values in a text, longest first where they overlap, in the order of the text."""
        if any(self._queues.values()):
            self.settle()
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
                    domain = self.domain_of(hash(folded[i : i + length]))
                    if domain is not None and i + length <= len(folded):
                        yield Found(start=i, end=i + length, domain=domain)


def _words_of(values: list[str]) -> list[str]:
    """Each value in lower case with spaces for its separators; none of them holds a line's end."""
    return "\n".join(values).encode().translate(LINES).decode().split("\n")


def _words_alone(lines: list[str]) -> bool:
    """Whether each is one word, long enough and no number: nothing else needs to be looked at."""
    return (
        not any(" " in line for line in lines)
        and min(map(len, lines)) >= 4
        and not any(map(str.isdigit, lines))
    )


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
