"""MongoDB back to its baseline where the server tells what was written: document by document."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import bson
import pytest

from sandbox.stores.mongo import rewind, stream
from sandbox.stores.mongo.session import MARKER
from tests.contract.conftest import RECIPES
from tests.contract.test_rewind_stores import SPOILS, loaded, seen, uuid_of


@pytest.fixture(scope="module")
def member(run: Any) -> Any:
    """A replica set of one."""
    recipe = RECIPES["mongo"]
    return run.start("mongo", command=[*recipe.command("", recipe.home), "--replSet", "rs0"])


@pytest.fixture
def mongo(member: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with loaded(member, monkeypatch, few=[{"$match": {"_id": 3}}]) as world:
        yield world


@pytest.fixture
def digests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The collections that were read whole."""
    read: list[str] = []
    real = rewind.digest

    def digest(base: Any, name: str) -> str:
        read.append(name)
        return real(base, name)

    monkeypatch.setattr(rewind, "digest", digest)
    return read


def spoil(base: Any) -> None:
    chunks = base["chunks"]
    chunks.delete_many({"_id": {"$in": [7, 8]}})
    chunks.update_one({"_id": 1}, {"$set": {"n": 7}})  # what a unique index minds on the way back
    chunks.update_one({"_id": 2}, {"$set": {"n": 8}})
    chunks.insert_many([{"_id": "new", "n": 1}, {"_id": bson.Int64(9000), "n": 2}])
    for identity, number in ((60, -1), (61, 60), (60, 61)):  # two exchange what must be unique
        chunks.update_one({"_id": identity}, {"$set": {"n": number}})
    chunks.replace_one({"_id": 30}, {"s": "chunks", "n": 30})  # the same fields in another order
    chunks.update_one({"_id": 40}, {"$set": {"n": 40.0}})  # an equal number of another type
    chunks.update_one({"_id": 50}, {"$set": {"s": "x"}})
    chunks.update_one({"_id": 50}, {"$set": {"s": "chunks"}})  # and back again


def back(mongo: Any) -> None:
    store = mongo.store()
    store.rewind()
    store.swap()
    mongo.store().settle()


def test_documents_come_back_one_by_one(mongo: Any, digests: list[str]) -> None:
    base = mongo.playground
    before, places = seen(base), {name: uuid_of(base, name) for name in ("chunks", "still")}
    assert mongo.store().changes() == []
    for _ in range(2):
        spoil(base)
        spoilt = seen(base)
        (change,) = mongo.store().changes()
        assert (change.dataset, change.what, change.rows) == ("chunks", "rows", 10)
        for step in range(3):  # killed before the swap, undone after it, and not at all
            store = mongo.store()
            assert store.rewind() == [change]
            if step:
                store.swap()
                assert mongo.store().swapped()
                assert seen(base) == before
                store.swap()  # once more, as after an interruption
            if step < 2:
                mongo.store().undo()
                assert seen(base) == spoilt
            mongo.store().settle()
        assert seen(base) == before
        assert mongo.store().changes() == []
    assert places == {name: uuid_of(base, name) for name in places}, "nothing was moved"
    assert digests == [], "nothing was read whole"


@pytest.mark.parametrize("where", ["bulk_write", "insert_many"])
def test_killed_in_the_middle_of_going_back(
    mongo: Any, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    base = mongo.playground
    spoil(base)
    spoilt = seen(base)
    store = mongo.store()
    store.rewind()

    class Killed(Exception):
        pass

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(f"pymongo.collection.Collection.{where}", killed)
        store.swap()
    assert seen(base) != spoilt, "it was in the middle"
    mongo.store().settle()  # the next command
    assert seen(base) == spoilt


def test_every_other_change_is_seen_and_comes_back(mongo: Any) -> None:
    base = mongo.playground
    before = seen(base)
    for what, change in SPOILS.items():
        change(base)
        assert mongo.store().changes(), what
    back(mongo)
    assert seen(base) == before
    base["cache"].update_one({"_id": 1}, {"$set": {"s": "y"}})  # of a collection made anew
    assert [change.rows for change in mongo.store().changes()] == [1]
    back(mongo)
    assert seen(base) == before


def dropped_and_made_again(base: Any) -> None:
    rows = list(base["still"].find())
    base.drop_collection("still")
    base["still"].insert_many([{**row, "s": "z"} if row["_id"] == 3 else row for row in rows])


def written_under_another_name(base: Any) -> None:
    base["still"].rename("elsewhere")
    base["elsewhere"].update_one({"_id": 3}, {"$set": {"s": "z"}})
    base["elsewhere"].rename("still")


def replaced_by_the_server(base: Any) -> None:
    base["still"].aggregate([{"$set": {"s": "z"}}, {"$out": "still"}])


@pytest.mark.parametrize(
    "change", [dropped_and_made_again, written_under_another_name, replaced_by_the_server]
)
def test_a_write_by_another_way_is_not_missed(
    mongo: Any, digests: list[str], change: Callable[[Any], None]
) -> None:
    base = mongo.playground
    before = seen(base)
    change(base)
    assert [one.dataset for one in mongo.store().changes()] == ["still"]
    assert digests == ["still"]
    back(mongo)
    assert seen(base) == before


def test_a_history_that_is_cut_off_is_noticed(mongo: Any, digests: list[str]) -> None:
    """Without its beginning a stream proves nothing: all is read."""
    base = mongo.playground
    base["chunks"].update_one({"_id": 1}, {"$set": {"s": "x"}})
    record = base[MARKER].find_one({"_id": rewind.KEPT})
    for one in record["collections"]:
        one["since"]["nonce"] = "never written"
    base[MARKER].replace_one({"_id": rewind.KEPT}, record)
    assert [(one.dataset, one.rows) for one in mongo.store().changes()] == [("chunks", None)]
    assert sorted(set(digests)) == ["cache", "chunks", "still"]


def test_without_the_right_to_watch_all_is_read(
    mongo: Any, digests: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise stream.OperationFailure("not authorized", 13)

    mongo.playground["chunks"].update_one({"_id": 1}, {"$set": {"s": "x"}})
    monkeypatch.setattr("pymongo.database.Database.watch", refused)
    assert [one.dataset for one in mongo.store().changes()] == ["chunks"]
    assert digests


def test_most_of_a_collection_goes_back_as_a_whole(
    mongo: Any, digests: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.stores.mongo.patch.FEW", 10)
    base = mongo.playground
    before = seen(base)
    base["cache"].update_many({"_id": {"$lt": 300}}, {"$set": {"s": "x"}})
    (change,) = mongo.store().changes()
    assert (change.dataset, change.rows) == ("cache", None)
    back(mongo)
    assert seen(base) == before
