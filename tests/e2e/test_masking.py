"""What the policy does not name stops a snapshot, in every store; what should not be in the
playground is found, in every store and place. On one sandbox of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pymongo
import pytest
import redis

from demo.people import people
from demo.seed import Connections
from demo.tour import connections
from sandbox.project import open_project
from sandbox.report import silent
from sandbox.workflows.session import Session
from tests.e2e.test_main_job import Sandbox, sandbox

__all__ = ["sandbox"]
PERSON = people(12, 1)[0]  # one of those that the demo's seed made


@dataclass(frozen=True)
class Place:
    """An environment's own places, opened: what a careless program would do."""

    postgres: Any
    mongo: Any
    qdrant: httpx.Client
    redis: Any
    at: Connections

    def point(self, number: int, payload: dict[str, Any]) -> None:
        """Over the payload of one point."""
        path = f"/collections/{self.at.qdrant_collection}/points/payload?wait=true"
        answer = self.qdrant.post(path, json={"payload": payload, "points": [number]})
        answer.raise_for_status()

    def without(self, number: int, keys: list[str]) -> None:
        path = f"/collections/{self.at.qdrant_collection}/points/payload/delete?wait=true"
        self.qdrant.post(path, json={"keys": keys, "points": [number]}).raise_for_status()


@contextmanager
def opened(one: Sandbox, role: Any) -> Iterator[Place]:
    with Session(open_project(one.config, environ={}), silent) as session:
        at = connections(session, role)
    with (
        psycopg.connect(at.postgres, autocommit=True) as postgres,
        pymongo.MongoClient[dict[str, Any]](at.mongo, directConnection=True) as mongo,
        httpx.Client(base_url=at.qdrant, headers={"api-key": at.qdrant_key}) as qdrant,
        redis.Redis.from_url(at.redis) as keys,
    ):
        postgres.execute(f'SET search_path TO "{at.schema}"')
        yield Place(postgres, mongo[at.mongo_database], qdrant, keys, at)


def left_over(one: Sandbox) -> list[str]:
    folder = one.folder / ".sandbox" / "snapshots"
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


@pytest.fixture
def news(sandbox: Sandbox) -> Iterator[Place]:
    """Production after an afternoon of changes that nobody told the policy of."""
    with opened(sandbox, "admin") as there:
        key = f"{there.at.redis_prefix}badge:secret@mail.example.com"
        file = there.at.directories["output"] / "badges" / "secret@mail.example.com.bin"
        new = {"passport": "X1234567", "next_of_kin": [{"mail": "secret@mail.example.com"}]}
        there.mongo["chunks"].insert_one({"_id": "new", **new})
        there.point(2, new)
        there.redis.set(key, "1")
        file.parent.mkdir()
        file.write_bytes(b"x")
        yield there
        there.mongo["chunks"].delete_one({"_id": "new"})
        there.without(2, list(new))
        there.redis.delete(key)
        shutil.rmtree(file.parent)


def test_every_new_place_stops_the_snapshot_and_all_are_listed(
    sandbox: Sandbox, news: Place
) -> None:
    before = left_over(sandbox)
    told = sandbox.inv("snapshot", code=4)
    for place in (
        'mongo.chunks.passport  suggested: "passport" = ',
        'mongo.chunks.next_of_kin[].mail  suggested: "next_of_kin[].mail" = "email"',
        "qdrant.payload.passport",
        'qdrant.payload.next_of_kin[].mail  suggested: "next_of_kin[].mail" = "email"',
        "redis.badge:{email}  seen as a string; suggested: ",
        "files.output.badges",
    ):
        assert place in told, told
    assert "secret@" not in told and "X1234567" not in told
    assert left_over(sandbox) == before


def test_once_named_they_come_along(sandbox: Sandbox, news: Place) -> None:
    """The guard above goes by the policy alone: with rules, the same production is copied."""
    policy = sandbox.folder / "masking.toml"
    text = policy.read_text()
    rules = 'passport = "token"\n"next_of_kin[].mail" = "email"\n'
    named = text.replace("[mongo.chunks]\n", f"[mongo.chunks]\n{rules}")
    named = named.replace("[qdrant.payload]\n", f"[qdrant.payload]\n{rules}")
    named += '\n[redis."badge:{email}"]\ntype = "string"\nvalue = "keep"\n'
    named = named.replace("[files.output]\n", '[files.output]\n"badges/{email}.bin" = "skip"\n')
    try:
        policy.write_text(named)
        assert json.loads(sandbox.inv("snapshot", "--json"))["id"] in left_over(sandbox)
    finally:
        policy.write_text(text)


