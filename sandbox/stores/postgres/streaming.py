"""COPY's streams, to and from a server, as fast as libpq hands them over."""

from __future__ import annotations

import select
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import sql
from psycopg.generators import fetch_many

from sandbox.contract import Rows
from sandbox.stores.postgres.session import Connection

PIECE = 3 << 18  # bytes
MOST = 1 << 13  # rows in a piece: libpq's message and Python's of a short row are larger than it
WOULD_BLOCK = 0


def pieces(
    connection: Connection, query: sql.Composed, change: Rows | None, *, size: int = PIECE
) -> Iterator[tuple[int, bytes]]:
    """COPY's messages joined to pieces, with the rows in each; the server sends one row a message.

    Messages are taken from libpq directly: psycopg's own loop costs several times what the server
    needs to make a row.
    """
    joined: Rows = b"".join if change is None else change
    held: list[Any] = []
    got_bytes = told = 0
    with connection.cursor() as cursor, cursor.copy(query):
        take = connection.pgconn.get_copy_data
        while True:
            got, data = take(1)
            if got > 0:
                held.append(data)
                got_bytes += got
                if got_bytes >= size or len(held) == MOST:
                    told += len(held)
                    yield len(held), joined(held)
                    held, got_bytes = [], 0
            elif got == WOULD_BLOCK:
                select.select([connection.fileno()], [], [])
                connection.pgconn.consume_input()
            else:
                break
        total = _ended(connection)
    # The binary trailer is a message, too: the server's own count is the exact one.
    yield total - told, joined(held)


def _ended(connection: Connection) -> int:
    """The rows that the server counted. Raises what stopped it."""
    (result,) = connection.wait(fetch_many(connection.pgconn))
    if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
        raise psycopg.errors.error_from_result(result)
    return result.command_tuples or 0
