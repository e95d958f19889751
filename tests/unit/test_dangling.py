"""Declared links that lead nowhere are counted by how they are written, and everything passes."""

from __future__ import annotations

from typing import Any

import orjson

from sandbox.contract import Batches, Codec
from sandbox.masking.keep import KEEP, Keep
from sandbox.masking.policy import parse
from sandbox.masking.subset import Links, Values
from sandbox.model import Dataset, Entry, Point
from sandbox.workflows.dangling import Watched, each

POLICY = """version = 1
[links]
"mongo.chunks.video_id" = "postgres.videos.id"
"mongo.cache.results[].id" = "postgres.videos.id"
"qdrant.payload.video_id" = "postgres.videos.id"
"redis.video:{id}" = "postgres.videos.id"
"redis.user:*:videos[]" = "postgres.videos.id"
"redis.other:{id}" = "postgres.whole.id"
"""


def watched(*known: str) -> Watched:
    policy = parse(POLICY, file="masking.toml")
    made = Watched(KEEP, each(policy.links, Links.of(policy)))
    made.begin({("videos", "id"): Values(known)})
    return made


def entry(key: bytes, value: Any, kind: str = "string") -> Entry:
    return Entry(key=key, type=kind, value=value)


def test_what_leads_nowhere_is_counted_and_passes() -> None:
    mask = watched("1", "2")
    for video in (1, 2, "2", 3, None, 4):
        document = {"_id": 1, "video_id": video}
        assert mask.documents("chunks", [document])[0] is document
        assert mask.documents("other", [document])[0] is document
    listed = {"results": [{"id": 1}, {"id": 9}, {"id": 10}]}
    assert mask.documents("cache", [listed])[0] == {"results": [{"id": 1}, {"id": 9}, {"id": 10}]}
    for video in (1, 7):
        assert mask.points("points", [Point(id=1, vector=[1.0], payload={"video_id": video})])[0]
    for one in (
        entry(b"video:1", b""),
        entry(b"video:5", b""),
        entry(b"user:a:videos", [b"1", b"8"], "list"),
        entry(b"user:b:videos", [b"1", b"2"], "list"),
        entry(b"other:77", b""),  # its table is not looked at
    ):
        before = one.value
        assert mask.entries([one])[0] is one and one.value == before
    assert mask.dangling == {
        "mongo.cache.results[].id -> postgres.videos.id": 1,
        "mongo.chunks.video_id -> postgres.videos.id": 2,
        "qdrant.payload.video_id -> postgres.videos.id": 1,
        "redis.user:*:videos[] -> postgres.videos.id": 1,
        "redis.video:{id} -> postgres.videos.id": 1,
    }


def test_documents_that_are_masked_as_they_are_stored_are_counted_too() -> None:
    class Raw(Keep):
        def encoded(self, collection: Dataset, codec: Codec) -> Batches | None:
            return lambda batch: (2, b"masked " + batch)

    codec = Codec(decode=orjson.loads, encode=orjson.dumps)
    policy = parse(POLICY, file="masking.toml")
    chunks = Dataset(store="mongo", name="chunks")
    mask = Watched(Raw(), each(policy.links, Links.of(policy)))
    early = mask.encoded(chunks, codec)
    mask.begin({("videos", "id"): Values(("1",))})
    change = mask.encoded(chunks, codec)
    assert early is not None and change is not None
    for one in (early, change):
        assert one(b'[{"video_id": 1}, {"video_id": 7}]')[1].startswith(b"masked ")
    assert mask.dangling == {"mongo.chunks.video_id -> postgres.videos.id": 1}
    assert watched("1").encoded(chunks, codec) is None


def test_nothing_is_counted_where_all_is_there_and_before_it_begins() -> None:
    mask = watched("1")
    mask.documents("chunks", [{"video_id": 1}])
    assert mask.dangling == {}
    policy = parse(POLICY, file="masking.toml")
    early = Watched(KEEP, each(policy.links, Links.of(policy)))
    early.documents("chunks", [{"video_id": 99}])
    assert early.dangling == {}


def test_bytes_that_would_pass_unseen_are_looked_at() -> None:
    mask = watched("1")
    assert not mask.keeps(Dataset(store="mongo", name="chunks"))
    assert mask.keeps(Dataset(store="files", name="output"))
