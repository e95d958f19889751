"""A playground's schema back to its baseline by what changed: everything that its own login can do
is undone, and what the pages no longer tell is refused, never guessed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from sandbox.errors import NoBaseline
from tests.contract.conftest import Server
from tests.contract.postgres_world import World, database

DDL = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL,
  mood mood DEFAULT 'ok', loud text GENERATED ALWAYS AS (upper(name)) STORED, boss bigint
  REFERENCES people DEFERRABLE, price numeric, UNIQUE (name));
COMMENT ON TABLE people IS 'who'; COMMENT ON COLUMN people.name IS 'called';
CREATE TABLE visits (person bigint NOT NULL REFERENCES people ON DELETE CASCADE, at date,
  note text DEFAULT 'none') PARTITION BY RANGE (at);
CREATE TABLE visits_old PARTITION OF visits FOR VALUES FROM ('2000-01-01') TO ('2020-01-01');
CREATE TABLE visits_new PARTITION OF visits FOR VALUES FROM ('2020-01-01') TO ('2050-01-01');
CREATE INDEX visits_at ON visits (at);
CREATE TABLE notes (text text, data jsonb, vec real[]);
CREATE SEQUENCE tickets START 7;
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql AS 'SELECT n * 2';
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN NEW.note := coalesce(NEW.note, '''') || ''!''; RETURN NEW; END';
CREATE VIEW happy AS SELECT id, name FROM people WHERE mood = 'ok';
CREATE INDEX people_price ON people (price) WHERE price > 1;
ALTER TABLE notes ADD CONSTRAINT short CHECK (length(text) < 100000);
INSERT INTO people (name, price) SELECT 'p' || i, i / 3.0 FROM generate_series(1, 3000) i;
UPDATE people SET boss = (id % 50) + 1;
INSERT INTO visits SELECT i, date '2010-01-01' + i % 7000, 'n' FROM generate_series(1, 3000) i;
INSERT INTO notes SELECT 'same', '{"a": 1}', '{1,2}' FROM generate_series(1, 40);
INSERT INTO notes SELECT repeat('long', 5000), NULL, NULL;
SELECT nextval('tickets');
"""
LATE = "CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON visits_new FOR EACH ROW " \
       "EXECUTE FUNCTION touch();"  # fmt: skip
