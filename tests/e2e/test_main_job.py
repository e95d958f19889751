"""The commands as a user types them, on real servers of their own, with free ports."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import psycopg
import pytest

from sandbox.project import open_project

ROOT = Path(__file__).parents[2]
FREE_PORTS = {f"{name}_PORT": "0" for name in ("POSTGRES", "MONGO", "QDRANT", "REDIS")}


@dataclass(frozen=True)
class Sandbox:
    """A project of its own in a folder of its own."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "sandbox.toml"

    def inv(self, *arguments: str, code: int = 0) -> str:
        """Run a command; returns what it printed. Its exit code is part of the contract."""
        program = [str(Path(sys.executable).parent / "inv"), "--search-root", str(ROOT)]
        done = subprocess.run(
            [*program, *arguments, "--config", str(self.config)],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env={**os.environ, **FREE_PORTS},
            timeout=280,
        )
        shown = f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == code, shown
        assert "Traceback" not in done.stderr, shown
        return done.stdout + (done.stderr if code else "")

    def admin(self) -> psycopg.Connection[tuple[object, ...]]:
        """Production's administrator: what a migration in production would do."""
        project = open_project(self.config)
        services = json.loads(self.inv("status", "--json"))["services"]
        ports = next(one["ports"] for one in services if one["service"] == "postgres")
        return psycopg.connect(
            host="127.0.0.1",
            port=int(ports.split("->")[1]),
            dbname="momentry",
            user="postgres",
            password=project.admin_secret("postgres", "production"),
            autocommit=True,
        )


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("project")
    for name in ("compose.prod.yaml", "compose.dev.yaml", "masking.toml"):
        shutil.copy(ROOT / name, folder / name)
    project = f"e2e-{secrets.token_hex(3)}"
    settings = (ROOT / "sandbox.toml").read_text()
    renamed = settings.replace('project = "momentry"', f'project = "{project}"')
    (folder / "sandbox.toml").write_text(renamed)
    made = Sandbox(folder)
    try:
        made.inv("up")
        made.inv("seed", "--scale", "0.05")
        made.inv("isolate")
        yield made
    finally:
        made.inv("down")
        client = docker.from_env()
        for volume in client.volumes.list(filters={"name": project}):
            volume.remove()


def test_snapshot_load_spoil_reset_and_verify(sandbox: Sandbox) -> None:
    verdict = json.loads(sandbox.inv("verify", "--json"))
    assert verdict["isolated"] and len(verdict["rows"]) == 7
    assert all(attempt["ok"] for row in verdict["rows"] for attempt in row["attempts"])
    taken = json.loads(sandbox.inv("snapshot", "--json"))
    assert set(taken["rows"]) == {"postgres", "mongo", "qdrant", "redis", "files"}
    loaded = json.loads(sandbox.inv("load", "--yes", "--json"))
    assert loaded["rows"] == taken["rows"]
    with sandbox.admin() as admin:
        before = admin.execute("SELECT count(*) FROM dev.chunk_vectors").fetchone()
        admin.execute("DELETE FROM dev.face_recognition_results; DROP TABLE dev.chunk_vectors")
        sandbox.inv("reset", "--yes")
        assert admin.execute("SELECT count(*) FROM dev.chunk_vectors").fetchone() == before
        query = "SELECT count(*) FROM dev.videos d JOIN public.videos p USING (owner_email)"
        assert admin.execute(query).fetchone() == (0,)
    assert json.loads(sandbox.inv("verify", "--json"))["isolated"]


def test_a_second_up_changes_nothing(sandbox: Sandbox) -> None:
    assert json.loads(sandbox.inv("up", "--json"))["steps"] == []


def test_a_new_column_stops_the_snapshot_by_name(sandbox: Sandbox) -> None:
    with sandbox.admin() as admin:
        admin.execute("ALTER TABLE public.videos ADD COLUMN passport text")
        try:
            assert "videos.passport" in sandbox.inv("snapshot", code=4)
        finally:
            admin.execute("ALTER TABLE public.videos DROP COLUMN passport")
    assert not list((sandbox.folder / ".sandbox" / "snapshots").glob("*.partial"))


