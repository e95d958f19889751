"""Puts the rows that changed back, by the pages that were written since the load.

All rows of such a page are compared with the pristine copy's: no trigger notes which row changed,
and none is needed. Foreign keys and triggers rest meanwhile: what comes back fulfilled them before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from psycopg import sql

from sandbox.errors import NoBaseline
from sandbox.stores.postgres.keeping import PAGE, Column, Kept, columns, seen, touched
from sandbox.stores.postgres.session import Connection, base, name, one

COMPARED_WHOLE = 64 << 20  # bytes: a table of at most this size is compared row by row at any time
PAGES_AT_MOST = 200_000  # changed pages of one table that are looked at, about 1.6 GB
TID, TEXT, RANK = "__tid", "__text", "__rank"
NOW, WAS = "sandbox_now", "sandbox_was"
ALWAYS = """
SELECT true WHERE EXISTS (SELECT FROM pg_trigger WHERE tgrelid = %s::oid AND NOT tgisinternal
                          AND tgenabled IN ('A', 'R'))
   OR EXISTS (SELECT FROM pg_rewrite WHERE ev_class = %s::oid AND ev_enabled IN ('A', 'R'))
   OR EXISTS (SELECT FROM pg_class WHERE oid = %s::oid AND relforcerowsecurity)
"""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table and its copy. `pages`: those that were written, None for all."""

    name: str
    oid: int
    source: sql.Composed
    copy: sql.Composed
    columns: Sequence[Column]
    pages: Sequence[int] | None

    @property
    def keyed(self) -> bool:
        return any(column.key for column in self.columns)


def table(connection: Connection, schema: str, kept: Kept, relation: str, oid: int) -> Table | None:
    """What is to be compared of a relation; None when not a page of it was written.

    Raises NoBaseline for a large one whose pages tell nothing any more."""
    copy, trusted = kept.tables[relation]
    pages: Sequence[int] | None = None
    if trusted is not None and trusted == seen(connection, oid):
        pages = touched(connection, oid)
        if not pages:
            return None
    if pages is None or len(pages) > PAGES_AT_MOST:
        if int(one(connection, "SELECT pg_relation_size(%s::oid)", [oid])) > COMPARED_WHOLE:
            what = "vacuumed, rewritten or changed all over since it was loaded"
            raise NoBaseline(f"table {relation} was {what}")
        pages = None
    return Table(
        name=relation,
        oid=oid,
        source=name(schema, relation),
        copy=name(base(schema), copy),
        columns=columns(connection, oid),
        pages=pages,
    )


def compare(connection: Connection, table: Table) -> int:
    """Gather what is there and what was there in two temporary tables; how many rows differ."""
    connection.execute(f"DROP TABLE IF EXISTS pg_temp.{NOW}, pg_temp.{WAS}")
    _gather_now(connection, table)
    where = sql.SQL("").format()
    if table.pages is not None:
        where = sql.SQL(" WHERE {} = ANY({}::int4[])").format(
            name(PAGE), sql.Literal(list(table.pages))
        )
    connection.execute(
        sql.SQL(f"CREATE TEMP TABLE {WAS} ON COMMIT DROP AS SELECT {{}} FROM {{}}{{}}").format(
            _listed(table), table.copy, where
        )
    )
    if not table.keyed:
        _number(connection, table)
    with _hashed(connection):
        return int(one(connection, _counting(table)))


def _counting(table: Table) -> sql.Composed:
    if not table.keyed:
        return sql.SQL(
            f"SELECT greatest((SELECT count(*) FROM pg_temp.{NOW} n WHERE NOT EXISTS "
            f"(SELECT FROM pg_temp.{WAS} w WHERE {{0}})), (SELECT count(*) FROM pg_temp.{WAS} w "
            f"WHERE NOT EXISTS (SELECT FROM pg_temp.{NOW} n WHERE {{0}})))"
        ).format(_same(table))
    return sql.SQL(
        f"SELECT count(*) FROM pg_temp.{NOW} n FULL JOIN pg_temp.{WAS} w ON {{}} "
        "WHERE ({}) IS NOT TRUE"
    ).format(_same_key(table), _same_row(table))


@contextlib.contextmanager
def _hashed(connection: Connection) -> Iterator[None]:
    """Nobody analyzed the two temporary tables: a nested loop would take them for tiny."""
    connection.execute("SET LOCAL enable_nestloop = off")
    yield
    connection.execute("SET LOCAL enable_nestloop = on")


