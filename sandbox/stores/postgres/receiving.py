"""COPY's messages, from libpq into one buffer, in a compiled loop without the interpreter's lock.

psycopg makes an object of each row, which takes a microsecond and keeps every other thread waiting;
here a row takes a tenth of that and no thread waits. Not imported before there are many rows.

https://www.postgresql.org/docs/current/libpq-copy.html, "Functions for Receiving COPY Data".
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from typing import Any

import llvmlite.binding as llvm  # type: ignore[import-untyped]
import numpy as np
import psycopg
from numba import types
from numpy.typing import NDArray

from sandbox.compiling import compiled
from sandbox.stores.postgres.session import Connection

FULL = 1  # instead of what PQgetCopyData returns: the next message does not fit
ENDED, FAILED = -1, -2  # what it returns


def _libpq() -> ctypes.CDLL:
    """The one that psycopg has loaded. Raises ImportError where psycopg is not compiled itself."""
    file = sys.modules[psycopg.pq.PGconn.__module__].__file__
    try:
        return ctypes.CDLL(str(file))  # names are looked for in what it depends on, too
    except OSError as error:
        raise ImportError(f"no libpq behind {file}") from error


def _function(library: ctypes.CDLL, name: str, signature: Any) -> Any:
    """A function of a library for compiled loops: kept machine code knows it by a name."""
    try:
        address = ctypes.cast(library[name], ctypes.c_void_p).value
    except AttributeError as error:
        raise ImportError(f"no {name}") from error
    llvm.add_symbol(f"sandbox_{name}", address)
    return types.ExternalFunction(f"sandbox_{name}", signature)


_LIBPQ, _C = _libpq(), ctypes.CDLL(None)
# Pointers are told as numbers of their size.
get_data = _function(_LIBPQ, "PQgetCopyData", types.int32(types.intp, types.intp, types.int32))
free = _function(_LIBPQ, "PQfreemem", types.void(types.intp))
copy = _function(_C, "memcpy", types.intp(types.intp, types.intp, types.uintp))


@compiled
def received(connection: int, held: Any, into: Any) -> tuple[int, int, int]:
    """Messages one behind the other, waiting for each, until `into` is full: how many; where they
    end; and FULL, ENDED or FAILED. `held` is the message that came last and did not fit: where it
    is and how long, or zeros."""
    count, end = 0, 0
    while True:
        if held[1] == 0:
            got: Any = np.int64(get_data(connection, held.ctypes.data, 0))
            if got < 0:
                return count, end, got
            held[1] = got
        if end + held[1] > len(into):
            return count, end, FULL
        copy(into.ctypes.data + end, held[0], held[1])
        free(held[0])
        end += held[1]
        held[0] = held[1] = 0
        count += 1


@compiled
def released(held: Any) -> None:
    """Forget the message that did not fit."""
    if held[1]:
        free(held[0])
    held[0] = held[1] = 0


def messages(connection: Connection, size: int) -> Iterator[tuple[int, NDArray[Any], bool]]:
    """How many messages, these one behind the other in a buffer of about `size` bytes that is the
    caller's, and whether they are the last. Raises psycopg's errors. No other thread may close
    the connection while this waits: the interpreter's lock does not keep it from doing so."""
    pgconn: Any = connection.pgconn
    held = np.zeros(2, dtype=np.int64)
    try:
        while True:
            if pgconn.pgconn_ptr is None:
                raise psycopg.OperationalError("the connection is closed")
            into = np.empty(max(size, int(held[1])), dtype=np.uint8)
            count, end, state = received(pgconn.pgconn_ptr, held, into)
            if state == FAILED:
                raise psycopg.OperationalError(pgconn.get_error_message())
            if count or state == ENDED:
                yield count, into[:end], state == ENDED
            if state == ENDED:
                return
    finally:
        released(held)


def ready() -> None:
    """Compile the loop: without a connection, libpq has nothing to give."""
    held = np.zeros(2, dtype=np.int64)
    received(0, held, np.empty(1, dtype=np.uint8))
    released(held)
