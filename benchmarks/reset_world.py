"""A playground of a given size for benchmarks/reset.py, and what is changed and asked in it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import httpx
import psycopg
import pymongo
import redis
from docker.errors import APIError, NotFound

from sandbox.contract import Access
from sandbox.model import FilesSpace, Kind
from sandbox.project import open_project
from sandbox.report import silent
from sandbox.urls import url
from sandbox.workflows.session import Session

ROOT = Path(__file__).parent.parent
NAMES = ("POSTGRES", "MONGO", "QDRANT", "REDIS")
FREE_PORTS = {f"{side}{name}_PORT": "0" for name in NAMES for side in ("", "PLAYGROUND_")}
ROW = 1_000  # bytes of a row of the largest table, about
DIMENSIONS = 1024
CHANGED = 1_000  # rows
# Where the playground shares production's server, that is a replica set of one member, as they
# usually are: a standalone one has to be read whole. The stand-in initiates itself; mongod wants a
# key file and `rs.initiate()`.
MONGOD = "command: mongod"


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """What stands in each store for so many megabytes of PostgreSQL."""

    rows: int
    documents: int
    points: int
    keys: int
    files: int
    file_bytes: int = 50_000

    @classmethod
    def of(cls, megabytes: int) -> Amounts:
        return cls(
            rows=megabytes * 1_000_000 // ROW,
            documents=megabytes * 20,  # 1 kB each: 2 % of PostgreSQL's bytes
            points=megabytes * 4,  # 4 kB each: 1.6 %
            keys=megabytes * 20,  # 1 kB each: 2 %
            files=max(megabytes // 5, 10),  # 1 %
        )


@dataclass(frozen=True, kw_only=True)
class World:
    """One project in a folder of its own."""

    folder: Path
    project: str
    layout: str
    amounts: Amounts

    def inv(self, *arguments: str) -> str:
        """The command as a user types it, the wrapper included."""
        done = subprocess.run(
            [str(ROOT / "inv"), *arguments, "--config", str(self.folder / "sandbox.toml")],
            cwd=self.folder,
            env={**os.environ, **FREE_PORTS, "SANDBOX_YES": "1"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"{arguments}: {done.stderr or done.stdout}")
        return done.stdout

    @contextmanager
    def clients(self) -> Iterator[Clients]:
        """As the playground's application."""
        project = open_project(self.folder / "sandbox.toml", environ={**os.environ, **FREE_PORTS})
        with Session(project, silent) as session:
            made = Clients(session)
            try:
                yield made
            finally:
                made.close()


class Clients:
    def __init__(self, session: Session) -> None:
        def access(kind: Kind) -> Access:
            return session.access(kind, "playground")

        self.postgres = psycopg.connect(url(access("postgres")), autocommit=True)
        self.mongo: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(url(access("mongo")))
        self.big = self.mongo[access("mongo").space.name]["big"]
        self.qdrant = httpx.Client(
            base_url=url(access("qdrant")),
            headers={"api-key": access("qdrant").identity.secret},
            timeout=120,
        )
        self.points = f"/collections/{access('qdrant').space.name}/points"
        self.redis = redis.Redis.from_url(url(access("redis")))
        self.prefix = access("redis").space.name
        space = access("files").space
        assert isinstance(space, FilesSpace)
        self.folder = space.directories["output"] / "big"

    def close(self) -> None:
        self.postgres.close()
        self.mongo.close()
        self.qdrant.close()
        self.redis.close()

    def fill(self, amounts: Amounts) -> None:
        self.postgres.execute(
            "CREATE TABLE big AS SELECT g AS id, 0 AS n, "
            "(SELECT string_agg(md5(g::text || i), '') FROM generate_series(1, 29) i) AS body "
            f"FROM generate_series(1, {amounts.rows}) g"
        )
        self.postgres.execute("ALTER TABLE big ALTER body SET STORAGE PLAIN, ADD PRIMARY KEY (id)")
        text = secrets.token_hex(450)
        for start in range(0, amounts.documents, 1_000):
            end = min(start + 1_000, amounts.documents)
            self.big.insert_many([{"_id": n, "n": 0, "body": text} for n in range(start, end)])
        vector = [round(0.001 * (n % 97) + 0.1, 4) for n in range(DIMENSIONS)]
        for start in range(0, amounts.points, 200):
            end = min(start + 200, amounts.points)
            points = [
                {"id": n + 1, "vector": vector, "payload": {"n": 0}} for n in range(start, end)
            ]
            self._call("PUT", f"{self.points}?wait=true", {"points": points})
        pipe = self.redis.pipeline(transaction=False)
        for number in range(amounts.keys):
            pipe.set(f"{self.prefix}big:{number}", text)
        pipe.execute()
        for number in range(amounts.files):
            path = self.folder / f"{number % 50:02}" / f"{number}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(amounts.file_bytes))

    def change(self, amounts: Amounts) -> None:
        """1,000 rows, and a share of everything else."""
        self.postgres.execute("UPDATE big SET n = n + 1 WHERE id <= %s", [CHANGED])
        self.big.update_many({"_id": {"$lt": 100}}, {"$set": {"n": 1}})
        body = {"payload": {"n": 1}, "points": list(range(1, min(100, amounts.points)))}
        self._call("POST", f"{self.points}/payload?wait=true", body)
        for number in range(100):
            self.redis.set(f"{self.prefix}big:{number}", "changed")
        for number in range(10):
            (self.folder / f"{number % 50:02}" / f"{number}.bin").write_bytes(b"changed")

    def ask(self) -> Mapping[str, Any]:
        """The first query on the largest table of every store."""
        found = self.postgres.execute("SELECT n FROM big WHERE id = 1").fetchone()
        document = self.big.find_one({"_id": 1})
        point = self._call("GET", f"{self.points}/1", None)["result"]
        key = self.redis.get(f"{self.prefix}big:1")
        with (self.folder / "01" / "1.bin").open("rb") as file:
            head = file.read(7)
        return {
            "postgres": found[0] if found else None,
            "mongo": document["n"] if document else None,
            "qdrant": point["payload"]["n"],
            "redis": int(key == b"changed"),
            "files": int(head == b"changed"),
        }

    def _call(self, method: str, path: str, body: Any) -> Any:
        answer = self.qdrant.request(method, path, json=body)
        answer.raise_for_status()
        return answer.json()