def test_a_table_in_neither_list_is_named(sandbox: Sandbox) -> None:
    with sandbox.admin() as admin:
        admin.execute("CREATE TABLE public.surprise (id int)")
        try:
            assert "surprise" in sandbox.inv("snapshot", code=2)
        finally:
            admin.execute("DROP TABLE public.surprise")


def test_one_right_too_many_is_found_and_named(sandbox: Sandbox) -> None:
    role = open_project(sandbox.config).settings.project.replace("-", "_") + "_playground"
    with sandbox.admin() as admin:
        admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        try:
            assert "read an isolated table" in sandbox.inv("verify", code=5)
        finally:
            admin.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}")


def test_partial_shows_the_shared_stores_and_refuses_to_load(sandbox: Sandbox) -> None:
    sandbox.inv("isolate", "--layout", "partial")
    try:
        found = sandbox.inv("verify", code=5)
        assert found.count("the playground uses production's own space") == 3
        assert "production's own" in sandbox.inv("load", "--yes", code=4)
    finally:
        sandbox.inv("isolate", "--layout", "namespaced")


def test_a_wrong_layout_is_one_line(sandbox: Sandbox) -> None:
    assert "there is no layout 'sideways'" in sandbox.inv("isolate", "--layout", "sideways", code=2)


def _killed_when(sandbox: Sandbox, arguments: tuple[str, ...], ready: Callable[[], bool]) -> None:
    """Start a command and kill it, without a last word, as soon as `ready`."""
    program = [str(Path(sys.executable).parent / "inv"), "--search-root", str(ROOT)]
    running = subprocess.Popen(
        [*program, *arguments, "--config", str(sandbox.config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=sandbox.folder,
        env={**os.environ, **FREE_PORTS},
    )
    while not ready():
        assert running.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    running.kill()
    running.wait()


def test_a_killed_snapshot_and_a_killed_load_go_on(sandbox: Sandbox) -> None:
    """What was finished is not done again; without --resume, everything is."""
    shelf = sandbox.folder / ".sandbox" / "snapshots"

    def parts() -> list[str]:
        return [path.read_text() for path in shelf.glob("*.partial/.journal")]

    _killed_when(sandbox, ("snapshot",), lambda: any(t.count("sha256") > 1 for t in parts()))
    begun = next(shelf.glob("*.partial")).name.removesuffix(".partial")
    taken = json.loads(sandbox.inv("snapshot", "--resume", "--json"))
    assert taken["id"] == begun and not list(shelf.glob("*.partial"))
    shown = json.loads(sandbox.inv("snapshots", "--action", "show", "--name", begun, "--json"))
    assert any(cut.get("resumed") for cut in shown["facts"]["cuts"].values())
    assert "no interrupted snapshot" in sandbox.inv("snapshot", "--resume", code=2)

    def staged() -> list[str]:
        state = sandbox.folder / ".sandbox" / "state.json"
        return json.loads(state.read_text()).get("staged", []) if state.exists() else []

    assert "no load of snapshot" in sandbox.inv("load", "--resume", "--yes", code=2)
    _killed_when(sandbox, ("load", "--snapshot", begun, "--yes"), lambda: bool(staged()))
    loaded = json.loads(sandbox.inv("load", "--snapshot", begun, "--resume", "--yes", "--json"))
    assert loaded["rows"] == taken["rows"] and staged() == []
    _killed_when(sandbox, ("load", "--snapshot", begun, "--yes"), lambda: bool(staged()))
    assert (
        json.loads(sandbox.inv("load", "--snapshot", begun, "--yes", "--json"))["rows"]
        == taken["rows"]
    )
    assert "no load of snapshot" in sandbox.inv("load", "--resume", "--yes", code=2)
