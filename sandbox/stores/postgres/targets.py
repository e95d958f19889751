"""What there is to try against: production's tables, views and sequences, and canaries."""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from sandbox.model import PostgresSpace
from sandbox.stores.postgres.session import Connection, name, one, rows
from sandbox.stores.postgres.trials import Table, Trial, literal, quoted

MOST_DATABASES = 20
RELATIONS = """
SELECT c.oid::int8, c.relname, c.relkind::text,
       (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
        AND a.attgenerated = '' AND a.attidentity = '' AND NOT a.attisdropped
        ORDER BY a.attnum LIMIT 1)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind = ANY(%s) AND NOT c.relispartition
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY c.relkind DESC, c.relname
"""


def tables(connection: Connection, space: PostgresSpace) -> list[Table]:
    """One table that is isolated and one that is shared, the narrowed ones first."""
    found = rows(connection, RELATIONS, [space.schema, ["r", "p"]])
    isolated = [row for row in found if row[1] in space.isolated]
    shared = [row for row in found if row[1] not in space.isolated]
    shared.sort(key=lambda row: row[1] not in space.narrowed)
    picked = [("an isolated", isolated[:1]), ("a shared", shared[:1])]
    return [_table(space.schema, row, what) for what, some in picked for row in some]


def views(connection: Connection, schema: str) -> list[Table]:
    return [_table(schema, row, "") for row in rows(connection, RELATIONS, [schema, ["v"]])]


def sequences(connection: Connection, schema: str) -> list[tuple[int, str]]:
    """Number and quoted name."""
    found = rows(connection, RELATIONS, [schema, ["S"]])
    return [(row[0], f"{quoted(schema)}.{quoted(row[1])}") for row in found]


def databases(connection: Connection) -> list[str]:
    """The server's other databases; this tool's own are copies without rows, and short-lived."""
    query = """SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate
               AND datname <> current_database() AND datname !~ '_sandbox_(template|scratch_)'
               ORDER BY datname LIMIT %s"""
    return [row[0] for row in rows(connection, query, [MOST_DATABASES])]


def statement_records(connection: Connection) -> list[str]:
    """The schema of pg_stat_statements, where it is installed."""
    query = """SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
               WHERE e.extname = 'pg_stat_statements'"""
    return [row[0] for row in rows(connection, query)]


def plant(connection: Connection, schema: str, canary: str) -> Table:
    """A table with one row and a key, in a schema whose marker the caller has read."""
    table = name(schema, canary)
    connection.execute(sql.SQL("CREATE TABLE {} (v int PRIMARY KEY DEFAULT 2)").format(table))
    connection.execute(sql.SQL("INSERT INTO {} VALUES (1)").format(table))
    oid = one(connection, "SELECT %s::regclass::oid::int8", [f"{quoted(schema)}.{quoted(canary)}"])
    return Table(
        oid=oid, schema=quoted(schema), bare=quoted(canary), what="a home", column=quoted("v")
    )


def planted(home: Table, schema: str, tried: str) -> Trial:
    """The canary in a schema; anywhere in the database for "", since two addresses may be one
    server."""
    inside = f"AND n.nspname = {literal(schema)}" if schema else ""
    return Trial(
        tried=tried,
        statement="SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        f"WHERE quote_ident(c.relname) = {literal(home.bare.strip(chr(34)))} {inside}",
        none=True,
    )


def backwards(home: Table, owner: str) -> Iterator[Trial]:
    """The playground's canary as production's login sees it."""
    for verb, statement in {
        "read": f"SELECT v FROM {home.full}",
        "write": f"INSERT INTO {home.full} VALUES (3)",
        "empty": f"TRUNCATE {home.full}",
        "drop": f"DROP TABLE {home.full}",
    }.items():
        yield Trial(tried=f"{verb} a canary of {owner}", statement=statement)


def _table(schema: str, row: tuple[int, str, str, str | None], what: str) -> Table:
    return Table(
        oid=row[0],
        schema=quoted(schema),
        bare=quoted(row[1]),
        what=what,
        column=quoted(row[3] or "ctid"),
    )
