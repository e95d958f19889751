"""The pristine copy of a loaded schema: rows with the page that they lie on, the DDL that makes the
objects again, and what the server said of every table, all in a schema that only the keeper sees.

A load leaves every page frozen. A write clears that in the visibility map, at no cost of its own:
the pages whose bits are cleared are the ones that changed, as long as no vacuum has set them again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from psycopg import sql

from sandbox.errors import NoBaseline
from sandbox.stores.postgres import ddl, fingerprint, watching
from sandbox.stores.postgres.fingerprint import Fingerprint, Item
from sandbox.stores.postgres.session import Connection, base, name, one, rows, schema_exists

PAGE = "__page"
LOOSE = 256  # pages at the end of a table that the server added for rows that never came
FREEZES, PAUSE = 4, 0.5  # seconds: rows that an older transaction may need cannot be frozen
RECORDS = """
CREATE TABLE {schema}.record (baseline text NOT NULL, pending boolean NOT NULL);
CREATE TABLE {schema}.relations (name text PRIMARY KEY, copy text NOT NULL, trusted text);
CREATE TABLE {schema}.ddl (number int PRIMARY KEY, late boolean, type text, name text, text text);
CREATE TABLE {schema}.catalog (kind text, relation text, name text, text text);
CREATE TABLE {schema}.positions (name text PRIMARY KEY, last bigint, called boolean)
"""
LEAVES = """
SELECT c.relname, c.oid::int8 FROM pg_class c
WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = %s) AND c.relkind = 'r'
ORDER BY 1
"""
# What differs as soon as the table was rewritten or a vacuum has ended.
SEEN = """
SELECT row(pg_relation_filenode(c.oid), c.relfrozenxid, c.relpersistence, c.reloptions,
           s.last_vacuum, s.last_autovacuum)::text
FROM pg_class c LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
WHERE c.oid = %s::oid AND c.relpersistence = 'p' AND current_setting('track_counts')::boolean
"""
COLUMNS = """
SELECT a.attname, a.attgenerated::text <> '', format_type(a.atttypid, a.atttypmod),
       t.typnamespace = c.relnamespace OR coalesce(e.typnamespace = c.relnamespace, false),
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary
               AND a.attnum = ANY(i.indkey))
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typlen = -1
WHERE c.oid = %s::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column that holds something of its own. `foreign` types live in another schema than the
    table's: those of the playground travel as text, so that the copy hangs on nothing there."""

    name: str
    type: str
    own_type: bool
    key: bool

    def read(self, alias: str) -> sql.Composed:
        cast = sql.SQL("::text" if self.own_type else "")
        return name(alias, self.name) + cast

    def written(self, alias: str) -> sql.Composed:
        cast = sql.SQL(f"::{self.type}" if self.own_type else "")
        return name(alias, self.name) + cast


@dataclass(frozen=True, kw_only=True)
class Ddl:
    """One entry of the schema's dump: statements that make one object again."""

    late: bool  # needs the rows
    type: str
    name: str
    text: str


def leaves(connection: Connection, schema: str) -> dict[str, int]:
    """Tables with rows of their own, partitions instead of their roots, with their OIDs."""
    return {str(relname): int(oid) for relname, oid in rows(connection, LEAVES, [schema])}


def columns(connection: Connection, oid: int) -> list[Column]:
    return [
        Column(name=column, type=kind, own_type=own, key=key)
        for column, generated, kind, own, key in rows(connection, COLUMNS, [oid])
        if not generated
    ]


def seen(connection: Connection, oid: int) -> str | None:
    """What the server says of a table; None where its visibility map cannot be trusted."""
    found = one(connection, SEEN, [oid])
    return None if found is None else str(found)


def touched(connection: Connection, oid: int) -> list[int]:
    """Pages that were written since the table was frozen."""
    query = (
        f"SELECT blkno::int8 FROM {watching.SCHEMA}.pg_visibility_map(%s::oid::regclass) "
        "WHERE NOT (all_visible AND all_frozen)"
    )
    return [int(row[0]) for row in rows(connection, query, [oid])]


def keep(
    connections: Callable[[Sequence[Callable[[Connection], None]]], None],
    connection: Connection,
    schema: str,
    baseline: str,
    design: Sequence[Ddl],
) -> None:
    """Copy `schema`, which nobody writes now, beside it. `connections` runs jobs side by side."""
    kept = base(schema)
    drop(connection, schema)
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(name(kept)))
    connection.execute(RECORDS.format(schema=name(kept).as_string(connection)).encode())
    tables = leaves(connection, schema)
    watched = not watching.lacking(connection)

    def copier(number: int, table: str, oid: int) -> Callable[[Connection], None]:
        def copy(own: Connection) -> None:
            _copy(own, schema, table, oid, f"data_{number}", watched=watched)

        return copy

    jobs = [copier(number, table, oid) for number, (table, oid) in enumerate(tables.items())]
    connections(jobs)
    with connection.cursor() as cursor:
        cursor.executemany(
            sql.SQL("INSERT INTO {} VALUES (%s, %s, %s, %s, %s)").format(name(kept, "ddl")),
            [
                (number, one_.late, one_.type, one_.name, one_.text)
                for number, one_ in enumerate(design)
            ],
        )
    connection.execute(
        sql.SQL("INSERT INTO {} VALUES (%s, false)").format(name(kept, "record")), [baseline]
    )


