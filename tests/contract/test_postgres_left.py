"""What cannot be carried is told, each thing by name; what must not be guessed is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.errors import ConfigError, SandboxError
from tests.contract.postgres_world import World, database

DDL = """
CREATE SCHEMA apart;
CREATE FUNCTION apart.helper() RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE TABLE keys (id serial PRIMARY KEY, secret text);
CREATE TABLE videos (
    id integer PRIMARY KEY DEFAULT nextval('public.keys_id_seq'),
    key integer REFERENCES keys,
    number bigint DEFAULT nextval('public.videos_number'::text)
);
CREATE SEQUENCE videos_number;
CREATE TABLE notes (video integer REFERENCES videos, owner text);
ALTER TABLE keys ADD FOREIGN KEY (id) REFERENCES videos;
CREATE VIEW named AS SELECT v.id, k.secret FROM videos v JOIN keys k ON k.id = v.key;
CREATE VIEW named_too AS SELECT count(*) FROM named;
CREATE VIEW harmless AS SELECT id FROM videos;
CREATE FUNCTION textual() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.videos';
CREATE FUNCTION bare() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM videos';
CREATE FUNCTION pathed() RETURNS integer LANGUAGE sql SET search_path = public AS 'SELECT 1';
CREATE FUNCTION outside() RETURNS integer LANGUAGE sql RETURN apart.helper();
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY by_key ON notes USING (EXISTS (SELECT FROM keys WHERE secret = owner));
CREATE EXTENSION postgres_fdw;
CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw;
CREATE FOREIGN TABLE elsewhere (id integer) SERVER far;
CREATE PUBLICATION news FOR TABLE videos;
SELECT lo_create(0);
CREATE TYPE pair AS (a integer, b integer);
CREATE FUNCTION as_text(pair) RETURNS text LANGUAGE sql RETURN ($1).a::text;
CREATE CAST (pair AS text) WITH FUNCTION as_text(pair);
CREATE MATERIALIZED VIEW divided AS SELECT 1 / (count(*) + 1) AS n FROM videos;
INSERT INTO videos SELECT n FROM generate_series(1, 3) n;
"""
ISOLATED = ("videos", "notes", "named", "named_too", "harmless", "elsewhere", "divided")
TOLD = (
    "foreign key videos_key_fkey of videos: keys is shared",
    "view named: it reads keys, which is shared",
    "view named_too: it reads keys, which is shared",
    "default value for column id of table videos: it goes on using sequence keys_id_seq",
    "policy by_key on table notes: it goes on using keys of public",
    "function textual(): its text names schema public",
    "function pathed(): its text names schema public",
    'function outside(): schema "apart" does not exist',
    "table videos: its text names schema public",
    "foreign table elsewhere: its rows stay on its server",
    "publication news of videos",
    "1 large objects",
    "cast from pair to text",
)


@pytest.fixture(scope="module")
def world(postgres_server: Any) -> Iterator[World]:
    with database(postgres_server, isolated=ISOLATED, shared=["keys"], ddl=DDL) as made:
        yield made


def test_each_thing_that_stays_behind_is_told(world: World) -> None:
    lost = world.copy()
    untold = [words for words in TOLD if not any(words in one for one in lost)]
    assert untold == [], "\n".join(lost)
    assert not [one for one in lost if "bare" in one or "harmless" in one]
    assert len(lost) == len(set(lost)) == len(TOLD)
    there = (
        "SELECT array_agg(relname::text ORDER BY relname) FROM pg_class WHERE relkind IN "
        "('r', 'v', 'm', 'f') AND relnamespace = 'dev'::regnamespace"
    )
    assert world.client.execute(there).fetchone()[0] == ["divided", "harmless", "notes", "videos"]
    assert world.client.execute("SELECT dev.bare()").fetchone() == (3,)


def test_the_playground_owns_no_way_to_what_is_shared(world: World) -> None:
    query = """SELECT count(*) FROM pg_constraint WHERE contype = 'f'
               AND connamespace = 'dev'::regnamespace
               AND confrelid::regclass::text NOT LIKE 'dev.%'"""
    assert world.client.execute(query).fetchone() == (0,)


def test_a_table_that_needs_what_is_not_carried_is_an_error(postgres_server: Any) -> None:
    ddl = "CREATE SCHEMA apart; CREATE DOMAIN apart.d AS text; CREATE TABLE t (x apart.d)"
    with (
        database(postgres_server, isolated=["t"], ddl=ddl) as made,
        pytest.raises(SandboxError, match='table t: schema "apart" does not exist'),
    ):
        made.copy()


@pytest.mark.parametrize(
    ("ddl", "isolated", "shared", "words"),
    [
        ("CREATE TABLE a (); CREATE TABLE b ();", ["a"], [], "in neither list: b"),
        ("CREATE TABLE a (x text); CREATE TABLE b () INHERITS (a);", ["a"], ["b"], "b inherits"),
        ("CREATE TABLE a (x text); CREATE TABLE b () INHERITS (a);", ["b"], ["a"], "b inherits"),
        (
            "CREATE TABLE a (x integer) PARTITION BY LIST (x);"
            "CREATE TABLE b PARTITION OF a DEFAULT;",
            ["b"],
            ["a"],
            "b inherits from a",
        ),
    ],
)
def test_what_must_not_be_guessed_is_refused(
    postgres_server: Any, ddl: str, isolated: list[str], shared: list[str], words: str
) -> None:
    with (
        database(postgres_server, isolated=isolated, shared=shared, ddl=ddl) as made,
        pytest.raises(ConfigError, match=words) as caught,
    ):
        made.copy()
    assert caught.value.exit_code == 2


def test_a_partition_that_is_listed_too_is_read_once(postgres_server: Any) -> None:
    ddl = """CREATE TABLE a (x integer) PARTITION BY LIST (x);
             CREATE TABLE b PARTITION OF a DEFAULT;
             INSERT INTO a VALUES (1), (2)"""
    with database(postgres_server, isolated=["a", "b"], ddl=ddl) as made:
        made.copy()
        assert made.client.execute("SELECT count(*) FROM dev.a").fetchone() == (2,)
