"""Moves a schema by catalog: production's dump is restored into a scratch database, the isolated
objects get their new schema there, and pg_dump writes them anew, so that every default, key, view
and partition follows by identity, not by text. Only bodies of string-literal functions stay.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from sandbox.contract import Access, Tool
from sandbox.errors import SandboxError
from sandbox.stores.postgres import catalog
from sandbox.stores.postgres.session import Connection, connect, failed, name, one, rows

ITEM = re.compile(r"^--\n-- Name: (?P<name>.*); Type: (?P<type>[A-Z ]+); Schema: .*\n--\n", re.M)
META = re.compile(r"^\\(?:un)?restrict .*$", re.M)  # psql's own lines in a plain dump
LATE = (
    "INDEX ATTACH",
    "FK CONSTRAINT",
    "TRIGGER",
    "EVENT TRIGGER",
    "RULE",
    "ROW SECURITY",
    "POLICY",
    "COMMENT",
)


@dataclass(frozen=True, kw_only=True)
class Design:
    """A schema's DDL in the order that it is needed, and what could not come along.

    `before`: types, functions, tables, views. `keyed`: indexes and keys, independent of one
    another. `after`: what needs the keys, in order. `materialized`: views to refresh.
    """

    before: str
    keyed: tuple[str, ...]
    after: tuple[str, ...]
    materialized: tuple[str, ...]
    sequences: Mapping[str, Sequence[object]]
    lost: tuple[str, ...]


def template_name(project: str) -> str:
    """The database with the extensions, made by `isolate`, that scratch databases are copies of."""
    return f"{project}_sandbox_template"


def move(access: Access, record: bytes, target: str, tool: Tool, template: str) -> Design:
    """The artifact's catalog -> the DDL of the same objects in schema `target`."""
    facts = json.loads(record)
    with _scratch(access, template) as database:
        connection = connect(access, database=database)
        try:
            _restore(connection, facts["dump"], facts["schema"])
            lost = _move_objects(connection, facts, target)
            moved = set(catalog.sequences(connection, target))
            materialized = [
                row[1] for row in catalog.relations(connection, target) if row[2] == "m"
            ]
        except psycopg.Error as error:
            raise failed(error, "moving the schema") from None
        finally:
            connection.close()
        before, after = (
            _dump(access, database, target, tool, s) for s in ("pre-data", "post-data")
        )
    items = list(_items(after))
    return Design(
        before=before,
        keyed=tuple(text for kind, text in items if kind not in LATE),
        after=tuple(text for kind, text in items if kind in LATE),
        materialized=tuple(materialized),
        sequences={k: v for k, v in facts["sequences"].items() if k in moved},
        lost=tuple(lost),
    )


@contextmanager
def _scratch(access: Access, template: str) -> Iterator[str]:
    """A database of its own for the length of the block; leftovers of a kill go first."""
    prefix = template.removesuffix("_template") + "_scratch_"
    admin = connect(access)
    made = f"{prefix}{secrets.token_hex(4)}"
    try:
        if not one(admin, "SELECT true FROM pg_database WHERE datname = %s", [template]):
            raise SandboxError(
                f"the template database {template} is missing", hint="./inv isolate makes it"
            )
        query = """SELECT datname FROM pg_database d WHERE starts_with(datname, %s) AND
                   NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datid = d.oid)
                   AND pg_has_role(datdba, 'USAGE')"""
        for (old,) in rows(admin, query, [prefix]):
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(name(old)))
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(name(made), name(template)))
        yield made
    finally:
        try:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name(made)))
        finally:
            admin.close()


def _restore(connection: Connection, dump: str, schema: str) -> None:
    """Run production's DDL. The schema itself may be there (public) or not."""
    text = META.sub("", dump)
    quoted = one(connection, "SELECT quote_ident(%s)", [schema])
    text = re.sub(rf"^CREATE SCHEMA {re.escape(quoted)};$", "", text, flags=re.M)
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name(schema)))
    connection.execute(text.encode())
    connection.execute("RESET ALL")


def _move_objects(connection: Connection, facts: Mapping[str, object], target: str) -> list[str]:
    """Everything but the shared tables goes to `target`; returns what must stay behind."""
    schema, isolated = str(facts["schema"]), facts["isolated"]
    assert isinstance(isolated, list)
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(name(target)))
    lost = [*_cut_keys(connection, schema, isolated)]
    for statement in _moves(connection, schema, target, isolated):
        connection.execute(statement)
    lost += _shared_views(connection, schema, target)
    lost += _textual_functions(connection, schema, target)
    return lost


def _cut_keys(connection: Connection, schema: str, isolated: Sequence[str]) -> Iterator[str]:
    """A foreign key to a shared table would tie production's rows to the playground's: it is left
    out, and said."""
    query = """
        SELECT c.conrelid::regclass::text, c.conname, c.confrelid::regclass::text
        FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
        JOIN pg_class f ON f.oid = c.confrelid
        WHERE c.contype = 'f' AND c.connamespace = quote_ident(%s)::regnamespace
          AND c.conparentid = 0
          AND (t.relname = ANY(%s)) <> (f.relname = ANY(%s))
    """
    parts = _with_partitions(connection, schema, isolated)
    for table, constraint, other in rows(connection, query, [schema, parts, parts]):
        connection.execute(
            sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(sql.SQL(table), name(constraint))
        )
        bare = table.split(".")[-1]
        if bare in parts:
            yield f"foreign key {constraint} of {bare}: {other} is shared, not isolated"


