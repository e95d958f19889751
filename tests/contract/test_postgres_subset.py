"""A subset of PostgreSQL stays whole: whatever is chosen, every foreign key still finds its row."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
import pytest

from sandbox.contract import Access
from sandbox.errors import ConfigError, Refused
from sandbox.masking.keep import KEEP
from sandbox.masking.mask import PolicyMask
from sandbox.masking.policy import parse
from sandbox.masking.pseudonyms import Pseudonyms
from sandbox.masking.subset import ROWS, threshold
from sandbox.model import Endpoint, Identity, PostgresSpace, Start
from sandbox.stores.postgres.source import PostgresSource

# Cycles over two and three tables, a table that refers to itself, composite keys, keys that are
# text, uuid or smaller integers than what they refer to, a unique key beside the primary one, a
# partitioned table, one without any key, names that need quotes, and one that nothing connects.
SCHEMA = """
CREATE SCHEMA "Sub set";
SET search_path = "Sub set";
CREATE TABLE people (id bigint PRIMARY KEY, handle text UNIQUE NOT NULL, best bigint, boss bigint
    REFERENCES people);
CREATE TABLE videos (id bigint PRIMARY KEY, owner text NOT NULL REFERENCES people (handle),
    cover uuid);
CREATE TABLE frames (video integer REFERENCES videos, "no" integer, PRIMARY KEY (video, "no"));
CREATE TABLE clusters (id uuid PRIMARY KEY, video bigint NOT NULL REFERENCES videos,
    person bigint REFERENCES people, code varchar(9) UNIQUE);
CREATE TABLE faces (id bigint PRIMARY KEY, video integer, "no" integer, cluster uuid
    REFERENCES clusters, FOREIGN KEY (video, "no") REFERENCES frames
    ON DELETE CASCADE);
CREATE TABLE "No key" (face bigint REFERENCES faces, code varchar(9) REFERENCES clusters (code));
CREATE TABLE events (id bigint, video bigint REFERENCES videos, at integer) PARTITION BY RANGE (at);
CREATE TABLE events_low PARTITION OF events FOR VALUES FROM (0) TO (5);
CREATE TABLE events_high PARTITION OF events FOR VALUES FROM (5) TO (10);
CREATE TABLE apart (id integer PRIMARY KEY);
ALTER TABLE videos ADD FOREIGN KEY (cover) REFERENCES clusters;
ALTER TABLE people ADD FOREIGN KEY (best) REFERENCES faces;
"""
TABLES = ("people", "videos", "frames", "clusters", "faces", "No key", "events", "apart")
FOREIGN = """
SELECT c.relname, pg_get_constraintdef(k.oid) FROM pg_constraint k JOIN pg_class c
ON c.oid = k.conrelid WHERE k.contype = 'f' AND k.conparentid = 0
AND c.relnamespace = '"Sub set"'::regnamespace
"""
UNIQUE = FOREIGN.replace("= 'f'", "IN ('p', 'u')")


def fill(admin: psycopg.Connection[Any]) -> None:
    """Rows that refer to one another at random, often across videos, and through NULL."""
    dice = random.Random(7)
    many = range(1, 61)

    def maybe(values: Any) -> Any:
        return None if dice.random() < 0.4 else dice.choice(list(values))

    uuids = [f"00000000-0000-4000-8000-{n:012d}" for n in many]
    rows: dict[str, list[tuple[Any, ...]]] = {
        "people": [(n, f"h{n}", maybe(many), maybe(many)) for n in many],
        "videos": [(n, f"h{dice.choice(many)}", maybe(uuids)) for n in many],
        "frames": [(video, no) for video in many for no in range(3)],
        "clusters": [
            (uuid, dice.choice(many), maybe(many), f"c{n}" if n % 3 else None)
            for n, uuid in enumerate(uuids)
        ],
        "faces": [(n, *((dice.choice(many), dice.randrange(3)) if n % 7 else (n % 60 + 1, None)),
                   maybe(uuids)) for n in many],
        "No key": [(maybe(many), None if n % 4 else "c1") for n in many],
        "events": [(n, maybe(many), n % 10) for n in many],
        "apart": [(n,) for n in range(10)],
    }  # fmt: skip
    admin.execute("SET session_replication_role = replica")
    for table, values in rows.items():
        with admin.cursor() as cursor:
            marks = ", ".join(["%s"] * len(values[0]))
            cursor.executemany(f'INSERT INTO "Sub set"."{table}" VALUES ({marks})', values)
    admin.execute("SET session_replication_role = origin")


@pytest.fixture(scope="module")
def admin(postgres_server: Any) -> Iterator[psycopg.Connection[Any]]:
    base = {
        "host": postgres_server.host,
        "port": postgres_server.port,
        "user": postgres_server.admin_user,
        "password": postgres_server.admin_password,
    }
    with psycopg.connect(**base, dbname="postgres", autocommit=True) as first:
        first.execute("CREATE DATABASE subset")
    with psycopg.connect(**base, dbname="subset", autocommit=True) as connection:
        connection.execute(SCHEMA)
        fill(connection)
        yield connection


@pytest.fixture(scope="module")
def source(postgres_server: Any, admin: Any) -> Iterator[PostgresSource]:
    made = PostgresSource(
        Access(
            endpoint=Endpoint(host=postgres_server.host, port=postgres_server.port),
            identity=Identity(
                role="reader",
                name=postgres_server.admin_user,
                secret=postgres_server.admin_password,
            ),
            space=PostgresSpace(
                database="subset",
                schema="Sub set",
                isolated=TABLES,
            ),
        )
    )
    yield made
    made.close()


@contextmanager
def copied(
    source: PostgresSource,
    admin: psycopg.Connection[Any],
    starts: Mapping[str, Start],
    *,
    loose: Mapping[str, Any] = {},
    check: bool = True,
) -> Iterator[dict[str, set[tuple[Any, ...]]]]:
    """What a subset reads, loaded beside, with production's own constraints put on it."""
    admin.execute("DROP SCHEMA IF EXISTS copy CASCADE; CREATE SCHEMA copy")
    admin.execute('SET search_path = "Sub set"')
    with source.cut() as cut:
        source.subset(cut, starts, loose=loose, settings={})
        for dataset in source.datasets(cut):
            admin.execute(f'CREATE TABLE copy."{dataset.name}" (LIKE "{dataset.name}")')
            with admin.cursor() as cursor, cursor.copy(
                f'COPY copy."{dataset.name}" FROM STDIN (FORMAT binary)'
            ) as copy:  # fmt: skip
                rows = 0
                for count, piece in source.read(cut, dataset, KEEP):
                    copy.write(piece)
                    rows += count
            assert rows == source.expected(cut, dataset)
    admin.execute("SET search_path = pg_catalog")  # definitions then name every schema
    if check:
        for query in (UNIQUE, FOREIGN):
            for table, text in admin.execute(query).fetchall():
                text = text.replace('"Sub set"', "copy")
                admin.execute(f'ALTER TABLE copy."{table}" ADD {text}')
    yield {
        table: set(admin.execute(f'SELECT * FROM copy."{table}"').fetchall()) for table in TABLES
    }


