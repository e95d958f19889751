"""The three layouts, and moving between them, as a user types it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.world import ROOT, Sandbox, made

KILLED = """
import os
from sandbox.project import open_project
from sandbox.stores.redis import Store
from sandbox.workflows.move import move
from sandbox.workflows.session import Session

Store.swap = lambda self: os._exit(9)  # MongoDB and Qdrant are in place, PostgreSQL is not
with Session(open_project("sandbox.toml"), print) as session:
    move(session, "namespaced")
"""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Namespaced, seeded and loaded; then changed, so that what is kept is not what was loaded."""
    with made(tmp_path_factory.mktemp("layouts")) as one:
        one.inv("up")
        one.inv("seed", "--scale", "0.02")
        one.inv("isolate")
        one.inv("snapshot", "--load")
        one.query("UPDATE videos SET title = 'mine'")
        yield one


def mine(sandbox: Sandbox) -> int:
    return int(sandbox.query("SELECT count(*) FROM videos WHERE title = 'mine'")[0][0])


def test_dedicated_from_end_to_end(sandbox: Sandbox) -> None:
    before = mine(sandbox)
    beside = sandbox.variables()["DATABASE_URL"]
    moved = sandbox.json("isolate", "--layout", "dedicated")
    assert set(moved["carried"]) == {"postgres", "mongo", "qdrant", "redis"}
    assert mine(sandbox) == before > 0
    assert sandbox.variables()["DATABASE_URL"].rsplit("@")[1] != beside.rsplit("@")[1]
    assert sandbox.json("verify")["isolated"]
    sandbox.query("DROP TABLE chunk_vectors; UPDATE videos SET title = 'spoiled'")
    sandbox.inv("reset", "--yes")
    assert sandbox.query("SELECT count(*) FROM videos WHERE title = 'spoiled'") == [(0,)]
    assert sandbox.query("SELECT count(*) FROM chunk_vectors") != [(0,)]
    sandbox.query("UPDATE videos SET title = 'mine'")


def test_a_move_that_is_killed_while_it_swaps_changes_nothing_and_runs_again(
    sandbox: Sandbox,
) -> None:
    before, address = mine(sandbox), sandbox.variables()["DATABASE_URL"]
    program = [sys.executable, "-c", KILLED]
    killed = subprocess.run(
        program, cwd=sandbox.folder, env=sandbox.environ({"PYTHONPATH": str(ROOT)}), check=False
    )
    assert killed.returncode == 9
    assert sandbox.json("status")["layout"] == "dedicated"
    assert sandbox.variables()["DATABASE_URL"] == address
    sandbox.inv("isolate", "--layout", "namespaced")
    assert sandbox.json("status")["layout"] == "namespaced"
    assert mine(sandbox) == before > 0
    assert sandbox.json("verify")["isolated"]


def test_dry_run_says_what_would_be_done_and_does_nothing(sandbox: Sandbox) -> None:
    state = (sandbox.folder / ".sandbox" / "state.json").read_text()
    said = sandbox.json("isolate", "--layout", "partial", "--prune", "--dry-run")
    assert "postgres: shared with production (public), not isolated" in said["steps"]
    assert any("playground/redis, with its data" in what for what in said["pruned"])
    assert (sandbox.folder / ".sandbox" / "state.json").read_text() == state
    assert "isolated" in sandbox.inv("verify")


def test_partial_is_red_refuses_and_keeps_the_data_for_the_way_back(sandbox: Sandbox) -> None:
    before = mine(sandbox)
    sandbox.query("SELECT 1")
    sandbox.inv("isolate", "--layout", "partial")
    verdict = sandbox.json("verify", code=5)
    red = {row["resource"]: row["why"] for row in verdict["rows"] if not row["isolated"]}
    assert set(red) == {"PostgreSQL", "MongoDB", "Qdrant"}
    assert set(red.values()) == {"the playground uses production's own space"}
    for command in (("snapshot",), ("load", "--yes"), ("reset", "--yes")):
        assert "production's own" in sandbox.inv(*command, code=4)
    token = sandbox.variables()
    denied = httpx.put(
        f"{token['QDRANT_URL']}/collections/momentry_rule1/points",
        headers={"api-key": token["QDRANT_API_KEY"]},
        json={"points": []},
    )
    assert denied.status_code == 403
    # The servers of its own from before hold older data: what counts is where it was left.
    carried = sandbox.json("isolate", "--layout", "dedicated")["carried"]
    assert set(carried) == {"postgres", "mongo", "qdrant", "redis"}
    assert mine(sandbox) == before
    sandbox.inv("isolate", "--layout", "partial")
    sandbox.inv("isolate", "--layout", "namespaced")
    assert mine(sandbox) == before


def test_prune_removes_what_is_not_used_and_nothing_else(sandbox: Sandbox) -> None:
    before = mine(sandbox)
    assert "--yes" in sandbox.inv("isolate", "--prune", code=4)
    sandbox.inv("isolate", "--prune", "--yes")
    assert {one["environment"] for one in sandbox.json("status")["services"]} == {"production"}
    assert mine(sandbox) == before
    assert sandbox.json("isolate", "--prune", "--yes")["pruned"] == []
    sandbox.inv("isolate", "--layout", "dedicated", "--prune", "--yes")
    assert mine(sandbox) == before
    admin = sandbox.variables("production")["POSTGRES_PASSWORD"]
    address = sandbox.variables("production")["DATABASE_URL"].split("@")[1]
    schemas = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'dev%'"
    assert sandbox.query(schemas, url=f"postgresql://postgres:{admin}@{address}") == []
    sandbox.inv("up")
    assert sandbox.json("verify")["isolated"]
