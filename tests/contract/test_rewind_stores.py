"""Redis and MongoDB back to their baseline: what changed comes back, the rest is not moved,
and an interruption leaves the old or the new."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from sandbox.errors import NoBaseline
from sandbox.masking.keep import Keep
from tests.contract import mongo_world, test_redis_copy
from tests.contract.redis_world import PLAYGROUND, PRODUCTION
from tests.contract.redis_world import isolated as redis_isolated

DEV = PLAYGROUND.prefix.encode()


@pytest.fixture
def redis(redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def marker(snapshot: str = "s1") -> Any:
        return replace(test_redis_copy.OURS, baseline="b1")

    monkeypatch.setattr(test_redis_copy, "OURS", test_redis_copy.marker("s1"), raising=False)
    monkeypatch.setattr(test_redis_copy, "marker", marker)
    with redis_isolated(redis_server) as world:
        test_redis_copy.fill(world.client, PRODUCTION.prefix)
        test_redis_copy.load(world.source(), world.store(), Keep())
        yield world


def spoil_redis(client: Any) -> None:
    client.hset(DEV + b"hash", "f1", "x")
    client.persist(DEV + b"hash")
    client.pexpire(DEV + b"text", 1_000_000)
    client.delete(DEV + b"set", DEV + bytes(range(256)))
    client.sadd(DEV + b"numbers", 77)
    client.zincrby(DEV + b"zset", 1, "m5")
    client.rpush(DEV + b"new", 1)
    client.rename(DEV + b"list", DEV + b"renamed")
    client.execute_command("HPERSIST", DEV + b"dying", "FIELDS", 1, "goes")
    client.xgroup_destroy(DEV + b"jobs", "late")
    client.xack(DEV + b"jobs", "workers", "5-7")


def test_redis_brings_back_what_changed(redis: Any) -> None:
    before = test_redis_copy.content(redis.client, PLAYGROUND.prefix)
    store = redis.store()
    assert store.changes() == []
    redis.client.srem(DEV + b"numbers", 3)
    redis.client.sadd(DEV + b"numbers", 3)  # another order in memory, the same set
    assert store.changes() == []
    spoil_redis(redis.client)
    assert [change.rows for change in store.changes()] == [11]
    spoilt = test_redis_copy.content(redis.client, PLAYGROUND.prefix)
    for step in range(4):  # killed before the swap, after it, after an undo, and not at all
        store = redis.store()
        assert [change.rows for change in store.rewind()] == [11]
        if step:
            store.swap()
            store = redis.store()
            assert store.swapped()
        if step < 3:
            redis.store().undo()
            assert test_redis_copy.content(redis.client, PLAYGROUND.prefix) == spoilt
        redis.store().settle()
    assert test_redis_copy.content(redis.client, PLAYGROUND.prefix) == before
    assert redis.store().changes() == []
    left = [k for k in redis.client.scan_iter(match="sandbox:*") if b"new" in k or b"old" in k]
    assert left == []


def test_redis_with_nothing_to_do_loses_nothing(redis: Any) -> None:
    before = test_redis_copy.content(redis.client, PLAYGROUND.prefix)
    store = redis.store()
    assert store.rewind() == []
    store.swap()
    store.settle()
    assert test_redis_copy.content(redis.client, PLAYGROUND.prefix) == before


def test_another_loads_copy_is_refused(redis: Any) -> None:
    redis.client.set(f"sandbox:marker-base:{PLAYGROUND.prefix}", "other")
    with pytest.raises(NoBaseline, match="another load"):
        redis.store().rewind()


@contextmanager
def loaded(server: Any, monkeypatch: pytest.MonkeyPatch, few: list[Any]) -> Iterator[Any]:
    """Three collections of MongoDB and a view `few`, kept as the baseline `b1`."""
    monkeypatch.setattr(mongo_world, "OURS", replace(mongo_world.OURS, baseline="b1"))
    with mongo_world.isolated(server) as world:
        for name in ("chunks", "cache", "still"):
            world.production[name].insert_many([{"_id": n, "n": n, "s": name} for n in range(500)])
        world.production["chunks"].create_index([("n", 1)], name="by_n", unique=True)
        world.production.command("create", "few", viewOn="chunks", pipeline=few)
        world.load()
        yield world


@pytest.fixture
def mongo(mongo_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with loaded(mongo_server, monkeypatch, few=[{"$limit": 3}]) as world:
        yield world


def seen(base: Any) -> dict[str, Any]:
    found = {}
    for one in base.list_collections():
        if not mongo_world_own(one["name"]):
            rows = list(base[one["name"]].find({}).sort("_id", 1))
            indexes = [] if one["type"] == "view" else sorted(base[one["name"]].index_information())
            found[one["name"]] = (one["type"], rows, indexes)
    return found


def mongo_world_own(name: str) -> bool:
    return name.startswith(("sandbox_", "__", "system."))


SPOILS: dict[str, Callable[[Any], Any]] = {
    "documents": lambda base: base["chunks"].update_one({"_id": 3}, {"$set": {"s": "x"}}),
    "a collection": lambda base: base.drop_collection("cache"),
    "an index": lambda base: base["chunks"].drop_index("by_n"),
    "a new collection": lambda base: base["junk"].insert_one({"a": 1}),
    "a view": lambda base: base.drop_collection("few"),
}


def test_mongo_brings_back_what_changed(mongo: Any) -> None:
    base = mongo.playground
    before = seen(base)
    still = uuid_of(base, "still")
    store = mongo.store()
    assert store.changes() == []
    for what, spoil in SPOILS.items():
        spoil(base)
        assert store.changes(), what
    spoilt = seen(base)
    for step in range(3):
        store = mongo.store()
        assert store.rewind()
        if step:
            store.swap()
            assert mongo.store().swapped()
        if step < 2:
            mongo.store().undo()
            assert seen(base) == spoilt
        mongo.store().settle()
    assert seen(base) == before
    assert mongo.store().changes() == []
    assert uuid_of(base, "still") == still, "what did not change was not moved"


def uuid_of(base: Any, name: str) -> Any:
    return next(base.list_collections(filter={"name": name})).get("info", {}).get("uuid")


def left_beside(world: Any) -> list[bytes]:
    beside = (b"sandbox:new:", b"sandbox:old:", b"sandbox:keys-", b"sandbox:marker-")
    names = [name for name in world.client.scan_iter(match="sandbox:*") if name.startswith(beside)]
    return sorted(name for name in names if b"-base:" not in name)


@pytest.mark.parametrize("step", ["staged", "swapped", "undone"])
@pytest.mark.parametrize("how", ["rewind", "load"])
def test_redis_leaves_nothing_beside(redis: Any, how: str, step: str) -> None:
    """Leftovers are looked for only where a list says that there are some."""
    spoil_redis(redis.client)
    assert left_beside(redis) == []
    store = redis.store()
    if how == "rewind":
        store.rewind()
    else:
        source = redis.source()
        with source.cut() as cut:
            (dataset,) = source.datasets(cut)
            store.stage([dataset], b"")
            store.write(dataset, (piece for _, piece in source.read(cut, dataset, Keep())))
        store.finish(test_redis_copy.marker())
    assert left_beside(redis)
    if step != "staged":
        store.swap()
    if step == "undone":
        store.undo()
    assert left_beside(redis), "there is something to be looked for"
    redis.store().settle()
    assert left_beside(redis) == []


def test_redis_puts_nothing_in_place_that_lay_about(redis: Any) -> None:
    """A key that nobody staged, under the prefix of what is staged."""
    before = test_redis_copy.content(redis.client, PLAYGROUND.prefix)
    redis.client.set(b"sandbox:new:" + DEV + b"junk", "x")
    redis.client.set(b"sandbox:new:" + DEV + b"new", "x")
    spoil_redis(redis.client)
    store = redis.store()
    store.rewind()
    store.swap()
    redis.store().settle()
    assert test_redis_copy.content(redis.client, PLAYGROUND.prefix) == before
    redis.client.set(b"sandbox:new:" + DEV + b"junk", "x")
    test_redis_copy.load(redis.source(), redis.store(), Keep())
    assert test_redis_copy.content(redis.client, PLAYGROUND.prefix) == before


@pytest.mark.parametrize("gone", ["deleted", "expired"])
def test_redis_sees_a_new_key_in_the_place_of_one_that_is_gone(redis: Any, gone: str) -> None:
    """As many keys as there were, and not the same ones."""
    before = test_redis_copy.content(redis.client, PLAYGROUND.prefix)
    if gone == "deleted":
        redis.client.delete(DEV + b"text")
    else:  # the key and its pristine copy
        for prefix in (b"", b"sandbox:base:"):
            redis.client.pexpire(prefix + DEV + b"text", 1)
        kept = b"sandbox:marker-base:" + DEV
        redis.client.set(kept, redis.client.get(kept).split()[0] + b" 1")
        time.sleep(0.05)
    redis.client.set(DEV + b"other", "x")
    (change,) = redis.store().changes()
    assert change.rows == (2 if gone == "deleted" else 1)
    store = redis.store()
    store.rewind()
    store.swap()
    redis.store().settle()
    after = test_redis_copy.content(redis.client, PLAYGROUND.prefix)
    assert DEV + b"other" not in after and b"other" not in after
    assert after.keys() == before.keys() - ({b"text"} if gone == "expired" else set())
