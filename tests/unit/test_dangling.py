"""Declared links that lead nowhere are counted by how they are written, and everything passes."""

from __future__ import annotations

from typing import Any

import bson
from bson import Int64
from hypothesis import given
from hypothesis import strategies as st

from sandbox.contract import Batches, Codec
from sandbox.masking.keep import KEEP, Keep
from sandbox.masking.policy import parse
from sandbox.masking.subset import Links, Values
from sandbox.model import Dataset, Entry, Point
from sandbox.stores.mongo.session import CODEC
from sandbox.workflows.dangling import Watched

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
    made = Watched(KEEP, policy.links, Links.of(policy))
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


class Stored(Keep):
    """Masks documents as they are stored; a decoded one is nothing for it."""

    def documents(self, collection: str, documents: Any) -> Any:
        raise AssertionError("it was decoded")

    def encoded(self, collection: Dataset, codec: Codec) -> Batches | None:
        return lambda batch: (2, b"masked " + batch)


def stored(codec: Codec, *known: str, collection: str = "chunks") -> tuple[Watched, Batches]:
    policy = parse(POLICY, file="masking.toml")
    mask = Watched(Stored(), policy.links, Links.of(policy))
    mask.begin({("videos", "id"): Values(known)})
    change = mask.encoded(Dataset(store="mongo", name=collection), codec)
    assert change is not None
    return mask, change


def test_documents_that_are_masked_as_they_are_stored_are_counted_undecoded() -> None:
    """Of 1,000 documents each different element is decoded, once."""
    decoded = []

    def decode(data: bytes) -> list[dict[str, Any]]:
        decoded.append(data)
        return CODEC.decode(data)

    mask, change = stored(Codec(decode, CODEC.encode), "1", "2")
    batch = b"".join(bson.encode({"_id": n, "video_id": n % 5}) for n in range(1000))
    assert change(batch) == (2, b"masked " + batch)
    assert mask.dangling == {"mongo.chunks.video_id -> postgres.videos.id": 600}
    assert len(decoded) == 5 and max(map(len, decoded)) < 30
    change(batch)
    assert mask.dangling == {"mongo.chunks.video_id -> postgres.videos.id": 1200}
    assert len(decoded) == 5


def test_a_collection_without_links_is_not_looked_at() -> None:
    policy = parse(POLICY, file="masking.toml")
    mask = Watched(Stored(), policy.links, Links.of(policy))
    batch = bson.encode({"video_id": 7})
    for name in ("chunks", "other"):  # the first before it begins
        change = mask.encoded(Dataset(store="mongo", name=name), CODEC)
        assert change is not None and change(batch)[1] == b"masked " + batch
        mask.begin({("videos", "id"): Values(("1",))})
    assert mask.dangling == {}
    assert watched("1").encoded(Dataset(store="mongo", name="chunks"), CODEC) is None
    assert mask.keeps(Dataset(store="mongo", name="other"))
    assert not mask.keeps(Dataset(store="mongo", name="chunks"))


ids = st.sampled_from((1, 2, 3, "1", "9", 1.0, 2.5, None, Int64(2), [], {}, [1], {"id": 1}, b"1"))
inner = st.fixed_dictionaries({}, optional={"id": ids, "other": ids, "$ref": ids})
shapes = st.fixed_dictionaries(
    {}, optional={"results": st.lists(inner | ids, max_size=4) | inner | ids, "ids": ids}
)


@given(st.lists(shapes, max_size=6))
def test_compiled_loops_count_what_python_counts(documents: list[dict[str, Any]]) -> None:
    """Whatever stands where a path goes on, or ends."""
    mask, change = stored(CODEC, "1", "2", collection="cache")
    change(b"".join(map(bson.encode, documents)))
    plain = watched("1", "2")
    plain.documents("cache", documents)
    assert mask.dangling == plain.dangling


def test_nothing_is_counted_where_all_is_there_and_before_it_begins() -> None:
    mask = watched("1")
    mask.documents("chunks", [{"video_id": 1}])
    assert mask.dangling == {}
    policy = parse(POLICY, file="masking.toml")
    early = Watched(KEEP, policy.links, Links.of(policy))
    early.documents("chunks", [{"video_id": 99}])
    assert early.dangling == {}


def test_bytes_that_would_pass_unseen_are_looked_at() -> None:
    mask = watched("1")
    for dataset in (Dataset(store="qdrant", name="points"), Dataset(store="redis", name="keys")):
        assert not mask.keeps(dataset)
    assert mask.keeps(Dataset(store="files", name="output"))
