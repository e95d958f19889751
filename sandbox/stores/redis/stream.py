"""The artifact's format for keys (docs/redis.md): a header, then records of tag, length, payload.

A key is the records K, then any of V T S G C P, then E. Or, where nothing is masked, K, D, E.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sandbox.errors import SandboxError, SnapshotBroken

HEADER = b"sandbox redis 1\n"
TYPES = ("string", "list", "set", "zset", "hash", "stream", "dump")
CODES = {name: code for code, name in enumerate(TYPES)}
CODES_BY_BYTES = {name.encode(): name for name in TYPES[:-1]}
NEVER = -1

KEY, VALUES, FIELD_TTLS, STREAM, GROUP, CONSUMER, PENDING, DUMP, END = b"KVTSGCPDE"

_record = struct.Struct(">BI")
_key = struct.Struct(">Bq")
_length = struct.Struct(">I")


@dataclass(frozen=True, kw_only=True)
class Begin:
    """What a K record says. `expires_at`: milliseconds since the epoch, or None."""

    key: bytes
    type: str
    expires_at: int | None


def begin(key: bytes, kind: str, expires_at: int | None) -> bytes:
    expiry = NEVER if expires_at is None else expires_at
    return b"%b%b%b" % (
        _record.pack(KEY, _key.size + len(key)),
        _key.pack(CODES[kind], expiry),
        key,
    )


def end() -> bytes:
    return _record.pack(END, 0)


def raw(tag: int, payload: bytes) -> bytes:
    return _record.pack(tag, len(payload)) + payload


def items(tag: int, values: Sequence[bytes]) -> bytes:
    """A record whose payload is a list of byte strings."""
    size = _length.pack
    payload = b"".join([part for value in values for part in (size(len(value)), value)])
    return _record.pack(tag, len(payload)) + payload


def begun(payload: bytes) -> Begin:
    code, expiry = _key.unpack_from(payload)
    if code >= len(TYPES):
        raise SnapshotBroken(f"a key of an unknown type {code}", where="redis")
    return Begin(
        key=payload[_key.size :], type=TYPES[code], expires_at=None if expiry == NEVER else expiry
    )


def listed(payload: bytes) -> list[bytes]:
    """The byte strings of a record that `items` made."""
    found, at, size = [], 0, len(payload)
    unpack = _length.unpack_from
    try:
        while at < size:
            (length,) = unpack(payload, at)
            at += 4
            found.append(payload[at : at + length])
            at += length
    except struct.error:
        at = -1
    if at != size:
        raise SnapshotBroken("a list of values is cut off", where="redis")
    return found


def records(pieces: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """(tag, payload) of a stream that comes in pieces of any size."""
    buffer, at = b"", 0
    started = False
    for piece in pieces:
        buffer = buffer[at:] + piece
        at = 0
        if not started:
            if len(buffer) < len(HEADER):
                continue
            if not buffer.startswith(HEADER):
                raise SnapshotBroken("not a stream of Redis keys of this version", where="redis")
            started, at = True, len(HEADER)
        while len(buffer) - at >= _record.size:
            tag, length = _record.unpack_from(buffer, at)
            if len(buffer) - at < _record.size + length:
                break
            at += _record.size + length
            yield tag, buffer[at - length : at]
    if at < len(buffer):
        raise SnapshotBroken("the stream of Redis keys is cut off", where="redis")


def unknown_type(key: bytes, kind: bytes) -> SandboxError:
    """A module's type has no form that every server reads."""
    return SandboxError(
        f"{key.decode(errors='replace')!r} is of type {kind.decode(errors='replace')}, "
        "which cannot be copied",
        where="redis",
        hint="delete the key, or keep the whole prefix as it is so that it travels as a dump",
    )
