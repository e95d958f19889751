"""The three layouts, and moving between them, as a user types it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.world import Sandbox, made


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Namespaced, seeded and loaded."""
    with made(tmp_path_factory.mktemp("layouts")) as one:
        one.inv("up")
        one.inv("seed", "--scale", "0.02")
        one.inv("isolate")
        one.inv("snapshot", "--load")
        yield one


def test_dedicated_from_end_to_end(sandbox: Sandbox) -> None:
    before = sandbox.query("SELECT count(*), max(title) FROM videos")
    sandbox.inv("isolate", "--layout", "dedicated")
    sandbox.inv("up")
    assert sandbox.json("verify")["isolated"]
    sandbox.inv("load", "--yes")
    sandbox.query("DROP TABLE chunk_vectors; UPDATE videos SET title = 'spoiled'")
    sandbox.inv("reset", "--yes")
    assert sandbox.query("SELECT count(*), max(title) FROM videos") == before
    assert sandbox.query("SELECT count(*) FROM chunk_vectors") != [(0,)]
    assert sandbox.json("verify")["isolated"]
