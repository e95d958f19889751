"""A project of its own in a folder of its own, used through the commands as a user types them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import docker
import psycopg
from docker.errors import APIError, NotFound

from sandbox.engine.standing import LOCK
from sandbox.project import open_project
from tests.contract.engine_world import gone

ROOT = Path(__file__).parents[2]
NAMES = ("POSTGRES", "MONGO", "QDRANT", "REDIS")
# As ./inv calls it: compiled modules are kept, or each command would compile its own once more.
PROGRAM = [str(Path(sys.executable).parent / "inv"), "--write-pyc", "--search-root", str(ROOT)]
WITHIN = 20.0  # seconds
# A file by project, locked while it is used.
LOCKS = Path(tempfile.gettempdir(), f"sandbox-e2e-{os.getuid()}")
FREE_PORTS = {f"{side}{name}_PORT": "0" for name in NAMES for side in ("", "PLAYGROUND_")}


@dataclass(frozen=True)
class Sandbox:
    """`project` is the name in its sandbox.toml; `environment` is added to each command's."""

    folder: Path
    project: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "sandbox.toml"

    def environ(self, more: Mapping[str, str] = {}) -> dict[str, str]:
        return {**os.environ, **FREE_PORTS, **self.environment, **more}

    def inv(self, *arguments: str, code: int = 0, **environment: str) -> str:
        """Run a command; returns what it printed. Its exit code is part of the contract."""
        done = subprocess.run(
            [*PROGRAM, *arguments, "--config", str(self.config)],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=self.environ(environment),
            timeout=280,
        )
        shown = f"{arguments}: {done.returncode}\n{_told(done.stdout)}\n{done.stderr}"
        assert done.returncode == code, shown
        assert "Traceback" not in done.stderr, shown
        return done.stdout + (done.stderr if code else "")

    def json(self, *arguments: str, code: int = 0) -> Any:
        """The same with --json. What failed prints its JSON first, then one line on stderr."""
        printed = self.inv(*arguments, "--json", code=code)
        return json.JSONDecoder().raw_decode(printed)[0]

    def variables(self, environment: Any = "playground", playground: str = "") -> dict[str, str]:
        return open_project(self.config, playground=playground).variables(environment)

    def query(self, sql: str, *, url: str = "") -> list[tuple[Any, ...]]:
        """Ask PostgreSQL as the playground's application (or at `url`)."""
        address = url or self.variables()["DATABASE_URL"]
        with psycopg.connect(address, autocommit=True) as connection:
            found = connection.execute(sql)
            return found.fetchall() if found.description else []

    @property
    def admin_url(self) -> str:
        """PostgreSQL as production's administrator: what a migration in production would do."""
        at = urlsplit(self.variables("production")["DATABASE_URL"])
        secret = open_project(self.config).admin_secret("postgres", "production")
        return f"postgresql://postgres:{quote(secret)}@{at.hostname}:{at.port}{at.path}"

    def administrator(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.admin_url, autocommit=True)


def _told(printed: str) -> str:
    """What a command printed; of a verdict what is red, for hundreds of attempts hide it."""
    try:
        verdict = json.loads(printed)
        rows = [row for row in verdict["rows"] if not row["isolated"]]
    except (ValueError, TypeError, LookupError):
        return printed
    for row in rows:
        row["attempts"] = [attempt for attempt in row["attempts"] if not attempt["ok"]]
    return json.dumps(rows, indent=1, ensure_ascii=False)


def interruptible() -> None:
    """For `preexec_fn`: a shell's background jobs, and all that they start, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def made(folder: Path, *, settings: Mapping[str, str] = {}) -> Iterator[Sandbox]:
    """A copy of the project's files under a name of its own; all that it started goes at the end.

    `settings`: texts of sandbox.toml to replace.
    """
    project = f"e2e-{secrets.token_hex(3)}"
    for name in ("compose.prod.yaml", "compose.dev.yaml", "masking.toml"):
        shutil.copy(ROOT / name, folder / name)
    text = (ROOT / "sandbox.toml").read_text().replace('"momentry"       #', f'"{project}" #')
    assert project in text
    for old, new in settings.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "sandbox.toml").write_text(text)
    sweep()
    with (LOCKS / project).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        try:
            yield Sandbox(folder, project)
        finally:
            remove(project)
            (LOCKS / project).unlink()


def sweep() -> None:
    """What a killed run left: its lock is free. A run that is still going holds its own."""
    LOCKS.mkdir(exist_ok=True)
    for path in LOCKS.iterdir():
        with contextlib.suppress(OSError), path.open() as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(path.name)
            path.unlink()


def _remove_containers(client: docker.DockerClient, project: str) -> None:
    """With their networks. Raises APIError while one is in use."""
    label = "com.docker.compose.project"
    for one in client.api.containers(all=True, filters={"label": label}):
        if one["Labels"][label].startswith(project):
            with suppress(NotFound, APIError):
                client.api.remove_container(one["Id"], force=True, v=True)
    for network in client.networks.list(filters={"label": label}):
        if network.attrs["Labels"][label].startswith(project):
            gone(network)


def remove(project: str) -> None:
    """Every container, network and volume whose Compose project begins with `project`. A reset
    makes containers in the background, each under a lock, and removes some: a network may be in
    use for a while."""
    client = docker.from_env()
    with contextlib.ExitStack() as stack:
        locks = LOCK.format(user=os.getuid(), project=f"{project}*")
        for path in Path(tempfile.gettempdir()).glob(locks):
            fcntl.flock(stack.enter_context(path.open()), fcntl.LOCK_EX)
        _remove_all(client, project)


def _remove_all(client: docker.DockerClient, project: str) -> None:
    end = time.monotonic() + WITHIN
    while True:
        try:
            _remove_containers(client, project)
            break
        except APIError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
    for volume in client.volumes.list(filters={"name": project}):
        volume.remove(force=True)
    for image in client.images.list(f"sandbox-baseline/{project}-playground"):
        with suppress(NotFound, APIError):  # a newer one stood upon it, and took it along
            client.images.remove(image.id, force=True)
