"""One connection to PostgreSQL, and the few things that all of this package does with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from sandbox.contract import Access
from sandbox.errors import LoginRefused, Refused, SandboxError, Unreachable
from sandbox.model import Marker, PostgresSpace

Values = Sequence[Any] | Mapping[str, Any]
Connection = psycopg.Connection[tuple[Any, ...]]
MARK = "sandbox: "  # a schema's comment holds one line that begins so
STAGED, OLD = "__new", "__old"
CONNECT_WITHIN = 5  # seconds


def base(schema: str) -> str:
    """The keeper's own schema with the pristine copy that belongs to `schema`."""
    return f"{schema}__base"


def space_of(access: Access) -> PostgresSpace:
    assert isinstance(access.space, PostgresSpace)
    return access.space


def connect(access: Access, *, database: str = "", autocommit: bool = True) -> Connection:
    """Open a connection. Raises Unreachable, never showing the password."""
    try:
        return psycopg.connect(
            host=access.endpoint.host,
            port=access.endpoint.port,
            user=access.identity.name,
            password=access.identity.secret,
            dbname=database or space_of(access).database,
            connect_timeout=CONNECT_WITHIN,
            application_name="sandbox",
            client_encoding="UTF8",
            autocommit=autocommit,
            row_factory=tuple_row,
            **dict(access.endpoint.options),  # type: ignore[arg-type]  # TLS and the like
        )
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[-1]
        # The driver tells no SQLSTATE of a connection that was never made, only the words.
        kind = LoginRefused if "authentication failed" in reason else Unreachable
        raise kind(
            f"PostgreSQL does not let {access.identity.name} in: {reason}",
            where=f"{access.endpoint.host}:{access.endpoint.port}",
            hint="./inv up starts it, ./inv isolate makes its logins",
        ) from None


def name(*parts: str) -> sql.Composed:
    """A quoted, qualified name."""
    return sql.SQL(".").join(map(sql.Identifier, parts))


def rows(connection: Connection, query: Any, values: Values = ()) -> list[tuple[Any, ...]]:
    return connection.execute(query, values or None).fetchall()


def one(connection: Connection, query: Any, values: Values = ()) -> Any:
    """The first column of the first row, None when there is none."""
    row = connection.execute(query, values or None).fetchone()
    return None if row is None else row[0]


def schema_exists(connection: Connection, schema: str) -> bool:
    return bool(one(connection, "SELECT true FROM pg_namespace WHERE nspname = %s", [schema]))


def read_marker(connection: Connection, schema: str) -> Marker | None:
    """Whose schema this is, by the comment on it."""
    comment = one(
        connection,
        "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s",
        [schema],
    )
    for line in (comment or "").splitlines():
        if line.startswith(MARK):
            return Marker(**json.loads(line.removeprefix(MARK)))
    return None


def write_marker(connection: Connection, schema: str, marker: Marker) -> None:
    """Comment on the schema; what a person had written there stays above."""
    comment = one(
        connection,
        "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s",
        [schema],
    )
    lines = [line for line in (comment or "").splitlines() if not line.startswith(MARK)]
    lines.append(MARK + json.dumps(asdict(marker), sort_keys=True))
    connection.execute(
        sql.SQL("COMMENT ON SCHEMA {} IS {}").format(name(schema), sql.Literal("\n".join(lines)))
    )


def need_own(connection: Connection, schema: str, production: str) -> Marker:
    """The marker, over this very connection, before something is destroyed (P6)."""
    marker = read_marker(connection, schema)
    if schema == production or (marker is not None and marker.environment == "production"):
        raise Refused(f"schema {schema} is production's; nothing was changed", where="postgres")
    if marker is None:
        raise Refused(
            f"schema {schema} has no marker, so it may not be ours",
            where="postgres",
            hint="./inv isolate makes the space and its marker",
        )
    return marker


@contextmanager
def doing(what: str) -> Iterator[None]:
    """The driver's errors as ours; also a decorator for a method that does one thing."""
    try:
        yield
    except psycopg.Error as error:
        raise failed(error, what) from None


def failed(error: psycopg.Error, doing: str) -> SandboxError:
    """The server's own words in one line, without the values that it quotes."""
    state = error.sqlstate or ""
    text = (error.diag.message_primary or str(error)).strip().splitlines()[0]
    if state.startswith("22"):  # 'invalid input syntax for type integer: "..."'
        text = text.split(":")[0].split('"')[0].strip()
    gone = not state and isinstance(error, psycopg.OperationalError)
    if gone or state.startswith(("08", "57P")):
        return Unreachable(
            f"{doing}: the connection was lost: {text}",
            where="postgres",
            hint="./inv status shows what runs; the playground is as it was",
        )
    hints = {
        "53100": "make room where the server keeps its data; the playground is as it was",
        "55P03": "another program holds the tables; try again when it is through",
    }
    hint = hints.get(state, "")
    if state.startswith("23"):
        hint = "what the policy makes of a column does not fit this constraint; mend its rule"
    return SandboxError(f"{doing}: {text}", where="postgres", hint=hint)
