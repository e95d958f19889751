"""A few rows of a table, from all over it, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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
    share = 100 * SPARE * rows / max(dataset.rows, 1)
    found = []
    if share < 100:
        found = connection.execute(
            sql.SQL("SELECT {} FROM {} TABLESAMPLE SYSTEM ({}) LIMIT {}").format(
                columns, table, sql.Literal(share), sql.Literal(rows)
            )
        ).fetchall()
    if not found:
        query = sql.SQL("SELECT {} FROM {} LIMIT {}")
        found = connection.execute(query.format(columns, table, sql.Literal(rows))).fetchall()
    for row in found:
        yield dict(zip([field.name for field in fields], row, strict=True))
