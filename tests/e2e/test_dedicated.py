"""A playground with servers of its own: whatever a client changes in it, a reset takes back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import httpx
import psycopg
import pymongo
import pytest
import redis
from docker.errors import APIError, NotFound

from sandbox.engine import programs
from sandbox.project import Project, open_project
from tests.e2e.world import FREE_PORTS, ROOT, Sandbox, made

DEDICATED = {'layout = "namespaced"   ': 'layout = "dedicated"   '}
PORTS = {"postgres": 5432, "mongo": 27017, "qdrant": 6333, "redis": 6379}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Seeded and loaded: there is a baseline."""
    with made(tmp_path_factory.mktemp("dedicated"), settings=DEDICATED) as one:
        one.inv("up")
        one.inv("seed", "--scale", "0.02")
        one.inv("snapshot", "--load")
        yield one
        client = docker.from_env()
        for image in client.images.list(f"sandbox-baseline/{one.project}-playground"):
            with suppress(NotFound, APIError):  # a newer one stands upon it
                client.images.remove(image.id, force=True)


@pytest.fixture
def world(sandbox: Sandbox) -> Iterator[World]:
    one = World(sandbox)
    yield one
    one.close()


class World:
    """The playground's servers as their administrator, on clients that stay open."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.project: Project = open_project(sandbox.config)
        self.docker = docker.from_env()
        self.mongo: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
            "127.0.0.1", self.port("mongo"), username="root", password=self.secret("mongo"),
            directConnection=True,
        )  # fmt: skip
        self.qdrant = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port('qdrant')}",
            headers={"api-key": self.secret("qdrant")},
        )
        self.redis = redis.Redis(
            "127.0.0.1", self.port("redis"), password=self.secret("redis"), socket_timeout=5
        )

    def close(self) -> None:
        self.mongo.close()
        self.qdrant.close()
        self.redis.close()

    def secret(self, kind: Any) -> str:
        return self.project.admin_secret(kind, "playground")

    def container(self, kind: str, side: str = "playground") -> Any:
        return self.docker.containers.get(f"{self.sandbox.project}-{side}-{kind}-1")

    def port(self, kind: str) -> int:
        ports = self.container(kind).attrs["NetworkSettings"]["Ports"]
        return int(ports[f"{PORTS[kind]}/tcp"][0]["HostPort"])

    def files(self) -> Path:
        return self.sandbox.folder / "data"

    def sql(self, *statements: str) -> None:
        with psycopg.connect(
            host="127.0.0.1", port=self.port("postgres"), user="postgres",
            password=self.secret("postgres"), dbname="momentry", autocommit=True,
        ) as connection:  # fmt: skip
            for statement in statements:
                connection.execute(statement)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.qdrant.request(method, path, json=body)
        answer.raise_for_status()
        return answer.json()["result"]

    # --- all that there is, to compare ------------------------------------------------------------

    def everything(self) -> dict[str, Any]:
        return {
            "postgres": self._postgres(),
            "mongo": self._mongo(),
            "qdrant": self._qdrant(),
            "redis": self._redis(),
            "files": self._files(),
        }

    def _postgres(self) -> str:
        """Every database, role, setting and row, as pg_dumpall writes them."""
        argv = ["pg_dumpall", "-h", "127.0.0.1", "-U", "postgres"]
        secret = {"PGPASSWORD": self.secret("postgres")}
        dump = programs.run(self.docker, self.container("postgres").id, argv, b"", secret)
        lines = dump.decode().splitlines()  # the dump's own key is new each time
        return "\n".join(line for line in lines if not line.startswith(("\\restrict", "\\unres")))

    def _mongo(self) -> dict[str, Any]:
        found: dict[str, Any] = {"users": self.mongo.admin.command("usersInfo", 1)["users"]}
        for name in sorted(set(self.mongo.list_database_names()) - {"local", "config"}):
            database = self.mongo[name]
            for one in database.list_collections():
                if one["name"].startswith("system."):
                    continue
                held = database[one["name"]]
                documents = sorted(map(repr, held.find()))
                indexes = sorted(map(repr, held.index_information().items()))
                found[f"{name}.{one['name']}"] = (repr(one["options"]), indexes, documents)
        return found

    def _qdrant(self) -> dict[str, Any]:
        found: dict[str, Any] = {"aliases": self.call("GET", "/aliases")}
        for one in self.call("GET", "/collections")["collections"]:
            path = f"/collections/{one['name']}"
            facts = self.call("GET", path)
            body = {"limit": 10_000, "with_vector": True}
            points = self.call("POST", f"{path}/points/scroll", body)["points"]
            found[one["name"]] = (facts["config"], facts["payload_schema"], points)
        return found

    def _redis(self) -> dict[str, Any]:
        found: dict[str, Any] = {"users": sorted(self.redis.acl_list())}
        found["memory"] = self.redis.config_get("maxmemory")
        for key in sorted(self.redis.keys()):
            kind = self.redis.type(key).decode()
            read: dict[str, Callable[[], Any]] = {
                "string": lambda k=key: self.redis.get(k),
                "list": lambda k=key: self.redis.lrange(k, 0, -1),
                "set": lambda k=key: self.redis.smembers(k),
                "zset": lambda k=key: self.redis.zrange(k, 0, -1, withscores=True),
                "hash": lambda k=key: self.redis.hgetall(k),
                "stream": lambda k=key: self.redis.xrange(k),
            }
            found[key.decode(errors="replace")] = (self.redis.expiretime(key), read[kind]())
        return found

    def _files(self) -> dict[str, Any]:
        found = {}
        for path in sorted(self.files().rglob("*")):
            facts = path.lstat()
            held = path.readlink() if path.is_symlink() else path.is_file() and path.read_bytes()
            timed = held and path.name != ".sandbox.json"  # the marker is this tool's own
            found[str(path)] = (facts.st_mode, facts.st_mtime_ns if timed else 0, held)
        return found


def spoil(world: World) -> None:
    """Data, schema, roles and their settings, indexes, sequences, aliases, TTLs, logins, files."""
    world.sandbox.query(
        "DROP TABLE chunk_vectors CASCADE; UPDATE videos SET title = 'oops';"
        "ALTER TABLE frames ADD junk text; CREATE TABLE mine (id serial PRIMARY KEY);"
        "CREATE INDEX own ON videos (title); INSERT INTO mine DEFAULT VALUES;"
        "DELETE FROM face_recognition_results; CREATE VIEW v AS SELECT 1 AS one;"
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1;"
        "SELECT setval(pg_get_serial_sequence('videos', 'id'), 4711);"
        "ALTER ROLE CURRENT_USER SET work_mem = '77MB'; ALTER ROLE CURRENT_USER PASSWORD 'x';"
        "COMMENT ON TABLE videos IS 'changed'"
    )
    world.sql(
        "CREATE DATABASE another", "CREATE ROLE guest LOGIN", "DROP SCHEMA dev CASCADE",
        "ALTER DATABASE momentry SET timezone = 'Asia/Tokyo'", "CREATE EXTENSION hstore",
    )  # fmt: skip
    own = world.mongo["momentry_dev"]
    own["cache"].drop()
    own["chunks"].update_many({}, {"$set": {"text": ""}})
    own["chunks"].create_index("text", name="own", expireAfterSeconds=9)
    own.create_collection("mine", capped=True, size=4096)
    own.command("createUser", "guest", pwd="guest", roles=["read"])
    name = "momentry_dev_rule1"
    collection = world.call("GET", "/aliases")["aliases"][0]["collection_name"]
    world.call("POST", f"/collections/{name}/points/delete?wait=true", {"filter": {}})
    index = {"field_name": "junk", "field_schema": "keyword"}
    world.call("PUT", f"/collections/{collection}/index?wait=true", index)
    alias = {"collection_name": collection, "alias_name": "mine"}
    moves = [{"delete_alias": {"alias_name": name}}, {"create_alias": alias}]
    world.call("POST", "/collections/aliases", {"actions": moves})
    world.redis.flushall()
    world.redis.set("momentry_dev:mine", "1", ex=900)
    world.redis.acl_setuser("guest", enabled=True, nopass=True, commands=["+@all"])
    world.redis.acl_deluser(f"{world.sandbox.project.replace('-', '_')}_playground")
    world.redis.config_set("maxmemory", "77mb")
    output = world.files() / "output_dev"
    folders = sorted(one for one in output.iterdir() if one.is_dir())
    shutil.rmtree(folders[0])
    (folders[1] / "new").mkdir()
    (output / "link").symlink_to("nowhere")
    some = next(one for one in folders[1].iterdir() if one.is_file())
    with some.open("r+b") as file:  # in place: a hard link in the baseline would change with it
        file.write(b"changed")
    some.chmod(0o600)


def reset(world: World, *arguments: str, code: int = 0) -> str:
    return world.sandbox.inv("reset", "--yes", *arguments, code=code)


def test_everything_that_a_client_can_change_is_put_back(world: World) -> None:
    before, rows = world.everything(), world.sandbox.json("diff")
    assert rows == {"changes": []}
    for side in PORTS:  # P5: production is not even there
        world.container(side, "production").pause()
    try:
        spoil(world)
        spoiled = world.everything()
        assert all(spoiled[kind] != before[kind] for kind in before)
        reset(world)
        after = world.everything()  # by clients that were open before
    finally:
        for side in PORTS:
            world.container(side, "production").unpause()
    for kind, held in before.items():
        assert after[kind] == held, kind
    assert world.sandbox.json("up")["steps"] == []
    assert world.sandbox.json("verify")["isolated"]


def test_one_server_that_does_not_come_up_leaves_all_as_they_are(world: World) -> None:
    """The newest image of `redis` is one whose server cannot start."""
    world.sandbox.query("UPDATE videos SET title = 'mine'")
    (world.files() / "output_dev" / "mine").write_text("mine")
    world.sandbox.inv("baseline", "--action", "save", "--name", "broken")
    repository = f"sandbox-baseline/{world.sandbox.project}-playground"
    (image,) = [
        one
        for one in world.docker.images.list(repository)
        if any(":redis-broken-" in tag for tag in one.tags)
    ]
    tag = next(tag for tag in image.tags if ":redis-broken-" in tag)
    argv = ["sh", "-c", "rm -r /var/lib/sandbox/redis; touch /var/lib/sandbox/redis"]
    spoiler = world.docker.containers.run(
        image.id, argv, entrypoint=[], detach=True, labels={"com.docker.compose.project": ""}
    )
    spoiler.wait()
    kept = json.dumps(world.docker.api.inspect_image(image.id)["Config"]["Cmd"])
    world.docker.api.commit(spoiler.id, repository, tag.rpartition(":")[2], changes=[f"CMD {kept}"])
    spoiler.remove()
    before = {kind: world.container(kind).id for kind in PORTS}
    world.sandbox.query("UPDATE videos SET title = 'later'")
    (world.files() / "output_dev" / "later").write_text("later")
    assert "redis" in reset(world, "--to", "broken", code=3)
    assert {kind: world.container(kind).id for kind in PORTS} == before
    assert world.sandbox.query("SELECT DISTINCT title FROM videos") == [("later",)]
    assert (world.files() / "output_dev" / "later").exists()
    assert world.sandbox.json("status")["services"]


def test_a_marker_of_another_project_is_refused(world: World) -> None:
    marker = '{"project": "other", "environment": "playground"}'
    world.sql(f"COMMENT ON SCHEMA dev IS 'sandbox: {marker}'")
    before = {kind: world.container(kind).id for kind in PORTS}
    assert "marked as playground of other" in reset(world, code=4)
    assert {kind: world.container(kind).id for kind in PORTS} == before
    world.sql("COMMENT ON SCHEMA dev IS NULL")  # nobody's: the server itself is known to be ours
    reset(world)


KILLED = """
import os, signal, sys
from sandbox.engine.baselines import Baselines
from sandbox.project import open_project
from sandbox.report import silent
from sandbox.stores.files.store import Store
from sandbox.workflows import dedicated
from sandbox.workflows.reset import reset
from sandbox.workflows.session import Session

