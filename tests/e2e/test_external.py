"""A production that is not ours: read with the reader's URLs, never started, changed or stopped."""

from __future__ import annotations

import hashlib
import re
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import docker
import psycopg
import pytest
import redis

from sandbox.project import open_project
from sandbox.urls import url
from sandbox.workflows.session import Session
from tests.e2e.world import Sandbox, made

VARIABLES = {kind: f"THEIR_{kind.upper()}_URL" for kind in ("postgres", "mongo", "qdrant", "redis")}
URLS = ", ".join(f'{kind} = "{name}"' for kind, name in VARIABLES.items())
EXTERNAL = {
    "external = false           # true": f"urls = {{ {URLS} }}\nexternal = true # true",
    'layout = "namespaced" ': 'layout = "dedicated" ',
}


@dataclass(frozen=True)
class World:
    """`theirs` runs its own production; `ours` reads it as an external one."""

    theirs: Sandbox
    ours: Sandbox

    def admin(self, kind: str) -> str:
        """Their administrator's URL."""
        with Session(open_project(self.theirs.config), lambda event: None) as session:
            access = session.admin_access(kind, "production")  # type: ignore[arg-type]
            key = f"?api_key={access.identity.secret}" if kind == "qdrant" else ""
            return url(access) + key

    def use(self, **urls: str) -> None:
        """Write the reader's URLs into our .env."""
        path = self.ours.folder / ".env"
        lines = path.read_text().splitlines() if path.exists() else []
        names = {VARIABLES[kind]: value for kind, value in urls.items()}
        lines = [line for line in lines if line.split("=")[0] not in names]
        path.write_text("\n".join([*lines, *(f"{n}={v}" for n, v in names.items())]) + "\n")
        path.chmod(0o600)

    def containers(self) -> dict[str, str]:
        """Their production's containers and since when they run."""
        label = f"com.docker.compose.project={self.theirs.project}-production"
        found = docker.from_env().containers.list(filters={"label": label})
        return {one.name: one.attrs["State"]["StartedAt"] for one in found}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Their files are ours to read, under the same root."""
    theirs_at, ours_at = tmp_path_factory.mktemp("theirs"), tmp_path_factory.mktemp("ours")
    files = {
        'playground = "output_dev"': 'playground = "output_ours"',
        'playground = "backup/momentry_dev"': 'playground = "backup/ours"',
        'root = "data" ': f'root = "{theirs_at}/data" ',
    }
    with made(theirs_at) as theirs, made(ours_at, settings={**EXTERNAL, **files}) as ours:
        theirs.inv("up")
        theirs.inv("seed", "--scale", "0.02")
        yield World(theirs, ours)


@pytest.fixture(scope="module")
def readers(world: World) -> dict[str, str]:
    """The reader's URLs, made by running what `isolate --print` prints as their administrator,
    twice; MongoDB's script needs its own shell, so there their reader is taken."""
    printed = world.ours.json("isolate", "--print")["statements"]
    texts = {
        kind: [one["text"] for one in printed if one["store"] == kind]
        for kind in (*VARIABLES, "files")
    }
    assert all(texts.values())
    admin = {kind: world.admin(kind) for kind in VARIABLES}
    assert not any(urlsplit(one).password in str(printed) for one in admin.values() if "@" in one)
    name, password = world.ours.project.replace("-", "_") + "_reader", secrets.token_urlsafe(12)
    for _ in range(2):
        with psycopg.connect(admin["postgres"], autocommit=True) as connection:
            for text in texts["postgres"]:
                if text.startswith("\\password"):
                    text = f"ALTER ROLE {text.split()[1]} PASSWORD '{password}'"
                if not text.startswith("\\"):
                    connection.execute(text.encode())
        server = redis.Redis.from_url(admin["redis"])
        digest = hashlib.sha256(password.encode()).hexdigest()
        for text in texts["redis"]:
            words = re.sub(r'"#<[^>]*>"', f"#{digest}", text).replace('"', "").split()
            if words[0] == "SET":
                words = ["SET", words[1], text.split("'")[1]]
            server.execute_command(*words)
        address, key = admin["qdrant"].split("?api_key=")
        environment = {"QDRANT_URL": address, "QDRANT_API_KEY": key, "PATH": "/usr/bin:/bin"}
        runs = [
            subprocess.run(
                ["bash", "-ec", text],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
                timeout=30,
            )
            for text in texts["qdrant"]
        ]
    with Session(open_project(world.theirs.config), lambda event: None) as session:
        mongo = url(session.access("mongo", "reader"))
    login = f"{name}:{quote(password)}@"
    return {
        "postgres": re.sub(r"//[^@]*@", f"//{login}", admin["postgres"]),
        "redis": re.sub(r"//[^@]*@", f"//{login}", admin["redis"]),
        "mongo": mongo,
        "qdrant": f"{address}?api_key={runs[0].stdout.strip()}",
    }


