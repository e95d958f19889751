"""Moves a schema by catalog: production's dump is restored into a scratch database, the isolated
objects get their new schema there, and pg_dump writes them anew, so that every default, key, view
and partition follows by identity, not by text.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import sql

from sandbox.contract import Access, Tool
from sandbox.errors import SandboxError
from sandbox.stores.postgres import catalog, moving
from sandbox.stores.postgres.dump import Item, items, pattern, replaced, split
from sandbox.stores.postgres.session import Connection, connect, failed, name, one, rows

DROP = sql.SQL("DROP DATABASE IF EXISTS {}")
KEYED = ("CONSTRAINT", "CHECK CONSTRAINT", "INDEX", "STATISTICS")
MISSING = "what it needs is not there; ./inv isolate takes up extensions that are new in production"
SKIPPED = ("SCHEMA", "")  # the space is made by the store; settings are the session's


@dataclass(frozen=True, kw_only=True)
class Design:
    """A schema's DDL in the order that it is needed, and what could not come along.

    `before`: types, functions, tables, views. `keyed`: indexes and keys, nearly independent of one
    another. `attached`: partitions' indexes to those of their tables, in order. `foreign`: foreign
    keys. `after`: triggers, policies, comments, and views that need a key, in order.
    `materialized`: views that hold rows.
    """

    before: tuple[Item, ...]
    keyed: tuple[Item, ...]
    attached: tuple[Item, ...]
    foreign: tuple[Item, ...]
    after: tuple[Item, ...]
    materialized: tuple[str, ...]
    sequences: Mapping[str, Sequence[object]]
    lost: tuple[str, ...]


def template_name(project: str) -> str:
    """The database with the extensions, made by `isolate`, that scratch databases are copies of."""
    return f"{project}_sandbox_template"


def move(access: Access, record: bytes, target: str, tool: Tool, template: str) -> Design:
    """The artifact's catalog -> the DDL of the same objects in schema `target`."""
    facts = json.loads(record)
    schema = facts["schema"]
    with _scratch(access, template) as database:
        connection = connect(access, database=database)
        try:
            refused = _restore(connection, items(facts["dump"]), schema)
            lost = moving.move_objects(connection, schema, target, facts["isolated"])
            _need_all(connection, target, facts, refused)
            shared = {row[1] for row in catalog.relations(connection, schema)}
            moved = set(catalog.sequences(connection, target))
            views = [row[1] for row in catalog.relations(connection, target) if row[2] == "m"]
            calls = moving.constructors(connection, schema, target)
        except psycopg.Error as error:
            raise failed(error, "moving the schema") from None
        finally:
            connection.close()
        found = [i for i in items(_dump(access, database, target, tool)) if i.type not in SKIPPED]
    found = [replace(item, text=replaced(item.text, calls)) for item in found]
    shared |= {item.name for item, _ in refused if item.type == "TABLE"}
    lost += [f"{i.title}: {why}" for i, why in refused if not moving.noise(i, tuple(shared))]
    lost += moving.naming(found, schema)
    populated = facts.get("populated", views)
    return _design(
        found,
        materialized=tuple(view for view in views if view in populated),
        sequences={k: v for k, v in facts["sequences"].items() if k in moved},
        lost=(*facts.get("lost", ()), *lost),
    )


def _design(found: Sequence[Item], **rest: Any) -> Design:
    before, post = split(list(found))
    kinds = (*KEYED, "INDEX ATTACH", "FK CONSTRAINT")
    return Design(
        before=tuple(before),
        keyed=tuple(item for item in post if item.type in KEYED),
        attached=tuple(item for item in post if item.type == "INDEX ATTACH"),
        foreign=tuple(item for item in post if item.type == "FK CONSTRAINT"),
        after=tuple(item for item in post if item.type not in kinds),
        **rest,
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
            admin.execute(DROP.format(name(old)))
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(name(made), name(template)))
        yield made
    finally:
        try:
            _drop(admin, made)
        finally:
            admin.close()


def _drop(admin: Connection, database: str) -> None:
    """One that this load has made: another may be at work in what looks left over. Without FORCE
    first: a plain DROP ends an autovacuum worker, which FORCE may not, since the worker counts as a
    superuser's. What a superuser's session holds stays for the next time."""
    drop = DROP.format(name(database))
    try:
        admin.execute(drop)
    except psycopg.errors.ObjectInUse:
        with suppress(psycopg.errors.ObjectInUse, psycopg.errors.InsufficientPrivilege):
            admin.execute(drop + sql.SQL(" WITH (FORCE)"))


def _restore(connection: Connection, found: Sequence[Item], schema: str) -> list[tuple[Item, str]]:
    """Run production's DDL; returns what the server refused, and its words. The schema itself may
    be there (public) or not."""
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name(schema)))
    # As pg_dump's own settings say; those of another version's pg_dump may be unknown here.
    connection.execute("SET check_function_bodies = false; SET xmloption = content")
    connection.execute("SET max_parallel_maintenance_workers = 0")  # nothing to do there
    connection.execute("SET client_min_messages = error; SET search_path = ''")
    refused = []
    for item in found:
        if item.type in SKIPPED or _is_note_on_schema(item):
            continue
        try:
            connection.execute(item.text.encode())
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            refused.append((item, str(error.diag.message_primary)))
    connection.execute("RESET search_path")
    return refused


def _is_note_on_schema(item: Item) -> bool:
    """Production's marker among it; before PostgreSQL 15 `public` does not belong to us here."""
    return item.type == "COMMENT" and item.name.startswith("SCHEMA ")


def _need_all(
    connection: Connection, target: str, facts: Mapping[str, Any], refused: Sequence[Any]
) -> None:
    """A table that is isolated and was in production must be there."""
    expected = [one for one in facts["isolated"] if one in facts.get("present", ())]
    why = {item.name: f"{item.title}: {words}" for item, words in reversed(refused)}
    for one_ in moving.missing(connection, target, expected):
        if one_ in why:
            raise SandboxError(why[one_], where="moving the schema", hint=MISSING)


def _dump(access: Access, database: str, target: str, tool: Tool) -> str:
    out = tool(
        [
            "pg_dump",
            "--schema-only",
            "--no-owner",
            "--no-privileges",
            "--no-tablespaces",
            f"--username={access.identity.name}",
            f"--dbname={database}",
            "--schema=" + pattern(target),
        ],
        environment={"PGPASSWORD": access.identity.secret},
    )
    return out.decode()
