"""PostgreSQL: the schema and its rows in one transaction, which is committed last of all stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from demo.rows import ISOLATED, Table
from demo.shared_rows import SHARED
from demo.world import CHUNKS, World
from sandbox.errors import Refused, Unreachable

TABLES: tuple[Table, ...] = (*ISOLATED, *SHARED)
VIEWS = ("v_idle_workflows", "v_recent_anomalies", "v_service_health", "v_storage_overview")
NOT_NUMBERED = ("chunks", "pre_chunks", "face_recognition_results")  # one sequence; UUIDs
PIECE = 2_000  # rows between two progress events
HERE = Path(__file__).parent

Connection = psycopg.Connection[tuple[object, ...]]
Moved = Callable[[int], None]


@contextmanager
def connected(url: str, schema: str) -> Iterator[Connection]:
    """One transaction, rolled back unless its owner commits it."""
    try:
        connection = psycopg.connect(url, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise Unreachable(
            f"PostgreSQL does not answer: {str(error).splitlines()[0]}", hint="./inv up starts it"
        ) from None
    try:
        free = connection.execute("SELECT pg_try_advisory_xact_lock(hashtext('demo seed'))")
        if free.fetchone() != (True,):
            raise Refused("another seed is running", hint="wait for it, or stop it")
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        path = sql.SQL("SET LOCAL search_path TO {}, public").format(sql.Identifier(schema))
        connection.execute(path)
        yield connection
    finally:
        connection.close()


def present(connection: Connection, schema: str) -> list[str]:
    """Which of the demo's tables there are."""
    found = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = quote_ident(%s)::regnamespace "
        "AND relkind IN ('r', 'p') AND relname = ANY(%s) ORDER BY 1",
        [schema, [table.name for table in TABLES]],
    )
    return [str(row[0]) for row in found]


def fill(connection: Connection, schema: str, world: World, moved: Moved) -> dict[str, int]:
    """Make the tables, or empty those that are there, and copy the rows in; nothing is committed.

    Tables that are there already keep their grants, and the views that others made over them."""
    there = present(connection, schema)
    if there and len(there) < len(TABLES):
        missing = sorted({table.name for table in TABLES} - set(there))
        raise Refused(
            f"schema {schema} has some of the demo's tables but not {', '.join(missing)}",
            hint="./inv seed fills an empty schema, or replaces a whole demo",
        )
    if there:
        _empty(connection)
    else:
        connection.execute((HERE / "schema.sql").read_bytes())
    counts, done = {}, 0
    for table in TABLES:
        counts[table.name] = _copy(connection, table, world, done, moved)
        done += counts[table.name]
    if not there:
        connection.execute("SET LOCAL maintenance_work_mem = '256MB'")
        connection.execute((HERE / "keys.sql").read_bytes())
    _set_sequences(connection, world)
    names = sql.SQL(", ").join(sql.Identifier(table.name) for table in TABLES)
    connection.execute(sql.SQL("ANALYZE {}").format(names))
    return counts


def total(world: World) -> int:
    return sum(table.count(world) for table in TABLES)


def _empty(connection: Connection) -> None:
    names = sql.SQL(", ").join(sql.Identifier(table.name) for table in TABLES)
    try:
        connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY").format(names))
    except psycopg.errors.FeatureNotSupported as error:
        raise Refused(
            f"another table refers to one of the demo's: {error.diag.message_detail}",
            hint="drop that table first",
        ) from None


def _copy(connection: Connection, table: Table, world: World, before: int, moved: Moved) -> int:
    columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), columns)
    count = 0
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for count, row in enumerate(table.rows(world), 1):
            copy.write_row(row)
            if count % PIECE == 0:
                moved(before + count)
    moved(before + count)
    return count


def _set_sequences(connection: Connection, world: World) -> None:
    """The next number follows the last row's, for identities, serials and the shared sequence."""
    for table in TABLES:
        if table.columns[0] != "id" or table.name in NOT_NUMBERED:
            continue
        query = sql.SQL("SELECT setval(pg_get_serial_sequence({}, 'id'), max(id)) FROM {}")
        name = sql.Identifier(table.name)
        connection.execute(query.format(sql.Literal(table.name), name))
    last = world.video_count * CHUNKS * 2
    connection.execute("SELECT setval('chunk_number', %s)", [last])
