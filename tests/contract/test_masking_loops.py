"""A large table with free text, JSON, paths and vectors, from a real server: what compiled loops
make of its rows in binary is what Python makes of them as text."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from sandbox.contract import Access
from sandbox.masking import tables
from sandbox.masking.mask import PolicyMask
from sandbox.masking.policy import parse
from sandbox.model import Endpoint, Identity, PostgresSpace
from sandbox.stores.postgres import PostgresSource
from sandbox.transfer import Held, run_all
from sandbox.workflows.snapshot import collecting
from tests.contract.conftest import administered

MADE = """
CREATE EXTENSION IF NOT EXISTS vector;
CREATE SCHEMA loops; SET search_path TO loops, public;
CREATE DOMAIN words AS varchar(70);
CREATE TABLE talks (
    id bigint PRIMARY KEY, speaker text, mail text, ip inet, said text, title words, place text,
    data jsonb, raw json, embedding vector(3), born date, kept text);
INSERT INTO talks
SELECT n, v, replace(v, ' ', '.') || n % 50 || '@x.com', '10.0.0.1'::inet + n % 40,
    nullif('by ' || v || ' and ' || w || ', ' || replace(w, ' ', '.') || n % 50
        || '@x.com, 10.0.0.' || n % 40 || E', +44 20 7946 00\\t' || n, repeat('x', n % 3)),
    left('on ' || v, 60 + n % 10), 'out/' || replace(v, ' ', '_') || '/' || n || '.jpg',
    CASE WHEN n % 7 > 0 THEN jsonb_build_object('name', v, 'note', 'with ' || w || E'\\n"' || v,
        'n', n / 8.0, 'list', jsonb_build_array(w, NULL, v)) END,
    json_build_object('note', w, 'name', v)::text::json,
    CASE WHEN n % 5 > 0 THEN ARRAY[n / 3.0, -n, 0.1]::vector END, '2000-01-01', v || w
FROM generate_series(1, 3000) n,
    LATERAL (SELECT ARRAY['Ann Lee', '王小明', 'Ærø Østergaard', E'back\\\\slash Bo', '鈴木陽菜',
        'İpek ß', 'Van der Berg', ''] AS names) one,
    LATERAL (SELECT names[1 + n % 8] AS v, names[1 + n * 3 % 7] AS w) two;
ANALYZE talks;
"""
POLICY = """
version = 1
[postgres.talks]
keep = ["id", "kept", "data.n"]
text = ["said", "title", "data.note", "raw.note"]
speaker = "person"
mail = "email"
ip = "ip"
place = { strategy = "path", templates = ["out/{username}/*.jpg"] }
"data.name" = "person"
"data.list[]" = "username"
"raw.name" = "person"
embedding = { strategy = "vector", method = "noise" }
born = "date"
"""
COLUMNS = "id, speaker, mail, ip, said, title, place, data, raw::jsonb, embedding::text, born, kept"


@pytest.fixture
def admin(postgres_server: Any) -> Iterator[psycopg.Connection[Any]]:
    with administered(postgres_server, "momentry") as connection:
        connection.execute(MADE)
        yield connection
        connection.execute("DROP SCHEMA loops CASCADE")


@pytest.fixture
def source(postgres_server: Any, admin: Any) -> Iterator[PostgresSource]:
    login = Identity(
        role="reader",
        name=postgres_server.admin_user,
        secret=postgres_server.admin_password,
    )
    space = PostgresSpace(
        database="momentry", schema="loops", isolated=("talks",), shared=("python", "compiled")
    )
    made = PostgresSource(
        Access(endpoint=Endpoint(port=postgres_server.port), identity=login, space=space),
        tool=lambda argv, **options: b"",
    )
    yield made
    made.close()


def copied(source: PostgresSource, admin: Any, *, into: str, binary: bool) -> PolicyMask:
    """The masked rows, read as a snapshot reads them, in a table beside."""
    mask = PolicyMask(parse(POLICY, file="masking.toml"), key="5" * 64)
    with source.cut() as cut:
        (talks,) = source.datasets(cut)
        mask.columns(talks)
        assert (mask.bulk(talks) is not None) == binary
        run_all(collecting(mask, {"postgres": Held(source=source, cut=cut, datasets=(talks,))}),
                threading.Event())  # fmt: skip
        admin.execute(sql.SQL("CREATE TABLE {} (LIKE talks)").format(sql.Identifier(into)))
        form = sql.SQL("(FORMAT binary)" if binary else "")
        query = sql.SQL("COPY {} FROM STDIN {}").format(sql.Identifier(into), form)
        with admin.cursor() as cursor, cursor.copy(query) as copy:
            for _, piece in source.read(cut, talks, mask):
                copy.write(piece)
    assert not mask.uncovered
    return mask


def test_the_rows_are_those_that_python_makes(
    source: PostgresSource, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_python = copied(source, admin, into="python", binary=False)
    monkeypatch.setattr(tables, "MANY", 1)
    in_loops = copied(source, admin, into="compiled", binary=True)
    differ = f"""SELECT count(*) FROM ((SELECT {COLUMNS} FROM python EXCEPT
                 SELECT {COLUMNS} FROM compiled) UNION ALL (SELECT {COLUMNS} FROM compiled EXCEPT
                 SELECT {COLUMNS} FROM python)) one"""
    assert admin.execute(differ).fetchone() == (0,)
    changed = """SELECT count(*) FILTER (WHERE c.said <> t.said), count(*) FILTER (WHERE
                 c.data <> t.data), count(*) FILTER (WHERE c.embedding <> t.embedding),
                 count(*) FILTER (WHERE c.place <> t.place),
                 count(*) FILTER (WHERE c.kept <> t.kept)
                 FROM compiled c JOIN talks t USING (id)"""
    said, data, embedding, place, kept = admin.execute(changed).fetchone()
    assert said > 1500
    assert data > 2000
    assert (embedding, place, kept) == (2400, 3000, 0)
    assert by_python.counts == in_loops.counts
    names = ["Ann Lee", "王小明", "ann.lee12@x.com", "10.0.0.3", "out/Ann_Lee/8.jpg", "nobody else"]
    one, other = (mask.originals.index.find_all(names) for mask in (by_python, in_loops))
    assert one == other
    assert [len(found) for found in one][-1] == 0


def test_a_path_that_no_rule_names_stops_it(
    source: PostgresSource, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one row of many, far from the first."""
    admin.execute("""UPDATE talks SET data = '{"new": {"x": 1}}' WHERE id = 2900""")
    monkeypatch.setattr(tables, "MANY", 1)
    mask = PolicyMask(parse(POLICY, file="masking.toml"), key="5" * 64)
    with source.cut() as cut:
        (talks,) = source.datasets(cut)
        rows = b"".join(piece for _, piece in source.read(cut, talks, mask))
    assert list(mask.uncovered) == ["postgres.talks.data.new.x"]
    assert b'"new"' not in rows
