"""COPY's streams, to and from a server, as fast as libpq hands them over."""

from __future__ import annotations

import select
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import psycopg
from psycopg import sql
from psycopg.generators import fetch_many

from sandbox.contract import Rows
from sandbox.stores.postgres.session import Connection

PIECE = 3 << 18  # bytes
MOST = 1 << 13  # rows in a piece: libpq's message and Python's of a short row are larger than it
WOULD_BLOCK = 0
MANY = 1_000_000  # rows of a cut: until then, loading the compiled loop takes longer than it saves
COMPILER, RECEIVING = "numba", "sandbox.stores.postgres.receiving"

Messages = Iterator[tuple[int, Any, bool]]  # how many, one behind the other; whether the last


def pieces(
    connection: Connection,
    query: sql.Composed,
    change: Rows | None,
    *,
    size: int = PIECE,
    many: bool = False,
) -> Iterator[tuple[int, bytes]]:
    """COPY's messages joined to pieces, with the rows in each; the server sends one row a message.
    `many`: there are MANY rows, in this stream or others."""
    told = 0
    with connection.cursor() as cursor, cursor.copy(query):
        for count, data, last in _messages(connection, size, many=many):
            # The binary trailer is a message, too: the server's own count is the exact one.
            rows = _ended(connection) - told if last else count
            told += rows
            yield rows, bytes(data) if change is None else change(data, count)


def _messages(connection: Connection, size: int, *, many: bool) -> Messages:
    if many or COMPILER in sys.modules:
        try:
            found: Messages = import_module(RECEIVING).messages(connection, size)
            return found
        except ImportError:  # no compiler, or a psycopg without a libpq of its own
            pass
    return _one_by_one(connection, size)


def _one_by_one(connection: Connection, size: int) -> Messages:
    """Messages are taken from libpq directly: psycopg's own loop costs several times what the
    server needs to make a row."""
    held: list[Any] = []
    got_bytes = 0
    take = connection.pgconn.get_copy_data
    while True:
        got, data = take(1)
        if got > 0:
            held.append(data)
            got_bytes += got
            if got_bytes >= size or len(held) == MOST:
                yield len(held), bytearray().join(held), False
                held, got_bytes = [], 0
        elif got == WOULD_BLOCK:
            select.select([connection.fileno()], [], [])
            connection.pgconn.consume_input()
        else:
            break
    yield len(held), bytearray().join(held), True


def _ended(connection: Connection) -> int:
    """The rows that the server counted. Raises what stopped it."""
    (result,) = connection.wait(fetch_many(connection.pgconn))
    if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
        raise psycopg.errors.error_from_result(result)
    return result.command_tuples or 0
