"""Baselines and the swap of containers: all or none, the same outside, whole after any death."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import redis
from docker.errors import APIError, NotFound

from sandbox.engine import Baseline, baselines, containers, engine, labels, standing
from sandbox.errors import ConfigError, Refused, SandboxError, Unreachable
from sandbox.report import silent
from tests.contract.engine_world import FREEZE, SWAP, TWO_SLEEPERS, TWO_STORES, World, a_world

BOTH = ("one", "two")


@pytest.fixture(scope="module")
def sleepers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two services whose data is one file each, with a baseline called `base`. `two` waits for
    `one`, and so is started only when it is in place."""
    with a_world(tmp_path_factory.mktemp("sleepers")) as world:
        world.up(TWO_SLEEPERS)
        write(world, "base")
        freeze(world, "base")
        yield world


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as world:
        world.up(TWO_STORES)
        yield world


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Two sleepers and their baseline `base` for one test; nothing is done in the background."""
    monkeypatch.setattr(engine, "sweep_detached", lambda *_: None)
    with a_world(tmp_path) as world:
        world.up(TWO_SLEEPERS)
        write(world, "base")
        freeze(world, "base")
        yield world


def write(world: World, text: str) -> None:
    for service in BOTH:
        argv = ["sh", "-c", f"echo {text} > /var/lib/sandbox/x"]
        world.engine.exec(world.project, service, argv)


def held(world: World) -> list[str]:
    return [
        world.engine.exec(world.project, one, ["cat", "/var/lib/sandbox/x"]).decode().strip()
        for one in BOTH
    ]


def freeze(world: World, name: str) -> Baseline:
    return world.engine.freeze(world.project, BOTH, name=name, report=silent)


def baseline(world: World, name: str) -> Baseline:
    return {one.name: one for one in world.engine.baselines(world.project)}[name]


def swap(world: World, name: str, ready: Any = lambda: None) -> None:
    images = baseline(world, name).images
    world.engine.swap_in(world.project, images, ready=ready, report=silent)


def outside(world: World) -> dict[str, Any]:
    """What a client, Compose and a person see of the containers."""
    found = {}
    for service in BOTH:
        attributes = world.container(service).attrs
        networks = attributes["NetworkSettings"]["Networks"]
        short = attributes["Id"][:12]
        found[service] = {
            "name": attributes["Name"],
            "labels": {
                key: value
                for key, value in attributes["Config"]["Labels"].items()
                if not key.startswith("sandbox.")
            },
            "ports": attributes["NetworkSettings"]["Ports"],
            "aliases": {n: sorted(set(v["Aliases"]) - {short}) for n, v in networks.items()},
            "environment": sorted(attributes["Config"]["Env"]),
            "command": attributes["Config"]["Cmd"],
            "health": attributes["Config"]["Healthcheck"],
            "limits": {k: attributes["HostConfig"][k] for k in ("Tmpfs", "Memory", "ShmSize")},
        }
    return found


def client(world: World, service: str) -> redis.Redis:
    port = world.engine.published(world.project, service, 6379)
    return redis.Redis("127.0.0.1", port, socket_timeout=5)


def answers(world: World) -> None:
    """Wait for the first answer of both."""
    began = time.monotonic()
    for service in BOTH:
        while True:
            try:
                with client(world, service) as one:
                    one.ping()
                break
            except redis.RedisError:
                assert time.monotonic() - began < 20
                time.sleep(0.02)


# --- what comes back ----------------------------------------------------------------------------


def test_data_comes_back_and_outside_nothing_changes(stores: World) -> None:
    first, second = client(stores, "one"), client(stores, "two")
    answers(stores)
    first.set("a", "1")
    second.rpush("b", 1, 2, 3)
    stores.engine.freeze(stores.project, BOTH, name="loaded", snapshot="s1", report=silent)
    before, answered = outside(stores), []
    for _ in range(2):
        first.flushall()
        second.set("junk", "x")
        swap(stores, "loaded", ready=lambda: answered.append(answers(stores)))
        # The clients are still the ones that were open before: they come back by themselves.
        assert first.get("a") == b"1"
        assert (second.lrange("b", 0, -1), second.get("junk")) == ([b"1", b"2", b"3"], None)
        assert outside(stores) == before
    assert len(answered) == 2
    stores.settle()
    assert stores.present() == [f"{stores.project}-one-1", f"{stores.project}-two-1"]
    assert stores.up(TWO_STORES).changes == ()
    assert baseline(stores, "loaded").snapshot == "s1"


FAILURES = {
    "the query fails": "does not answer",
    "the one before it does not start": "one-1.* does not start",
    "the one after it does not start": "two-1 does not start",
    "its port is taken": "one-1 does not join: .*in use",
}


@pytest.mark.parametrize("how", FAILURES)
def test_when_one_does_not_come_up_the_old_ones_stay(
    sleepers: World, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(sleepers, "mine")
    before, api = {one: sleepers.container(one).id for one in BOTH}, sleepers.engine.client.api
    seen, kept = outside(sleepers), baseline(sleepers, "base").images
    real_start, real_join = type(api).start, type(api).connect_container_to_network

    def no() -> None:
        raise Unreachable("it does not answer")

    def start(api: Any, container: str, *arguments: Any, **options: Any) -> Any:
        service = "one" if "before" in how else "two"
        if container.startswith(f"{sleepers.project}-{service}-1") and "start" in how:
            api.remove_container(container)  # the engine's own words are what is told
        return real_start(api, container, *arguments, **options)

    def join(api: Any, container: str, *arguments: Any, **options: Any) -> Any:
        if how != "its port is taken" or not container.endswith("-one-1"):
            return real_join(api, container, *arguments, **options)
        port = int(seen["one"]["ports"]["6379/tcp"][0]["HostPort"])
        with socket.create_server(("127.0.0.1", port)):
            return real_join(api, container, *arguments, **options)

    monkeypatch.setattr(type(api), "start", start)
    monkeypatch.setattr(type(api), "connect_container_to_network", join)
    with pytest.raises(SandboxError, match=FAILURES[how]):
        sleepers.engine.swap_in(sleepers.project, kept, ready=no, report=silent)
    monkeypatch.undo()
    assert {one: sleepers.container(one).id for one in BOTH} == before
    assert (held(sleepers), outside(sleepers)) == (["mine", "mine"], seen)
    assert len(sleepers.present()) == 2
    assert sleepers.up(TWO_SLEEPERS).changes == ()


def test_a_server_that_starts_apart_finds_itself_and_keeps_its_place_after_a_restart(
    sleepers: World,
) -> None:
    before = outside(sleepers)
    for _ in range(2):  # the second time it is made after one that started apart
        swap(sleepers, "base")
        sleepers.settle()
    own = sleepers.engine.exec(sleepers.project, "one", ["getent", "ahosts", "one"])
    assert b"127.0.0.1" in own
    sleepers.container("one").restart(timeout=1)
    assert outside(sleepers)["one"]["aliases"] == before["one"]["aliases"]
    assert outside(sleepers)["two"] == before["two"]
    other = sleepers.engine.exec(sleepers.project, "two", ["getent", "ahosts", "one"])
    assert b"127.0.0.1" not in other


def test_what_was_made_ahead_is_taken_and_only_while_it_fits(
    sleepers: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = baseline(sleepers, "base").images
    for _ in range(2):  # the second time there is nothing to do
        sleepers.engine.make_ahead(sleepers.project, images)
    ahead = set(sleepers.ready())
    assert len(ahead) == 2 and len(sleepers.names()) == 4
    assert sleepers.up(TWO_SLEEPERS).changes == ()
    one, two = map(sleepers.engine.client.containers.get, sorted(ahead))
    assert (one.status, two.status) == ("paused", "created")  # `two` waits for `one`, always
    ids = {one.id, two.id}
    write(sleepers, "mine")
    before = outside(sleepers)
    swap(sleepers, "base")
    assert {sleepers.container(service).id for service in BOTH} == ids
    assert (held(sleepers), outside(sleepers)) == (["base", "base"], before)
    sleepers.settle()
    sleepers.engine.make_ahead(sleepers.project, images)
    write(sleepers, "other")
    freeze(sleepers, "other")
    write(sleepers, "mine")
    swap(sleepers, "other")  # what stands ready is of another baseline
    assert held(sleepers) == ["other", "other"]
    other = baseline(sleepers, "other").images
    sleepers.engine.make_ahead(sleepers.project, other)
    assert len(sleepers.ready()) == 2
    swap(sleepers, "other")
    sleepers.settle()
    assert len(sleepers.present()) == 2
    sleepers.engine.prune(sleepers.project, keep=["base"])


def test_what_stands_ready_and_cannot_be_taken_is_made_anew(
    alone: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Woken by a hand or a reboot; a freezer that fails."""
    images = baseline(alone, "base").images
    api = alone.engine.client.api

    def ahead() -> str:
        alone.engine.make_ahead(alone.project, images)
        (found,) = [one for one in alone.ready() if "-one-1." in one]
        return str(api.inspect_container(found)["Id"])

    def back() -> str:
        write(alone, "mine")
        swap(alone, "base")
        alone.settle()
        assert held(alone) == ["base", "base"]
        return str(alone.container("one").id)

    def fails_once(call: str) -> list[str]:
        real, seen = getattr(api, call), list[str]()

        def failing(one: str) -> None:
            seen.append(one)
            if len(seen) == 1:
                raise APIError("cannot freeze")
            real(one)

        monkeypatch.setattr(api, call, failing)
        return seen

    woken = ahead()
    api.unpause(woken)
    assert back() != woken
    assert ahead() != woken
    assert woken not in [one["Id"] for one in api.containers(all=True)]
    back()
    seen = fails_once("pause")
    assert ahead() == back()
    assert len(seen) == 2
    seen = fails_once("unpause")
    assert ahead() != back()
    assert len(seen) == 1
    tries = list[str]()

    def cannot(one: str) -> None:
        tries.append(one)
        raise APIError("no freezer")

    monkeypatch.setattr(api, "pause", cannot)  # an engine that never can
    for _ in range(2):  # which is noted
        made = ahead()
        assert api.inspect_container(made)["State"]["Status"] == "created"
        assert made == back()
        assert len(tries) == 2