def ids(rows: set[tuple[Any, ...]]) -> set[Any]:
    return {row[0] for row in rows}


@pytest.mark.parametrize("chosen", [[], [1], [7, 8], list(range(1, 61, 4)), list(range(1, 61))])
def test_every_foreign_key_still_finds_its_row(
    source: PostgresSource, admin: psycopg.Connection[Any], chosen: list[int]
) -> None:
    listed = ",".join(map(str, chosen)) or "NULL"
    start = Start(where=f"id IN ({listed})", children=True)
    with copied(source, admin, {"videos": start}) as rows:
        assert ids(rows["videos"]) >= set(chosen)
        faces = {row for row in admin.execute('SELECT * FROM "Sub set".faces') if row[1] in chosen}
        assert rows["faces"] >= {row for row in faces if row[2] is not None}  # MATCH SIMPLE
        events = admin.execute('SELECT * FROM "Sub set".events').fetchall()
        assert rows["events"] == {row for row in events if row[1] in chosen}
        assert len(rows["apart"]) == 10  # nothing connects it: whole


def test_what_refers_to_parents_does_not_come_along(
    source: PostgresSource, admin: psycopg.Connection[Any]
) -> None:
    """Or else a subset of one video would be all of production."""
    with copied(source, admin, {"videos": Start(where="id = 7", children=True)}) as rows:
        assert {7} <= ids(rows["videos"]) < set(range(1, 61))
        assert {row[1] for row in rows["events"]} <= {7}
    with copied(source, admin, {"videos": Start(where="id = 7")}) as rows:
        assert 7 in ids(rows["videos"]) and not rows["events"] and not rows["No key"]


def test_only_the_children_that_are_asked_for(
    source: PostgresSource, admin: psycopg.Connection[Any]
) -> None:
    start = Start(where="id < 9", children=("frames", "faces"))
    with copied(source, admin, {"videos": start}) as rows:
        assert not rows["events"] and not rows["No key"] and len(rows["faces"]) > 3


def test_a_filter_narrows_what_comes_as_a_child(
    source: PostgresSource, admin: psycopg.Connection[Any]
) -> None:
    starts = {"videos": Start(where="id < 9", children=True), "events": Start(where="at < 5")}
    with copied(source, admin, starts) as rows:
        whole = admin.execute('SELECT * FROM "Sub set".events WHERE video < 9 AND at < 5')
        assert rows["events"] == set(whole.fetchall()) != set()
    with copied(source, admin, {"events": Start(where="at < 5")}) as rows:
        assert {row[2] for row in rows["events"]} == {0, 1, 2, 3, 4}
        assert not rows["No key"]


