"""Compose files on a real engine: started once, stopped, interrupted, in each other's way."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import socketserver
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import docker
import pytest
from docker.errors import APIError

from sandbox import host
from sandbox.engine import connect, containers, labels, programs
from sandbox.errors import ConfigError, Refused, SandboxError, Unreachable
from sandbox.images import ensure
from sandbox.report import silent
from tests.contract.engine_world import BASE, SLEEP, TWO, UP, World, a_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as made:
        yield made


def test_up_makes_what_compose_would_and_twice_changes_nothing(world: World) -> None:
    world.up(TWO)
    tags = world.container("app").labels
    assert tags["com.docker.compose.project"] == world.project
    assert tags["com.docker.compose.service"] == "app"
    assert tags["com.docker.compose.container-number"] == "1"
    assert tags["com.docker.compose.oneoff"] == "False"
    assert tags["com.docker.compose.depends_on"] == "db:service_healthy:false"
    assert tags["com.docker.compose.project.working_dir"] == str(world.root)
    assert tags["com.docker.compose.project.config_files"] == str(world.root / "compose.yaml")
    assert tags["com.docker.compose.image"].startswith("sha256:")
    network = world.engine.client.networks.get(f"{world.project}_default")
    assert network.attrs["Labels"]["com.docker.compose.network"] == "default"
    volume = world.engine.client.volumes.get(f"{world.project}_data")
    assert volume.attrs["Labels"]["com.docker.compose.volume"] == "data"

    before, took = world.container("db").id, []
    for _ in range(3):
        began = time.monotonic()
        assert world.up(TWO).changes == ()
        took.append(time.monotonic() - began)
    assert min(took) < 0.5  # the machine may be busy with something else
    assert world.container("db").id == before


def test_services_find_one_another_by_name(world: World) -> None:
    world.up(TWO)
    address = world.engine.exec(world.project, "app", ["getent", "hosts", "db"]).split()[0].decode()
    networks = world.container("db").attrs["NetworkSettings"]["Networks"]
    assert networks[f"{world.project}_default"]["IPAddress"] == address


def test_exec_takes_input_and_secrets_and_tells_the_last_line(world: World) -> None:
    world.up(TWO)
    large = b"x" * 3_000_000
    assert world.engine.exec(world.project, "app", ["cat"], stdin=large) == large
    printed = world.engine.exec(
        world.project, "app", ["sh", "-c", "printf %s $SECRET"], environment={"SECRET": "s3cret"}
    )
    assert printed == b"s3cret"
    with pytest.raises(SandboxError, match="it went wrong") as caught:
        world.engine.exec(
            world.project,
            "app",
            ["sh", "-c", "echo first >&2; echo it went wrong >&2; exit 3"],
            environment={"SECRET": "s3cret"},
        )
    assert "(3)" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    with pytest.raises(Unreachable, match="nothing of"):
        world.engine.exec(world.project, "nothing", ["true"])


def test_status_environment_logs_and_ports(world: World) -> None:
    world.up(TWO.replace("command: sleep 600", "command: sh -c 'echo hello; echo you; sleep 600'"))
    (app, db) = world.engine.status(world.project)
    assert (app.service, app.state, app.image) == ("app", "running", BASE)
    assert db.started_at.startswith("20")
    assert db.ports == {5432: world.engine.published(world.project, "db", 5432)}
    assert world.engine.environment(world.project, "db")["DB_PASSWORD"] == "s3cret"
    assert list(world.engine.logs(world.project, "app", follow=False, tail=1)) == ["you"]
    following = world.engine.logs(world.project, "app", follow=True, tail=10)
    assert next(following) == "hello"
    following.close()
    with pytest.raises(Unreachable, match="without a port for 1"):
        world.engine.published(world.project, "db", 1)


def test_a_job_ends_before_what_waits_for_it_starts(world: World) -> None:
    text = f"""
services:
  job: {{image: {BASE}, command: sh -c 'sleep 1; echo done > /data/done', volumes: ["v:/data"]}}
  app:
    image: {BASE}
    command: sh -c 'cat /data/done && sleep 600'
    stop_signal: SIGKILL
    volumes: ["v:/data"]
    depends_on: {{job: {{condition: service_completed_successfully}}}}
volumes: {{v: }}
"""
    world.up(text)
    assert list(world.engine.logs(world.project, "app", follow=False, tail=1)) == ["done"]


def test_a_job_that_fails_stops_what_waits_for_it(world: World) -> None:
    text = f"""
services:
  job: {{image: {BASE}, command: sh -c 'sleep 0.5; echo no disk; exit 4'}}
  app: {{{SLEEP}, depends_on: {{job: {{condition: service_completed_successfully}}}}}}
