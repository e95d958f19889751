"""Two playgrounds of one project: they cannot see one another, and go one by one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import httpx
import psycopg
import pytest
import redis
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sandbox.project import open_project
from tests.e2e.world import ROOT, Sandbox, made

KILLED = """
import os
from sandbox.project import open_project
from sandbox.stores.mongo import Admin
from sandbox.workflows.rotate import rotate_identities
from sandbox.workflows.session import Session

Admin.isolate = lambda self: os._exit(9)  # the secrets are new, the servers are not
with Session(open_project("sandbox.toml"), print) as session:
    rotate_identities(session)
"""

BESIDE = {
    "PostgreSQL, beside ann",
    "MongoDB, beside ann",
    "Qdrant, beside ann",
    "Redis, beside ann",
    "Output files, beside ann",
    "Backup files, beside ann",
}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The first playground and ann's, both loaded."""
    with made(tmp_path_factory.mktemp("playgrounds")) as one:
        one.inv("up")
        one.inv("seed", "--scale", "0.02")
        one.inv("isolate")
        one.inv("snapshot", "--load")
        one.inv("up", "--playground", "ann")
        one.inv("load", "--yes", "--no-search", "--playground", "ann")
        yield one


def test_names_ports_and_logins_come_from_the_name(sandbox: Sandbox) -> None:
    first, hers = sandbox.variables(), sandbox.variables(playground="ann")
    assert hers["DATABASE_SCHEMA"] == "dev_ann"
    assert hers["MOMENTRY_REDIS_PREFIX"] == "momentry_dev_ann:"
    assert hers["MOMENTRY_OUTPUT_DIR"].endswith("/output_dev_ann")
    same = {name for name in first if first[name] == hers[name]}
    assert same == {"RUST_LOG", "MOMENTRY_WORKER_ENABLED", "QDRANT_URL"}  # one server, no login
    sandbox.inv("env", "--playground", "ann")
    assert sandbox.variables(playground="ann") == hers


def test_verify_proves_that_they_cannot_see_one_another(sandbox: Sandbox) -> None:
    verdict = sandbox.json("verify")
    rows = {row["resource"]: row for row in verdict["rows"]}
    assert verdict["isolated"] and rows.keys() >= BESIDE
    tried = {attempt["identity"] for attempt in rows["PostgreSQL, beside ann"]["attempts"]}
    base = sandbox.project.replace("-", "_") + "_playground"
    assert tried == {base, f"{base}_ann"}  # in both directions
    from_hers = sandbox.json("verify", "--playground", "ann")["rows"]
    assert {row["resource"] for row in from_hers} >= {"Redis, beside the first playground"}


def test_one_right_too_many_on_another_playground_is_found(sandbox: Sandbox) -> None:
    role = sandbox.project.replace("-", "_") + "_playground"
    grant = f"GRANT USAGE ON SCHEMA dev_ann TO {role}; GRANT SELECT ON dev_ann.videos TO {role}"
    revoke = grant.replace("GRANT", "REVOKE").replace(" TO ", " FROM ")
    sandbox.query(grant, url=sandbox.admin_url)
    server = redis.Redis.from_url(
        f"redis://:{sandbox.variables('production')['REDIS_PASSWORD']}"
        f"@{sandbox.variables()['REDIS_URL'].split('@')[1]}"
    )
    server.execute_command("ACL", "SETUSER", role + "_ann", "%R~momentry_dev:*")
    try:
        red = {
            row["resource"]: row["why"]
            for row in sandbox.json("verify", code=5)["rows"]
            if not row["isolated"]
        }
    finally:
        sandbox.query(revoke, url=sandbox.admin_url)
        sandbox.inv("isolate", "--playground", "ann")  # puts the ACL right
    # PostgreSQL's own row looks through every other schema, and sees it as well.
    assert set(red) == {"PostgreSQL", "PostgreSQL, beside ann", "Redis, beside ann"}
    assert "read" in red["PostgreSQL, beside ann"]
    assert sandbox.json("verify")["isolated"]


def test_a_production_value_under_any_name_is_red_and_named(sandbox: Sandbox) -> None:
    mine = sandbox.folder / ".env.development"
    kept, password = mine.read_text(), sandbox.variables("production")["POSTGRES_PASSWORD"]
    mine.write_text(f"{kept}LEGACY_DSN=host=db password={password}\nOLD_PREFIX=momentry:\n")
    try:
        printed = sandbox.inv("verify", "--json", code=5)
    finally:
        mine.write_text(kept)
    assert "LEGACY_DSN holds production's password" in printed
    assert "OLD_PREFIX holds production's redis space" in printed
    assert password not in printed


