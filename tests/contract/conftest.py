"""Real servers for the contract suite: one of each kind per run, on free ports of 127.0.0.1.

They are started with testcontainers from the images that `sandbox.images` finds or builds. No
engine is a failure, never a skip. Containers carry their run's label and are gone when the run
ends; what a killed run left behind is removed by the next one on the same machine.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import docker
import httpx
import psycopg
import pymongo
import pytest
import redis
from pymongo.errors import PyMongoError
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from sandbox.images import ImageFacts, ensure
from sandbox.report import silent

testcontainers_config.ryuk_disabled = True  # it has no image where no registry answers

LABEL = "sandbox.tests"
READY_WITHIN = 60.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server. `admin_user` and `admin_password` may do anything; `seconds` is the time
    from the container's start to the first query."""

    kind: str
    host: str
    port: int
    admin_user: str
    admin_password: str = field(repr=False)
    image: ImageFacts
    container: DockerContainer = field(repr=False)
    seconds: float = 0.0

    @property
    def api_key(self) -> str:
        """Qdrant's word for the administrator's password."""
        return self.admin_password

    def wait_ready(self, *, within: float = READY_WITHIN) -> float:
        """Seconds until the first real answer. The server's own log is in the error."""
        began = time.monotonic()
        while True:
            try:
                first_query(self)
                return time.monotonic() - began
            except (psycopg.Error, PyMongoError, httpx.HTTPError, redis.RedisError, OSError):
                wrapped = self.container.get_wrapped_container()
                wrapped.reload()
                if time.monotonic() - began > within or wrapped.status != "running":
                    log = wrapped.logs(tail=20).decode(errors="replace")
                    raise RuntimeError(f"{self.kind} does not answer:\n{log}") from None
                time.sleep(0.02)

    def restart(self) -> Server:
        """Start the stopped container again: the same server at another host port."""
        self.container.get_wrapped_container().start()
        port = int(self.container.get_exposed_port(RECIPES[self.kind].port))
        server = replace(self, port=port)
        return replace(server, seconds=server.wait_ready())


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one kind of server is started for tests; `home` is outside every declared volume, so
    that the data belongs to the container and is committed with it."""

    reference: str
    port: int
    user: str
    home: str
    environment: Callable[[str, str], Mapping[str, str]]
    command: Callable[[str, str], Sequence[str]]


RECIPES = {
    "postgres": Recipe(
        reference="pgvector/pgvector:pg17",
        port=5432,
        user="postgres",
        home="/var/lib/sandbox/postgres",
        environment=lambda secret, home: {
            "POSTGRES_PASSWORD": secret,
            "POSTGRES_DB": "momentry",
            "PGDATA": home,
        },
        command=lambda _s, _h: ["postgres", "-c", "max_connections=200", "-c", "fsync=off"],
    ),
    "mongo": Recipe(
        reference="mongo:8",
        port=27017,
        user="root",
        home="/var/lib/sandbox/mongo",
        environment=lambda secret, _h: {
            "MONGO_INITDB_ROOT_USERNAME": "root",
            "MONGO_INITDB_ROOT_PASSWORD": secret,
        },
        command=lambda _s, home: ["mongod", "--dbpath", home, "--bind_ip_all"],
    ),
    "qdrant": Recipe(
        reference="qdrant/qdrant:v1.15.5",
        port=6333,
        user="admin",
        home="/var/lib/sandbox/qdrant",
        environment=lambda secret, home: {
            "QDRANT__SERVICE__API_KEY": secret,
            "QDRANT__SERVICE__JWT_RBAC": "true",
            "QDRANT__STORAGE__STORAGE_PATH": home,
        },
        command=lambda _s, _h: [],
    ),
    "redis": Recipe(
        reference="redis:8",
        port=6379,
        user="default",
        home="/var/lib/sandbox/redis",
        environment=lambda secret, _h: {"REDIS_PASSWORD": secret},
        command=lambda _s, home: [
            "bash",
            "-ec",
            f"mkdir -p {home}; chown redis:redis {home}; cd {home}; exec docker-entrypoint.sh"
            f' redis-server --requirepass "$REDIS_PASSWORD" --appendonly yes --dir {home}',
        ],
    ),
}


def administered(server: Server, database: str) -> psycopg.Connection[Any]:
    """PostgreSQL's administrator, in autocommit."""
    return psycopg.connect(
        host=server.host,
        port=server.port,
        user=server.admin_user,
        password=server.admin_password,
        dbname=database,
        connect_timeout=2,
        autocommit=True,
    )


