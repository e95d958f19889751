"""What a load leaves is what production is but for its name: pg_dump and content agree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from sandbox.stores.postgres import catalog
from tests.contract.postgres_world import World, database

NASTY = (Path(__file__).parent / "nasty.sql").read_text()
EXTENSIONS = "CREATE EXTENSION citext; CREATE EXTENSION vector; CREATE EXTENSION btree_gist;"
ROWS = "SELECT count(*) || coalesce(md5(string_agg(t::text, ' ' ORDER BY t::text)), '') FROM {} t"
RELATIONS = """SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace
               AND relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT relispartition ORDER BY 1"""


def names(client: Any, schema: str) -> list[str]:
    quoted = sql.Identifier(schema).as_string(client)
    found = [row[0] for row in client.execute(RELATIONS, [quoted])]
    return [one for one in found if one != "spectator"]


@pytest.fixture(scope="module", params=["public", 'Prod "1"; %s'])
def world(request: pytest.FixtureRequest, postgres_server: Any) -> Iterator[World]:
    schema = request.param
    with database(postgres_server, isolated=[], schema=schema, playground="Dev .x") as made:
        client = made.client
        client.execute(EXTENSIONS)
        identifier = sql.Identifier(schema).as_string(client)
        client.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier}")
        client.execute(f"SET search_path = {identifier}, public")
        client.execute(NASTY.encode())
        client.execute("RESET search_path")
        found = names(client, schema)
        yield made.listing(isolated=found)


def dump(world: World, schema: str) -> str:
    """The schema as pg_dump sees it, without its name."""
    login = {"PGPASSWORD": world.server.admin_password}
    quoted = '"' + schema.replace('"', '""') + '"'
    argv = ["pg_dump", "-s", "-O", "-x", "-h127.0.0.1", f"-U{world.server.admin_user}"]
    text = world.tool(
        [*argv, f"-d{world.production.database}", f"-n{quoted}"], environment=login
    ).decode()
    text = re.sub(r"^\\(un)?restrict .*$", "", text, flags=re.M)
    text = re.sub(r"^COMMENT ON SCHEMA (?:.|\n)*?';\n", "", text, flags=re.M)
    text = re.sub(r"^(--.*|CREATE SCHEMA.*)$", "", text, flags=re.M)
    for written in {quoted, sql.Identifier(schema).as_string(world.client), schema}:
        text = text.replace(f"{written}.", "SCHEMA.")
    # Extensions stand in public for both.
    text = re.sub(r"\b(public|SCHEMA)\.(citext|vector)", r"ext.\2", text)
    return "\n".join(sorted(block.strip() for block in re.split(r"\n{3,}", text) if block.strip()))


def content(world: World, schema: str) -> dict[str, str]:
    """Every relation's rows as text, in an order of their own."""
    quoted = sql.Identifier(schema).as_string(world.client)
    with world.client.transaction():
        world.client.execute(f"SET LOCAL search_path = {quoted}, public")
        world.client.execute("SET LOCAL TimeZone = 'UTC'")
        found = {}
        for name in [*names(world.client, schema), "measured_2025 rest"]:
            if name in ("never", "keyed"):  # may be empty, which `numbers` tells
                continue
            only = "ONLY " if name in ("parent", "child") else ""
            query = sql.SQL(ROWS.replace("FROM ", f"FROM {only}"))
            row = world.client.execute(query.format(sql.Identifier(schema, name))).fetchone()
            found[name] = row[0]
        return found


def numbers(world: World, schema: str) -> dict[str, Any]:
    """Where every sequence stands, and which materialized views hold rows."""
    quoted = sql.Identifier(schema).as_string(world.client)
    query = """SELECT relname, relkind::text, relispopulated FROM pg_class
               WHERE relnamespace = %s::regnamespace AND relkind IN ('S', 'm') ORDER BY 1"""
    found: dict[str, Any] = {}
    for name, kind, populated in world.client.execute(query, [quoted]).fetchall():
        position = sql.SQL("SELECT last_value, is_called FROM {}").format(
            sql.Identifier(schema, name)
        )
        found[name] = populated if kind == "m" else world.client.execute(position).fetchone()
    return found


def assert_same(source: World, copy: World) -> None:
    there, here = source.production.schema, copy.playground.schema
    assert dump(copy, here) == dump(source, there)
    assert content(copy, here) == content(source, there)
    assert numbers(copy, here) == numbers(source, there)


def test_pg_dump_and_content_agree(world: World) -> None:
    assert world.copy() == []
    assert_same(world, world)
    assert world.copy() == []  # over the first one
    assert_same(world, world)
    assert world.client.execute(
        "SELECT count(*) FROM pg_namespace WHERE nspname ~ '__'"
    ).fetchone() == (0,)


def test_another_database_has_other_oids(world: World, postgres_server: Any) -> None:
    """Types, functions and tables have other numbers there, and so would binary rows of them."""
    with database(postgres_server, isolated=[], playground="back", ddl=EXTENSIONS) as other:
        other.isolate()
        assert other.put(*world.take()) == []
        assert_same(world, other)


def test_slices_make_the_same_table(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "SLICE", 1 << 13)
    names_ = [dataset.name for dataset, _ in world.take()[1]]
    assert names_.count("dropped") > 1 and names_.count("measured") > 3
    assert world.copy() == []
    assert_same(world, world)


CHANGES = (
    "ALTER TABLE {}.a ALTER COLUMN code SET STATISTICS 5",
    "ALTER TABLE {}.b ENABLE TRIGGER on_insert",
    "COMMENT ON COLUMN {}.a.code IS 'else'",
    "UPDATE {}.toasted SET big = big || 'x' WHERE id = 3",
    "DELETE FROM ONLY {}.child",
    "ALTER SEQUENCE {}.untouched RESTART 99",
    "REFRESH MATERIALIZED VIEW {}.keyed WITH NO DATA",
)


def test_the_comparison_sees_each_difference(world: World) -> None:
    schema = world.playground.schema
    quoted = sql.Identifier(schema).as_string(world.client)
    world.copy()

    def state() -> tuple[Any, ...]:
        return dump(world, schema), content(world, schema), numbers(world, schema)

    before = state()
    for change in CHANGES:
        world.client.execute(change.format(quoted))
        after = state()
        assert after != before, change
        before = after