def test_a_reset_of_hers_leaves_mine_alone(sandbox: Sandbox) -> None:
    hers = sandbox.variables(playground="ann")["DATABASE_URL"]
    sandbox.query("UPDATE videos SET title = 'mine'")
    sandbox.query("UPDATE videos SET title = 'hers'", url=hers)
    sandbox.inv("reset", "--yes", "--playground", "ann")
    assert sandbox.query("SELECT count(*) FROM videos WHERE title = 'hers'", url=hers) == [(0,)]
    assert sandbox.query("SELECT count(DISTINCT title) FROM videos WHERE title = 'mine'") == [(1,)]


def opened(values: dict[str, str]) -> dict[str, bool]:
    """Which of an env file's logins open their store."""

    def works(open_: Callable[[], object]) -> bool:
        try:
            open_()
        except (psycopg.OperationalError, redis.AuthenticationError, OperationFailure):
            return False
        return True

    collection = f"{values['QDRANT_URL']}/collections/{values['QDRANT_COLLECTION']}"
    answer = httpx.get(collection, headers={"api-key": values["QDRANT_API_KEY"]})
    assert answer.status_code in (200, 401)
    mongo: MongoClient[dict[str, object]] = MongoClient(values["MONGODB_URL"])
    with mongo:
        return {
            "postgres": works(lambda: psycopg.connect(values["DATABASE_URL"]).close()),
            "mongo": works(lambda: mongo[values["MONGODB_DATABASE"]].command("count", "chunks")),
            "redis": works(lambda: redis.Redis.from_url(values["REDIS_URL"]).ping()),
            "qdrant": answer.status_code == 200,
        }


def test_rotated_identities_open_and_the_old_ones_do_not(sandbox: Sandbox) -> None:
    before = [sandbox.variables(), sandbox.variables(playground="ann")]
    before.append(sandbox.variables("production"))
    mine = sandbox.folder / ".env.development"
    mine.write_text(mine.read_text().replace("RUST_LOG=debug", "RUST_LOG=trace"))
    program = [sys.executable, "-c", KILLED]
    environ = sandbox.environ({"PYTHONPATH": str(ROOT)})
    killed = subprocess.run(program, cwd=sandbox.folder, env=environ, check=False)
    assert killed.returncode == 9
    rotated = sandbox.json("key", "rotate", "--identities")["rotated"]
    assert {"postgres/reader", "qdrant/playground/ann", "redis/keeper"} <= set(rotated)
    for old in before:
        assert not any(opened(old).values()), opened(old)
    for now in (sandbox.variables(), sandbox.variables(playground="ann")):
        assert all(opened(now).values()), opened(now)
    assert all(opened(sandbox.variables("production")).values())
    assert sandbox.variables()["RUST_LOG"] == "trace"
    mine.write_text(mine.read_text().replace("RUST_LOG=trace", "RUST_LOG=debug"))
    assert sandbox.json("verify")["isolated"]


def test_down_takes_hers_only_and_prune_all_of_it(sandbox: Sandbox) -> None:
    hers = sandbox.variables(playground="ann")["DATABASE_URL"]
    sandbox.inv("down", "--playground", "ann")
    assert sandbox.query("SELECT count(*) > 0 FROM videos", url=hers) == [(True,)]
    assert "--yes" in sandbox.inv("down", "--playground", "ann", "--prune", code=4)
    sandbox.inv("down", "--playground", "ann", "--prune", "--yes")
    left = "SELECT nspname FROM pg_namespace WHERE nspname LIKE '%ann%' UNION ALL SELECT rolname "
    left += f"FROM pg_roles WHERE rolname LIKE '{sandbox.project.replace('-', '_')}%ann'"
    assert sandbox.query(left, url=sandbox.admin_url) == []
    assert not sandbox.variables(playground="ann")
    assert not list(sandbox.folder.glob("data/**/*_ann*"))
    assert "ann" not in open_project(sandbox.config).siblings()
    sandbox.inv("down", "--playground", "ann", "--prune", "--yes")  # again: nothing there
    assert len(sandbox.json("verify")["rows"]) == 7
    assert sandbox.query("SELECT count(DISTINCT title) FROM videos WHERE title = 'mine'") == [(1,)]
