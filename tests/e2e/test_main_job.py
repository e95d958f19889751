"""The commands as a user types them, on real servers of their own, with free ports."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import docker
import psycopg
import pytest
import redis

from sandbox.errors import ConfigError
from sandbox.project import open_project
from sandbox.testing import Copy
from tests.e2e.world import PROGRAM, Sandbox, interruptible, made

LABEL = "com.docker.compose.project"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with made(tmp_path_factory.mktemp("project")) as one:
        one.inv("up")
        one.inv("seed", "--scale", "0.05")
        one.inv("isolate")
        yield one


def test_snapshot_load_spoil_reset_and_verify(sandbox: Sandbox) -> None:
    verdict = sandbox.json("verify")
    assert verdict["isolated"] and len(verdict["rows"]) == 7
    assert all(attempt["ok"] for row in verdict["rows"] for attempt in row["attempts"])
    taken = sandbox.json("snapshot")
    assert set(taken["rows"]) == {"postgres", "mongo", "qdrant", "redis", "files"}
    loaded = sandbox.json("load", "--yes")
    assert loaded["rows"] == taken["rows"]
    with sandbox.administrator() as admin:
        before = admin.execute("SELECT count(*) FROM dev.chunk_vectors").fetchone()
        admin.execute("DELETE FROM dev.face_recognition_results; DROP TABLE dev.chunk_vectors")
        sandbox.inv("reset", "--yes")
        assert admin.execute("SELECT count(*) FROM dev.chunk_vectors").fetchone() == before
        query = "SELECT count(*) FROM dev.videos d JOIN public.videos p USING (owner_email)"
        assert admin.execute(query).fetchone() == (0,)
    assert sandbox.json("verify")["isolated"]


def test_a_second_up_changes_nothing(sandbox: Sandbox) -> None:
    assert sandbox.json("up")["steps"] == []


def test_a_new_column_stops_the_snapshot_by_name(sandbox: Sandbox) -> None:
    with sandbox.administrator() as admin:
        admin.execute("ALTER TABLE public.videos ADD COLUMN passport text")
        try:
            assert "videos.passport" in sandbox.inv("snapshot", code=4)
        finally:
            admin.execute("ALTER TABLE public.videos DROP COLUMN passport")
    assert not list((sandbox.folder / ".sandbox" / "snapshots").glob("*.partial"))


def test_a_table_in_neither_list_is_named(sandbox: Sandbox) -> None:
    with sandbox.administrator() as admin:
        admin.execute("CREATE TABLE public.surprise (id int)")
        try:
            assert "surprise" in sandbox.inv("snapshot", code=2)
        finally:
            admin.execute("DROP TABLE public.surprise")


def test_one_right_too_many_is_found_and_named(sandbox: Sandbox) -> None:
    role = open_project(sandbox.config).settings.project.replace("-", "_") + "_playground"
    with sandbox.administrator() as admin:
        admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        try:
            assert "read an isolated table" in sandbox.inv("verify", code=5)
        finally:
            admin.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}")


def test_partial_shows_the_shared_stores_and_refuses_to_load(sandbox: Sandbox) -> None:
    sandbox.inv("isolate", "--layout", "partial")
    try:
        found = sandbox.inv("verify", code=5)
        assert found.count("the playground uses production's own space") == 3
        assert "production's own" in sandbox.inv("load", "--yes", code=4)
    finally:
        sandbox.inv("isolate", "--layout", "namespaced")


def test_a_wrong_layout_is_one_line(sandbox: Sandbox) -> None:
    assert "there is no layout 'sideways'" in sandbox.inv("isolate", "--layout", "sideways", code=2)


def _stopped_when(
    sandbox: Sandbox, arguments: tuple[str, ...], ready: Callable[[], bool], how: signal.Signals
) -> str:
    """Start a command and stop it as soon as `ready`; returns its last words."""
    running = subprocess.Popen(
        [*PROGRAM, *arguments, "--config", str(sandbox.config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=sandbox.folder,
        env=sandbox.environ(),
        preexec_fn=interruptible,
    )
    while not ready():
        assert running.poll() is None, "it ended before it could be stopped"
        time.sleep(0.002)
    running.send_signal(how)
    words = running.communicate(timeout=60)[1]
    assert running.returncode == (130 if how == signal.SIGINT else -how), words
    return words


def test_ctrl_c_leaves_nothing_half_made(sandbox: Sandbox) -> None:
    shelf, state = (sandbox.folder / ".sandbox" / name for name in ("snapshots", "state.json"))
    taken = sandbox.json("snapshot")["id"]
    words = _stopped_when(
        sandbox, ("snapshot",), lambda: any(shelf.glob("*.partial/*/*")), signal.SIGINT
    )
    assert "stopped" in words and "Traceback" not in words
    assert next(one["id"] for one in sandbox.json("snapshots")["snapshots"]) == taken
    before = sandbox.administrator().execute("SELECT count(*) FROM dev.videos").fetchone()
    words = _stopped_when(
        sandbox,
        ("load", "--yes"),
        lambda: bool(json.loads(state.read_text()).get("staged")),
        signal.SIGINT,
    )
    assert "stopped" in words and "Traceback" not in words
    with sandbox.administrator() as admin:
        assert admin.execute("SELECT count(*) FROM dev.videos").fetchone() == before
    assert sandbox.json("load", "--yes")["snapshot"] == taken


def test_a_killed_snapshot_and_a_killed_load_go_on(sandbox: Sandbox) -> None:
    """What was finished is not done again; without --resume, everything is."""
    shelf = sandbox.folder / ".sandbox" / "snapshots"

    def a_part() -> bool:
        """Of a store whose parts count one by one."""
        found = [path.read_text() for path in shelf.glob("*.partial/.journal")]
        return any('"kind": "files"' in text or '"kind": "redis"' in text for text in found)

    _stopped_when(sandbox, ("snapshot",), a_part, signal.SIGKILL)
    begun = next(shelf.glob("*.partial")).name.removesuffix(".partial")
    rename = "UPDATE public.face_identities SET username = %s WHERE username = %s"
    with sandbox.administrator() as admin:
        found = admin.execute("SELECT min(username) FROM public.face_identities").fetchone()
        assert found is not None
        admin.execute(rename, ("nobody", found[0]))  # Redis still has keys of that name
        try:
            taken = sandbox.json("snapshot", "--resume")
        finally:
            admin.execute(rename, (found[0], "nobody"))
    assert taken["id"] == begun and not list(shelf.glob("*.partial"))
    shown = sandbox.json("snapshots", "show", begun)
    assert any(cut.get("resumed") for cut in shown["facts"]["cuts"].values())
    link = "redis.user:{username} -> postgres.face_identities.username"
    assert shown["facts"]["dangling"][link] >= 1
    assert "no interrupted snapshot" in sandbox.inv("snapshot", "--resume", code=2)

    def staged() -> list[str]:
        state = sandbox.folder / ".sandbox" / "state.json"
        return json.loads(state.read_text()).get("staged", []) if state.exists() else []

    assert "no load of snapshot" in sandbox.inv("load", "--resume", "--yes", code=2)
    _stopped_when(
        sandbox, ("load", "--snapshot", begun, "--yes"), lambda: bool(staged()), signal.SIGKILL
    )
    loaded = sandbox.json("load", "--snapshot", begun, "--resume", "--yes")
    assert loaded["rows"] == taken["rows"] and staged() == []
    _stopped_when(
        sandbox, ("load", "--snapshot", begun, "--yes"), lambda: bool(staged()), signal.SIGKILL
    )
    assert sandbox.json("load", "--snapshot", begun, "--yes")["rows"] == taken["rows"]
    assert "no load of snapshot" in sandbox.inv("load", "--resume", "--yes", code=2)


def test_a_copy_for_somebodys_own_tests(sandbox: Sandbox) -> None:
    """Servers of its own by testcontainers; production is not running while they are filled."""
    with Copy(sandbox.config, stores=["postgres", "redis", "files"]) as copy:
        with psycopg.connect(copy.variables["DATABASE_URL"], autocommit=True) as connection:
            titles = connection.execute("SELECT id, title FROM videos ORDER BY id").fetchall()
            assert titles
            connection.execute("UPDATE videos SET title = 'oops'; DROP TABLE chunk_vectors")
            client = redis.Redis.from_url(copy.variables["REDIS_URL"])
            client.set(copy.variables["MOMENTRY_REDIS_PREFIX"] + "junk", 1)
            copy.reset()
            again = connection.execute("SELECT id, title FROM videos ORDER BY id").fetchall()
            assert again == titles
            assert connection.execute("SELECT count(*) FROM chunk_vectors").fetchone() != (0,)
            assert not client.exists(copy.variables["MOMENTRY_REDIS_PREFIX"] + "junk")
        client.close()
        project = copy.project
        assert docker.from_env().containers.list(filters={"label": f"{LABEL}={project}"})
    assert not docker.from_env().containers.list(all=True, filters={"label": f"{LABEL}={project}"})


def test_a_copy_without_a_snapshot_is_one_error(sandbox: Sandbox) -> None:
    with pytest.raises(ConfigError, match="no snapshot"), Copy(sandbox.config, snapshot="1999"):
        pass
