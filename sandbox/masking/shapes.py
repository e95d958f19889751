"""Finds what is shaped like a person's address or number and was never made here, known or not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from sandbox.masking.pseudonyms import HOST, PHONE

# Each begins with its one fixed character, which is searched for at memory's speed.
_HOST = re.compile(
    rb"@(?!" + re.escape(HOST.encode()) + rb")([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,24})"
)
_LOCAL = re.compile(rb"[A-Za-z0-9._%+'-]{1,64}\Z")
_PHONE = re.compile(rb"\+(?!" + PHONE.encode() + rb")(?=[1-9])(?:\d[ ().-]?){7,14}\d(?![\d.])")
_JOINED = re.compile(rb"[0-9A-Za-z.+]\Z")
_CHARACTER = (
    rb"(?:[\t-\r\x20-\x7e]|[\xc2-\xdf][\x80-\xbf]"
    rb"|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3})"
)
# Before a text stands a length, whose last byte may be any, or an expiry in milliseconds; after it
# the next length, that of a NULL for one. Else there is more text.
_HEAD = rb"(?:^|\0.?|\xff{4}|\0\0[\1\2].{5})"
_BEFORE = re.compile(rb"(?:" + _HEAD + _CHARACTER + rb"{0,2}|" + _CHARACTER + rb"{3})\Z", re.DOTALL)
_AFTER = re.compile(_CHARACTER + rb"{3}|" + _CHARACTER + rb"{0,2}(?:\Z|\0|\xff{4})")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a suspect stands, in characters of `size`."""

    rule: str
    text: str = field(repr=False)
    start: int
    end: int
    size: int


def shaped(data: bytes) -> Iterator[Place]:
    """Addresses and numbers that were never made here, known originals or not."""
    for match in _HOST.finditer(data):
        local = _LOCAL.search(data, max(match.start() - 64, 0), match.start())
        host = match[1].decode()
        made = host.lower().startswith(HOST) or _is_picture(host)
        if local and not made and _is_text(data, local.start(), match.end()):
            yield _shape("email", data, local.start(), match.end())
    for match in _PHONE.finditer(data):
        if not _JOINED.search(data, max(match.start() - 1, 0), match.start()):
            yield _shape("phone", data, *match.span())


def _shape(rule: str, data: bytes, start: int, end: int) -> Place:
    return Place(rule=rule, text=data[start:end].decode(), start=start, end=end, size=len(data))


def _is_picture(host: str) -> bool:
    """Hosts like `2x.png` (picture@2x.png) are no mail hosts."""
    return host.rpartition(".")[2].lower() in ("png", "jpg", "jpeg", "gif", "webp", "svg")


def _is_text(data: bytes, start: int, end: int) -> bool:
    """Whether a place is text or a field of a binary frame: among random bytes (pictures, vectors)
    something shaped like an address stands every few megabytes."""
    return bool(_BEFORE.search(data[max(start - 16, 0) : start]) and _AFTER.match(data, end))