def test_what_another_fault_is_is_not_taken_for_an_engine_that_cannot_pause(
    alone: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its data would be copied a second time, and all further ones would not be booted."""
    images, api = baseline(alone, "base").images, alone.engine.client.api
    with monkeypatch.context() as patch:
        patch.setattr(api, "put_archive", Mock(side_effect=APIError("the disk is full")))
        with pytest.raises(SandboxError, match="disk is full"):
            alone.engine.make_ahead(alone.project, images)
        assert api.put_archive.call_count == 1
    alone.engine.make_ahead(alone.project, images)
    (one,) = [one for one in alone.ready() if "-one-1." in one]
    assert api.inspect_container(one)["State"]["Status"] == "paused"


def test_a_copy_that_goes_on_is_left_alone_and_one_that_was_killed_is_swept(
    alone: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, api = baseline(alone, "base").images, alone.engine.client.api
    real, sources = api.get_archive, list[str]()

    def meanwhile(source: str, *given: Any, **named: Any) -> Any:
        sources.append(source)
        alone.engine.recover(alone.project)  # another command
        return real(source, *given, **named)

    monkeypatch.setattr(api, "get_archive", meanwhile)
    alone.engine.make_ahead(alone.project, images)
    assert len(alone.ready()) == len(sources) == 2
    with monkeypatch.context() as patch:
        api.remove_container(min(alone.ready()), force=True)
        patch.setattr(standing.containers, "discard", Mock())  # killed: it clears nothing away
        alone.engine.make_ahead(alone.project, images)
    assert api.inspect_container(sources[-1])
    alone.engine.recover(alone.project)
    with pytest.raises(NotFound):
        api.inspect_container(sources[-1])


def test_a_reset_that_came_too_early_leaves_nothing_that_is_never_taken(
    alone: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes those that are ready; the others of that swap, ready later, fit no other."""
    images = baseline(alone, "base").images
    api = alone.engine.client.api

    def ahead() -> dict[str, str]:
        alone.engine.make_ahead(alone.project, images)
        found = alone.ready()
        assert len({one.rpartition("-")[2] for one in found}) == 1  # of one swap
        return {one: api.inspect_container(one)["Id"] for one in found}

    def made_for(swapped: str) -> dict[str, str]:
        with monkeypatch.context() as patch:
            patch.setattr(standing.secrets, "token_hex", lambda _: swapped)
            return ahead()

    def present() -> set[str]:
        return {str(alone.container(service).id) for service in BOTH}

    first = ahead()
    api.remove_container(next(iter(first)), force=True)
    second = ahead()  # the missing one is made for the same swap
    assert len({*first.values(), *second.values()}) == 3
    api.remove_container(min(second), force=True)
    swap(alone, "base")  # too early: one of them was not ready
    alone.settle()
    assert len(present() & {*second.values()}) == 1
    late = made_for(min(second)[-8:])
    third = ahead()
    assert not {*third.values()} & {*late.values()}
    swap(alone, "base")
    alone.settle()
    assert present() == {*third.values()}
    late = made_for(min(third)[-8:])
    swap(alone, "base")  # nor would it take them: its name would be that of another
    alone.settle()
    assert not present() & {*late.values()}


@pytest.mark.parametrize("call", ["create_container_from_config", "put_archive"])
@pytest.mark.parametrize("all_", [False, True])
def test_taken_down_while_one_is_made_ahead_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, all_: bool
) -> None:
    """Whoever takes the project down had listed its containers before this one was made, or sees
    it too: then its data, more than a pipe holds, is half copied."""
    with a_world(tmp_path) as world:
        world.up(TWO_SLEEPERS)
        argv = ["sh", "-c", "head -c 30000000 /dev/urandom > /var/lib/sandbox/large"]
        world.engine.exec(world.project, "one", argv)
        images = freeze(world, "base").images
        api = world.engine.client.api
        real = getattr(api, call)

        def meanwhile(*args: Any, **options: Any) -> Any:
            monkeypatch.setattr(api, call, real)
            for name in world.names() if all_ else world.present():
                api.remove_container(name, force=True)
            return real(*args, **options)

        monkeypatch.setattr(api, call, meanwhile)
        began = time.monotonic()
        world.engine.make_ahead(world.project, images)
        beside = {"label": f"{labels.BESIDE}={world.project}"}
        assert world.names() == [] == api.containers(all=True, filters=beside)
        assert time.monotonic() - began < 30


