"""What stands in a schema, from PostgreSQL's catalogs."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from sandbox.errors import ConfigError
from sandbox.model import Dataset, Field, PostgresSpace
from sandbox.stores.postgres.session import Connection, one, rows

RELATIONS = """
SELECT c.oid::int8, c.relname, c.relkind::text, c.relispartition,
       greatest(c.reltuples, 0)::int8, pg_table_size(c.oid)::int8
FROM pg_class c
WHERE c.relnamespace = %s::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY c.relname
"""
COLUMNS = """
SELECT a.attrelid::int8, a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
       a.attgenerated::text <> '',
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique
               AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum AND i.indpred IS NULL),
       CASE WHEN a.atttypid IN ('varchar'::regtype, 'bpchar'::regtype) AND a.atttypmod > 4
            THEN a.atttypmod - 4 END,
       (SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum e
        WHERE e.enumtypid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END),
       (t.typtype = 'c' OR (t.typelem <> 0 AND t.typcategory = 'A'
                            AND el.typnamespace <> 'pg_catalog'::regnamespace))
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_type el ON el.oid = t.typelem
WHERE a.attrelid = ANY(%s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""
SEQUENCES = """
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = %s::regnamespace AND c.relkind = 'S'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1
"""


def is_listed(table: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(table, pattern) for pattern in patterns)


def relations(connection: Connection, schema: str) -> list[tuple[Any, ...]]:
    """(oid, name, relkind, is partition, rows, bytes) of tables and views, sorted by name."""
    quoted = one(connection, "SELECT quote_ident(%s)", [schema])
    return rows(connection, RELATIONS, [quoted])


def datasets(connection: Connection, space: PostgresSpace) -> list[Dataset]:
    """The isolated tables that hold data: partitions through their root.

    Raises ConfigError naming a table or view that is in neither list.
    """
    found = relations(connection, space.schema)
    unlisted = [
        relname
        for _, relname, _, is_partition, *_ in found
        if not is_partition
        and relname not in space.isolated
        and not is_listed(relname, space.shared)
    ]
    if unlisted:
        raise ConfigError(
            f"in neither list: {', '.join(unlisted)}",
            where="sandbox.toml: postgres.isolated, postgres.shared",
            hint="a table or view is either isolated or shared; say which",
        )
    wanted = [row for row in found if row[1] in space.isolated and row[2] in ("r", "p")]
    fields = _fields(connection, [row[0] for row in wanted])
    return [
        Dataset(
            store="postgres",
            name=relname,
            fields=tuple(field for field, _ in fields.get(oid, [])),
            rows=estimate,
            bytes=size,
            options={
                "partitioned": kind == "p",
                # Binary COPY writes type OIDs inside arrays and composites of user-defined types,
                # and those differ in the other schema.
                "text": any(textual for _, textual in fields.get(oid, [])),
            },
        )
        for oid, relname, kind, _, estimate, size in wanted
    ]


def tables(connection: Connection, schema: str) -> list[str]:
    """Tables with rows of their own, partitions left out."""
    return [row[1] for row in relations(connection, schema) if row[2] in ("r", "p") and not row[3]]


def sequences(connection: Connection, schema: str) -> list[str]:
    quoted = one(connection, "SELECT quote_ident(%s)", [schema])
    return [row[0] for row in rows(connection, SEQUENCES, [quoted])]


def _fields(connection: Connection, oids: Sequence[int]) -> dict[int, list[tuple[Field, bool]]]:
    found: dict[int, list[tuple[Field, bool]]] = {}
    for oid, column, kind, nullable, generated, unique, length, labels, textual in rows(
        connection, COLUMNS, [list(oids)]
    ):
        field = Field(
            name=column,
            type=kind,
            nullable=nullable,
            generated=generated,
            unique=unique,
            length=length,
            values=tuple(labels or ()),
        )
        found.setdefault(oid, []).append((field, textual))
    return found
