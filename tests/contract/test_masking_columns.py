"""What a real server says of its columns, and that masked values fit: composites, domains, lengths,
enums, unique columns; a part of a composite without a rule is named."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.contract import Access
from sandbox.errors import ConfigError
from sandbox.masking.mask import PolicyMask
from sandbox.masking.pgtext import over_fields
from sandbox.masking.policy import parse
from sandbox.model import Endpoint, Identity, PostgresSpace
from sandbox.stores.postgres import PostgresSource
from sandbox.transfer import Held, run_all
from sandbox.workflows.snapshot import collecting
from tests.contract.conftest import administered

MADE = """
CREATE SCHEMA odd; SET search_path TO odd;
CREATE TYPE address AS (street text, city varchar(30), zip integer);
CREATE DOMAIN mail AS varchar(30) CHECK (VALUE LIKE '%@%');
CREATE DOMAIN papers AS jsonb;
CREATE TYPE mood AS ENUM ('sad', 'fine', 'it''s');
CREATE TABLE people (
    id bigint PRIMARY KEY, home address, homes address[], contact mail UNIQUE, extra papers,
    feels mood, name varchar(40) UNIQUE, phone bigint);
INSERT INTO people SELECT n,
    ROW('12 "Mill", (Lane) \\ ' || n, 'Oslo', n)::address,
    ARRAY[ROW('a,b', NULL, n)::address, NULL, ROW('', '', 0)::address],
    'ann.lee' || n || '@example.com', '{"who": "Ann Lee"}', 'fine', 'Ann Lee ' || n,
    442079460000 + n
FROM generate_series(1, 300) n;
CREATE TABLE spelled (id bigint PRIMARY KEY, mail text UNIQUE, names text[] UNIQUE);
CREATE TABLE seen (id bigint PRIMARY KEY, at inet, net cidr, by varchar(20), who char(20));
INSERT INTO seen VALUES (1, '203.0.113.9', '198.51.100.0/24', E'ann\\tlee', 'bo.ek');
"""
POLICY = """
version = 1
[postgres.people]
keep = ["id"]
"home.street" = "street"
"home.city" = "city"
"home.zip" = "keep"
"homes[].street" = "street"
"homes[].city" = "city"
"homes[].zip" = "keep"
contact = "email"
"extra.who" = "person"
feels = "token"
name = "person"
phone = "phone"
"""


@pytest.fixture(scope="module")
def admin(postgres_server: Any) -> Iterator[psycopg.Connection[Any]]:
    with administered(postgres_server, "momentry") as connection:
        connection.execute(MADE)
        yield connection
        connection.execute("DROP SCHEMA odd CASCADE")


@pytest.fixture
def source(postgres_server: Any, admin: Any) -> Iterator[PostgresSource]:
    login = Identity(
        role="reader",
        name=postgres_server.admin_user,
        secret=postgres_server.admin_password,
    )
    space = PostgresSpace(
        database="momentry", schema="odd", isolated=("people", "spelled", "seen"), shared=()
    )
    made = PostgresSource(
        Access(endpoint=Endpoint(port=postgres_server.port), identity=login, space=space)
    )
    yield made
    made.close()


def test_masked_values_fit_the_columns_that_they_come_from(
    source: PostgresSource, admin: Any
) -> None:
    mask = PolicyMask(parse(POLICY, file="masking.toml"), key="0" * 64)
    with source.cut() as cut:
        people = source.datasets(cut)[0]
        stream = b"".join(piece for _, piece in source.read(cut, people, mask))
    assert not mask.uncovered
    admin.execute("CREATE TABLE odd.copied (LIKE odd.people INCLUDING ALL)")
    with admin.cursor() as cursor, cursor.copy("COPY odd.copied FROM STDIN") as copy:
        copy.write(stream)
    query = (
        "SELECT (home).street, (home).city, (home).zip, (homes[1]).street, (homes[1]).city, "
        "homes[2], (homes[3]).street, contact, extra->>'who', feels, name, phone, id "
        "FROM odd.{} ORDER BY id"
    )
    before = admin.execute(query.format("people")).fetchall()
    after = admin.execute(query.format("copied")).fetchall()
    for old, new in zip(before, after, strict=True):
        assert [a == b for a, b in zip(old, new, strict=True)] == [
            False, False, True, False, True, True, True, False, False, new[9] == "fine",
            False, False, True,
        ]  # fmt: skip
        assert new[4] is None and new[5] is None and new[6] == ""
    admin.execute("DROP TABLE odd.copied")


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        ("(1, 'Ann@x.com', '{}'), (2, 'ann@x.com ', '{x}')", "mail"),
        ("(1, 'a.b@gmail.com', '{}'), (2, 'ab@gmail.com', '{x}')", "mail"),
        ("(1, 'a.b@x.com', '{}'), (2, 'ab@x.com', '{x}'), (3, NULL, NULL), (4, NULL, NULL)", ""),
        ("(1, 'a@x.com', '{Ann,bob}'), (2, 'b@x.com', '{ann,BOB}')", "names"),
        ("(1, 'a@x.com', '{an,n}'), (2, 'b@x.com', '{ann}')", ""),
    ],
)
def test_two_spellings_in_a_unique_column_are_told_before_they_become_one(
    source: PostgresSource, admin: Any, rows: str, wrong: str
) -> None:
    admin.execute(f"TRUNCATE odd.spelled; INSERT INTO odd.spelled VALUES {rows}")
    policy = """