def put_back(connection: Connection, table: Table) -> None:
    """After `compare`: rows that were not there go, rows that are missing come back."""
    if one(connection, ALWAYS, [table.oid] * 3):
        raise NoBaseline(f"table {table.name} has triggers or row security that never rest")
    with _hashed(connection):
        _exchange(connection, table, _same(table))


def _exchange(connection: Connection, table: Table, same: sql.Composed) -> None:
    connection.execute(
        sql.SQL(
            f"DELETE FROM ONLY {{}} WHERE ctid = ANY(ARRAY(SELECT n.{TID} FROM pg_temp.{NOW} n "
            f"WHERE NOT EXISTS (SELECT FROM pg_temp.{WAS} w WHERE {{}})))"
        ).format(table.source, same)
    )
    connection.execute(
        sql.SQL(
            f"INSERT INTO {{}} ({{}}) OVERRIDING SYSTEM VALUE SELECT {{}} FROM pg_temp.{WAS} w "
            f"WHERE NOT EXISTS (SELECT FROM pg_temp.{NOW} n WHERE {{}})"
        ).format(
            table.source,
            _listed(table),
            sql.SQL(", ").join(column.written("w") for column in table.columns),
            same,
        )
    )


def fill(connection: Connection, table: Table) -> None:
    """All rows of the copy into a table that was made again and is empty."""
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} w").format(
            table.source,
            _listed(table),
            sql.SQL(", ").join(column.written("w") for column in table.columns),
            table.copy,
        )
    )


def ranges(pages: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of pages, each with the page after its last."""
    ordered = sorted(pages)
    start = ordered[0]
    for page, following in zip(ordered, [*ordered[1:], None], strict=True):
        if following != page + 1:
            yield start, page + 1
            start = following if following is not None else start


def _gather_now(connection: Connection, table: Table) -> None:
    fields = [c.read("t") + sql.SQL(" AS ") + name(c.name) for c in table.columns]
    query = sql.SQL(f"SELECT t.ctid AS {TID}, {{}} FROM ONLY {{}} t WHERE ").format(
        sql.SQL(", ").join(fields), table.source
    )
    make = sql.SQL(f"CREATE TEMP TABLE {NOW} ON COMMIT DROP AS {{}}{{}}")
    if table.pages is None:
        connection.execute(make.format(query, sql.SQL("true")))
        return
    connection.execute(make.format(query, sql.SQL("false")))
    runs = list(ranges(table.pages))
    first, after = ([f"({run[side]},0)" for run in runs] for side in (0, 1))
    body = sql.SQL(
        "DECLARE first tid[] := {}::tid[]; after tid[] := {}::tid[]; BEGIN "
        "FOR i IN 1..cardinality(first) LOOP "
        f"INSERT INTO pg_temp.{NOW} {{}}t.ctid >= first[i] AND t.ctid < after[i]; "
        "END LOOP; END"
    ).format(sql.Literal(first), sql.Literal(after), query)
    text = body.as_string(connection)
    connection.execute(sql.SQL("DO {}").format(sql.Literal(text)))


def _number(connection: Connection, table: Table) -> None:
    """Without a key, a row is told by its text, and one of several alike by its number."""
    for made in (NOW, WAS):
        row = sql.SQL(", ").join(name("x", c.name) for c in table.columns)
        connection.execute(
            sql.SQL(
                f"ALTER TABLE pg_temp.{made} RENAME TO {made}_raw; "
                f"CREATE TEMP TABLE {made} ON COMMIT DROP AS SELECT y.*, row_number() "
                f"OVER (PARTITION BY y.{TEXT}) AS {RANK} FROM "
                f"(SELECT x.*, md5(ROW({{}})::text) AS {TEXT} FROM pg_temp.{made}_raw x) y; "
                f"DROP TABLE pg_temp.{made}_raw"
            ).format(row)
        )


def _listed(table: Table) -> sql.Composed:
    return sql.SQL(", ").join(name(column.name) for column in table.columns)


def _same(table: Table) -> sql.Composed:
    """Whether n and w are one row, unchanged."""
    if not table.keyed:
        return _same_key(table)
    return sql.SQL("{} AND {}").format(_same_key(table), _same_row(table))


def _same_key(table: Table) -> sql.Composed:
    keys = [column.name for column in table.columns if column.key] or [TEXT, RANK]
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(name("n", key), name("w", key)) for key in keys
    )


def _same_row(table: Table) -> sql.Composed:
    """To the bit: `=` takes 1.0 for 1.00, and some types have none."""
    sides = (sql.SQL(", ").join(name(a, c.name) for c in table.columns) for a in ("n", "w"))
    return sql.SQL("ROW({})::record *= ROW({})::record").format(*sides)
