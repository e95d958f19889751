"""A large table masked in bulk, from a real server: the same stream as when the server masks it,
its originals known, and nothing else about it different."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import artifact as artifacts
from sandbox import transfer
from sandbox.contract import Access
from sandbox.masking import tables
from sandbox.masking.loops.bulk import DOMAINS
from sandbox.masking.mask import PolicyMask
from sandbox.masking.policy import parse
from sandbox.model import Dataset, Endpoint, Identity, PostgresSpace
from sandbox.report import silent
from sandbox.stores.postgres import PostgresSource
from sandbox.transfer import Held, run_all
from sandbox.workflows.snapshot import collecting
from tests.contract.conftest import administered

MADE = """
CREATE SCHEMA bulk; SET search_path TO bulk;
CREATE DOMAIN mail AS varchar(60);
CREATE TYPE mood AS ENUM ('sad', 'fine');
CREATE TABLE people (
    id bigint PRIMARY KEY, email mail UNIQUE, again bigint GENERATED ALWAYS AS (id * 2) STORED,
    username text, phone varchar(20), person varchar(40) UNIQUE, street text, city text,
    company varchar(25), token text, hash text, born date, feels mood, padded char(30), note text,
    numbered bigint, tags text[]);
INSERT INTO people (id, email, username, phone, person, street, city, company, token, hash, born,
    feels, padded, note, numbered, tags)
SELECT n, left(v, 30) || n || '@gmail.com', nullif(v, ''), left(v || n, 20), left(v, 30) || n, v, v,
    left(v, 25), v, v, '2000-01-01', 'sad', left(v, 20), v, 442079460000 + n, ARRAY[v, NULL]
FROM generate_series(1, 2000) n, LATERAL (SELECT (ARRAY['Ann Lee', '', 'a.b', ' İ ß', '李小明',
    E'tab\\there', E'back\\\\slash', repeat('long ', 300), 'ANN  lee', '東京 タワー', E'\\x01']
    )[1 + n % 11] AS v) one;
ANALYZE people;
"""
COLUMNS = "\n".join(f'{domain} = "{domain}"' for domain in sorted(DOMAINS))
POLICY = f"""
version = 1
[postgres.people]
keep = ["id", "note"]
{COLUMNS}
born = "date"
feels = "token"
padded = "person"
numbered = "phone"
"tags[]" = "username"
"""


@pytest.fixture(scope="module")
def source(postgres_server: Any) -> Iterator[PostgresSource]:
    login = Identity(
        role="reader",
        name=postgres_server.admin_user,
        secret=postgres_server.admin_password,
    )
    with administered(postgres_server, "momentry") as admin:
        admin.execute(MADE)
        space = PostgresSpace(database="momentry", schema="bulk", isolated=("people",), shared=())
        made = PostgresSource(
            Access(endpoint=Endpoint(port=postgres_server.port), identity=login, space=space),
            tool=lambda argv, **options: b"the schema, which does not matter here",
        )
        yield made
        made.close()
        admin.execute("DROP SCHEMA bulk CASCADE")


def mask_of(policy: str = POLICY) -> PolicyMask:
    return PolicyMask(parse(policy, file="masking.toml"), key="5" * 64)


def stream(source: PostgresSource, mask: PolicyMask) -> bytes:
    """As a snapshot reads it, originals and all."""
    with source.cut() as cut:
        (people,) = source.datasets(cut)
        mask.columns(people)
        held = {"postgres": Held(source=source, cut=cut, datasets=(people,))}
        run_all(collecting(mask, held), threading.Event())
        return b"".join(piece for _, piece in source.read(cut, people, mask))


def known_in(mask: PolicyMask, values: list[str]) -> list[list[tuple[int, int]]]:
    """Where something that is known stands in each."""
    return [[one[:2] for one in found] for found in mask.originals.index.find_all(values)]


def people_of(source: PostgresSource) -> Dataset:
    with source.cut() as cut:
        return source.datasets(cut)[0]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LARGE", 1)


def test_the_bytes_are_those_that_the_server_makes(
    source: PostgresSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_server = mask_of()
    expected = stream(source, by_server)
    monkeypatch.setattr(tables, "LARGE", 1)
    in_bulk = mask_of()
    assert in_bulk.bulk(people_of(source)) is not None
    assert by_server.bulk(people_of(source)) is None
    assert stream(source, in_bulk) == expected
    with source.cut() as cut:
        values = [*source.originals(cut, people_of(source), sorted(DOMAINS))]
    one, other = (known_in(mask, values) for mask in (in_bulk, by_server))
    assert [value for value, a, b in zip(values, one, other, strict=True) if a != b] == []
    assert sum(map(bool, one)) > 4000


def test_a_byte_that_is_made_otherwise_would_be_seen(
    source: PostgresSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = stream(source, mask_of())
    monkeypatch.setattr(tables, "LARGE", 1)
    other = PolicyMask(parse(POLICY, file="masking.toml"), key="6" * 64)
    assert stream(source, other) != expected


def test_what_the_loops_do_not_cover_stays_with_the_server(
    source: PostgresSource, large: None
) -> None:
    people, mask = people_of(source), mask_of()
    left = {"born", "feels", "padded", "numbered", "tags"}
    assert set(mask.columns(people)) == left
    assert set(mask.searched(people)) == {*DOMAINS, "feels", "padded", "numbered", "tags"}
    assert set(mask.unseen(people)) == {"feels", "padded", "numbered", "tags"}
    assert not mask.keeps(people)


def test_free_text_elsewhere_wants_all_originals_before(
    source: PostgresSource, large: None
) -> None:
    policy = POLICY + '[mongo.notes]\nkeep = ["_id"]\ntext = "text"\n'
    mask = mask_of(policy)
    people = people_of(source)
    assert mask.recognises
    assert mask.unseen(people) == mask.searched(people)
    stream(source, mask)
    known = len(mask.originals)
    with source.cut() as cut:
        for _ in source.read(cut, people, mask):
            pass
    assert len(mask.originals) == known


def test_a_part_that_is_finished_is_read_again_for_its_originals(
    source: PostgresSource, large: None, tmp_path: Path
) -> None:
    """`--resume`: the leak search must know them all."""
    first = artifacts.create(tmp_path, facts={})
    taken(source, mask_of(), first)
    first.leave()
    second = artifacts.resume(tmp_path, artifacts.interrupted(tmp_path)[0], facts={})
    assert second.finished("postgres") == {"people"}
    mask = mask_of()
    taken(source, mask, second)
    assert mask.originals.index.find("as a.b13@gmail.com said")


def taken(source: PostgresSource, mask: PolicyMask, writer: artifacts.Writer) -> None:
    transfer.take(
        {"postgres": source},
        mask,
        writer,
        check=lambda held: None,
        after=lambda held: None,
        beside=lambda held: collecting(mask, held),
        report=silent,
    )


def test_a_table_that_python_reads_as_text_is_not_masked_in_bulk(
    source: PostgresSource, large: None
) -> None:
    mask = mask_of(POLICY.replace('keep = ["id", "note"]', 'keep = ["id"]\nnote = "text"'))
    people = people_of(source)
    assert mask.bulk(people) is None
    assert set(mask.columns(people)) >= DOMAINS


def test_without_the_compiler_the_server_masks(
    source: PostgresSource, large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "available", lambda: False)
    mask = mask_of()
    assert mask.bulk(people_of(source)) is None
    assert set(mask.columns(people_of(source))) >= DOMAINS
