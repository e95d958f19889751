"""Probe x leak on a real PostgreSQL: for every attempt a right too many that it sees, and names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from sandbox.errors import Unreachable
from sandbox.model import Endpoint, Identity
from tests.contract.postgres_leaks import LEAKS, PLAYGROUND, READER, Leak, rounds
from tests.contract.postgres_probed import World, isolated

HOME = "make, fill and read a table at home"
TEMPORARY = "look into another session's temporary schema"
DATABASE = "reach into another database of the server"
CANARY = "find a canary of t_playground in production's schema"
PRELOADED = ["postgres", "-c", "fsync=off", "-c", "shared_preload_libraries=pg_stat_statements"]


@pytest.fixture(scope="module")
def server(run: Any) -> Any:
    return run.start("postgres", command=PRELOADED)


@pytest.fixture(scope="module")
def world(server: Any) -> Iterator[World]:
    with isolated(server) as made:
        made.admin.execute("CREATE EXTENSION pg_stat_statements; CREATE EXTENSION dblink")
        yield made


def test_isolated_logins_pass_every_attempt_and_leave_nothing(world: World) -> None:
    before = world.checksum()
    attempts = world.attempts()
    assert [a for a in attempts if not a.ok] == []
    assert {a.row for a in attempts} == {"PostgreSQL"}
    assert attempts[0].tried == HOME and len(attempts) > 180
    assert world.checksum() == before
    left = "SELECT count(*) FROM pg_class WHERE relname LIKE 'sandbox_canary%'"
    assert world.admin.execute(left).fetchone() == (0,)


@pytest.mark.parametrize("together", rounds(), ids=lambda r: f"{r[0].do[:60]} ({len(r)})")
def test_a_right_too_many_is_seen_and_named(world: World, together: list[Leak]) -> None:
    """Exactly the attempts that it concerns are red, and production stays as it is."""
    try:
        for leak in together:
            world.admin.execute(leak.do)
        before = world.checksum()
        failed = world.failed()
        assert world.checksum() == before
    finally:
        for leak in reversed(together):
            world.admin.execute(leak.undo)
        if any("VIEW" in leak.undo or "SCHEMA public" in leak.undo for leak in together):
            world.isolate()
    expected = {pair for leak in together for pair in leak.seen}
    assert expected <= failed, expected - failed
    if not any(leak.more for leak in together):
        assert failed == expected, failed - expected


@pytest.mark.parametrize("who", [PLAYGROUND, READER])
def test_another_sessions_temporary_schema(world: World, server: Any, who: str) -> None:
    with psycopg.connect(
        host=server.host, port=server.port, user="postgres", password=server.admin_password,
        dbname="momentry", autocommit=True,
    ) as other:  # fmt: skip
        other.execute("CREATE TEMP TABLE x (v int)")
        found = other.execute("SELECT pg_my_temp_schema()::regnamespace::text").fetchone()
        assert found is not None
        other.execute(f"GRANT USAGE ON SCHEMA {found[0]} TO {who}".encode())
        try:
            assert world.failed() == {(who, TEMPORARY)}
        finally:
            other.execute(f"REVOKE USAGE ON SCHEMA {found[0]} FROM {who}".encode())


def test_another_database_of_the_server(world: World, server: Any) -> None:
    world.admin.execute("CREATE DATABASE neighbour")
    try:
        with psycopg.connect(
            host=server.host, port=server.port, user="postgres", password=server.admin_password,
            dbname="neighbour", autocommit=True,
        ) as other:  # fmt: skip
            other.execute("CREATE TABLE theirs (v int); GRANT SELECT ON theirs TO PUBLIC")
        (found,) = [a for a in world.attempts() if not a.ok]
        assert found.tried == DATABASE and "public.theirs" in found.happened
    finally:
        world.admin.execute("DROP DATABASE neighbour")


def test_a_home_that_is_productions_is_left_alone(world: World) -> None:
    """Whatever the settings say: the marker over this connection decides, and nothing is made."""
    for comment in ("NULL", '\'sandbox: {"project": "demo", "environment": "production"}\''):
        before = world.admin.execute("SELECT obj_description('dev'::regnamespace)").fetchone()[0]
        world.admin.execute(f"COMMENT ON SCHEMA dev IS {comment}")
        try:
            assert world.failed() == {(PLAYGROUND, HOME)}
            assert len(world.attempts()) < 90  # the reader's only
        finally:
            world.admin.execute(f"COMMENT ON SCHEMA dev IS '{before}'")


def test_one_schema_for_both_is_seen(world: World) -> None:
    """The playground's canary stands in what is called production's."""
    production = world.access("production")
    space = replace(production.space, schema="dev", isolated=(), shared=("*",))
    prober = world.prober(
        production=replace(production, space=space),
        reader=replace(world.access("reader"), space=space),
    )
    found = {a.tried for a in prober.attempts() if not a.ok}
    prober.close()
    assert CANARY in found


def test_every_probe_has_a_leak_that_it_sees(world: World) -> None:
    """None left out: what `verify` tries and what the table above makes red are the same."""
    tried = {(a.identity, a.tried) for a in world.attempts()}
    seen = {pair for leak in LEAKS for pair in leak.seen}
    seen |= {(who, TEMPORARY) for who in (PLAYGROUND, READER)}
    seen |= {(PLAYGROUND, DATABASE), (READER, CANARY)}
    assert tried - seen == set()
    assert seen - tried == set()


def test_a_dead_connection_is_no_isolation(world: World) -> None:
    for role in ("playground", "reader"):
        access = world.access(role)  # type: ignore[arg-type]
        wrong = replace(access, identity=replace(access.identity, secret="wrong"))
        with pytest.raises(Unreachable):
            list(world.prober(**{role: wrong}).attempts())


def test_dedicated_servers_take_only_their_own_logins(world: World) -> None:
    """One server under two addresses is no server of its own: logins and canary show it."""
    here = world.access("playground")
    same = replace(here, endpoint=Endpoint(host="localhost", port=here.endpoint.port))
    prober = world.prober(playground=same)
    failed = {a.tried for a in prober.attempts() if not a.ok}
    prober.close()
    assert failed == {
        "log in to production's server",
        "log in to the playground's server",
        "find a canary of the playground's on production's server",
    }


def test_a_nobody_is_refused_by_the_other_server(world: World) -> None:
    nobody = Identity(role="playground", name="t_nobody", secret="x")
    production = replace(world.access("production"), identity=nobody)
    prober = world.prober(production=production)
    failed = [(a.identity, a.tried) for a in prober.attempts() if not a.ok]
    prober.close()
    assert ("t_nobody", "log in") in failed