def first_query(server: Server) -> None:
    """One real answer, as the administrator; raises while there is none."""
    if server.kind == "postgres":
        with administered(server, "postgres") as connection:
            connection.execute("SELECT 1")
    elif server.kind == "mongo":
        with pymongo.MongoClient[dict[str, Any]](
            server.host,
            server.port,
            username=server.admin_user,
            password=server.admin_password,
            directConnection=True,
            serverSelectionTimeoutMS=500,
        ) as client:
            client.list_database_names()
    elif server.kind == "qdrant":
        url = f"http://{server.host}:{server.port}/collections"
        httpx.get(url, headers={"api-key": server.api_key}, timeout=2).raise_for_status()
    else:
        with redis.Redis(
            server.host, server.port, password=server.admin_password, socket_timeout=2
        ) as connection:
            connection.ping()


@dataclass(frozen=True, kw_only=True)
class Run:
    """This run's containers: a name of their own, a label, removed at its end."""

    client: docker.DockerClient
    name: str
    stack: ExitStack

    def start(
        self,
        kind: str,
        *,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] | None = None,
        files: Mapping[str, str] | None = None,
        image: str = "",
        password: str = "",
        user: str = "",
        wait: bool = True,
    ) -> Server:
        """One more server, as its recipe says; arguments replace parts of the recipe. `files`:
        path in the container -> text, there before it starts."""
        recipe = RECIPES[kind]
        facts = ensure(self.client, recipe.reference, report=silent)
        secret = password or secrets.token_hex(16)
        container = DockerContainer(image or facts.tag)
        for path, text in (files or {}).items():
            container.with_copy_into_container(text.encode(), path)
        container.with_name(f"{self.name}-{kind}-{secrets.token_hex(3)}")
        container.with_envs(**(environment or recipe.environment(secret, recipe.home)))
        argv = recipe.command(secret, recipe.home) if command is None else command
        container.with_command(list(argv))
        container.ports[f"{recipe.port}/tcp"] = ("127.0.0.1", None)  # type: ignore[assignment]
        container.with_kwargs(labels={LABEL: self.name}, shm_size="256m")
        began = time.monotonic()
        self.stack.callback(_removed, container)  # also when it does not start
        container.start()
        server = Server(
            kind=kind,
            host="127.0.0.1",
            port=int(container.get_exposed_port(recipe.port)),
            admin_user=user or recipe.user,
            admin_password=secret,
            image=facts,
            container=container,
        )
        if not wait:
            return server
        server.wait_ready()
        return replace(server, seconds=time.monotonic() - began)

    def sweep(self) -> None:
        """Remove containers of runs on this machine whose process is gone: their lock is free."""
        for container in self.client.containers.list(all=True, filters={"label": LABEL}):
            path = lock_path(container.labels[LABEL])
            if not path.exists():
                continue  # another machine's, or being removed
            with path.open() as file, suppress(BlockingIOError, docker.errors.APIError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                container.remove(force=True, v=True)


def _removed(container: DockerContainer) -> None:
    with suppress(docker.errors.NotFound):  # the test has done it
        container.stop()


def lock_path(name: str) -> Path:
    """Held by the run of this name as long as its process lives."""
    return Path(tempfile.gettempdir(), f"{name}.lock")


@pytest.fixture(scope="session")
def run() -> Iterator[Run]:
    client = docker.from_env()
    client.ping()
    name = f"sandbox-tests-{os.getpid()}-{secrets.token_hex(3)}"
    path = lock_path(name)
    with path.open("w") as lock, ExitStack() as stack:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stack.callback(client.close)
        mine = Run(client=client, name=name, stack=stack)
        mine.sweep()
        yield mine
    path.unlink()


@pytest.fixture(scope="session")
def postgres_server(run: Run) -> Server:
    return run.start("postgres")


@pytest.fixture(scope="session")
def mongo_server(run: Run) -> Server:
    return run.start("mongo")


@pytest.fixture(scope="session")
def qdrant_server(run: Run) -> Server:
    return run.start("qdrant")


@pytest.fixture(scope="session")
def redis_server(run: Run) -> Server:
    return run.start("redis")