def note_catalog(connection: Connection, schema: str, owner: str) -> None:
    """Write down what the catalog says, once the schema has the name that it keeps."""
    kept = base(schema)
    if not schema_exists(connection, kept):
        return
    with connection.cursor() as cursor:
        cursor.executemany(
            sql.SQL("INSERT INTO {} VALUES (%s, %s, %s, %s)").format(name(kept, "catalog")),
            [(*item, text) for item, text in fingerprint.take(connection, schema, owner).items()],
        )
        cursor.executemany(
            sql.SQL("INSERT INTO {} VALUES (%s, %s, %s)").format(name(kept, "positions")),
            [
                (sequence, last, called)
                for sequence, (last, called) in fingerprint.sequences(connection, schema).items()
            ],
        )


def drop(connection: Connection, schema: str) -> None:
    connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(name(base(schema))))


def leave_alone(connection: Connection, table: sql.Composed) -> None:
    """An autovacuum that is called off half-way would set bits and tell nobody."""
    connection.execute(sql.SQL("ALTER TABLE {} SET (autovacuum_enabled = false)").format(table))


def _copy(
    connection: Connection, schema: str, table: str, oid: int, copy: str, *, watched: bool
) -> None:
    """One table's rows in the order of their pages."""
    kept, source = base(schema), name(schema, table)
    leave_alone(connection, source)
    for _ in range(FREEZES if watched else 0):
        if len(touched(connection, oid)) <= LOOSE:
            break
        connection.execute(sql.SQL("VACUUM (FREEZE) {}").format(source))
        time.sleep(PAUSE)  # for whoever still looks at what was before the load
    listed = columns(connection, oid)
    page = sql.SQL("(t.ctid::text::point)[0]::int4 AS {}").format(name(PAGE))
    fields = [c.read("t") + sql.SQL(" AS ") + name(c.name) for c in listed]
    target = name(kept, copy)
    connection.execute("SET max_parallel_workers_per_gather = 0; SET synchronize_seqscans = off")
    connection.execute(
        sql.SQL(
            "CREATE TABLE {} WITH (autovacuum_enabled = false) AS SELECT {} FROM ONLY {} t"
        ).format(target, sql.SQL(", ").join([page, *fields]), source)
    )
    connection.execute(sql.SQL("CREATE INDEX ON {} ({})").format(target, name(PAGE)))
    connection.execute(sql.SQL("ANALYZE {}").format(target))
    trusted = seen(connection, oid) if watched and len(touched(connection, oid)) <= LOOSE else None
    connection.execute(
        sql.SQL("INSERT INTO {} VALUES (%s, %s, %s)").format(name(kept, "relations")),
        [table, copy, trusted],
    )


# --- reading it back ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A baseline's records. `tables`: name -> (its copy, what the server said of it)."""

    tables: dict[str, tuple[str, str | None]]
    catalog: Fingerprint
    positions: dict[str, tuple[int, bool]]
    ddl: list[Ddl]


def find(connection: Connection, schema: str, baseline: str) -> Kept:
    """Raises NoBaseline where the copy is not that of the load that `schema` came from."""
    kept = base(schema)
    if not schema_exists(connection, kept) or not baseline:
        raise NoBaseline("no pristine copy is kept", where="postgres", hint="./inv load")
    found = one(connection, sql.SQL("SELECT baseline FROM {}").format(name(kept, "record")))
    if found != baseline:
        raise NoBaseline("the pristine copy is another load's", where="postgres", hint="./inv load")

    def all_of(table: str, order: str) -> list[tuple[object, ...]]:
        query = sql.SQL("SELECT * FROM {} ORDER BY {}").format(name(kept, table), sql.SQL(order))
        return rows(connection, query)

    return Kept(
        tables={str(r[0]): (str(r[1]), r[2]) for r in all_of("relations", "1")},  # type: ignore[misc]
        catalog={Item(*map(str, r[:3])): str(r[3]) for r in all_of("catalog", "1, 2, 3")},
        positions={str(r[0]): (int(str(r[1])), bool(r[2])) for r in all_of("positions", "1")},
        ddl=[
            Ddl(late=bool(r[1]), type=str(r[2]), name=str(r[3]), text=str(r[4]))
            for r in all_of("ddl", "1")
        ],
    )


def entries(design: ddl.Design, schema: str, target: str) -> list[Ddl]:
    """The dump's items under the name that the schema will have (both quoted). The staged name is
    this tool's own (`dev__new`): nothing else is written so, and a mended catalog is compared."""
    late = (*design.keyed, *design.attached, *design.foreign, *design.after)
    return [
        Ddl(
            late=number >= len(design.before),
            type=item.type,
            name=item.name,
            text=item.text.replace(f"{schema}.", f"{target}."),
        )
        for number, item in enumerate((*design.before, *late))
    ]
