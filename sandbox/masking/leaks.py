"""Searches streams for originals of masked values (P8).

Originals are held as fingerprints under a key that is random in each process: Python's own string
hash. Neither they nor the values are written anywhere. Looked for are values that can be told apart
from chance: e-mail addresses, usernames, phone numbers, addresses, tokens and full names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

VECTOR = re.compile(rb"\[[-+0-9.eE,]{200,}\]")  # numbers of a vector hold no value to look for
SHORTEST = 6  # characters: shorter ones stand in any text by chance
OVERLAP = 256  # bytes that a value may reach across two pieces
CJK = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
# Words of Chinese, Japanese and Korean are runs of their own, searched part by part.
WORDS = re.compile(rf"[{CJK}]+|(?:(?![{CJK}])[\w.@+%:-])+")
RUN = re.compile(rf"[{CJK}]+")
SHORTEST_RUN, LONGEST_RUN = 3, 8  # characters of a name without spaces
MOST = 4  # words in a value


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """An original that stands in a stream. Its text is never shown."""

    dataset: str
    rule: str
    text: str = field(repr=False)


class Originals:
    """Fingerprints of what was masked, and of the pseudonyms, which are no leak where they meet."""

    def __init__(self) -> None:
        self._found: dict[int, str] = {}
        self._first: set[int] = set()
        self._runs: set[str] = set()  # first characters of values without spaces
        self._pseudonyms: set[int] = set()

    def __len__(self) -> int:
        return len(self._found)

    def add(self, rule: str, value: str, pseudonym: str) -> None:
        if pseudonym:
            self._pseudonyms.add(hash(pseudonym))
        words = WORDS.findall(value)
        text = " ".join(words)
        shortest = SHORTEST_RUN if RUN.fullmatch(text) else SHORTEST
        if len(text) < shortest or not 1 <= len(words) <= MOST or value == pseudonym:
            return
        self._found[hash(text)] = rule
        self._first.add(hash(words[0]))
        if RUN.match(words[0]):
            self._runs.add(words[0][0])

    def rule(self, text: str) -> str | None:
        """The rule that masked this value; None when it is not an original, or a pseudonym, too."""
        fingerprint = hash(text)
        if fingerprint in self._pseudonyms:
            return None
        return self._found.get(fingerprint)

    def may_begin(self, word: str) -> bool:
        return hash(word) in self._first

    def parts(self, run: str) -> Iterator[str]:
        """Every part of a run of characters that could be a value."""
        for start, character in enumerate(run):
            if character in self._runs:
                for length in range(SHORTEST_RUN, min(LONGEST_RUN, len(run) - start) + 1):
                    yield run[start : start + length]


def scan(pieces: Iterable[bytes], originals: Originals, *, dataset: str) -> Iterator[Suspect]:
    """Every original that stands in the bytes, each text once."""
    seen: set[str] = set()
    tail = b""
    for piece in pieces:
        data = tail + piece
        tail = data[-OVERLAP:]
        for text, rule in _hits(VECTOR.sub(b"[]", data).decode("utf-8", "replace"), originals):
            if text not in seen:
                seen.add(text)
                yield Suspect(dataset=dataset, rule=rule, text=text)


def _hits(text: str, originals: Originals) -> Iterator[tuple[str, str]]:
    words = WORDS.findall(text)
    begins = {word for word in set(words) if originals.may_begin(word)}
    for run in {word for word in words if RUN.match(word)}:
        for part in originals.parts(run):
            rule = originals.rule(part)
            if rule is not None:
                yield part, rule
    if not begins:
        return
    for index, word in enumerate(words):
        if word in begins:
            for count in range(1, MOST + 1):  # a sentence's full stop is no part of a value
                candidate = " ".join(words[index : index + count])
                for text_ in {candidate, candidate.rstrip(".:-")}:
                    rule = originals.rule(text_)
                    if rule is not None:
                        yield text_, rule