version = 1
[postgres.spelled]
keep = ["id"]
mail = "email"
"names[]" = "username"
"""
    loose = PolicyMask(parse(policy, file="masking.toml"), key="0" * 64)
    exact = re.sub('= ("(?:email|username)")', r"= { strategy = \1, exact = true }", policy)
    close = PolicyMask(parse(exact, file="masking.toml"), key="0" * 64)
    with source.cut() as cut:
        spelled = next(one for one in source.datasets(cut) if one.name == "spelled")
        held = {"postgres": Held(source=source, cut=cut, datasets=(spelled,))}
        run_all(collecting(close, held), threading.Event())
        if not wrong:
            run_all(collecting(loose, held), threading.Event())
            return
        with pytest.raises(ConfigError, match=rf"spelled\.{wrong}, which is unique") as raised:
            run_all(collecting(loose, held), threading.Event())
    line = {"mail": 5, "names": 6}[wrong]
    assert raised.value.where.startswith(f"masking.toml:{line}: postgres.spelled.{wrong}")
    assert "ann@" not in str(raised.value).lower()


def test_originals_that_the_server_masks_are_known_as_people_write_them(
    source: PostgresSource,
) -> None:
    policy = """
version = 1
[postgres.seen]
keep = ["id"]
at = "ip"
net = "ip"
by = "username"
who = "username"
"""
    mask = PolicyMask(parse(policy, file="masking.toml"), key="0" * 64)
    with source.cut() as cut:
        seen = next(one for one in source.datasets(cut) if one.name == "seen")
        held = {"postgres": Held(source=source, cut=cut, datasets=(seen,))}
        mask.columns(seen)
        run_all(collecting(mask, held), threading.Event())
    text = "bo.ek came from 203.0.113.9 of 198.51.100.0/24 as ann lee, not from 203.0.113.90"
    found = [text[one.start : one.end] for one in mask.originals.index.find(text)]
    assert found == ["bo.ek", "203.0.113.9", "198.51.100.0/24", "ann lee"]


def test_a_part_of_a_composite_without_a_rule_is_named(source: PostgresSource) -> None:
    fewer = POLICY.replace('"home.city" = "city"\n', "").replace('"homes[].zip" = "keep"\n', "")
    mask = PolicyMask(parse(fewer, file="masking.toml"), key="0" * 64)
    with source.cut() as cut:
        mask.columns(source.datasets(cut)[0])
    assert dict(mask.uncovered) == {
        "postgres.people.home.city": "seen as character varying(30); "
        'suggested: "home.city" = "city"',
        "postgres.people.homes[].zip": 'seen as integer; suggested: "homes[].zip" = "keep"',
    }


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('"home.zip" = "email"', "cannot stand in home.zip"),
        ('"home.planet" = "city"', "has no field planet"),
        ('planet = "city"', "has no column planet"),
        ('id = "token"', "cannot stand in id"),
        ('feels = "null"\nid = "null"', "cannot be null"),
        ('contact = "token"', ""),
    ],
)
def test_a_rule_that_cannot_hold_is_told_with_its_line(
    source: PostgresSource, rule: str, said: str
) -> None:
    names = [line.split(" =")[0] for line in rule.splitlines()]
    kept = [line for line in POLICY.splitlines() if line.split(" =")[0] not in names]
    text = "\n".join([*kept, rule]).replace('keep = ["id"]' if "id" in names else "\0", "")
    mask = PolicyMask(parse(text, file="masking.toml"), key="0" * 64)
    with source.cut() as cut:
        people = source.datasets(cut)[0]
        if not said:
            mask.columns(people)
            return
        with pytest.raises(ConfigError, match=said) as raised:
            mask.columns(people)
    assert raised.value.where.startswith("masking.toml:")


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@given(street=st.none() | TEXT | st.text('",()\\ \n', max_size=8), city=st.none() | TEXT)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_text_of_a_composite_comes_back(admin: Any, street: Any, city: Any) -> None:
    query = "SELECT ROW(%s::text, %s::varchar, 7)::odd.address::text"
    (written,) = admin.execute(query, [street, city]).fetchone()
    seen: list[str] = []
    made = over_fields([lambda text: (seen.append(text), text + "!")[1], None, None])(written)
    read = admin.execute("SELECT (r).street, (r).city FROM (SELECT %s::odd.address r) x", [made])
    assert read.fetchone() == (None if street is None else street + "!", city)
    assert seen == ([] if street is None else [street])
