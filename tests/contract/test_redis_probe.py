"""Probe x leak: for every attempt there is a login with one right too many that it catches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from sandbox.errors import Unreachable
from sandbox.model import Attempt, Identity
from sandbox.stores.redis import Prober
from sandbox.stores.redis.trials import (
    Targets,
    Trial,
    at_home,
    channels,
    powers,
    reader_writes,
    reads,
    watching,
    writes,
)
from tests.contract.redis_world import PLAYGROUND, PRODUCTION, World, isolated

ANY = Targets(
    theirs=b"momentry:t",
    absent=b"momentry:a",
    home=b"momentry_dev:a",
    production=b"momentry:",
    playground=b"momentry_dev:",
    other_database=1,
)
FROM_PLAYGROUND = [*reads(ANY), *writes(ANY), *powers(ANY), *channels(ANY), watching()]
FROM_READER = list(reader_writes(ANY))


@pytest.fixture(scope="module")
def world(run: Any) -> Iterator[World]:
    """A server that would let an administrator debug: only its rules hold others back."""
    secret = "admin-of-this-test"
    more = ["--enable-debug-command", "yes", "--enable-module-command", "yes"]
    command = ["redis-server", "--requirepass", secret, *more]
    server = run.start("redis", password=secret, command=command)
    with isolated(server) as made:
        yield made


def broken(world: World) -> set[tuple[str, str]]:
    prober = world.prober()
    try:
        return {(a.identity, a.tried) for a in prober.attempts() if not a.ok}
    finally:
        prober.close()


def leaky(world: World, name: str, rule: str) -> set[tuple[str, str]]:
    """What breaks while login `name` has one rule more."""
    world.client.execute_command("ACL", "SETUSER", name, rule)
    try:
        return broken(world)
    finally:
        world.client.execute_command("ACL", "DELUSER", name)
        world.administrator().isolate()


def test_isolated_logins_pass_every_attempt_and_leave_nothing(world: World) -> None:
    world.client.set("momentry:a", "1")
    before = world.client.execute_command("DEBUG", "DIGEST")
    began = time.process_time()
    attempts = list(world.prober().attempts())
    seconds = time.process_time() - began  # ours: the machine may be busy with others
    assert [a for a in attempts if not a.ok] == []
    assert {a.row for a in attempts} == {"Redis"}
    assert len(attempts) > 140 and seconds < 0.7
    first: dict[str, Attempt] = {}
    for attempt in attempts:
        first.setdefault(attempt.identity, attempt)
    assert {a.expected for a in first.values()} == {"works"}
    assert world.client.execute_command("DEBUG", "DIGEST") == before


@pytest.mark.parametrize("trial", FROM_PLAYGROUND, ids=lambda t: t.tried)
def test_a_right_too_many_for_the_playground(world: World, trial: Trial) -> None:
    found = leaky(world, "t_playground", f"(+{trial.right} ~* &*)")
    same = {t.tried for t in FROM_PLAYGROUND if t.right == trial.right}
    assert found == {("t_playground", tried) for tried in same}
    assert len(same) == 1 or trial.right in ("psubscribe", "sort")


@pytest.mark.parametrize("trial", FROM_READER, ids=lambda t: t.tried)
def test_a_right_too_many_for_the_reader(world: World, trial: Trial) -> None:
    assert leaky(world, "t_reader", f"(+{trial.right} ~* &*)") == {("t_reader", trial.tried)}


@pytest.mark.parametrize("right", ["get", "del"])
def test_a_right_too_many_for_production(world: World, right: str) -> None:
    tried = {
        "get": "find a canary of the playground's",
        "del": "delete a canary of the playground's",
    }
    assert leaky(world, "t_production", f"(+{right} ~*)") == {("t_production", tried[right])}


@pytest.mark.parametrize("pattern", ["momentry:*", "*", "__key*__:*"])
def test_a_channel_pattern_too_many(world: World, pattern: str) -> None:
    assert leaky(world, "t_playground", f"&{pattern}")


@pytest.mark.parametrize("name", ["t_playground", "t_reader"])
def test_a_login_that_may_do_nothing_is_no_isolation(world: World, name: str) -> None:
    tried = {"t_playground": "write, read and delete a key at home", "t_reader": "read production"}
    assert (name, tried[name]) in leaky(world, name, "-@all")


@pytest.mark.parametrize(
    "trial",
    [one for one in FROM_PLAYGROUND if at_home(one, ANY)],
    ids=lambda t: t.tried,
)
def test_what_is_denied_at_home_proves_nothing(world: World, trial: Trial) -> None:
    """A login without the command altogether: its refusal elsewhere is no isolation."""
    command = trial.right.split(" ")[0].split("|")[0]
    if trial.args[0] == b"EVAL":
        command = "eval"
    assert ("t_playground", trial.tried) in leaky(world, "t_playground", f"-{command}")


def test_a_dead_connection_is_no_isolation(world: World) -> None:
    prober = world.prober()
    nobody = replace(world.access("playground", PLAYGROUND).identity, secret="wrong")
    prober._playground = replace(world.access("playground", PLAYGROUND), identity=nobody)
    with pytest.raises(Unreachable):
        list(prober.attempts())


def test_no_production_login_still_probes(world: World) -> None:
    nobody = Identity(role="production", name="t_nobody", secret="x")
    prober = Prober(
        playground=world.access("playground", PLAYGROUND),
        production=replace(world.access("production", PRODUCTION), identity=nobody),
        reader=world.access("reader", PRODUCTION),
    )
    attempts = list(prober.attempts())
    assert len(attempts) > 120 and all(a.ok for a in attempts)


def test_dedicated_servers_take_only_their_own_logins(world: World, run: Any) -> None:
    """Two servers: each knows its own environment's logins. A shared password is a red row."""
    secret = "another-administrator"
    server = run.start("redis", password=secret, command=["redis-server", "--requirepass", secret])
    with isolated(server) as other:
        other.client.execute_command("ACL", "DELUSER", "t_production", "t_reader")
        world.client.execute_command("ACL", "DELUSER", "t_playground")
        prober = Prober(
            playground=other.access("playground", PLAYGROUND),
            production=world.access("production", PRODUCTION),
            reader=world.access("reader", PRODUCTION),
        )
        attempts = list(prober.attempts())
        assert [a for a in attempts if not a.ok] == []
        world.client.execute_command("ACL", "SETUSER", "t_playground", "on", ">s-playground")
        broken = [a.tried for a in prober.attempts() if not a.ok]
        assert broken == ["log in to production's server"]
        world.administrator().isolate()
        other.client.execute_command("ACL", "SETUSER", "t_reader")