def test_snapshot_and_load_from_end_to_end(world: World, readers: dict[str, str]) -> None:
    before = world.containers()
    world.use(**readers)
    world.ours.inv("up")
    taken = world.ours.json("snapshot", "--load")
    assert all(taken["rows"].values()) and taken["loaded"] == taken["rows"]
    assert world.ours.query("SELECT count(*) > 0 FROM videos") == [(True,)]
    services = world.ours.json("status")["services"]
    assert {one["environment"] for one in services} == {"playground"}
    assert world.ours.json("verify")["isolated"]
    world.ours.inv("reset", "--yes")
    assert world.containers() == before


def test_a_login_that_can_write_is_refused_and_named(world: World, readers: dict[str, str]) -> None:
    for kind in VARIABLES:
        world.use(**{**readers, kind: world.admin(kind)})
        assert f"({kind}: " in world.ours.inv("snapshot", code=4)
    world.use(**readers)
    name = world.ours.project.replace("-", "_") + "_reader"
    with psycopg.connect(world.admin("postgres"), autocommit=True) as admin:
        admin.execute(f"GRANT UPDATE (title) ON videos TO {name}".encode())
        try:
            assert "it may write videos" in world.ours.inv("snapshot", code=4)
            text = world.ours.config.read_text()
            world.ours.config.write_text(
                text.replace("external = true #", "accept_writer = true\nexternal = true #")
            )
            world.ours.inv("snapshot")
            world.ours.config.write_text(text)
        finally:
            admin.execute(f"REVOKE UPDATE (title) ON videos FROM {name}".encode())


def test_its_servers_are_no_place_for_a_playground(world: World) -> None:
    assert "external" in world.ours.inv("isolate", "--layout", "namespaced", code=4)
    assert "external" in world.ours.inv("seed", code=4)


def test_a_secret_command_tells_the_urls(world: World, readers: dict[str, str]) -> None:
    path, config = world.ours.folder / ".env", world.ours.config
    text, kept = config.read_text(), path.read_text()
    store = world.ours.folder / "store"
    store.write_text("\n".join(line for line in kept.splitlines() if line.startswith("THEIR_")))
    path.write_text("\n".join(x for x in kept.splitlines() if not x.startswith("THEIR_")) + "\n")
    try:
        assert "THEIR_POSTGRES_URL is not set" in world.ours.inv("snapshot", "--dry-run", code=2)
        command = '["sh", "-c", "grep ^{variable}= store | cut -d= -f2-"]'
        config.write_text(
            text.replace("external = true #", f"secret_command = {command}\nexternal = true #")
        )
        assert world.ours.json("snapshot", "--dry-run")["datasets"]["postgres"]
        store.write_text("")
        assert "told nothing" in world.ours.inv("snapshot", "--dry-run", code=2)
    finally:
        config.write_text(text)
        path.write_text(kept)