def _with_partitions(connection: Connection, schema: str, isolated: Sequence[str]) -> list[str]:
    """The isolated tables and everything that inherits from them."""
    query = """
        WITH RECURSIVE tree AS (
          SELECT oid, relname FROM pg_class
          WHERE relnamespace = quote_ident(%s)::regnamespace AND relname = ANY(%s)
          UNION SELECT c.oid, c.relname FROM pg_inherits i
          JOIN tree t ON t.oid = i.inhparent JOIN pg_class c ON c.oid = i.inhrelid)
        SELECT relname FROM tree
    """
    return [row[0] for row in rows(connection, query, [schema, list(isolated)])]


def _moves(
    connection: Connection, schema: str, target: str, isolated: Sequence[str]
) -> Iterator[sql.Composed]:
    """ALTER ... SET SCHEMA for tables, then free sequences, types, functions and statistics."""
    parts = _with_partitions(connection, schema, isolated)
    free = "NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = {} AND d.deptype IN ('e', 'i'))"
    relations = """
        SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW'
               WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
               c.oid::regclass::text FROM pg_class c
        WHERE c.relnamespace = quote_ident(%s)::regnamespace
          AND (c.relname = ANY(%s) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
               OR c.relkind = 'S' AND NOT EXISTS (  -- owned ones follow their table
                    SELECT FROM pg_depend d WHERE d.objid = c.oid
                    AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i', 'e')))
    """
    types = f"""
        SELECT 'TYPE', t.oid::regtype::text FROM pg_type t
        WHERE t.typnamespace = quote_ident(%s)::regnamespace AND t.typtype IN ('e', 'd', 'r', 'c')
          AND (t.typtype <> 'c' OR EXISTS (SELECT FROM pg_class k
               WHERE k.oid = t.typrelid AND k.relkind = 'c'))
          AND {free.format("t.oid")}
    """
    routines = f"""
        SELECT 'ROUTINE', p.oid::regprocedure::text FROM pg_proc p
        WHERE p.pronamespace = quote_ident(%s)::regnamespace
          AND {free.format("p.oid")}
    """
    others = """
        SELECT 'STATISTICS', quote_ident(n.nspname) || '.' || quote_ident(s.stxname)
        FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
        JOIN pg_class c ON c.oid = s.stxrelid
        WHERE n.nspname = %s AND c.relname = ANY(%s)
    """
    found = rows(connection, relations, [schema, parts])
    found += rows(connection, types, [schema]) + rows(connection, routines, [schema])
    found += rows(connection, others, [schema, parts])
    for kind, quoted in found:
        yield sql.SQL("ALTER {} {} SET SCHEMA {}").format(
            sql.SQL(kind), sql.SQL(quoted), name(target)
        )


def _shared_views(connection: Connection, schema: str, target: str) -> Iterator[str]:
    """Views of the target that read what stays in the shared schema."""
    query = """
        SELECT DISTINCT v.relname, s.relname FROM pg_rewrite r
        JOIN pg_class v ON v.oid = r.ev_class AND v.relnamespace = quote_ident(%s)::regnamespace
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
          AND d.refclassid = 'pg_class'::regclass
        JOIN pg_class s ON s.oid = d.refobjid AND s.relnamespace = quote_ident(%s)::regnamespace
    """
    for view, shared in rows(connection, query, [target, schema]):
        connection.execute(sql.SQL("DROP VIEW IF EXISTS {} CASCADE").format(name(target, view)))
        yield f"view {view}: it reads {shared}, which is shared, not isolated"


def _textual_functions(connection: Connection, schema: str, target: str) -> Iterator[str]:
    """Bodies kept as text go on naming the old schema."""
    query = """
        SELECT p.oid::regprocedure::text FROM pg_proc p
        WHERE p.pronamespace = quote_ident(%s)::regnamespace AND p.prosqlbody IS NULL
          AND (p.prosrc ~ %s OR array_to_string(p.proconfig, ' ') ~ %s)
    """
    pattern = rf"\m{re.escape(schema)}\M\s*[.,]|\m{re.escape(schema)}\M"
    for (routine,) in rows(connection, query, [target, pattern, pattern]):
        yield f"function {routine}: its body names schema {schema} as text"


def _dump(access: Access, database: str, target: str, tool: Tool, section: str) -> str:
    out = tool(
        [
            "pg_dump",
            "--schema-only",
            f"--section={section}",
            "--no-owner",
            "--no-privileges",
            "--host=127.0.0.1",
            f"--username={access.identity.name}",
            f"--dbname={database}",
            f'--schema="{target}"',
        ],
        environment={"PGPASSWORD": access.identity.secret},
    )
    return META.sub("", out.decode())


def _items(dump: str) -> Iterator[tuple[str, str]]:
    """(type, statements) of each entry of a plain dump, by pg_dump's own comments."""
    marks = list(ITEM.finditer(dump))
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        end = following.start() if following else len(dump)
        yield mark["type"], dump[mark.end() : end]
