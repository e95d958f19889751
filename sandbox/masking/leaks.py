"""Looks for originals of masked values in what a copy holds (P8), as fast as it is read.

Each piece (about 1 MiB) is cut into words by C code; the words' fingerprints are intersected with
those of the originals' longest words, and only where they meet does a precise second look follow.
Also found: e-mail addresses and international phone numbers that are no pseudonym. Not found:
values shorter than four characters, small numbers, two Chinese characters inside other text, and
what is compressed, encrypted or in base64.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from sandbox.masking.known import (
    CJK,
    DOUBTFUL,
    GRAM,
    RUN,
    SEPARATORS,
    TOKEN,
    Found,
    Index,
    close,
    fold,
    in_word,
)
from sandbox.masking.pseudonyms import FROM_LISTS
from sandbox.masking.shapes import Place, shaped

WINDOW = 1 << 19  # bytes that are looked at together
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
# A vector as text: nothing in it is anybody's value, and most of a collection is this.
_NUMBERS = re.compile(rb"\[(?:-?\d{1,3}\.\d+(?:[eE][-+]?\d+)?, ?){16,}")
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

    def __init__(self, *, limit: int = 4_000_000, only: Collection[int] | None = None) -> None:
        self.index = Index(limit=limit, only=only)
        self._seen: set[str] = set()  # pseudonyms from lists
        self._made: set[int] = set()  # their fingerprints

    def __len__(self) -> int:
        self.index.settle()
        return len(self.index)

    def record(self, domain: str, original: str, pseudonym: str) -> None:
        """One value was masked."""
        if original == pseudonym:
            return
        self.index.note(domain, original)
        if domain in FROM_LISTS and pseudonym not in self._seen:
            self._seen.add(pseudonym)
            self.made(pseudonym)

    def made(self, pseudonym: str) -> None:
        folded = fold(pseudonym)
        self._made.add(hash(" ".join(TOKEN.findall(folded))))
        self._made.add(hash(folded))

    def is_pseudonym(self, words: str) -> bool:
        return hash(words) in self._made

    def within_pseudonym(self, text: str, found: Found) -> bool:
        """Whether the place is a pseudonym, or part of a longer one."""
        window = fold(text[max(found.start - 60, 0) : found.end + 60])
        start = found.start - max(found.start - 60, 0)
        end = start + found.end - found.start
        if hash(window[start:end]) in self._made:
            return True
        spans = [match.span() for match in TOKEN.finditer(window)]
        words = [window[a:b] for a, b in spans]
        inside = [i for i, (a, b) in enumerate(spans) if a < end and b > start]
        if not inside:
            return False
        first, last = inside[0], inside[-1]
        return any(
            hash(" ".join(words[i : j + 1])) in self._made
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
    data, first = b"", True
    for piece in pieces:
        if len(data) >= WINDOW:
            yield Window(data=data, first=first, last=False)
            data, first = data[-OVERLAP:], False
        data += _NUMBERS.sub(b" ", piece)
    yield Window(data=data, first=first, last=True)


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


def _known(data: bytes, originals: Originals) -> Iterator[Place]:
    spaced = data.translate(SEPARATORS)
    distinct = set(spaced.split())
    words = set(_words(b" ".join(distinct)))
    # In binary frames a length stands before a text and may look like its first letter.
    shorter = {word: word[1:] for word in words} if b"\0" in data else {}
    anchors = originals.index.anchors_among(words.union(shorter.values()))
    if anchors:
        telling = {word for word in words if word in anchors or shorter.get(word) in anchors}
        yield from _precise(_words(spaced), telling, data, originals)
    if originals.index.grams and not data.isascii():
        yield from _runs(distinct, data, originals)


def _words(spaced: bytes) -> list[str]:
    if spaced.isascii():
        return spaced.decode("ascii").split()
    return TOKEN.findall(fold(spaced.decode("utf-8", "replace")))


def _precise(
    words: list[str], telling: set[str], data: bytes, originals: Originals
) -> Iterator[Place]:
    """Sequences of words that are known whole; then, rarely, how they stand in the text."""
    index, binary = originals.index, b"\0" in data
    told: set[tuple[str, ...]] = set()
    looked: set[tuple[str, ...]] = set()
    for i, word in enumerate(words):
        if word not in telling:
            continue
        for anchor in (word, word[1:]) if binary else (word,):
            for place, count in index.shapes_of(anchor):
                if i < place or i - place + count > len(words):
                    continue
                part = words[i - place : i - place + count]
                part[place] = anchor
                for sequence in _readings(part, binary):
                    if (whole := tuple(sequence)) not in looked:
                        looked.add(whole)
                        domain = _known_as(" ".join(sequence), originals)
                        if domain:
                            told.add((domain, *sequence))
    for domain, *sequence in told:
        yield from _places(data, sequence, domain, originals)


def _known_as(joined: str, originals: Originals) -> str:
    """The domain of a known value that is searched for, and is no pseudonym as well."""
    domain = originals.index.domain_of(hash(joined))
    wanted = domain in SEARCHED or domain == DOUBTFUL
    return str(domain) if wanted and not originals.is_pseudonym(joined) else ""


def _readings(part: list[str], binary: bool) -> Iterator[list[str]]:
    yield part
    if binary and len(part) > 1 and len(part[0]) > 1:
        yield [part[0][1:], *part[1:]]


def _places(data: bytes, sequence: list[str], domain: str, originals: Originals) -> Iterator[Place]:
    """Where the words stand as one value, and not within a pseudonym."""
    text = data.decode("utf-8", "replace")
    folded = fold(text)
    regex = re.compile("[^0-9a-z]{0,3}?".join(map(re.escape, sequence)))
    for match in regex.finditer(folded):
        start, end = match.span()
        if in_word(folded[end : end + 1]):
            continue
        if (
            in_word(folded[max(start - 1, 0) : start])
            and "\0" not in folded[max(start - LONGEST_HEAD, 0) : start]
        ):
            continue
        spans = [(start + m.start(), start + m.end()) for m in TOKEN.finditer(match[0])]
        if not close(folded, spans):
            continue
        if not _written(folded, start, end, sequence, originals.index):
            continue
        if originals.within_pseudonym(text, Found(start=start, end=end, domain=domain)):
            continue
        yield Place(rule=domain, text=text[start:end], start=start, end=end, size=len(text))


def _written(folded: str, start: int, end: int, sequence: list[str], index: Index) -> bool:
    """Numbers alone count only as they were written, and not inside longer ones."""
    if not all(word.isdigit() for word in sequence):
        return True
    if folded[end : end + 1] == "." and folded[end + 1 : end + 2].isdigit():
        return False
    if start > 1 and folded[start - 1] == "." and folded[start - 2].isdigit():
        return False
    return any(hash(folded[max(at, 0) : end]) in index.strict for at in (start, start - 1))


def _runs(spaced: set[bytes], data: bytes, originals: Originals) -> Iterator[Place]:
    """Chinese, Japanese and Korean values inside running text; two characters only as a whole."""
    index = originals.index
    words = b" ".join([word for word in spaced if not word.isascii()])
    distinct = " ".join(set(RUN.findall(words.decode("utf-8", "replace")))).lower()
    grams = {distinct[i : i + GRAM] for i in range(len(distinct) - GRAM + 1)}
    told: set[tuple[str, str]] = set()
    for gram in grams:
        if hash(gram) not in index.grams:
            continue
        at = distinct.find(gram)
        while at >= 0:
            told.update(_run(distinct, at, gram, originals))
            at = distinct.find(gram, at + 1)
    for word in {word for word in distinct.split() if len(word) == 2}:
        domain = index.domain_of(hash(word))
        if domain in SEARCHED and not originals.is_pseudonym(word):
            told.add((str(domain), word))
    if told:
        yield from _where(fold(data.decode("utf-8", "replace")), told)


def _where(text: str, told: set[tuple[str, str]]) -> Iterator[Place]:
    for rule, part in told:
        alone = rf"(?<!{CJK.pattern}){re.escape(part)}(?!{CJK.pattern})"
        for match in re.finditer(alone if len(part) == 2 else re.escape(part), text):
            start, end = match.span()
            yield Place(rule=rule, text=part, start=start, end=end, size=len(text))


def _run(text: str, at: int, gram: str, originals: Originals) -> Iterator[tuple[str, str]]:
    index = originals.index
    for length in index.grams.get(hash(gram), ()):
        part = text[at : at + length]
        domain = index.domain_of(hash(part))
        if len(part) != length or domain not in SEARCHED or originals.is_pseudonym(part):
            continue
        found = Found(start=at, end=at + length, domain=str(domain))
        if length < GRAM or _within_run(text, found, originals):
            continue
        yield str(domain), part


def _within_run(text: str, found: Found, originals: Originals) -> bool:
    """A longer pseudonym around the match: names are not set apart in these scripts."""
    return any(
        originals.is_pseudonym(text[start:end])
        for start in range(max(found.start - 4, 0), found.start + 1)
        for end in range(found.end, min(found.end + 5, len(text) + 1))
    )