TABLES = ("people", "visits", "notes")
CLIENT = {  # what the playground's own login may do
    "rows": "UPDATE people SET name = name || 'x' WHERE id < 40;"
    "DELETE FROM people WHERE id > 2900;"
    "INSERT INTO people (name, mood) VALUES ('new', 'sad');"
    "UPDATE people SET price = 1.00 WHERE id=3",
    "rows that swap a unique value": "UPDATE people SET name = 'q' WHERE id = 1;"
    "UPDATE people SET name = 'p1' WHERE id = 2; UPDATE people SET name = 'p2' WHERE id = 1",
    "rows of partitions": "UPDATE visits SET at = date '2030-01-01' WHERE person < 20;"
    "DELETE FROM visits WHERE person > 2990; INSERT INTO visits VALUES (5, '2001-02-03')",
    "rows without a key": "DELETE FROM notes WHERE ctid IN (SELECT ctid FROM notes LIMIT 9);"
    "INSERT INTO notes VALUES ('same', '{\"a\": 2}', NULL)",
    "a truncated table": "TRUNCATE notes",
    "sequences": "SELECT nextval('tickets'), setval('people_id_seq', 900000)",
    "a sequence's definition": "ALTER SEQUENCE tickets INCREMENT 5",
    "new objects": "CREATE TABLE junk (id int); CREATE VIEW v AS SELECT 1;"
    "CREATE TYPE t AS (a int);"
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE SEQUENCE s2;"
    "CREATE INDEX more ON people (mood); CREATE TABLE kid () INHERITS (notes);"
    "INSERT INTO kid VALUES ('in the child')",
    "a dropped table": "DROP TABLE visits CASCADE",
    "dropped columns": "ALTER TABLE people DROP COLUMN mood CASCADE, ADD COLUMN junk text",
    "a renamed table": "ALTER TABLE notes RENAME TO scribbles",
    "a renamed column": "ALTER TABLE notes RENAME COLUMN text TO words",
    "keys and indexes": "DROP INDEX people_price; ALTER TABLE notes DROP CONSTRAINT short;"
    "ALTER TABLE people DROP CONSTRAINT people_name_key;"
    "CREATE UNIQUE INDEX u ON people (price, id)",
    "functions and triggers": "CREATE OR REPLACE FUNCTION twice(n int) RETURNS int LANGUAGE sql AS "
    "'SELECT n * 3'; ALTER TABLE visits_new DISABLE TRIGGER touch; DROP VIEW happy;"
    "INSERT INTO visits VALUES (6, '2030-03-03', 'quiet')",
    "a type": "ALTER TYPE mood ADD VALUE 'wild'",
    "rights and comments": "GRANT ALL ON people TO PUBLIC; GRANT SELECT (text) ON notes TO PUBLIC;"
    "REVOKE SELECT ON visits FROM CURRENT_USER; GRANT USAGE ON SCHEMA dev TO PUBLIC;"
    "COMMENT ON TABLE people IS 'x'; COMMENT ON COLUMN people.name IS NULL;"
    "COMMENT ON COLUMN notes.text IS 'n'",
    "storage": "ALTER TABLE notes SET (fillfactor = 50), ALTER COLUMN text SET STORAGE EXTERNAL;"
    "ALTER TABLE people ENABLE ROW LEVEL SECURITY",
    "the role's own settings": "ALTER ROLE CURRENT_USER SET search_path = public;"
    "ALTER ROLE CURRENT_USER SET work_mem = '1MB'; ALTER ROLE CURRENT_USER PASSWORD 'other'",
    "large objects": "SELECT lo_from_bytea(0, 'x')",
    "vacuumed": "UPDATE people SET price = 4 WHERE id < 9; VACUUM FREEZE people; ANALYZE people",
    "rewritten": "UPDATE people SET price = 4 WHERE id < 9; VACUUM FULL people",
}

TOLD = {  # in `diff`, in one line for each object
    "new objects": {("junk", "added"), ("v", "added"), ("kid", "added"), ("people", "altered")},
    "a dropped table": {("visits", "removed")},
    "a renamed table": {("notes", "removed"), ("scribbles", "added")},
    "dropped columns": {("people", "altered")},
}


@pytest.fixture(scope="module")
def world(postgres_server: Server) -> Iterator[World]:
    with database(postgres_server, isolated=(*TABLES, "happy"), ddl=DDL + LATE) as made:
        made.baseline = "b1"
        made.copy()
        yield made


@pytest.fixture(scope="module")
def before(world: World) -> str:
    return dump(world)


def playground(world: World) -> psycopg.Connection[Any]:
    identity = world.identities["playground"]
    return psycopg.connect(
        host=world.server.host, port=world.server.port, dbname=world.playground.database,
        user=identity.name, password=identity.secret, autocommit=True,
    )  # fmt: skip


def dump(world: World) -> str:
    """Everything of the schema: pg_dump's text with the rows in an order of their own."""
    login = ["--host=127.0.0.1", "--username=postgres", f"--dbname={world.playground.database}"]
    schema = ["pg_dump", "--schema-only", "--schema=dev", *login]
    environment = {"PGPASSWORD": world.server.admin_password}
    text = world.tool(schema, environment=environment).decode()
    lines = [x for x in text.splitlines() if "restrict" not in x and not x.startswith("--")]
    for table in (*TABLES, "visits_old", "visits_new"):
        lines += listed(world, f"SELECT '{table}', t::text FROM ONLY dev.{table} t ORDER BY 2")
    for sequence in ("tickets", "people_id_seq"):
        lines += listed(world, f"SELECT last_value, is_called FROM dev.{sequence}")
    settings = "SELECT setconfig FROM pg_db_role_setting WHERE setrole = %s::regrole ORDER BY 1"
    lines += map(str, world.client.execute(settings, [world.identities["playground"].name]))
    lines += map(str, world.client.execute("SELECT count(*) FROM pg_largeobject_metadata"))
    return "\n".join(lines)