def test_children_of_what_is_needed_anyway(
    source: PostgresSource, admin: psycopg.Connection[Any]
) -> None:
    few = {"videos": Start(where="id = 7")}
    with copied(source, admin, few) as rows:
        people = ids(rows["people"])
        assert people
    with copied(source, admin, {**few, "people": Start(children=True)}) as rows:
        for child, query in [
            ("clusters", 'SELECT id FROM "Sub set".clusters WHERE person = ANY(%s)'),
            ("videos", "SELECT v.id FROM \"Sub set\".videos v JOIN \"Sub set\".people p "
             "ON p.handle = v.owner WHERE p.id = ANY(%s)"),
        ]:  # fmt: skip
            found = {one for (one,) in admin.execute(query, [list(people)])}
            assert ids(rows[child]) >= found != set()


def test_a_reference_that_will_be_null_is_not_followed(
    source: PostgresSource, admin: psycopg.Connection[Any]
) -> None:
    loose = {"people": ["best", "boss"], "videos": ["cover"]}
    start = {"videos": Start(where="id = 7")}
    with copied(source, admin, start, loose=loose, check=False) as rows:
        assert ids(rows["videos"]) == {7} and len(rows["people"]) == 1 and not rows["faces"]


def test_without_the_closure_the_same_check_fails(
    source: PostgresSource, admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sandbox.stores.postgres.subset import Closure

    monkeypatch.setattr(Closure, "_parents", lambda *_: None)
    with pytest.raises(psycopg.errors.ForeignKeyViolation), copied(
        source, admin, {"videos": Start(where="id = 7", children=True)}
    ):  # fmt: skip
        pass


def test_a_long_chain_that_refers_to_itself(
    source: PostgresSource, admin: psycopg.Connection[Any]
) -> None:
    values = "SELECT n, 'x' || n, NULL, nullif(n - 1, 1000) FROM generate_series(1001, 1300) n"
    admin.execute(f'INSERT INTO "Sub set".people {values}')
    with copied(source, admin, {"people": Start(where="id = 1300")}) as rows:
        assert ids(rows["people"]) == set(range(1001, 1301))
    with copied(source, admin, {"people": Start(where="id = 1001", children=True)}) as rows:
        assert ids(rows["people"]) == set(range(1001, 1301))


def test_a_percentage_is_the_same_people_each_time_and_in_every_table(
    source: PostgresSource, admin: psycopg.Connection[Any]
) -> None:
    """Decided in PostgreSQL by the hash that Python makes, under the key and no other."""
    text = """version = 1
[rows]
people = { rows = "30%", by = "handle" }
events = { rows = "50%", by = "id" }"""
    chosen = []
    for key in ("ab" * 32, "cd" * 32):
        mask = PolicyMask(parse(text, file="masking.toml"), key=key)
        with source.cut() as cut:
            source.subset(cut, mask.starts, loose={}, settings=mask.settings)
            events = next(d for d in source.datasets(cut) if d.name == "events")
            chosen.append({int(one) for one in source.chosen(cut, events, "id")})
        hashes = Pseudonyms(key=bytes.fromhex(key))
        below = {n for n in range(1, 61) if hashes.digest(ROWS, str(n))[:8] < threshold(50)}
        assert chosen[-1] == below
    assert chosen[0] != chosen[1]


def test_a_sample_is_some_rows_of_a_large_table_and_all_of_a_small_one(
    source: PostgresSource, admin: psycopg.Connection[Any]
) -> None:
    with source.cut() as cut:
        found = {dataset.name: dataset for dataset in source.datasets(cut)}
        small = list(source.sample(cut, found["apart"], 500))
        assert sorted(small, key=str) == [{"id": str(n)} for n in range(10)]
        assert len(list(source.sample(cut, found["events"], 7))) == 7
        large = replace(found["frames"], rows=1_000_000)  # of which so few blocks hold a sample
        assert 0 < len(list(source.sample(cut, large, 5))) <= 5


def test_more_keys_than_can_be_held_are_refused_by_name(
    source: PostgresSource, admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sandbox.stores.postgres import keysets

    monkeypatch.setattr(keysets, "MOST", 59)
    with source.cut() as cut, pytest.raises(Refused, match="videos"):
        source.subset(cut, {"videos": Start(where="true")}, loose={}, settings={})


def test_keys_come_in_parts_of_any_size(
    source: PostgresSource, admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sandbox.stores.postgres import keysets

    whole = keysets.text(np.arange(-3, 7))
    for part in (1, 2, 3):
        monkeypatch.setattr(keysets, "PART", part)
        assert keysets.text(np.arange(-3, 7)) == whole == "{-3,-2,-1,0,1,2,3,4,5,6}"
        found = keysets.fetch(admin, "SELECT n::int8 FROM generate_series(-3, 6) n", "rows")
        assert found.tolist() == list(range(-3, 7))
    assert keysets.text(keysets.NONE) == "{}"


def test_a_wrong_filter_is_told_by_its_line(source: PostgresSource) -> None:
    for table, where in [("videos", "nothing = 1"), ("events", "at <"), ("none", "true")]:
        with source.cut() as cut, pytest.raises(ConfigError, match=r"masking\.toml:9"):
            starts = {table: Start(where=where, line="masking.toml:9: rows")}
            source.subset(cut, starts, loose={}, settings={})
