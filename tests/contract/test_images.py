"""The images on a real engine: built once, reused, like the official ones to a client, and stopped
so that what is committed is whole."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import httpx
import psycopg
import pymongo
import pytest
import redis
import yaml
from pymongo.errors import OperationFailure

from sandbox.engine import programs
from sandbox.errors import ConfigError, SandboxError, Unreachable
from sandbox.images import ensure
from sandbox.images.catalogue import Catalogue, load
from sandbox.images.pulling import ANSWER_WITHIN
from sandbox.report import Event, silent

if TYPE_CHECKING:
    from tests.contract.conftest import Run, Server

ROOT = Path(__file__).parents[2]
KINDS = ("postgres", "mongo", "qdrant", "redis")
REFERENCES = ("pgvector/pgvector:pg17", "redis:8", "mongo:8", "qdrant/qdrant:v1.15.5")


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(f"{request.param}_server")
    return found


every_server = pytest.mark.parametrize("server", KINDS, indirect=True)


def shell(server: Server, *argv: str) -> tuple[int | None, str]:
    container = server.container.get_wrapped_container()
    code, out, err = programs.ended(container.client, str(container.id), argv)
    return code, (out + err).decode()


# --- finding, pulling, building ------------------------------------------------------------------


@pytest.mark.parametrize("reference", REFERENCES)
def test_an_image_that_is_here_costs_nothing(run: Run, reference: str) -> None:
    ensure(run.client, reference, report=silent)
    told: list[Event] = []
    began = time.monotonic()
    facts = ensure(run.client, reference, report=told.append)
    assert time.monotonic() - began < 0.2  # 5 ms on an idle machine
    assert told == []
    assert facts.id == run.client.images.get(facts.tag).id


def test_the_demo_application_is_built_from_its_folder(run: Run) -> None:
    facts = ensure(run.client, "momentry-app:demo", report=silent)
    code = "import app.server, app.worker, psycopg, pymongo, redis, httpx"
    run.client.containers.run(facts.tag, ["python3", "-c", code], remove=True)


def test_no_registry_and_nothing_to_build_names_the_image(run: Run) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        reference = f"127.0.0.1:{free.getsockname()[1]}/nobody/nothing:1"
        with pytest.raises(Unreachable) as error:
            ensure(run.client, reference, service_hint="services.x", report=silent)
    assert str(error.value).startswith(f"services.x: image {reference} is not here and no registry")


def test_a_registry_that_hangs_is_waited_for_once(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent_one:
        registry = f"127.0.0.1:{silent_one.getsockname()[1]}"
        seconds = []
        for name in ("one", "two", "three"):
            began = time.monotonic()
            with pytest.raises(Unreachable, match="no registry answers"):
                ensure(run.client, f"{registry}/x/{name}:1", report=silent)
            seconds.append(time.monotonic() - began)
    assert seconds[0] < ANSWER_WITHIN + 2
    assert max(seconds[1:]) < 0.2


class Registry(BaseHTTPRequestHandler):
    """Answers, but has no image."""

    def do_GET(self) -> None:
        found = self.path == "/v2/"
        body = b"{}" if found else b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "no"}]}'
        self.send_response(200 if found else 404)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


def test_a_registry_that_answers_without_the_image_is_not_taken_for_silent(run: Run) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as registry:
        threading.Thread(target=registry.serve_forever, daemon=True).start()
        for name in ("one", "two"):
            reference = f"127.0.0.1:{registry.server_port}/x/{name}:1"
            with pytest.raises(ConfigError, match="there is no image"):
                ensure(run.client, reference, report=silent)
        registry.shutdown()


@pytest.fixture
def book(run: Run, tmp_path: Path) -> Iterator[Catalogue]:
    """A catalogue of one small image, in a repository of its own."""
    base = load().base
    ensure(run.client, "redis:8", report=silent)  # the base is here from now on
    if not run.client.images.list(name=base):
        pytest.fail(f"{base} is not here: the offline images were not built on this machine")
    folder = tmp_path / "images"
    (folder / "tiny").mkdir(parents=True)
    (folder / "tiny" / "Dockerfile").write_text(f"FROM {base}\nCOPY said /said\n")
    (folder / "tiny" / "said").write_text("first")
    (folder / "images.toml").write_text(
        f'base = "{base}"\nsuite = "trixie"\npython_version = "3.13"\n'
        '[tiny]\nreferences = ["127.0.0.1:9/tiny:*"]\nversion = "1"\nproduct = "a tiny one"\n'
    )
    catalogue = load(folder)
    yield Catalogue(**{**vars(catalogue), "repository": run.name})
    for image in run.client.images.list(name=f"{run.name}/tiny"):
        run.client.images.remove(str(image.id), force=True)


def test_built_once_for_two_at_once_and_again_when_its_content_changes(
    run: Run, book: Catalogue
) -> None:
    told: list[Any] = []

    def one(_: int) -> Any:
        return ensure(run.client, "127.0.0.1:9/tiny:1", report=told.append, catalogue=book)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(one, range(2))
    assert first == second
    assert first.offline
    assert first.product == "a tiny one (built here)"
    assert [e.name for e in told if "building" in e.name] == [
        "127.0.0.1:9/tiny:1: no registry answers; building a tiny one here"
    ]
    assert run.client.images.get(f"{run.name}/tiny:latest").id == first.id
    (book.folder / "tiny" / "said").write_text("second")
    changed = one(0)
    assert changed.tag != first.tag
    made = run.client.containers.create(changed.tag, ["true"])
    try:
        assert b"second" in b"".join(made.get_archive("/said")[0])
    finally:
        made.remove()


def test_a_build_that_fails_says_which_step(run: Run, book: Catalogue) -> None:
    file = book.folder / "tiny" / "Dockerfile"
    file.write_text(f"FROM {book.base}\nRUN echo the reason && exit 3\n")
    with pytest.raises(SandboxError, match=r"building tiny failed.*(the reason|exit 3)"):
        ensure(run.client, "127.0.0.1:9/tiny:1", report=silent, catalogue=book)
    assert run.client.images.list(name=f"{run.name}/tiny") == []


# --- like the official ones ----------------------------------------------------------------------


@pytest.mark.parametrize("file", ["compose.prod.yaml", "compose.dev.yaml"])
@every_server
def test_the_compose_files_health_check_passes(server: Server, file: str) -> None:
    services = yaml.safe_load((ROOT / file).read_text())["services"]
    kind, *argv = services[server.kind]["healthcheck"]["test"]
    argv = [word.replace("$$", "$") for word in argv]
    code, output = shell(server, *(["sh", "-c", *argv] if kind == "CMD-SHELL" else argv))
    assert code == 0, output


@every_server
def test_every_image_has_bash(server: Server) -> None:
    assert shell(server, "bash", "-c", "echo $((6 * 7))") == (0, "42\n")


def test_postgres_honours_the_official_variables(run: Run) -> None:
    server = run.start(
        "postgres",
        user="ann",
        environment={
            "POSTGRES_USER": "ann",
            "POSTGRES_PASSWORD_FILE": "/secret",
            "POSTGRES_DB": "things",
            "POSTGRES_INITDB_ARGS": "--data-checksums --wal-segsize=32",
            "PGDATA": "/var/lib/sandbox/elsewhere",
        },
        files={
            "/secret": "from a file\n",
            "/docker-entrypoint-initdb.d/1.sql": "CREATE TABLE made AS SELECT 7 AS n;",
            "/docker-entrypoint-initdb.d/2.sh": 'psql -c "INSERT INTO made VALUES (8)"',
        },
        password="from a file",
        command=["postgres", "-c", "work_mem=7MB"],
    )
    address = {"host": server.host, "port": server.port, "user": "ann", "dbname": "things"}
    with psycopg.connect(**address, password="from a file") as connection:
        shown = {
            name: connection.execute(f"SHOW {name}").fetchone()[0]  # type: ignore[index]
            for name in ("work_mem", "data_directory", "data_checksums", "wal_segment_size")
        }
        assert connection.execute("SELECT n FROM made ORDER BY n").fetchall() == [(7,), (8,)]
        connection.execute("CREATE EXTENSION vector")
    assert shown == {
        "work_mem": "7MB",
        "data_directory": "/var/lib/sandbox/elsewhere",
        "data_checksums": "on",
        "wal_segment_size": "32MB",
    }
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(**address, password="wrong")


def test_postgres_without_a_password_does_not_start(run: Run) -> None:
    tag = ensure(run.client, "pgvector/pgvector:pg17", report=silent).tag
    with pytest.raises(docker.errors.ContainerError, match="POSTGRES_PASSWORD must not be empty"):
        run.client.containers.run(tag, remove=True)


def test_mongo_asks_for_the_login_that_its_variables_made(mongo_server: Server) -> None:
    server = mongo_server
    with pymongo.MongoClient(server.host, server.port) as anyone:  # no directConnection: standalone
        assert "setName" not in anyone.admin.command("hello")
        with pytest.raises(OperationFailure):
            anyone.list_database_names()
    with (
        pymongo.MongoClient(server.host, server.port, username="root", password="wrong") as wrong,
        pytest.raises(OperationFailure),
    ):
        wrong.list_database_names()
    code, output = shell(server, "mongosh", "--quiet", "--eval", "db.dropDatabase()")
    assert code == 1
    assert "can ping only" in output


def test_mongo_counts_a_collection_and_no_other(mongo_server: Server) -> None:
    """Its own counting by keys: beside the smallest and the largest record of its neighbours."""
    server, login = mongo_server, {"username": "root", "password": mongo_server.admin_password}
    sizes = {("cnt", "b"): 700, ("cnt", "a"): 3, ("cnt", "ba"): 5, ("cn", "b"): 7, ("cnu", "b"): 9}
    with pymongo.MongoClient(server.host, server.port, **login) as client:
        for (database, name), size in sizes.items():
            client[database][name].insert_many([{"n": n} for n in range(size)])

        def told(name: str) -> set[int]:
            one = client["cnt"][name]
            (stats,) = one.aggregate([{"$collStats": {"storageStats": {}, "count": {}}}])
            return {one.estimated_document_count(), stats["count"], stats["storageStats"]["count"]}

        assert [told(name) for name in ("b", "a", "ba", "none")] == [{700}, {3}, {5}, {0}]
        client["cnt"]["b"].delete_many({"n": {"$lt": 300}})
        assert (told("b"), client["cnt"]["b"].count_documents({"n": {"$gte": 600}})) == ({400}, 100)
        client["cnt"]["b"].insert_one({"n": 0})
        assert (told("b"), len(list(client["cnt"]["b"].find()))) == ({401}, 401)
        for database in {database for database, _ in sizes}:
            client.drop_database(database)


def test_mongo_takes_its_port_and_folder(run: Run) -> None:
    server = run.start("mongo", command=["mongod", "--port=27099", "--dbpath", "/x/y"], wait=False)
    deadline = time.monotonic() + 20
    ping = ["mongosh", "--port", "27099", "--quiet", "--eval", "db.adminCommand('ping').ok"]
    while (found := shell(server, *ping)) != (0, "1\n"):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    assert shell(server, "test", "-d", "/x/y/wiredtiger")[0] == 0


def test_redis_takes_its_options(redis_server: Server) -> None:
    server = redis_server
    with redis.Redis(server.host, server.port, password=server.admin_password) as client:
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("dir") == {"dir": "/var/lib/sandbox/redis"}
    with redis.Redis(server.host, server.port) as anyone, pytest.raises(redis.RedisError):
        anyone.ping()
    assert shell(server, "redis-cli", "ping")[1].startswith("NOAUTH")


# --- stopping, committing, killing ---------------------------------------------------------------


def write(server: Server) -> None:
    secret = server.admin_password
    if server.kind == "postgres":
        with psycopg.connect(
            host=server.host, port=server.port, user="postgres", password=secret, dbname="momentry"
        ) as connection:
            connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 5000) AS n")
    elif server.kind == "mongo":
        with mongo(server) as client:
            client.momentry.kept.insert_many([{"_id": n} for n in range(5000)])
    elif server.kind == "qdrant":
        with qdrant(server) as client:
            vectors = {"size": 4, "distance": "Dot"}
            client.put("/collections/kept", json={"vectors": vectors}).raise_for_status()
            points = [{"id": n, "vector": [n, 0, 0, 1], "payload": {"n": n}} for n in range(5000)]
            client.put("/collections/kept/points", json={"points": points}).raise_for_status()
            alias = {"create_alias": {"alias_name": "name", "collection_name": "kept"}}
            client.post("/collections/aliases", json={"actions": [alias]}).raise_for_status()
    else:
        with redis.Redis(server.host, server.port, password=secret) as client:
            client.mset({f"kept:{n}": n for n in range(5000)})


def count(server: Server) -> int:
    secret = server.admin_password
    if server.kind == "postgres":
        with psycopg.connect(
            host=server.host, port=server.port, user="postgres", password=secret, dbname="momentry"
        ) as connection:
            row = connection.execute("SELECT count(*) FROM kept").fetchone()
            assert row is not None
            return int(row[0])
    if server.kind == "mongo":
        with mongo(server) as client:
            return int(client.momentry.kept.count_documents({}))
    if server.kind == "qdrant":
        with qdrant(server) as client:
            answer = client.post("/collections/name/points/count", json={"exact": True}).json()
            return int(answer["result"]["count"])
    with redis.Redis(server.host, server.port, password=secret) as client:
        return int(client.dbsize())  # type: ignore[arg-type]


def mongo(server: Server) -> pymongo.MongoClient[dict[str, Any]]:
    return pymongo.MongoClient(
        server.host, server.port, username="root", password=server.admin_password
    )


def qdrant(server: Server) -> httpx.Client:
    return httpx.Client(
        base_url=f"http://{server.host}:{server.port}", headers={"api-key": server.api_key}
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_is_quick_and_clean_and_what_is_committed_is_whole(run: Run, kind: str) -> None:
    server = run.start(kind)
    write(server)
    container = server.container.get_wrapped_container()
    began = time.monotonic()
    container.stop(timeout=10)
    stopped = time.monotonic() - began
    assert container.wait()["StatusCode"] == 0
    assert stopped < 2
    image = container.commit()
    try:
        copy = run.start(kind, image=str(image.id), password=server.admin_password)
        assert count(copy) == 5000
        assert count(server.restart()) == 5000
        copy.container.stop()
    finally:
        with suppress(docker.errors.APIError):
            run.client.images.remove(str(image.id), force=True)
    container.remove(force=True, v=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kill_loses_nothing_that_is_older_than_two_seconds(run: Run, kind: str) -> None:
    server = run.start(kind)
    write(server)
    time.sleep(2)  # redis's appendfsync and the Qdrant stand-in's flush: every second
    container = server.container.get_wrapped_container()
    container.kill()
    container.wait()
    assert count(server.restart()) == 5000
    container.remove(force=True, v=True)


# --- the fixtures themselves ---------------------------------------------------------------------


def test_without_an_engine_a_test_fails_and_is_not_skipped() -> None:
    test = f"{__file__}::test_every_image_has_bash"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        environment = {**os.environ, "DOCKER_HOST": f"tcp://127.0.0.1:{free.getsockname()[1]}"}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tb=no", test],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            cwd=ROOT,
        )
    assert done.returncode == 1
    assert "skipped" not in done.stdout
    assert "4 errors" in done.stdout


def test_what_a_killed_run_left_is_swept_and_a_living_run_is_not(run: Run, tmp_path: Path) -> None:
    from tests.contract.conftest import LABEL, lock_path

    image = ensure(run.client, "redis:8", report=silent).tag
    left = {}
    for state in ("dead", "living"):
        name = f"{run.name}-{state}"
        left[state] = run.client.containers.create(image, name=name, labels={LABEL: name})
        lock_path(name).touch()
    try:
        with lock_path(f"{run.name}-living").open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            run.sweep()
        left["living"].reload()
        with pytest.raises(docker.errors.NotFound):
            left["dead"].reload()
    finally:
        left["living"].remove(force=True)
        for state in left:
            lock_path(f"{run.name}-{state}").unlink()
