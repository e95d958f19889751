"""classify and subsets through the commands, on a production of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pymongo
import pytest

from sandbox.masking.policy import parse
from sandbox.project import open_project
from tests.e2e.world import Sandbox, made


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with made(tmp_path_factory.mktemp("classify")) as one:
        one.inv("up")
        one.inv("seed", "--scale", "0.05")
        one.inv("isolate")
        yield one


def postgres(sandbox: Sandbox) -> psycopg.Connection[tuple[object, ...]]:
    """Production's administrator: what a migration in production would do."""
    services = sandbox.json("status")["services"]
    ports = next(one["ports"] for one in services if one["service"] == "postgres")
    return psycopg.connect(
        host="127.0.0.1",
        port=int(ports.split("->")[1]),
        dbname="momentry",
        user="postgres",
        password=open_project(sandbox.config).admin_secret("postgres", "production"),
        autocommit=True,
    )


def test_a_suggested_policy_takes_a_snapshot_without_a_leak(sandbox: Sandbox) -> None:
    """Every place is named, and what it masks is enough for the leak search."""
    written = sandbox.folder / "suggested.toml"
    found = sandbox.json("classify", "--write", str(written))
    assert parse(written.read_text(), file="suggested.toml")
    assert found["policy"] == written.read_text()
    assert {"place", "strategy", "reason", "options", "sure"} <= set(found["places"][0])
    assert "@" not in json.dumps(found)  # no value that was seen
    sandbox.inv("classify", "--write", str(written), code=2)  # and no file is overwritten
    policy = sandbox.folder / "masking.toml"
    before = policy.read_text()
    policy.write_text(written.read_text())
    try:
        sandbox.inv("snapshot")
        assert "up to date" in sandbox.inv("classify", "--check")
    finally:
        policy.write_text(before)


def test_drift_stops_a_scheduled_job_by_name(sandbox: Sandbox) -> None:
    assert sandbox.json("classify", "--check") == {"drift": []}
    reader = pymongo.MongoClient(
        sandbox.variables("production")["MONGODB_URL"], directConnection=True
    )  # fmt: skip
    chunks = reader[sandbox.variables("production")["MONGODB_DATABASE"]]["chunks"]
    with postgres(sandbox) as admin:
        admin.execute("ALTER TABLE public.videos ADD COLUMN passport text")
        chunks.update_one({}, {"$set": {"editor": {"手机": "13812345678"}}})
        try:
            drift = sandbox.json("classify", "--check", "--rows", "0", code=4)["drift"]
            assert {one["place"] for one in drift if one["kind"] == "new"} == {
                "postgres.videos.passport",
                "mongo.chunks.editor.手机",
            }
            assert "13812345678" not in sandbox.inv("classify", "--check", code=4)
        finally:
            admin.execute("ALTER TABLE public.videos DROP COLUMN passport")
            chunks.update_one({"editor": {"$exists": True}}, {"$unset": {"editor": 1}})
            reader.close()


def test_a_subset_is_whole_in_every_store(sandbox: Sandbox) -> None:
    policy = sandbox.folder / "masking.toml"
    before = policy.read_text()
    policy.write_text(
        before
        + '[rows]\nvideos = { rows = "20%", by = "owner_username", children = true }\n'
        + 'frames = { where = "frame_number < 5" }\n'
    )
    try:
        planned = sandbox.json("snapshot", "--dry-run")
        taken = sandbox.json("snapshot", "--load")
    finally:
        policy.write_text(before)
    assert 0 < planned["datasets"]["postgres"]["videos"] < 20
    assert planned["subset"]["rows"]["videos"]["percent"] == 20
    assert taken["rows"] == {
        store: sum(counts.values()) for store, counts in planned["datasets"].items()
    }
    variables = sandbox.variables()
    videos = {one for (one,) in sandbox.query("SELECT id FROM videos")}
    assert len(videos) == planned["datasets"]["postgres"]["videos"]
    assert sandbox.query("SELECT max(frame_number) < 5 FROM frames f WHERE NOT EXISTS "
                         "(SELECT FROM face_detections d WHERE d.video_id = f.video_id)") in (
        [(True,)], [(None,)])  # fmt: skip
    with pymongo.MongoClient(variables["MONGODB_URL"], directConnection=True) as client:
        found = client[variables["MONGODB_DATABASE"]]["chunks"].distinct("video_id")
        assert set(found) <= videos and found
    files = sandbox.query("SELECT DISTINCT owner_username FROM videos")
    output = sandbox.folder / "data" / "output_dev"
    films = {path.parent.name for path in output.glob("*/*.mp4")}
    assert films == {name for (name,) in files}
