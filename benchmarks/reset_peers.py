"""What people use today to get a database back, for benchmarks/reset.py: PostgreSQL only.

DSLR copies databases inside the server; `pg_restore` reads a dump; `docker compose down -v`, `up`
and a restore is what a README usually says.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import psycopg

from benchmarks.reset_world import CHANGED, Amounts
from sandbox.images import ensure
from sandbox.report import silent

COMPOSE = """
services:
  db:
    image: {image}
    environment: {{POSTGRES_PASSWORD: {secret}, POSTGRES_DB: app}}
    command: postgres -c max_wal_size=4GB -c shared_buffers=128MB
    ports: ["127.0.0.1:{port}:5432"]
    shm_size: 256m
    volumes: ["data:/var/lib/postgresql/data", "{folder}/dump:/dump"]
    healthcheck:
      test: [CMD-SHELL, "PGPASSWORD={secret} psql -h 127.0.0.1 -U postgres -d app -qtAc 'SELECT 1'"]
      interval: 1s
      retries: 120
volumes: {{data: }}
"""


class Peer:
    """One PostgreSQL server of Compose's own, with one table of the same size as the playground's,
    and a dump of it beside."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder, self.name = folder, f"benchpeer{secrets.token_hex(3)}"
        self.secret, self.port = secrets.token_hex(8), _free_port()
        self.rows = Amounts.of(megabytes).rows
        (folder / "dump").mkdir()
        image = ensure(docker.from_env(), "pgvector/pgvector:pg17", report=silent).tag
        text = COMPOSE.format(image=image, secret=self.secret, port=self.port, folder=folder)
        (folder / "compose.yaml").write_text(text)

    @property
    def url(self) -> str:
        return f"postgresql://postgres:{self.secret}@127.0.0.1:{self.port}/app"

    def compose(self, *arguments: str) -> None:
        program = Path(sys.executable).with_name("docker-compose")
        _run([str(program), "-p", self.name, *arguments], cwd=self.folder)

    def inside(self, *argv: str) -> None:
        self.compose("exec", "-T", "-e", f"PGPASSWORD={self.secret}", "db", *argv)

    def fill(self) -> None:
        self.compose("up", "--detach", "--wait")
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                "CREATE TABLE big AS SELECT g AS id, 0 AS n, "
                "(SELECT string_agg(md5(g::text || i), '') FROM generate_series(1, 29) i) AS body "
                f"FROM generate_series(1, {self.rows}) g"
            )
            connection.execute("ALTER TABLE big ADD PRIMARY KEY (id)")
        self.inside("pg_dump", "-h", "127.0.0.1", "-U", "postgres", "-Fc", "-Z0", "-f", "/dump/app",
                    "app")  # fmt: skip

    def timed(self, way: Callable[[], None]) -> float:
        """Seconds until the table answers as it was."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("UPDATE big SET n = n + 1 WHERE id <= %s", [CHANGED])
        began = time.monotonic()
        way()
        with psycopg.connect(self.url) as connection:
            row = connection.execute("SELECT n FROM big WHERE id = 1").fetchone()
        assert row == (0,)
        return round(time.monotonic() - began, 3)

    # --- the ways ---------------------------------------------------------------------------------

    def pg_restore(self) -> None:
        address = ("-h", "127.0.0.1", "-U", "postgres")
        self.inside("dropdb", *address, "--force", "app")
        self.inside("createdb", *address, "app")
        self.inside("pg_restore", *address, "-j", "2", "-d", "app", "/dump/app")

    def compose_anew(self) -> None:
        self.compose("down", "--volumes")
        self.compose("up", "--detach", "--wait")
        self.inside("pg_restore", "-h", "127.0.0.1", "-U", "postgres", "-j", "2", "-d", "app",
                    "/dump/app")  # fmt: skip

    def dslr(self, program: Path) -> Callable[[], None]:
        """Takes DSLR's snapshot once; the way back is what is returned."""
        environment = {**os.environ, "DATABASE_URL": self.url}
        _run([str(program), "snapshot", "base"], cwd=self.folder, env=environment)
        return lambda: _run([str(program), "restore", "base"], cwd=self.folder, env=environment)


@contextmanager
def peer(folder: Path, megabytes: int) -> Iterator[Peer]:
    made = Peer(folder, megabytes)
    try:
        made.fill()
        yield made
    finally:
        made.compose("down", "--volumes")


def install_dslr(folder: Path) -> Path:
    """DSLR in an environment of its own."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    _run([str(python), "-m", "pip", "install", "-q", "dslr", "psycopg2-binary"])
    return python.with_name("dslr")


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(argv: list[str], cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{argv[:4]}: {done.stderr or done.stdout}")
