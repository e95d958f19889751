"""Gives the isolated objects of a scratch database their new schema, by identity: what refers to
them follows. What must stay behind, or goes on naming the old schema, is said in words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from psycopg import sql

from sandbox.stores.postgres.dump import Item, literals
from sandbox.stores.postgres.session import Connection, name, one, rows

# Everything in a schema but what belongs to an extension, with pg_identify_object's names.
OBJECTS = """
    SELECT o.type, o.identity, d.objid::int8,
           CASE WHEN d.classid = 'pg_class'::regclass THEN
             (SELECT relname FROM pg_class WHERE oid = d.objid) END,
           CASE WHEN d.classid = 'pg_statistic_ext'::regclass THEN
             (SELECT c.relname FROM pg_statistic_ext s JOIN pg_class c ON c.oid = s.stxrelid
              WHERE s.oid = d.objid) END
    FROM pg_depend d, pg_identify_object(d.classid, d.objid, 0) o
    WHERE d.refclassid = 'pg_namespace'::regclass
      AND d.refobjid = quote_ident(%s)::regnamespace
      AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = d.classid AND e.objid = d.objid
                      AND e.deptype = 'e')
      AND NOT (o.type = 'function' AND EXISTS (  -- a range's constructor: see CONSTRUCTORS
               SELECT FROM pg_depend e WHERE e.classid = d.classid AND e.objid = d.objid
               AND e.refclassid = 'pg_type'::regclass AND e.deptype = 'i'))
      AND NOT (o.type = 'sequence' AND EXISTS (  -- an owned one follows its table
               SELECT FROM pg_depend e WHERE e.classid = d.classid AND e.objid = d.objid
               AND e.refclassid = 'pg_class'::regclass AND e.deptype IN ('a', 'i')))
"""
# A range type's constructors belong to the server, so they cannot be moved: calls of them are told
# apart by their names, which no moved routine can have kept.
CONSTRUCTORS = """
    SELECT DISTINCT quote_ident(p.proname) FROM pg_proc p
    JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'i'
      AND d.refclassid = 'pg_type'::regclass
    WHERE p.pronamespace = quote_ident(%s)::regnamespace
"""
# In this order: an identity names the types of its arguments, so types move last.
KINDS = {
    "function": "ROUTINE",
    "procedure": "ROUTINE",
    "aggregate": "ROUTINE",
    "operator": "OPERATOR",
    "operator class": "OPERATOR CLASS",
    "operator family": "OPERATOR FAMILY",
    "conversion": "CONVERSION",
    "text search parser": "TEXT SEARCH PARSER",
    "text search template": "TEXT SEARCH TEMPLATE",
    "text search dictionary": "TEXT SEARCH DICTIONARY",
    "text search configuration": "TEXT SEARCH CONFIGURATION",
    "statistics object": "STATISTICS",
    "sequence": "SEQUENCE",
    "table": "TABLE",
    "foreign table": "FOREIGN TABLE",
    "view": "VIEW",
    "materialized view": "MATERIALIZED VIEW",
    "collation": "COLLATION",
    "type": "TYPE",
}
RELATIONS = ("table", "foreign table", "view", "materialized view")
TREE = """
    WITH RECURSIVE tree AS (
      SELECT oid, relname FROM pg_class
      WHERE relnamespace = quote_ident(%s)::regnamespace AND relname = ANY(%s)
      UNION SELECT c.oid, c.relname FROM pg_inherits i
      JOIN tree t ON t.oid = i.inhparent JOIN pg_class c ON c.oid = i.inhrelid
      WHERE c.relkind IN ('r', 'p', 'f'))
    SELECT relname FROM tree
"""
CROSSING = """
    SELECT c.conrelid::regclass::text, c.conname, t.relname, c.confrelid::regclass::text, mine.yes
    FROM pg_constraint c
    JOIN pg_class t ON t.oid = c.conrelid JOIN pg_class f ON f.oid = c.confrelid
    CROSS JOIN LATERAL (SELECT t.relname = ANY(%s) AND t.relnamespace = s AS yes,
                               f.relname = ANY(%s) AND f.relnamespace = s AS theirs
                        FROM (SELECT quote_ident(%s)::regnamespace AS s) q) mine
    WHERE c.contype = 'f' AND c.conparentid = 0 AND mine.yes <> mine.theirs
"""
# Views of the new schema that read a relation of the old one, directly or through other views.
READING = """
    WITH RECURSIVE reads AS (
      SELECT r.ev_class AS view, d.refobjid AS relation FROM pg_rewrite r
      JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class),
    far AS (
      SELECT view, relation FROM reads WHERE relation IN
        (SELECT oid FROM pg_class WHERE relnamespace = quote_ident(%s)::regnamespace)
      UNION SELECT r.view, f.relation FROM reads r JOIN far f ON f.view = r.relation)
    SELECT v.relname, v.relkind::text, min(s.relname) FROM far
    JOIN pg_class v ON v.oid = far.view AND v.relnamespace = quote_ident(%s)::regnamespace
    JOIN pg_class s ON s.oid = far.relation
    WHERE v.relkind IN ('v', 'm') GROUP BY 1, 2 ORDER BY 1