"""
    with pytest.raises(SandboxError, match=r"job of .* ended with exit code 4 \(no disk\)"):
        world.up(text)
    assert [one.service for one in world.engine.status(world.project)] == ["job"]


READY = "test -e /tmp/ready"


@pytest.mark.parametrize(
    ("check", "most"),
    [
        (f"[CMD-SHELL, '{READY}']", 2),
        (f"[CMD, bash, -c, '{READY}']", 2),
        ("[CMD, test, -e, /tmp/ready]", 9),  # no shell that could ask again
    ],
)
def test_a_health_check_asks_again_by_itself(
    world: World, check: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started by the engine each time, it would be four times and more."""
    started = Mock(wraps=programs.ended)
    monkeypatch.setattr(programs, "ended", started)
    command = "sh -c 'sleep 0.6; touch /tmp/ready; sleep 600'"
    world.up(
        f"services: {{one: {{image: {BASE!r}, command: {command!r}, stop_signal: SIGKILL, "
        f"healthcheck: {{test: {check}, interval: 30s}}}}}}"
    )
    assert world.container("one").exec_run(["test", "-e", "/tmp/ready"]).exit_code == 0
    assert 1 <= started.call_count <= most


@pytest.mark.parametrize("restart", ["no", "always"])
def test_a_service_that_crashes_says_why_at_once(world: World, restart: str) -> None:
    text = f"""
services:
  bad:
    image: {BASE}
    command: sh -c 'echo cannot read the key; exit 9'
    restart: {restart}
    healthcheck: {{test: "true", interval: 30s}}
"""
    began = time.monotonic()
    with pytest.raises(Unreachable, match="cannot read the key"):
        world.up(text)
    assert time.monotonic() - began < 30


def test_what_a_quick_program_says_before_anybody_listens_is_not_lost(world: World) -> None:
    world.up(TWO)
    words = ["sh", "-c", "seq 3000; seq 3000 >&2; exit 3"]
    with late_answers(world) as late:
        name = world.container("db").id
        said = b"".join(b"%d\n" % number for number in range(1, 3001))
        assert programs.run(late, name, ["seq", "3000"], b"", {}) == said
        assert programs.run(late, name, ["sh", "-c", "seq 3000; cat"], b"in", {}) == said + b"in"
        with pytest.raises(SandboxError, match=r"sh failed \(3\)") as error:
            programs.run(late, name, words, b"", {})
        assert error.value.hint == "3000"
        assert programs.tried(late, name, words) == (False, (said * 2).decode())


def test_an_engine_that_goes_away_while_a_program_speaks(world: World) -> None:
    world.up(TWO)
    with late_answers(world, most=5000) as late, pytest.raises(Unreachable, match="went away"):
        programs.run(late, str(world.container("db").id), ["seq", "3000"], b"", {})


