"""One connection to Redis, the names of this tool's own keys, and the stream format.

A stream is a row of entries, each a value of the small encoding below (docs/redis.md): a tag byte,
then for bytes and text a length and the bytes, for lists a length and the items.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import redis

from sandbox.contract import Access
from sandbox.errors import Refused, Unreachable
from sandbox.model import Marker, RedisSpace

Client = Any  # redis.Redis over bytes; its stubs cannot say so
MARKERS, STAGED, OLD = b"sandbox:marker:", b"sandbox:new:", b"sandbox:old:"
BATCH = 500


def space_of(access: Access) -> RedisSpace:
    assert isinstance(access.space, RedisSpace)
    return access.space


def connect(access: Access) -> Client:
    """A client that has answered once. Raises Unreachable, never showing the password."""
    options = dict(access.endpoint.options)
    client = redis.Redis(
        host=access.endpoint.host,
        port=access.endpoint.port,
        db=space_of(access).database,
        username=access.identity.name,
        password=access.identity.secret,
        ssl=bool(options.get("tls")),
        socket_connect_timeout=5,
    )
    try:
        client.ping()
    except redis.RedisError as error:
        raise Unreachable(
            f"Redis does not let {access.identity.name} in: {error}",
            where=f"{access.endpoint.host}:{access.endpoint.port}",
            hint="./inv up starts it, ./inv isolate makes its logins",
        ) from None
    return client


def glob(prefix: bytes) -> bytes:
    """A pattern for all keys that begin with `prefix`."""
    return b"".join(b"\\" + bytes([c]) if c in b"*?[]\\^" else bytes([c]) for c in prefix) + b"*"


def keys(client: Client, prefix: bytes) -> Iterator[list[bytes]]:
    """Keys under a prefix in batches; SCAN may name one twice, this does not."""
    seen: set[bytes] = set()
    cursor = 0
    while True:
        cursor, found = client.scan(cursor, match=glob(prefix), count=1000)
        fresh = [key for key in dict.fromkeys(found) if key not in seen]
        seen.update(fresh)
        if fresh:
            yield fresh
        if cursor == 0:
            return


def read_marker(client: Client, prefix: str) -> Marker | None:
    raw = client.get(MARKERS + prefix.encode())
    return None if raw is None else Marker(**json.loads(raw))


def write_marker(client: Client, prefix: str, marker: Marker) -> None:
    client.set(MARKERS + prefix.encode(), json.dumps(asdict(marker), sort_keys=True))


def need_own(client: Client, prefix: str, production: str) -> Marker:
    """The marker over this connection, before keys are destroyed (P6)."""
    marker = read_marker(client, prefix)
    if marker is not None and marker.environment == "production":
        raise Refused(f"prefix {prefix} is production's; nothing was changed", where="redis")
    if prefix.startswith(production) or production.startswith(prefix):
        raise Refused(f"prefix {prefix} overlaps production's {production}", where="redis")
    if marker is None:
        raise Refused(
            f"prefix {prefix} has no marker, so it may not be ours",
            where="redis",
            hint="./inv isolate makes it",
        )
    return marker


def pack(value: Any) -> bytes:
    if value is None:
        return b"n"
    if isinstance(value, bytes):
        return b"b" + struct.pack(">Q", len(value)) + value
    if isinstance(value, str):
        raw = value.encode()
        return b"s" + struct.pack(">Q", len(raw)) + raw
    if isinstance(value, float):
        return b"f" + struct.pack(">d", value)
    if isinstance(value, int):
        return b"i" + struct.pack(">q", value)
    return b"l" + struct.pack(">Q", len(value)) + b"".join(pack(item) for item in value)


def unpack(data: memoryview, at: int = 0) -> tuple[Any, int]:
    tag = data[at : at + 1].tobytes()
    at += 1
    if tag == b"n":
        return None, at
    if tag == b"f":
        return struct.unpack_from(">d", data, at)[0], at + 8
    if tag == b"i":
        return struct.unpack_from(">q", data, at)[0], at + 8
    length = struct.unpack_from(">Q", data, at)[0]
    at += 8
    if tag == b"l":
        items = []
        for _ in range(length):
            item, at = unpack(data, at)
            items.append(item)
        return items, at
    raw = data[at : at + length].tobytes()
    return (raw if tag == b"b" else raw.decode()), at + length


def frames(pieces: Iterator[bytes]) -> Iterator[Any]:
    """Entries of a stream; its pieces may end anywhere."""
    left = b""
    for piece in pieces:
        left += piece
        at = 0
        while len(left) - at >= 8:
            length = struct.unpack_from(">Q", left, at)[0]
            if len(left) - at - 8 < length:
                break
            yield unpack(memoryview(left)[at + 8 : at + 8 + length])[0]
            at += 8 + length
        left = left[at:]


def frame(value: Any) -> bytes:
    body = pack(value)
    return struct.pack(">Q", len(body)) + body