"""
# What else of the new schema rests on a relation of the old one: policies, defaults, functions.
RESTING = """
    SELECT DISTINCT pg_describe_object(d.classid, d.objid, 0), c.relname, c.relkind::text
    FROM pg_depend d JOIN pg_class c ON c.oid = d.refobjid
    LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
    LEFT JOIN pg_policy y ON d.classid = 'pg_policy'::regclass AND y.oid = d.objid
    LEFT JOIN pg_attrdef a ON d.classid = 'pg_attrdef'::regclass AND a.oid = d.objid
    JOIN pg_class own ON own.oid = coalesce(y.polrelid, a.adrelid) OR own.oid IS NULL
    WHERE d.refclassid = 'pg_class'::regclass AND c.relnamespace = quote_ident(%s)::regnamespace
      AND (p.pronamespace = quote_ident(%s)::regnamespace
           OR own.relnamespace = quote_ident(%s)::regnamespace)
    ORDER BY 1
"""


def move_objects(
    connection: Connection, schema: str, target: str, isolated: Sequence[str]
) -> list[str]:
    """Everything but the shared tables goes to `target`; returns what stays behind, in words."""
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(name(target)))
    parts = [row[0] for row in rows(connection, TREE, [schema, list(isolated)])]
    lost = [*_cut_keys(connection, schema, parts)]
    for statement in _moves(connection, schema, target, parts):
        connection.execute(statement)
    lost += _drop_views(connection, schema, target)
    lost += _resting(connection, schema, target)
    return lost


def _cut_keys(connection: Connection, schema: str, parts: Sequence[str]) -> Iterator[str]:
    """A foreign key to a shared table would tie production's rows to the playground's."""
    values = [list(parts), list(parts), schema]
    for table, constraint, bare, other, is_ours in rows(connection, CROSSING, values):
        connection.execute(
            sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(sql.SQL(table), name(constraint))
        )
        if is_ours:
            yield f"foreign key {constraint} of {bare}: {other} is shared, not isolated"


def _moves(
    connection: Connection, schema: str, target: str, parts: Sequence[str]
) -> Iterator[sql.Composed]:
    found: list[tuple[Any, ...]] = [
        row for row in rows(connection, OBJECTS, [schema]) if row[0] in KINDS
    ]
    order = list(KINDS)
    for kind, identity, _, relation, of_table in sorted(found, key=lambda r: order.index(r[0])):
        stays = relation not in parts if kind in RELATIONS else of_table not in (None, *parts)
        if not stays:
            yield sql.SQL("ALTER {} {} SET SCHEMA {}").format(
                sql.SQL(KINDS[kind]), sql.SQL(identity), name(target)
            )


def _drop_views(connection: Connection, schema: str, target: str) -> Iterator[str]:
    for view, kind, shared in rows(connection, READING, [schema, target]):
        word = "MATERIALIZED VIEW" if kind == "m" else "VIEW"
        statement = sql.SQL("DROP {} IF EXISTS {} CASCADE")
        connection.execute(statement.format(sql.SQL(word), name(target, view)))
        yield f"view {view}: it reads {shared}, which is shared, not isolated"


def _resting(connection: Connection, schema: str, target: str) -> Iterator[str]:
    here = f"{one(connection, 'SELECT quote_ident(%s)', [target])}."
    for what, shared, kind in rows(connection, RESTING, [schema, target, target]):
        word = "sequence " if kind == "S" else ""
        yield f"{what.replace(here, '')}: it goes on using {word}{shared} of {schema}"


def naming(items: Sequence[Item], schema: str) -> Iterator[str]:
    """Items whose literals, bodies or search_path name the old schema: a rename leaves them."""
    quoted = '"' + schema.replace('"', '""') + '"'
    named = rf"(?:(?<![\w$.]){re.escape(schema)}|{re.escape(quoted)})"
    qualified = re.compile(rf"{named}\s*\.\s*[\w\"]")
    path = re.compile(rf"search_path\s*(?:TO|=)[^;\n]*['\s,]{named}", re.IGNORECASE)
    for item in items:
        if item.type == "COMMENT":
            continue
        if path.search(item.text) or any(map(qualified.search, literals(item.text))):
            yield f"{item.title}: its text names schema {schema}"


def constructors(connection: Connection, schema: str, target: str) -> dict[str, str]:
    """Calls of range types' constructors in the old schema -> the same in the new one."""
    old, new = (name(each).as_string(connection) for each in (schema, target))
    bare = one(connection, "SELECT quote_ident(%s)", [schema])
    found = [row[0] for row in rows(connection, CONSTRUCTORS, [schema])]
    return {f"{where}.{f}(": f"{new}.{f}(" for f in found for where in (old, bare)}


def noise(item: Item, shared: Sequence[str]) -> bool:
    """Whether an item that could not be made is told already, or belongs to a table that stays."""
    return item.type == "FOREIGN TABLE" or any(
        item.name == table or item.name.startswith(f"{table} ") for table in shared
    )


def missing(connection: Connection, target: str, isolated: Sequence[str]) -> list[str]:
    query = "SELECT relname FROM pg_class WHERE relnamespace = quote_ident(%s)::regnamespace"
    there = {row[0] for row in rows(connection, query, [target])}
    return [one for one in isolated if one not in there]