def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)

where = {"kept": (Baselines, "_keep"), "between": (Store, "swap"),
         "after": (dedicated._Change, "end")}
owner, name = where[sys.argv[2]]
setattr(owner, name, die)
with Session(open_project(sys.argv[1]), silent) as session:
    dedicated.keep(session, "half") if name == "_keep" else reset(session)
"""


def killed(world: World, where: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(world.sandbox.config), where],
        cwd=ROOT,
        env={**os.environ, **FREE_PORTS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -9, done.stderr


@pytest.mark.parametrize("where", ["between", "after"])
def test_killed_anywhere_it_is_the_old_or_the_new_one_whole(world: World, where: str) -> None:
    world.sandbox.query("UPDATE videos SET title = 'mine'")
    mine = world.files() / "output_dev" / "mine"
    mine.write_text("mine")
    killed(world, where)
    changed = world.sandbox.json("diff")["changes"]  # the next command finishes or undoes
    titles = world.sandbox.query("SELECT DISTINCT title FROM videos WHERE title = 'mine'")
    old = where != "after"
    assert (titles == [("mine",)], mine.exists()) == (old, old)
    assert {one["store"] for one in changed} == ({"postgres", "files"} if old else set())
    assert world.sandbox.json("up")["steps"] == []


def test_killed_while_its_servers_stand_still_they_run_after_the_next_command(
    world: World,
) -> None:
    before = world.everything()
    killed(world, "kept")
    assert {world.container(kind).status for kind in PORTS} == {"exited"}
    assert world.sandbox.json("up")["steps"] == []
    assert world.everything() == before
    assert "half" not in world.sandbox.inv("baseline")


def test_names_one_store_and_a_safety_net(world: World) -> None:
    world.redis.set("momentry_dev:mine", "1")
    world.sandbox.query("UPDATE videos SET title = 'bug 7'")
    listed = world.sandbox.json("baseline", "--action", "save", "--name", "bug-7")
    assert [one["name"] for one in listed["baselines"]][-1] == "bug-7"
    assert listed["bytes"] == sum(one["bytes"] for one in listed["baselines"])
    reset(world, "--store", "postgres")
    assert world.sandbox.query("SELECT 1 FROM videos WHERE title = 'bug 7'") == []
    assert world.redis.get("momentry_dev:mine") == b"1"
    world.redis.set("momentry_dev:mine", "2")
    reset(world, "--safety")
    assert world.redis.get("momentry_dev:mine") is None
    reset(world, "--to", "bug-7")
    assert len(world.sandbox.query("SELECT DISTINCT title FROM videos")) == 1
    reset(world, "--safety")  # nothing differs, nothing to lose: the net stays as it is
    reset(world, "--to", "safety")
    assert world.redis.get("momentry_dev:mine") == b"2"
    gone = world.sandbox.json("baseline", "--action", "prune", "--yes")["removed"]
    assert "bug-7" in gone and not {"loaded", "safety"} & set(gone)
    assert "returns to it" in world.sandbox.inv(
        "baseline", "--action", "prune", "--name", "safety", "--yes", code=2
    )


def test_taken_down_and_up_again_a_reset_brings_it_back(world: World) -> None:
    before = world.everything()  # as the last reset has left it
    world.sandbox.inv("down")
    world.sandbox.inv("up")
    reset(world)
    assert World(world.sandbox).everything() == before
