"""A few rows of a table, from all over it, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from psycopg import sql

from sandbox.model import Dataset
from sandbox.stores.postgres.session import Connection, name

LONGEST = 16384  # characters of one value
SPARE = 3  # times as many rows as wanted are asked for: blocks are not equally full


def sample(
    connection: Connection, schema: str, dataset: Dataset, rows: int
) -> Iterator[Mapping[str, str | None]]:
    """At most `rows` rows; whole blocks of a large table, chosen by the server."""
    fields = [field for field in dataset.fields if not field.generated]
    columns = sql.SQL(", ").join(
        sql.SQL("left({}::text, {})").format(name(field.name), sql.Literal(LONGEST))
        for field in fields
    )
    only = sql.SQL("" if dataset.options.get("partitioned") else "ONLY ")
    table = only + name(schema, dataset.name)
    names = [field.name for field in fields]
    share = 100 * SPARE * rows / max(dataset.rows, 1)
    limit = sql.Literal(rows)
    found = False
    if share < 100:
        blocks = sql.SQL("SELECT {} FROM {} TABLESAMPLE SYSTEM ({}) LIMIT {}")
        query = blocks.format(columns, table, sql.Literal(share), limit)
        for row in _streamed(connection, query):
            found = True
            yield dict(zip(names, row, strict=True))
    if not found:
        query = sql.SQL("SELECT {} FROM {} LIMIT {}").format(columns, table, limit)
        for row in _streamed(connection, query):
            yield dict(zip(names, row, strict=True))


def _streamed(connection: Connection, query: sql.Composed) -> Iterator[tuple[Any, ...]]:
    with connection.cursor(name="sandbox_sample") as cursor:
        cursor.itersize = 500
        cursor.execute(query)
        yield from cursor