def listed(world: World, query: str) -> list[str]:
    try:
        return [str(row) for row in world.client.execute(query.encode()).fetchall()]
    except psycopg.errors.UndefinedTable:
        return []


def reset(world: World) -> list[Any]:
    store = world.store()
    try:
        found = list(store.rewind())
        store.swap()
        assert store.swapped()
        store.settle()
        assert not store.swapped()
        return found
    finally:
        store.close()


@pytest.mark.parametrize("what", CLIENT)
def test_what_the_playground_can_do_is_undone(world: World, before: str, what: str) -> None:
    with playground(world) as client:
        for statement in CLIENT[what].split(";"):
            client.execute(statement.encode())
    store = world.store()
    told = store.changes()
    assert TOLD.get(what, set()) <= {(change.dataset, change.what) for change in told}
    store.close()
    assert told, "a change that diff does not tell"
    reset(world)
    assert dump(world) == before


def test_all_of_it_at_once(world: World, before: str) -> None:
    with playground(world) as client:
        for what, statements in CLIENT.items():
            if "role" in what:
                continue
            for statement in statements.split(";"):
                try:
                    client.execute(statement.encode())
                except psycopg.Error:
                    continue  # its table is gone already
    assert dump(world) != before
    reset(world)
    assert dump(world) == before
    store = world.store()
    assert store.changes() == []
    store.close()
    playground(world).close()


def test_a_session_goes_on_and_one_that_holds_a_lock_is_ended(world: World, before: str) -> None:
    with playground(world) as client, playground(world) as holder:
        client.execute("PREPARE q AS SELECT count(*) FROM people")
        assert client.execute("EXECUTE q").fetchone() == (3000,)
        client.execute("DELETE FROM people WHERE id = 2000")
        holder.execute("BEGIN; UPDATE people SET name = 'held' WHERE id = 3")
        reset(world)
        assert client.execute("EXECUTE q").fetchone() == (3000,)
        with pytest.raises(psycopg.OperationalError):
            holder.execute("COMMIT")
    assert dump(world) == before


def test_undo_before_the_commit_leaves_all_as_it_was(world: World) -> None:
    with playground(world) as client:
        client.execute("DELETE FROM notes")
        dirty = dump(world)
        store = world.store()
        assert store.rewind()
        done = threading.Event()
        writer = threading.Thread(
            target=lambda: (client.execute("INSERT INTO notes VALUES ('w')"), done.set())
        )
        writer.start()
        time.sleep(0.2)
        assert not done.is_set(), "writers wait"
        store.undo()
        writer.join(5)
        assert not store.swapped()
        store.settle()
        store.close()
        client.execute("DELETE FROM notes")
    assert dump(world) == dirty
    reset(world)


def test_the_copy_is_out_of_the_playgrounds_reach(world: World) -> None:
    with playground(world) as client:
        for query in ("SELECT * FROM dev__base.record", "DROP SCHEMA dev__base CASCADE",
                      "SELECT * FROM sandbox_keeper.pg_visibility_map('dev.people'::regclass)",
                      "SET session_replication_role = replica"):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                client.execute(query.encode())


def test_a_space_of_another_load_is_refused(world: World) -> None:
    world.client.execute("UPDATE dev__base.record SET baseline = 'other'")
    store = world.store()
    try:
        with pytest.raises(NoBaseline, match="another load"):
            store.rewind()
        with pytest.raises(NoBaseline):
            store.changes()
    finally:
        world.client.execute("UPDATE dev__base.record SET baseline = 'b1'")
        store.close()


def test_a_large_table_that_was_vacuumed_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.copy()  # the tests before had their tables vacuumed and made again
    monkeypatch.setattr("sandbox.stores.postgres.rewind.COMPARED_WHOLE", 0)
    with playground(world) as client:
        client.execute("UPDATE people SET price = 9 WHERE id = 9")
        store = world.store()
        assert [c.rows for c in store.changes()] == [1]
        client.execute("VACUUM people")
        with pytest.raises(NoBaseline, match="people was vacuumed"):
            store.rewind()
        assert client.execute("SELECT price FROM people WHERE id = 9").fetchone() == (9,)
        store.close()
