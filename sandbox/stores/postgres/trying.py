"""Runs one trial: at home, then by the catalogs, then for real; it is rolled back in any case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from sandbox import trying
from sandbox.model import Attempt
from sandbox.stores.postgres.session import Connection, one
from sandbox.stores.postgres.trials import Trial
from sandbox.trying import Found

ROW = "PostgreSQL"
DENIED = "42501"  # insufficient_privilege
EXPECTED = "permission denied"
NOTHING = "nothing to be seen"


def try_(connection: Connection, who: str, trial: Trial) -> Attempt:
    expected = NOTHING if trial.none else EXPECTED
    return timed(who, trial.tried, expected, lambda: _tried(connection, trial))


def _tried(connection: Connection, trial: Trial) -> Found:
    if trial.home:
        failure = _failure(connection, trial.home)
        if failure is not None:
            return f"failed at home: {_line(failure)}", False
    if trial.right and _holds(connection, trial.right):
        return "it has the right to; not tried", False
    if not trial.statement:
        return EXPECTED, True
    return run(connection, trial)


def run(connection: Connection, trial: Trial) -> Found:
    found: list[Any] = []
    error = _failure(connection, trial.statement, found, as_is=trial.as_is)
    if error is not None:
        denied = error.sqlstate == DENIED or error.sqlstate in trial.denials
        return (NOTHING if trial.none else EXPECTED, True) if denied else (_line(error), False)
    if not trial.none:
        return "it worked (rolled back)", False
    if not found:
        return NOTHING, True
    return (f"found {found[0]}" if trial.names else "it is there"), False


def _failure(
    connection: Connection, statement: str, found: list[Any] | None = None, *, as_is: bool = False
) -> psycopg.Error | None:
    """Run it and roll back. `found`: gets the first value of the last statement's first row.

    The right is tried, not the session's mode, unless `as_is`."""
    begin = "BEGIN" if as_is else "BEGIN READ WRITE"
    try:
        if statement.startswith("COPY ") and statement.endswith(("STDIN", "STDOUT")):
            connection.execute(begin)
            with connection.cursor().copy(statement.encode()) as copy:
                if statement.endswith("STDOUT"):
                    for _ in copy:
                        pass
        else:
            # One message: a matrix of hundreds of attempts is as fast as its round trips.
            cursor = connection.execute(f"{begin}; {statement}; ROLLBACK".encode())
            if found is not None:
                found += _last_rows(cursor)
    except psycopg.Error as error:
        return error
    finally:
        if connection.info.transaction_status != TransactionStatus.IDLE and not connection.closed:
            connection.execute("ROLLBACK")
    return None


def _last_rows(cursor: psycopg.Cursor[tuple[Any, ...]]) -> list[Any]:
    """The first value of the first row of the last result that has rows."""
    rows: list[Any] = []
    more: bool | None = True
    while more:
        if cursor.description is not None:
            row = cursor.fetchone()
            rows = [] if row is None else [row[0]]
        more = cursor.nextset()
    return rows


def _holds(connection: Connection, right: str) -> bool:
    try:
        return bool(one(connection, right))
    except psycopg.errors.InsufficientPrivilege:
        return False  # it may not even look there


def timed(who: str, tried: str, expected: str, run: Callable[[], Found]) -> Attempt:
    return trying.timed(ROW, who, tried, expected, run, words=_words)


def _words(error: Exception) -> str | None:
    return _line(error) if isinstance(error, psycopg.Error) else trying.message(error)


def _line(error: psycopg.Error) -> str:
    """The server's own words, without the values that it quotes in its details."""
    return (error.diag.message_primary or str(error)).splitlines()[0]
