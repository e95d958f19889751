"""`reset` in layout namespaced, as a whole: killed at any step it leaves one whole playground, and
production's logins are never used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pymongo
import pytest
import redis

from sandbox.model import KINDS
from sandbox.project import open_project
from sandbox.report import silent
from sandbox.workflows.recovery import recover
from sandbox.workflows.reset import reset
from sandbox.workflows.session import Session
from tests.e2e.world import ROOT, Sandbox, made

KILLED = -9
# Runs a reset and dies at one step: `store:method:before|after`.
DRIVER = """
import os, signal, sys
from sandbox.project import open_project
from sandbox.report import silent
from sandbox.stores import backend
from sandbox.workflows.reset import reset
from sandbox.workflows.session import Session

kind, method, when = sys.argv[2].split(":")
store = backend(kind).store
real = getattr(store, method)

def dying(self, *arguments):
    if method == "settle" and not self.swapped():
        return real(self, *arguments)  # what it begins with
    if when == "after":
        real(self, *arguments)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(store, method, dying)
with Session(open_project(sys.argv[1]), silent) as session:
    reset(session)
"""
STEPS = {  # where it dies -> whether the playground is the new one afterwards
    "redis:rewind:after": False,
    "postgres:rewind:after": False,
    "mongo:swap:before": False,
    "mongo:swap:after": False,
    "redis:swap:after": False,
    "files:swap:after": False,
    "postgres:swap:before": False,
    "postgres:swap:after": True,
    "files:settle:before": True,
}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with made(tmp_path_factory.mktemp("project")) as world:
        world.inv("up")
        world.inv("seed", "--scale", "0.02")
        world.inv("isolate")
        world.inv("snapshot")
        world.inv("load", "--yes", "--no-search")
        yield world


def spoil(sandbox: Sandbox) -> None:
    """One change in every store but Qdrant, with the playground's own logins."""
    known = sandbox.variables()
    sandbox.query("UPDATE videos SET title = title || '!' WHERE id < 4; CREATE TABLE junk (a int)")
    with pymongo.MongoClient[dict[str, Any]](known["MONGODB_URL"]) as client:
        client[known["MONGODB_DATABASE"]]["chunks"].insert_one({"junk": True})
    with redis.Redis.from_url(known["REDIS_URL"]) as client:
        client.set(f"{known['MOMENTRY_REDIS_PREFIX']}junk", 1)
    (Path(known["MOMENTRY_OUTPUT_DIR"]) / "junk").write_text("junk")


def changed(sandbox: Sandbox) -> set[str]:
    with Session(open_project(sandbox.config), silent) as session:
        return {kind for kind, store in session.stores(KINDS).items() if store.changes()}


def test_killed_at_any_step_it_is_the_old_or_the_new_in_every_store(sandbox: Sandbox) -> None:
    everywhere = {"postgres", "mongo", "redis", "files"}
    assert changed(sandbox) == set()
    spoil(sandbox)
    for step, is_new in STEPS.items():
        if changed(sandbox) != everywhere:
            spoil(sandbox)
        died = subprocess.run(
            [sys.executable, "-c", DRIVER, str(sandbox.config), step],
            cwd=ROOT,
            env=sandbox.environ(),
            timeout=120,
            capture_output=True,
            text=True,
            check=False,
        )
        assert died.returncode == KILLED, f"{step}: {died.stderr}"
        with Session(open_project(sandbox.config), silent) as session:
            recover(session)
        assert changed(sandbox) == (set() if is_new else everywhere), step


def test_production_is_not_contacted_and_nothing_is_loaded(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not changed(sandbox):
        spoil(sandbox)
    real = Session.identity

    def guarded(self: Session, kind: Any, role: Any, server: Any) -> Any:
        assert role in ("keeper", "playground"), f"reset asked for the login of {role}"
        return real(self, kind, role, server)

    monkeypatch.setattr(Session, "identity", guarded)
    with Session(open_project(sandbox.config), silent) as session:
        done = reset(session)
    assert done.notes == ()
    monkeypatch.undo()
    assert changed(sandbox) == set()


@pytest.mark.parametrize(
    ("method", "path", "body", "loaded_whole"),
    [
        ("POST", "points/delete", {"filter": {}}, []),
        ("PUT", "index", {"field_name": "junk", "field_schema": "keyword"}, ["qdrant"]),
    ],
    ids=["points", "collection"],
)
def test_qdrant_goes_back_by_points_or_is_loaded_whole_beside_the_rest(
    sandbox: Sandbox, method: str, path: str, body: dict[str, Any], loaded_whole: list[str]
) -> None:
    if not changed(sandbox):
        spoil(sandbox)
    known = sandbox.variables()
    answer = httpx.request(
        method,
        f"{known['QDRANT_URL']}/collections/{known['QDRANT_COLLECTION']}/{path}?wait=true",
        json=body,
        headers={"api-key": known["QDRANT_API_KEY"]},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    assert changed(sandbox) == set(KINDS)
    with Session(open_project(sandbox.config), silent) as session:
        done = reset(session)
    assert [note.split(":")[0] for note in done.notes] == loaded_whole
    assert changed(sandbox) == set()


def test_a_named_baseline_holds_what_a_developer_made(sandbox: Sandbox) -> None:
    if not changed(sandbox):
        spoil(sandbox)
    sandbox.inv("baseline", "save", "bug-7")
    sandbox.inv("baseline", "tag", "loaded", "first")
    listed = {one["name"]: one for one in sandbox.json("baseline")["baselines"]}
    assert listed["bug-7"]["bytes"] > 0 == listed["first"]["bytes"]  # hard links to the snapshot
    sandbox.inv("reset", "--yes")
    assert sandbox.json("diff") == {"changes": []}
    sandbox.inv("reset", "--to", "bug-7", "--yes")
    assert sandbox.query("SELECT count(*) FROM junk") == [(0,)]
    assert (Path(sandbox.variables()["MOMENTRY_OUTPUT_DIR"]) / "junk").exists()
    sandbox.query("DROP TABLE junk")
    sandbox.inv("reset", "--yes")  # to what was put there last
    assert sandbox.query("SELECT count(*) FROM junk") == [(0,)]
    sandbox.inv("reset", "--to", "first", "--yes")
    assert sandbox.query("SELECT to_regclass('junk')") == [(None,)]
    assert sandbox.json("baseline", "prune", "--yes")["removed"] == ["bug-7"]