def test_a_rule_that_lets_originals_through_is_found_in_the_artifact(sandbox: Sandbox) -> None:
    policy = sandbox.folder / "masking.toml"
    text, before = policy.read_text(), left_over(sandbox)
    leaky = text.replace('"title", "description", "meta', '"description", "meta', 1)
    leaky = leaky.replace('"id", "uuid", "status"', '"title", "id", "uuid", "status"', 1)
    try:
        policy.write_text(leaky)
        told = sandbox.inv("snapshot", code=6)
    finally:
        policy.write_text(text)
    assert "postgres: videos (rule person)" in told
    assert PERSON.name not in told
    assert left_over(sandbox) == before


def test_planted_originals_are_found_in_every_store_and_place(sandbox: Sandbox) -> None:
    sandbox.inv("snapshot")
    sandbox.inv("load", "--yes", "--no-search")
    p = PERSON
    with opened(sandbox, "keeper") as there:
        sql = there.postgres.execute
        sql("UPDATE videos SET title = %s WHERE id = 1", [p.name])
        sql("UPDATE videos SET description = %s WHERE id = 2", [f"call {p.phone}, quick"])
        sql("UPDATE videos SET metadata = %s WHERE id = 3", [json.dumps({p.email: 1})])
        there.mongo["chunks"].insert_one({"_id": p.email, "deep": [{"text": f"by {p.name}!"}]})
        there.mongo["cache"].insert_one({"_id": "planted", "names": {p.username: True}})
        there.point(2, {"text": f"so said {p.username} here", "more": {"mail": [p.email]}})
        prefix = there.at.redis_prefix
        there.redis.set(f"{prefix}planted:{p.email}", "1")
        there.redis.hset(f"{prefix}planted:hash", p.username, json.dumps({"who": p.name}))
        output = there.at.directories["output"]
        (output / f"{p.name}.txt").write_text("nothing")
        (output / "planted.json").write_text(json.dumps({"a": [{"b": f"see {p.email}"}]}))
    told = sandbox.inv("verify", "--leaks", code=6)
    for place in (
        "postgres: videos.title (rule person)",
        "postgres: videos.description (rule phone)",
        "postgres: videos.metadata (rule email)",
        "mongo: chunks._id (rule email)",
        "mongo: chunks.deep.text (rule person)",
        "mongo: cache.names (rule username)",
        "qdrant: points.text (rule username)",
        "qdrant: points.more.mail[] (rule email)",
        "redis: keys.planted:{email} (rule email)",
        "redis: keys.planted:hash.{username} (rule person)",
        "files: output.{person}.txt (rule person)",
        "files: output.planted.json (rule email)",
    ):
        assert place in told, told
    for value in (p.name, p.email, p.phone, p.username):
        assert value not in told
    sandbox.inv("reset", "--yes")
    searched = json.loads(sandbox.inv("verify", "--leaks", "--json"))["leaks"]
    assert searched["leaks"] == 0 and searched["bytes"] > 1_000_000


def test_a_text_that_names_somebody_who_is_met_later_is_masked_after_all(sandbox: Sandbox) -> None:
    """The text is read at once, the person's own place at the end, in another store."""
    name = "Zebulon Quackenbush"
    where = "WHERE (video_id, frame_number) = (SELECT min(video_id), 1 FROM frames)"
    with opened(sandbox, "admin") as there:
        text = there.postgres.execute(f"SELECT ocr_text FROM frames {where}").fetchone()[0]
        points = f"/collections/{there.at.qdrant_collection}/points"
        last = there.qdrant.post(f"{points}/count", json={}).json()["result"]["count"]
        payload = there.qdrant.get(f"{points}/{last}").json()["result"]["payload"]
        try:
            changed = there.postgres.execute(
                f"UPDATE frames SET ocr_text = %s {where}", [f"it was {name} who said so"]
            )
            assert changed.rowcount == 1
            there.point(last, {"mentions": [name]})
            made = json.loads(sandbox.inv("snapshot", "--json"))["id"]
        finally:
            there.postgres.execute(f"UPDATE frames SET ocr_text = %s {where}", [text])
            there.point(last, {"mentions": payload["mentions"]})
    shown = json.loads(sandbox.inv("snapshots", "show", made, "--json"))
    assert shown["facts"]["leaks"]["leaks"] == 0
