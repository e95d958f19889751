"""Free text: known people, addresses and numbers inside it, replaced by their own pseudonyms.

E-mail addresses, phone numbers and IP addresses are known by their shape; names and usernames by a
list that is collected from the columns that hold them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from sandbox.masking.keyed import CJK, Pseudonyms

EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
IP = re.compile(
    r"(?<![A-Za-z0-9_.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{0,4}){2,7})(?![A-Za-z0-9_:])"
)
PHONE = re.compile(r"(?<![A-Za-z0-9_.])\+?\(?\d[\d ()./-]{6,18}\d(?![A-Za-z0-9_])")
# A word ends where Chinese, Japanese or Korean begins: those are written without spaces.
NOT_CJK = r"(?![\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])"
WORD = re.compile(rf"{NOT_CJK}[^\W_](?:{NOT_CJK}[\w'’.-])*")


STEP = re.compile(r"\w+|\W")
REMEMBERED = 1 << 15  # texts: the same one stands in several stores


class Known:
    """The names and usernames that free text is searched for."""

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self._pseudonyms = pseudonyms
        self.masked = lru_cache(REMEMBERED)(self._masked)
        self._names: dict[str, str] = {}
        self._first: dict[str, int] = {}  # first word -> most words of a name that begins so
        self._cjk: dict[str, int] = {}  # first character -> longest name that begins so

    def add(self, kind: str, value: str) -> None:
        """`kind`: person or username."""
        self.masked.cache_clear()
        value = value.strip()
        if len(value) < 2:
            return
        self._names[value] = kind
        if CJK.search(value):
            self._cjk[value[0]] = max(self._cjk.get(value[0], 0), len(value))
        else:
            words = WORD.findall(value)
            if words:
                self._first[words[0]] = max(self._first.get(words[0], 0), len(words))

    def is_username(self, text: str) -> bool:
        return self._names.get(text) == "username"

    def masked_name(self, text: str) -> str:
        """A file's name: underscores stand for spaces, and its parts are looked at alone."""
        if text in self._names:
            return self.masked(text)
        stem, dot, suffix = text.rpartition(".")
        parts = re.split(r"(_)", stem or suffix)
        for start in range(0, len(parts), 2):  # interview_Ann_Lee: the longest known tail
            tail = "".join(parts[start:])
            for name in (tail, tail.replace("_", " ")):
                if name in self._names:
                    masked = self.masked(name).replace(" ", "_")
                    return "".join(parts[:start]) + masked + (dot + suffix if stem else "")
        spaced = (stem or suffix).replace("_", " ")
        masked = self.masked(spaced)
        if masked == spaced:
            return text
        return masked.replace(" ", "_") + (dot + suffix if stem else "")

    def _masked(self, text: str) -> str:
        p = self._pseudonyms
        text = EMAIL.sub(lambda m: p.email(m[0]), text)
        text = IP.sub(lambda m: p.ip(m[0]), text) if "." in text or ":" in text else text
        text = PHONE.sub(lambda m: m[0] if m[0].startswith("+1555") else p.phone(m[0]), text)
        return "".join(self._replaced(text))

    def _replaced(self, text: str) -> Iterator[str]:
        at = 0
        size = len(text)
        while at < size:
            found = self._at(text, at)
            if found:
                kind = self._names[found]
                yield (
                    self._pseudonyms.person(found)
                    if kind == "person"
                    else (self._pseudonyms.username(found))
                )
                at += len(found)
                continue
            step = self._step(text, at)
            yield text[at : at + step]
            at += step

    def _step(self, text: str, at: int) -> int:
        """How far nothing can begin: one CJK character, one word, or what stands between."""
        if CJK.match(text[at]):
            return 1
        match = STEP.match(text, at)
        if match is None:
            return 1
        cjk = CJK.search(match[0])
        return max(1, cjk.start()) if cjk else len(match[0])

    def _at(self, text: str, at: int) -> str:
        """The longest known name that begins here, "" when none does."""
        longest = self._cjk.get(text[at], 0)
        for length in range(min(longest, len(text) - at), 1, -1):
            if text[at : at + length] in self._names:
                return text[at : at + length]
        word = WORD.match(text, at)
        if word is None:
            return ""
        for candidate in (word[0], word[0].rstrip(".-'’"), re.split(r"[.'’-]", word[0])[0]):
            most = self._first.get(candidate, 0)
            if most:
                return self._words(text, at, most)
        return ""

    def _words(self, text: str, at: int, most: int) -> str:
        ends = [m.end() for m, _ in zip(WORD.finditer(text, at), range(most), strict=False)]
        for end in reversed(ends):
            for cut in (text[at:end], text[at:end].rstrip(".-'’")):
                if cut in self._names:
                    return cut
        # A possessive or a hyphen may follow the name without a space.
        for value in self._names:
            if text.startswith(value, at):
                return value
        return ""
