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
WITH RECURSIVE inner_types AS (
  SELECT DISTINCT a.atttypid AS root, a.atttypid AS oid FROM pg_attribute a
  WHERE a.attrelid = ANY(%(oids)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
  UNION SELECT i.root, x.oid FROM inner_types i JOIN pg_type t ON t.oid = i.oid
  CROSS JOIN LATERAL (
    SELECT t.typbasetype AS oid WHERE t.typtype = 'd'
    UNION ALL SELECT t.typelem WHERE t.typelem <> 0 AND t.typcategory = 'A'
    UNION ALL SELECT rngsubtype FROM pg_range WHERE rngtypid = t.oid
    UNION ALL SELECT rngtypid FROM pg_range WHERE rngmultitypid = t.oid) x),
as_text AS (
  SELECT i.root FROM inner_types i JOIN pg_type t ON t.oid = i.oid
  LEFT JOIN pg_type el ON el.oid = t.typelem
  WHERE t.typtype = 'c' OR t.typsend = 0 OR t.typreceive = 0
    OR (t.typcategory = 'A' AND el.typnamespace <> 'pg_catalog'::regnamespace)
    OR (t.typname LIKE 'reg%%' AND t.typnamespace = 'pg_catalog'::regnamespace))
SELECT a.attrelid::int8, a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
       a.attgenerated::text <> '',
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique
               AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum AND i.indpred IS NULL),
       CASE WHEN a.atttypid IN ('varchar'::regtype, 'bpchar'::regtype) AND a.atttypmod > 4
            THEN a.atttypmod - 4
            WHEN t.typbasetype IN ('varchar'::regtype, 'bpchar'::regtype) AND t.typtypmod > 4
            THEN t.typtypmod - 4 END,
       (SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum e
        WHERE e.enumtypid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END),
       a.atttypid IN (SELECT root FROM as_text),
       CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) ELSE '' END,
       (SELECT array_agg(ARRAY[p.attname::text, format_type(p.atttypid, p.atttypmod)]
                         ORDER BY p.attnum)
        FROM pg_type c JOIN pg_attribute p ON p.attrelid = c.typrelid
        WHERE c.typtype = 'c' AND p.attnum > 0 AND NOT p.attisdropped
          AND c.oid IN (t.oid, CASE WHEN t.typcategory = 'A' THEN t.typelem END))
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = ANY(%(oids)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""
# What the rows of a table with partitions stand in, and how many blocks.
LEAVES = """
SELECT n.nspname, c.relname, (pg_relation_size(c.oid) / current_setting('block_size')::int8)::int8,
       pg_table_size(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND (c.oid = %(oid)s OR c.oid IN (
  SELECT relid FROM pg_partition_tree(%(oid)s::oid::regclass))) ORDER BY 1, 2
"""
TREE_SIZE = "SELECT sum(pg_table_size(relid))::int8 FROM pg_partition_tree(%s::oid::regclass)"
PARENTS = """
SELECT c.relname, c.relispartition, p.relname, n.nspname FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid AND c.relkind IN ('r', 'p', 'f')
JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace n ON n.oid = p.relnamespace
WHERE %s::regnamespace IN (c.relnamespace, p.relnamespace) ORDER BY 1
"""
SLICE = 128 << 20  # bytes of a table that are read in one go
MOST_SLICES = 64
SEQUENCES = """
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = %s::regnamespace AND c.relkind = 'S'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1
"""


LOST = """
WITH mine AS (SELECT oid, relname, relkind FROM pg_class WHERE relname = ANY(%s)
              AND relnamespace = quote_ident(%s)::regnamespace)
SELECT 'foreign table ' || relname || ': its rows stay on its server' FROM mine WHERE relkind = 'f'
UNION ALL SELECT 'publication ' || p.pubname || ' of ' || m.relname
  FROM pg_publication_rel r JOIN mine m ON m.oid = r.prrelid
  JOIN pg_publication p ON p.oid = r.prpubid
UNION ALL SELECT 'security label of ' || m.relname
  FROM pg_seclabel l JOIN mine m ON m.oid = l.objoid
  WHERE l.classoid = 'pg_class'::regclass
UNION ALL SELECT count(*) || ' large objects: no table holds them'
  FROM pg_largeobject_metadata HAVING count(*) > 0
UNION ALL SELECT pg_describe_object('pg_cast'::regclass, c.oid, 0)
  FROM pg_cast c JOIN pg_type t ON t.oid IN (c.castsource, c.casttarget)
  JOIN pg_namespace n ON n.oid = t.typnamespace WHERE c.oid >= 16384 AND n.nspname !~ '^pg_'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_cast'::regclass
                  AND d.objid = c.oid AND d.deptype IN ('e', 'i'))
UNION ALL SELECT 'tablespace ' || s.spcname || ' of ' || m.relname || ': the default one is used'
  FROM mine m JOIN pg_class c USING (oid) JOIN pg_tablespace s ON s.oid = c.reltablespace
"""


def is_listed(table: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(table, pattern) for pattern in patterns)


def relations(connection: Connection, schema: str) -> list[tuple[Any, ...]]:
    """(oid, name, relkind, is partition, rows, bytes) of tables and views, sorted by name."""
    return rows(connection, RELATIONS, [quote(connection, schema)])


def quote(connection: Connection, schema: str) -> str:
    """As regnamespace wants it."""
    return str(one(connection, "SELECT quote_ident(%s)", [schema]))


def check(connection: Connection, space: PostgresSpace) -> list[tuple[Any, ...]]:
    """The isolated tables that hold data of their own; partitions come with their tables.

    Raises ConfigError naming a table or view that is in neither list, or one that is tied by
    inheritance to one of the other list.
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
    _check_families(connection, space)
    return [
        row for row in found if row[1] in space.isolated and row[2] in ("r", "p") and not row[3]
    ]


def _check_families(connection: Connection, space: PostgresSpace) -> None:
    """A child's rows are seen through its parent: both are isolated, or neither is."""
    isolated = set(space.isolated)
    parents = rows(connection, PARENTS, [quote(connection, space.schema)])
    inside = {child for child, is_partition, *_ in parents if is_partition}
    for child, is_partition, parent, schema in parents:
        here = schema == space.schema and parent in isolated | inside
        if (child in isolated) != here and not (is_partition and child not in isolated):
            raise ConfigError(
                f"{child} inherits from {parent}, and only one of them is isolated",
                where="sandbox.toml: postgres.isolated",
                hint="a table and what inherits from it belong in the same list",
            )


def datasets(connection: Connection, space: PostgresSpace) -> list[Dataset]:
    """What is read, large tables in slices: ranges of their blocks. Raises ConfigError."""
    wanted = check(connection, space)
    fields = _fields(connection, [row[0] for row in wanted])
    made = []
    for oid, relname, kind, _, estimate, size in wanted:
        options: dict[str, Any] = {
            "partitioned": kind == "p",
            # Binary COPY writes OIDs of types, and those differ in the other schema.
            "text": any(textual for _, textual in fields.get(oid, [])),
        }
        if kind == "p":
            size = one(connection, TREE_SIZE, [oid]) or 0
        if size > SLICE:
            options["slices"] = _slices(connection, oid, relname, kind)
        made.append(
            Dataset(
                store="postgres",
                name=relname,
                fields=tuple(field for field, _ in fields.get(oid, [])),
                rows=estimate,
                bytes=size,
                options=options,
            )
        )
    return made


def _slices(connection: Connection, oid: int, relname: str, kind: str) -> list[list[Any]]:
    """Ranges of blocks as [schema or "", table, first block, block after the last or None]: the
    last one of a table is open, since the table may be longer by the time that it is read."""
    made: list[list[Any]] = []
    for schema, leaf, blocks, size in rows(connection, LEAVES, {"oid": oid}):
        count = min(MOST_SLICES, max(1, min(blocks, -(-size // SLICE))))
        marks = [blocks * i // count for i in range(count)]
        for first, last in zip(marks, [*marks[1:], None], strict=True):
            made.append([schema if kind == "p" else "", leaf, first, last])
    return made


def tables(connection: Connection, schema: str) -> list[str]:
    """Tables with rows of their own, partitions left out."""
    return [row[1] for row in relations(connection, schema) if row[2] in ("r", "p") and not row[3]]


def lockable(connection: Connection, schema: str) -> list[str]:
    """The same names, asked for in a way that waits for no lock (a table's size does)."""
    query = """SELECT relname FROM pg_class WHERE relnamespace = quote_ident(%s)::regnamespace
               AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1"""
    return [row[0] for row in rows(connection, query, [schema])]


def sequences(connection: Connection, schema: str) -> list[str]:
    return [row[0] for row in rows(connection, SEQUENCES, [quote(connection, schema)])]


def _fields(connection: Connection, oids: Sequence[int]) -> dict[int, list[tuple[Field, bool]]]:
    found: dict[int, list[tuple[Field, bool]]] = {}
    for (
        oid,
        column,
        kind,
        nullable,
        generated,
        unique,
        length,
        labels,
        textual,
        base,
        parts,
    ) in rows(connection, COLUMNS, {"oids": list(oids)}):
        field = Field(
            name=column,
            type=kind,
            nullable=nullable,
            generated=generated,
            unique=unique,
            length=length,
            values=tuple(labels or ()),
            base=base,
            parts=tuple((part, of) for part, of in parts or ()),
        )
        found.setdefault(oid, []).append((field, textual))
    return found


def lost(connection: Connection, space: PostgresSpace) -> list[str]:
    """What a copy of one schema's tables cannot hold, in words."""
    return [
        str(text)
        for (text,) in rows(connection, LOST, [list(space.isolated), space.schema])
        if text
    ]


def populated(connection: Connection, schema: str) -> list[str]:
    """Materialized views that hold rows."""
    query = """SELECT relname FROM pg_class WHERE relnamespace = quote_ident(%s)::regnamespace
               AND relkind = 'm' AND relispopulated"""
    return [row[0] for row in rows(connection, query, [schema])]