def test_down_takes_what_is_made_ahead_after_it_looked(
    alone: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = baseline(alone, "base").images
    real = containers.remove

    def meanwhile(*args: Any) -> None:
        if not alone.ready():
            alone.engine.make_ahead(alone.project, images)
        real(*args)

    monkeypatch.setattr(containers, "remove", meanwhile)
    alone.engine.down(alone.project)
    assert alone.names() == []


def test_down_does_not_wait_for_one_that_its_maker_is_just_pausing(
    alone: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked to stop and paused before it has, it would stand still for all the time it is given."""
    alone.engine.make_ahead(alone.project, baseline(alone, "base").images)
    (booted,) = [one for one in alone.ready() if "-one-1." in one]
    api = alone.engine.client.api
    api.unpause(booted)
    alone.engine.client.containers.get(booted).exec_run(["touch", "/data/slow"])
    real, attributes = type(api).stop, api.inspect_container(booted)

    def stop(self: Any, container: str, *arguments: Any, **options: Any) -> None:
        if container == attributes["Id"]:
            threading.Timer(0.3, api.pause, (booted,)).start()
        real(self, container, *arguments, **options)

    monkeypatch.setattr(type(api), "stop", stop)
    began = time.monotonic()
    alone.engine.down(alone.project)
    assert alone.names() == []
    assert time.monotonic() - began < containers.stop_seconds(attributes)


# --- interrupted --------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [3, 5, 8, 10, 12, 13, 14])
def test_killed_during_a_swap_it_is_the_old_or_the_new_one_whole(
    sleepers: World, call: int
) -> None:
    write(sleepers, "mine")
    images = baseline(sleepers, "base").images
    assert sleepers.killed_at(call, SWAP, images=images)
    sleepers.engine.recover(sleepers.project)
    assert held(sleepers) == (["base", "base"] if call == 14 else ["mine", "mine"])
    sleepers.settle()
    assert len(sleepers.present()) == 2
    assert sleepers.up(TWO_SLEEPERS).changes == ()


def test_the_swap_s_name_tells_what_became_of_it(sleepers: World) -> None:
    images, begun = baseline(sleepers, "base").images, []

    def no() -> None:
        raise Unreachable("it does not answer")

    for ready in (no, lambda: None):
        try:
            sleepers.engine.swap_in(
                sleepers.project, images, begin=begun.append, ready=ready, report=silent
            )
        except Unreachable:
            continue
    assert [sleepers.engine.swapped(sleepers.project, one) for one in begun] == [False, True]


@pytest.mark.parametrize("call", [4, 6, 7, 8, 10])
def test_killed_during_a_freeze_the_servers_run_and_the_old_baseline_stays(
    sleepers: World, call: int
) -> None:
    """Before the calls: 4, a stop was asked for; 6, an image; 7, both are made; 8, one is named;
    10, both are, and a start was asked for."""
    write(sleepers, "mine")
    for service in BOTH:  # the stop takes effect only after the next command has begun
        sleepers.engine.exec(sleepers.project, service, ["touch", "/data/slow"])
    before = baseline(sleepers, "base")
    assert sleepers.killed_at(call, FREEZE)
    sleepers.engine.recover(sleepers.project)
    if call == 4:
        time.sleep(1.2)  # a stop that was not waited for has come by now
    assert held(sleepers) == ["mine", "mine"]
    assert {one.state for one in sleepers.engine.status(sleepers.project)} == {"running"}
    assert (baseline(sleepers, "base") == before) == (call < 10)
    swap(sleepers, "base")
    assert held(sleepers) == (["base", "base"] if call < 10 else ["mine", "mine"])
    if call == 10:
        write(sleepers, "base")
        freeze(sleepers, "base")
    assert sleepers.engine.recover(sleepers.project) == ()


# --- names and space ----------------------------------------------------------------------------


def test_a_second_name_outlives_the_first_and_space_is_counted_once(sleepers: World) -> None:
    megabytes = ["sh", "-c", "head -c 3000000 /dev/urandom > /var/lib/sandbox/big"]
    sleepers.engine.exec(sleepers.project, "one", megabytes)
    write(sleepers, "kept")
    freeze(sleepers, "big")
    sleepers.engine.tag(sleepers.project, "big", "bug-7")
    sizes = {
        one.name: one.bytes for one in sleepers.engine.baselines(sleepers.project, measured=True)
    }
    assert set(sizes) == {"base", "big", "bug-7"}
    assert 3_000_000 <= sizes["big"] + sizes["bug-7"] < 3_500_000
    write(sleepers, "other")
    freeze(sleepers, "big")  # another state takes the name
    assert sleepers.engine.prune(sleepers.project, keep=["base", "bug-7"]) == ("big",)
    swap(sleepers, "bug-7")
    assert held(sleepers) == ["kept", "kept"]
    sleepers.settle()
    swap(sleepers, "base")
    sleepers.settle()
    assert sleepers.engine.prune(sleepers.project, keep=["base"]) == ("bug-7",)
    assert len(sleepers.engine.client.images.list(f"sandbox-baseline/{sleepers.project}")) == 2


def test_baselines_upon_baselines_do_not_pile_up(
    sleepers: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "DEPTH", 1)

    def layers(name: str) -> int:
        image = baseline(sleepers, name).images["one"]
        return len(sleepers.engine.client.images.get(image).attrs["RootFS"]["Layers"])

    plain = len(sleepers.engine.client.images.get(sleepers.image).attrs["RootFS"]["Layers"])
    for number in range(3):
        write(sleepers, f"state-{number}")
        freeze(sleepers, "pile")
        write(sleepers, "mine")
        swap(sleepers, "pile")
        assert held(sleepers) == [f"state-{number}"] * 2
        assert layers("pile") - plain <= 2
    sleepers.engine.prune(sleepers.project, keep=["base"])


def test_a_name_that_is_none(sleepers: World) -> None:
    for name in ("", "Ä", "a b", "-x", "x" * 42):
        with pytest.raises(ConfigError, match="cannot name a baseline"):
            freeze(sleepers, name)
    with pytest.raises(ConfigError, match="there is no baseline 'nowhere'"):
        sleepers.engine.tag(sleepers.project, "nowhere", "here")


# --- what is refused ----------------------------------------------------------------------------


def test_a_server_with_its_data_in_a_volume_is_neither_kept_nor_swapped(
    sleepers: World, tmp_path: Path
) -> None:
    """Production's data is in a volume: no reset can ever reach it."""
    images = baseline(sleepers, "base").images
    with a_world(tmp_path) as other:
        text = TWO_SLEEPERS.replace("tmpfs: [/data]", "volumes: ['data:/data']")
        other.up(text + "volumes: {data: }\n")
        before = {service: other.container(service).id for service in BOTH}
        with pytest.raises(Refused, match="keeps /data in a volume"):
            freeze(other, "base")
        with pytest.raises(Refused, match=r"is no baseline of (one|two) of"):
            other.engine.swap_in(other.project, images, ready=lambda: None, report=silent)
        assert {service: other.container(service).id for service in BOTH} == before
        assert {one.state for one in other.engine.status(other.project)} == {"running"}


def test_a_server_that_had_to_be_killed_leaves_no_baseline(tmp_path: Path) -> None:
    with a_world(tmp_path) as world:
        text = TWO_SLEEPERS.replace("; exit", "")
        world.up(text.replace("  tmpfs:", "  stop_grace_period: 1s\n  tmpfs:"))
        with pytest.raises(SandboxError, match="did not stop within 1 s"):
            freeze(world, "base")
        assert world.engine.baselines(world.project) == ()
        assert {one.state for one in world.engine.status(world.project)} == {"running"}


def test_what_fails_meanwhile_leaves_no_baseline(sleepers: World) -> None:
    before = sleepers.engine.baselines(sleepers.project)

    def full(generation: str) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        sleepers.engine.freeze(sleepers.project, BOTH, name="base", meanwhile=full, report=silent)
    assert sleepers.engine.baselines(sleepers.project) == before
    assert {one.state for one in sleepers.engine.status(sleepers.project)} == {"running"}


def test_docker_compose_lists_what_was_swapped_in(sleepers: World) -> None:
    from tests.interop.test_compose_cli import compose

    swap(sleepers, "base")
    sleepers.settle()  # until then it lists those that are on their way out, too
    lines = compose("-p", sleepers.project, "ps", "--format", "json").splitlines()
    found = [one["Name"] for one in map(json.loads, lines)]
    now = [one for one in found if ".ready-" not in one]  # paused, it is listed as such
    assert sorted(now) == [f"{sleepers.project}-{one}-1" for one in BOTH]
    own = ("-p", sleepers.project, "exec", "-T", "one", "cat", "/var/lib/sandbox/x")
    write(sleepers, "mine")
    assert compose(*own) == "mine\n"  # the present one's, whatever stands ready