@contextlib.contextmanager
def late_answers(world: World, most: int = 1 << 30) -> Iterator[docker.DockerClient]:
    """The same engine, answering a little later: what it says by then comes in one piece with the
    head. `most`: bytes of an answer, after which the connection is cut."""

    class Late(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as engine:
                engine.connect(world.engine.address.removeprefix("unix://"))
                threading.Thread(target=self.ask, args=(engine,), daemon=True).start()
                passed = 0
                while passed < most and (answer := engine.recv(1)):
                    time.sleep(0.2)
                    with contextlib.suppress(BlockingIOError):
                        answer += engine.recv(1 << 20, socket.MSG_DONTWAIT)
                    self.request.sendall(answer[: most - passed])
                    passed += len(answer)
                self.request.shutdown(socket.SHUT_RDWR)

        def ask(self, engine: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while asked := self.request.recv(1 << 16):
                    engine.sendall(asked)
                engine.shutdown(socket.SHUT_WR)

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/docker.sock"
        with socketserver.ThreadingUnixStreamServer(path, Late) as server:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
            with contextlib.closing(docker.DockerClient(f"unix://{path}")) as client:
                yield client
            server.shutdown()


def test_a_program_that_is_not_there(world: World) -> None:
    with pytest.raises(SandboxError, match=r"one of .* does not start.*nosuchprogram"):
        world.up(f"services: {{one: {{image: {BASE}, entrypoint: [nosuchprogram]}}}}")


# --- ports --------------------------------------------------------------------------------------


def on_port(port: int) -> str:
    return f"services: {{one: {{{SLEEP}, ports: ['{port}:5432']}}}}"


def test_a_port_of_another_program_is_named_before_anything_changes(world: World) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Unreachable) as caught:
            world.up(on_port(port))
    message = str(caught.value)
    assert (
        f"port {port}, which one of {world.project} needs, is taken by another program" in message
    )
    assert "compose.yaml:1: services.one.ports" in message
    assert caught.value.exit_code == 3
    assert world.names() == []
    assert f"{world.project}_default" not in world.engine.observe(world.project).networks


def test_a_port_of_another_container_is_named_with_it(world: World, tmp_path: Path) -> None:
    world.up(f"services: {{first: {{{SLEEP}, ports: ['0:5432']}}}}")
    port = world.engine.published(world.project, "first", 5432)
    with (
        a_world(tmp_path) as other,
        pytest.raises(Unreachable, match=f"is taken by container {world.project}-first-1"),
    ):
        other.up(on_port(port))


def test_a_free_port_stays_the_same(world: World) -> None:
    def port() -> int:
        return world.engine.published(world.project, "db", 5432)

    world.up(TWO)
    first = port()
    world.container("db").stop()
    world.up(TWO)
    assert port() == first
    assert world.up(TWO.replace("s3cret", "other")).changes[0].action == "recreate"
    assert port() == first
    world.engine.down(world.project)
    world.up(TWO)
    assert port() == first


def test_another_free_port_when_somebody_took_it(world: World) -> None:
    world.up(TWO)
    first = world.engine.published(world.project, "db", 5432)
    world.engine.down(world.project)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", first))
        other.listen()
        world.up(TWO)
        assert world.engine.published(world.project, "db", 5432) != first


# --- again and again ----------------------------------------------------------------------------


def test_settings_change_and_the_volume_stays(world: World) -> None:
    world.up(TWO)
    world.engine.exec(world.project, "db", ["sh", "-c", "echo kept > /data/x"])
    steps = [str(step) for step in world.up(TWO.replace("s3cret", "other")).changes]
    assert steps == ["recreate db: its settings changed"]
    assert world.engine.environment(world.project, "db")["DB_PASSWORD"] == "other"
    assert world.engine.exec(world.project, "db", ["cat", "/data/x"]) == b"kept\n"


def test_an_orphan_goes(world: World) -> None:
    world.up(f"services: {{one: {{{SLEEP}}}, two: {{{SLEEP}}}}}")
    world.up(f"services: {{one: {{{SLEEP}}}}}")
    assert world.names() == [f"{world.project}-one-1"]


def test_a_container_that_nobody_started_is_made_again(world: World) -> None:
    world.up(TWO)
    world.container("db").remove(force=True)
    world.engine.client.api.create_container(
        image=world.image,
        name=f"{world.project}-db-1",
        labels={
            "com.docker.compose.project": world.project,
            "com.docker.compose.service": "db",
            "com.docker.compose.oneoff": "False",
        },
    )
    assert [str(one) for one in world.up(TWO).changes] == ["recreate db: it is half made (created)"]
    assert world.engine.status(world.project)[1].state == "running"


def test_a_paused_container_goes_on(world: World) -> None:
    world.up(TWO)
    world.container("db").pause()
    world.up(TWO)
    assert world.container("db").status == "running"


def test_two_networks_of_one_name_become_one(world: World) -> None:
    """A killed command's request may still be served while the next one runs. Newer engines refuse
    a second network of the same name: there what was made in between is taken as it is."""
    name = f"{world.project}_default"

    def made_by_another() -> None:
        try:
            world.engine.client.networks.create(name, labels={labels.PROJECT: world.project})
        except APIError as error:
            if error.status_code != 409 or "already exists" not in str(error):
                raise

    made = world.plan(TWO)
    made_by_another()
    made_by_another()
    world.engine.apply(made, silent)
    assert len(world.engine.client.networks.list(names=[name])) == 1
    made_by_another()
    world.up(TWO.replace("s3cret", "other"))
    world.engine.down(world.project)
    assert world.engine.client.networks.list(names=[name]) == []


def test_a_network_that_somebody_else_uses_stays_and_is_told(world: World) -> None:
    world.up(TWO)
    client = world.engine.client
    network = client.networks.get(f"{world.project}_default")
    guest = client.containers.create(ensure(client, BASE, report=silent).tag, "sleep 600")
    try:
        network.connect(guest)
        guest.start()
        (told,) = world.engine.down(world.project)
        assert told.startswith(f"network {network.name} stays: ") and "active endpoints" in told
        assert world.engine.status(world.project) == ()
    finally:
        guest.remove(force=True, v=True)
    assert world.engine.down(world.project) == []


def test_whoever_discards_a_container_it_is_gone_afterwards(world: World) -> None:
    """Several at once: the engine tells all but one that it is being removed already."""
    client = world.engine.client
    image = ensure(client, BASE, report=silent).tag

    def gone(identifier: str) -> bool:
        containers.discard(client, identifier)
        return client.containers.list(all=True, filters={"id": identifier}) == []

    with ThreadPoolExecutor(6) as pool:
        for _ in range(4):
            made = client.containers.run(image, "sleep 600", detach=True).id
            assert all(pool.map(gone, [made] * 6))


@pytest.mark.parametrize("seconds", [0.02, 0.1, 0.3, 0.6, 1.0])
def test_killed_during_up_the_next_one_goes_on(world: World, seconds: float) -> None:
    text = TWO.replace("test -e /tmp/ready || touch /tmp/ready", "sleep 0.5")
    world.killed_after(seconds, UP, text=text)
    world.up(text)
    assert world.up(text).changes == ()
    assert {one.state for one in world.engine.status(world.project)} == {"running"}
    assert world.names() == [f"{world.project}-app-1", f"{world.project}-db-1"]


def test_a_container_of_our_name_that_is_not_ours_is_left_alone(world: World) -> None:
    stranger = world.engine.client.containers.create(world.image, name=f"{world.project}-db-1")
    try:
        with pytest.raises(Refused, match=f"a container called {world.project}-db-1"):
            world.up(TWO)
        stranger.reload()
    finally:
        stranger.remove(force=True)


def test_an_empty_password_is_refused_before_anything_changes(world: World) -> None:
    with pytest.raises(ConfigError, match=r"services\.db\.environment\.DB_PASSWORD: .* is empty"):
        world.up(TWO.replace("s3cret", "''"))
    assert world.names() == []


def test_an_image_that_is_nowhere(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_OFFLINE", "1")
    with pytest.raises(
        SandboxError, match=r"compose.yaml:1: services\.one\.image: .*no-such:image"
    ):
        world.up("services: {one: {image: 'no-such:image'}}")
    assert world.names() == []


# --- down ---------------------------------------------------------------------------------------


def test_down_keeps_the_volumes(world: World) -> None:
    world.up(TWO)
    world.engine.exec(world.project, "db", ["sh", "-c", "echo kept > /data/x"])
    world.engine.down(world.project)
    assert world.names() == []
    assert f"{world.project}_default" not in world.engine.observe(world.project).networks
    world.up(TWO)
    assert world.engine.exec(world.project, "db", ["cat", "/data/x"]) == b"kept\n"


def test_down_never_removes_a_volume_that_is_not_disposable(world: World) -> None:
    world.up(TWO)
    with pytest.raises(Refused, match="is not marked as disposable") as caught:
        world.engine.down(world.project, volumes=True)
    assert caught.value.exit_code == 4
    assert len(world.engine.status(world.project)) == 2


def test_down_removes_a_disposable_volume_when_asked(world: World) -> None:
    text = TWO.replace("  data:\n", "  data: {labels: {sandbox.disposable: 'true'}}\n")
    world.up(text)
    world.engine.down(world.project)
    assert f"{world.project}_data" in world.engine.observe(world.project).volumes
    world.engine.down(world.project, volumes=True)
    assert f"{world.project}_data" not in world.engine.observe(world.project).volumes


def test_down_twice_and_of_nothing(world: World) -> None:
    world.engine.down(world.project)
    world.up(TWO)
    world.engine.down(world.project)
    world.engine.down(world.project)


# --- finding the engine -------------------------------------------------------------------------


def test_no_engine_is_one_line_with_exit_code_3() -> None:
    with pytest.raises(Unreachable, match="no Docker engine answers at unix:///nowhere") as caught:
        connect(environment={"DOCKER_HOST": "unix:///nowhere"})
    assert caught.value.exit_code == 3
    assert "./inv doctor" in str(caught.value)
    for address in ("tcp://127.0.0.1:1", "nonsense", "ssh://nobody@127.0.0.1:1"):
        with pytest.raises(Unreachable):
            connect(environment={"DOCKER_HOST": address})


def test_an_engine_that_this_user_may_not_use_is_named_and_how_to_change_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(closed))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{closed}")
    assert engine_check().hint == host.engine_missing_hint()  # it is ours, and nobody answers
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may always
    with pytest.raises(Unreachable, match="may not use the Docker engine at unix:") as caught:
        connect(environment=os.environ)
    assert "usermod -aG docker" in caught.value.hint == engine_check().hint


def engine_check() -> host.Check:
    return next(one for one in host.checks() if one.name == "Docker engine")


def test_the_current_context_is_used(tmp_path: Path) -> None:
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    folder = tmp_path / "contexts" / "meta" / "abc"
    folder.mkdir(parents=True)
    meta = {"Name": "mine", "Endpoints": {"docker": {"Host": host}}}
    (folder / "meta.json").write_text(json.dumps(meta))
    (tmp_path / "config.json").write_text('{"currentContext": "mine"}')
    environment = {"DOCKER_CONFIG": str(tmp_path)}
    assert connect(environment=environment).address == host
    (folder / "meta.json").write_text(json.dumps(meta).replace(host, "unix:///nowhere"))
    with pytest.raises(Unreachable, match="unix:///nowhere"):
        connect(environment=environment)
    with pytest.raises(Unreachable, match="'other', and it is not defined"):
        connect(environment={**environment, "DOCKER_CONTEXT": "other"})
