"""classify and subsets through the commands, on a production of their own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

import httpx
import pymongo
import pytest
import redis

from sandbox.masking.policy import parse
from sandbox.workflows.keys import VARIABLE
from tests.e2e.world import Sandbox, made

KEY = "6b" * 32  # of 12 people, a percentage takes nobody or nearly all with some other keys


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with made(tmp_path_factory.mktemp("classify")) as random_key:
        one = dataclasses.replace(random_key, environment={VARIABLE: KEY})
        one.inv("up")
        one.inv("seed", "--scale", "0.05")
        one.inv("isolate")
        yield one


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
    production = sandbox.variables("production")
    with (
        sandbox.administrator() as admin,
        pymongo.MongoClient(production["MONGODB_URL"], directConnection=True) as client,
    ):
        chunks = client[production["MONGODB_DATABASE"]]["chunks"]
        admin.execute("ALTER TABLE public.videos ADD COLUMN passport text")
        chunks.update_one({}, {"$set": {"editor": {"手机": "13812345678"}}})
        try:
            printed = sandbox.inv("classify", "--check", "--rows", "0", "--json", code=4)
        finally:
            admin.execute("ALTER TABLE public.videos DROP COLUMN passport")
            chunks.update_one({"editor": {"$exists": True}}, {"$unset": {"editor": 1}})
    drift = json.JSONDecoder().raw_decode(printed)[0]["drift"]
    assert {(one["kind"], one["place"]) for one in drift} == {
        ("new", "postgres.videos.passport"),
        ("new", "mongo.chunks.editor.手机"),
    }
    assert "13812345678" not in printed


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
    counts = planned["datasets"]
    assert 0 < counts["postgres"]["videos"] < 20
    assert planned["subset"]["rows"]["videos"]["percent"] == 20
    assert taken["rows"] == {store: sum(found.values()) for store, found in counts.items()}
    videos = {one for (one,) in sandbox.query("SELECT id FROM videos")}
    chunks = {one for (one,) in sandbox.query("SELECT id FROM chunks")}
    assert len(videos) == counts["postgres"]["videos"]
    assert other_stores(sandbox) == (videos, chunks, videos)
    films = (sandbox.folder / "data" / "output_dev").glob("*/*.mp4")
    owners = sandbox.query("SELECT DISTINCT owner_username FROM videos")
    assert {path.parent.name for path in films} == {name for (name,) in owners}


def other_stores(sandbox: Sandbox) -> tuple[set[int], set[int], set[int]]:
    """Videos that MongoDB speaks of, chunks that Qdrant does, videos that are keys in Redis."""
    there = sandbox.variables()
    with pymongo.MongoClient(there["MONGODB_URL"], directConnection=True) as client:
        mongo = set(client[there["MONGODB_DATABASE"]]["chunks"].distinct("video_id"))
    answer = httpx.post(
        f"{there['QDRANT_URL']}/collections/{there['QDRANT_COLLECTION']}/points/scroll",
        headers={"api-key": there["QDRANT_API_KEY"]},
        json={"limit": 10_000, "with_payload": ["chunk_id"]},
    )
    points = {one["payload"]["chunk_id"] for one in answer.json()["result"]["points"]}
    prefix = there["MOMENTRY_REDIS_PREFIX"]
    people = [name for (name,) in sandbox.query("SELECT username FROM face_identities")]
    with redis.Redis.from_url(there["REDIS_URL"], decode_responses=True) as connection:
        videos = {n for n in range(1, 100) if connection.exists(f"{prefix}video:{n}")}
        assert people and all(connection.exists(f"{prefix}user:{name}") for name in people)
        for name in people:
            assert {*map(int, connection.smembers(f"{prefix}user:{name}:videos"))} <= videos
    return mongo, points, videos
