"""A window of a key's value, between the server's flat lists, a mask's Entry and the stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sandbox.model import Entry
from sandbox.stores.redis import stream


def fields(flat: Sequence[Any]) -> dict[bytes, Any]:
    """RESP2's flat list of names and values."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def paired(kind: str, flat: list[bytes]) -> list[tuple[bytes, Any]]:
    if kind == "zset":
        return [(m, float(s)) for m, s in zip(flat[::2], flat[1::2], strict=True)]
    return list(zip(flat[::2], flat[1::2], strict=True))


def values(entry: Entry) -> bytes:
    """The V record of one window."""
    flat: Sequence[bytes]
    if entry.type == "string":
        flat = (entry.value,)
    elif entry.type in ("list", "set"):
        flat = entry.value
    elif entry.type == "zset":
        flat = [x for member, score in entry.value for x in (member, repr(float(score)).encode())]
    elif entry.type == "hash":
        flat = [x for pair in entry.value for x in pair]
    else:
        flat = [
            x
            for i, pairs in entry.value
            for x in (i, b"%d" % len(pairs), *(y for pair in pairs for y in pair))
        ]
    return stream.items(stream.VALUES, flat)


def renamed_ttls(record: bytes, was: list[tuple[bytes, bytes]], now: list[Any]) -> bytes:
    """Field expiries under the names that a mask gave; a field that it dropped has none."""
    if len(was) == len(now):
        names = {old[0]: new[0] for old, new in zip(was, now, strict=True)}
    else:
        names = {name: name for name, _ in now}
    flat = stream.listed(record[5:])
    kept = [
        x
        for name, ms in zip(flat[::2], flat[1::2], strict=True)
        if name in names
        for x in (names[name], ms)
    ]
    return stream.items(stream.FIELD_TTLS, kept) if kept else b""