@contextmanager
def world(folder: Path, layout: str, megabytes: int) -> Iterator[World]:
    """Filled, kept as the baseline `big` and put in place: `reset` returns to it."""
    made = World(
        folder=folder,
        project=f"bench{secrets.token_hex(3)}",
        layout=layout,
        amounts=Amounts.of(megabytes),
    )
    shutil.copy(ROOT / "masking.toml", folder / "masking.toml")
    for name in ("compose.prod.yaml", "compose.dev.yaml"):
        text = (ROOT / name).read_text()
        assert MONGOD in text, name
        command = f"{MONGOD} --replSet rs0" if layout == "namespaced" else MONGOD
        (folder / name).write_text(text.replace(MONGOD, command))
    text = (ROOT / "sandbox.toml").read_text()
    for old, new in (
        ('"momentry"       #', f'"{made.project}" #'),
        ('layout = "namespaced"', f'layout = "{layout}"'),
        ('    "videos", "chunks",', '    "big", "videos", "chunks",'),
        ('collections = ["chunks", "cache"]', 'collections = ["chunks", "cache", "big"]'),
    ):
        assert old in text, old
        text = text.replace(old, new)
    (folder / "sandbox.toml").write_text(text)
    try:
        for step in (("up",), ("seed", "--scale", "0.01"), ("isolate",), ("snapshot", "--load")):
            made.inv(*step)
        with made.clients() as clients:
            clients.fill(made.amounts)
        made.inv("baseline", "save", "big")
        made.inv("reset", "--to", "big")
        yield made
    finally:
        remove(made.project)


def settled(made: World) -> None:
    """Wait until the last reset's work in the background is over: a person would have worked."""
    client, began = docker.from_env(), time.monotonic()
    while time.monotonic() - began < 600:
        time.sleep(0.5)
        listed = client.api.containers(all=True, filters={"name": made.project})
        names = [one["Names"][0] for one in listed]
        busy = [one for one in names if ".gone-" in one or ".warm-" in one]
        ready = [one for one in names if ".ready-" in one]
        if not busy and len(ready) == (len(NAMES) if made.layout == "dedicated" else 0):
            return
    raise SystemExit("what the last reset began in the background does not end")


def timed_reset(made: World) -> dict[str, float]:
    """Change, reset, ask, when the machine is at rest. `command`: seconds of the command;
    `answered`: until every store has answered as before the change."""
    with made.clients() as clients:
        clients.change(made.amounts)
        changed = clients.ask()
        assert set(changed.values()) == {1}, changed
    settled(made)
    began = time.monotonic()
    made.inv("reset")
    command = time.monotonic() - began
    with made.clients() as clients:
        found = clients.ask()
    answered = time.monotonic() - began
    assert set(found.values()) == {0}, found
    return {"command": round(command, 3), "answered": round(answered, 3)}


def first_write(made: World, *, at_once: bool) -> dict[str, float]:
    """After a reset: seconds of the first change of one row of the largest table, and of a second
    one. Where a reset follows another `at_once`, before the next containers are made, the first
    copies the table's file up from the image."""
    if not at_once:
        settled(made)
    made.inv("reset")
    found = {}
    with made.clients() as clients:
        for name in ("first", "second"):
            began = time.monotonic()
            clients.postgres.execute("UPDATE big SET n = n + 1 WHERE id = 2")
            found[name] = round(time.monotonic() - began, 3)
    return found


def sizes(made: World) -> dict[str, Any]:
    with made.clients() as clients:
        row = clients.postgres.execute("SELECT pg_total_relation_size('big')").fetchone()
    listed = json.loads(made.inv("baseline", "--json"))
    return {
        "postgres_bytes": row[0] if row else 0,
        "amounts": vars(made.amounts),
        "baselines": {one["name"]: one["bytes"] for one in listed["baselines"]},
    }


def remove(project: str) -> None:
    """Everything that belongs to the benchmark's project."""
    client = docker.from_env()
    label = "com.docker.compose.project"
    while mine := [  # some are being made or removed in the background just now
        one
        for one in client.api.containers(all=True, filters={"label": label})
        if one["Labels"][label].startswith(project)
    ]:
        for one in mine:
            with contextlib.suppress(NotFound, APIError):
                client.api.remove_container(one["Id"], force=True, v=True)
        time.sleep(0.5)
    for network in client.networks.list(filters={"label": label}):
        if network.attrs["Labels"][label].startswith(project):
            network.remove()
    for volume in client.volumes.list(filters={"name": project}):
        volume.remove(force=True)
    for image in client.images.list(f"sandbox-baseline/{project}-playground"):
        with contextlib.suppress(NotFound, APIError):
            client.images.remove(image.id, force=True)
