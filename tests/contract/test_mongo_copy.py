"""A database is copied whole, whatever its documents and collections are, and only the
playground's own is ever written."""

from __future__ import annotations

import contextlib
import io
import json
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import bson
import pytest
from bson import (
    Binary,
    Code,
    DBRef,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
    json_util,
)
from bson.datetime_ms import DatetimeMS
from bson.json_util import CANONICAL_JSON_OPTIONS
from bson.raw_bson import DEFAULT_RAW_BSON_OPTIONS
from pymongo import monitoring
from pymongo.database import Database
from pymongo.errors import OperationFailure

from sandbox.contract import Access
from sandbox.errors import ConfigError, Refused, SandboxError, SnapshotBroken, Unreachable
from sandbox.masking import loops
from sandbox.masking.keep import Keep
from sandbox.masking.mask import PolicyMask
from sandbox.masking.policy import parse
from sandbox.model import Dataset, Endpoint, Identity
from sandbox.stores.mongo import Source, design, dumping, reading, source, writing
from sandbox.stores.mongo.session import LOSSLESS, MARKER, NEW, OLD, marker_document
from sandbox.stores.mongo.swapping import Swapper
from tests.contract.conftest import RECIPES
from tests.contract.decoded import Decoded
from tests.contract.mongo_world import OURS, World, isolated

MIB = 1 << 20
LARGEST = 16 * MIB


class Commands(monitoring.CommandListener):
    """What a client sends."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.sent.append(event.command)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...


@pytest.fixture(scope="module")
def both(mongo_server: Any) -> Iterator[World]:
    with isolated(mongo_server) as made:
        yield made


@pytest.fixture
def world(both: World) -> World:
    both.empty()
    return both


def every_type() -> list[dict[str, Any]]:
    """One of each BSON type, and ids of many types in one collection."""
    token = uuid.UUID("12345678-1234-5678-1234-567812345678")
    return [
        {"_id": 1, "int": 1, "long": Int64(1), "huge": Int64(2**63 - 1), "double": 1.0},
        {"_id": Int64(2**40), "nan": float("nan"), "inf": float("-inf"), "zero": -0.0},
        {"_id": Decimal128("1.50"), "tiny": Decimal128("1E-6176"), "nan": Decimal128("NaN")},
        *(
            {
                "_id": Binary(bytes([subtype]) + token.bytes[1:], subtype),
                "bytes": Binary(b"\0\xff", subtype),
            }
            for subtype in (3, 4, 5, 128)
        ),
        {"_id": b"plain", "empty": b"", "text": "", "nul": "a\0b", "wide": "ünï😀"},
        {"_id": datetime(1905, 6, 1, tzinfo=UTC), "first": datetime(1, 1, 1, tzinfo=UTC)},
        {"_id": ObjectId(b"0" * 12), "regex": Regex("^a", "imx")},
        {"_id": {"b": 1, "a": 2}, "code": Code("x"), "scope": Code("y", {"z": Int64(1)})},
        {"_id": "text", "at": Timestamp(4, 2), "min": MinKey(), "max": MaxKey(), "none": None},
        {"_id": True, "mixed": [1, "a", None, [2.5, {"x": Int64(3)}], {}, []]},
        {"_id": "names", "": 1, "a.b": 2, "$c": 3, "ünï": 4},
        {"_id": "reference", "to": DBRef("videos", ObjectId(b"1" * 12), "other", extra=1)},
    ]


INDEXES: dict[str, dict[str, Any]] = {
    "partial": {"key": {"a": 1}, "partialFilterExpression": {"a": {"$gt": Int64(5)}}},
    "sparse": {"key": {"b": -1}, "sparse": True},
    "unique": {"key": {"c": 1, "d": -1}, "unique": True, "sparse": True},
    "expiring": {"key": {"at": 1}, "expireAfterSeconds": 3600},
    "wildcard": {"key": {"$**": 1}, "wildcardProjection": {"a": 1, "b.c": 1}},
    "below": {"key": {"sub.$**": 1}},
    "collated": {"key": {"e": 1}, "collation": {"locale": "de", "strength": 1}},
    "hidden": {"key": {"f": 1}, "hidden": True},
    "sphere": {"key": {"place": "2dsphere"}},
    "flat": {"key": {"xy": "2d"}, "bits": 20, "min": -10, "max": 10},
}


def fill(world: World) -> None:
    base = world.production
    base["types"].insert_many(every_type())
    base.command(
        "create",
        "checked",
        validator={
            "$jsonSchema": {"required": ["email"], "properties": {"n": {"bsonType": "int"}}}
        },
        validationLevel="strict",
        validationAction="error",
    )
    base["checked"].insert_many([{"_id": n, "email": f"a{n}@x.test", "n": n} for n in range(50)])
    base.command(  # older than its validator, as production's often are
        "insert", "checked", documents=[{"_id": 99}], bypassDocumentValidation=True
    )
    base.command("create", "log", capped=True, size=100_000, max=30)
    base["log"].insert_many([{"_id": 40 - n, "n": n} for n in range(40)])
    base.command("create", "words", collation={"locale": "de", "strength": 2})
    base["words"].insert_many([{"_id": word} for word in ("Straße", "a", "B")])
    base.command("create", "clustered", clusteredIndex={"key": {"_id": 1}, "unique": True})
    base["clustered"].insert_many([{"_id": n} for n in (3, 1, 2)])
    times = {"timeField": "t", "metaField": "m", "granularity": "minutes"}
    base.command("create", "measures", timeseries=times)
    began = datetime(2026, 1, 1, tzinfo=UTC)
    base["measures"].insert_many(
        [{"t": began + timedelta(minutes=n), "m": {"camera": n % 3}, "v": n / 7} for n in range(60)]
    )
    base.command("create", "images", changeStreamPreAndPostImages={"enabled": True})
    base.command("create", "empty")
    far = datetime(2099, 1, 1, tzinfo=UTC)  # the server's own clean-up must not find them
    base["indexed"].insert_many([{"_id": n, "a": n, "at": far} for n in range(20)])
    base.command(
        "createIndexes", "indexed", indexes=[{"name": n, **one} for n, one in INDEXES.items()]
    )
    base.command(
        "create", "adults", viewOn="people", pipeline=[{"$match": {"n": {"$gt": Int64(17)}}}],
        collation={"locale": "fr"},
    )  # fmt: skip
    base.command("create", "people", viewOn="checked", pipeline=[{"$match": {"n": {"$ne": None}}}])
    base["cache"].insert_one({"_id": "Ä b/c$", "v": 1})


def documents(pieces: Iterable[bytes]) -> list[bytes]:
    """Each document as it is."""
    return [bytes(one.raw) for one in bson.decode_all(b"".join(pieces), DEFAULT_RAW_BSON_OPTIONS)]


def content(base: Any) -> dict[str, list[bytes]]:
    """Every collection's documents as the server sends them: ordered where order is content."""
    found = {}
    for one in base.list_collections():
        if one["name"].startswith(("sandbox_", "system.")):
            continue
        raw = (
            [bson.encode(d) for d in base[one["name"]].find()]
            if "timeseries" in one["options"]
            else documents(base[one["name"]].find_raw_batches())
        )
        found[one["name"]] = raw if one["options"].get("capped") else sorted(raw)
    return found


def shape(base: Any, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Options and indexes of every collection and view, but for index options named `without`."""
    found: dict[str, Any] = {}
    for one in base.list_collections():
        if one["name"].startswith(("sandbox_", "system.")):
            continue
        indexes = [] if one["type"] == "view" else base[one["name"]].list_indexes()
        kept = [{k: v for k, v in dict(i).items() if k not in without} for i in indexes]
        key = sorted(str(sorted(index.items(), key=str)) for index in kept)
        found[one["name"]] = (one["type"], design.to_text(one["options"]), key)
    return found


# --- the same again ------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [Keep(), Decoded()], ids=["raw", "decoded"])
def test_a_copy_is_the_same_and_comes_back(world: World, mask: Any) -> None:
    fill(world)
    before = content(world.production), shape(world.production)
    notes = world.load(mask=mask)
    assert content(world.playground) == before[0]
    assert shape(world.playground) == shape(world.production, without=("expireAfterSeconds",))
    assert notes == ["indexed: index expiring does not expire documents here"]
    assert (content(world.production), shape(world.production)) == before
    back, again = world.source(), world.store()
    with back.cut() as one, again.cut() as other:
        for dataset in back.datasets(one):
            streams = [
                sorted(documents(p for _, p in s.read(cut, dataset, Keep())))
                for s, cut in ((back, one), (again, other))
            ]
            assert streams[0] == streams[1], dataset.name
        assert back.catalog(one) == again.catalog(other)


def restored(folder: Path, base: Any) -> None:
    """What mongorestore does with a folder, by its own sources: name from the file's, unescaped;
    options and indexes from the metadata; a file without metadata goes into what is there."""
    for path in sorted(folder.glob("*.metadata.json")):
        told = json_util.loads(path.read_text(), json_options=CANONICAL_JSON_OPTIONS)
        name = unquote(path.name.removesuffix(".metadata.json"))
        assert told["collectionName"] == name
        base.command({"create": name, **told["options"]})
        if told["indexes"]:
            base.command("createIndexes", name, indexes=told["indexes"])
    for path in folder.glob("*.bson"):
        found = bson.decode_all(path.read_bytes(), LOSSLESS)
        if found:
            name = unquote(path.name.removesuffix(".bson"))
            base[name].insert_many(found, bypass_document_validation=True)


def test_a_snapshot_as_a_folder_of_mongodump(world: World, tmp_path: Path) -> None:
    fill(world)
    there = world.source()
    with there.cut() as cut:
        datasets, catalog = there.datasets(cut), there.catalog(cut)
        folder = tmp_path / "dump" / "copy"
        notes = dumping.dump(
            folder, datasets, catalog, lambda one: (p for _, p in there.read(cut, one, Keep()))
        )
    there.close()
    assert {path.name for path in folder.glob("*adults*")} == {"adults.metadata.json"}
    assert {path.name for path in folder.glob("measures*")} == {"measures.bson"}
    assert notes[0] == "indexed: index expiring does not expire documents"
    made = json.loads(notes[1].split("db.runCommand(")[1][:-1])
    world.playground.command({**made})
    restored(folder, world.playground)
    assert content(world.playground) == content(world.production)
    assert shape(world.playground) == shape(world.production, without=("expireAfterSeconds",))


@pytest.mark.parametrize("name", ["a/b", "ünï", "50%", "$cmd + a=b"])
def test_names_in_a_folder_of_mongodump(name: str) -> None:
    stem = dumping.file_stem(name)
    assert "/" not in stem and stem.isascii() and unquote(stem) == name


def test_views_show_what_they_show_in_production(world: World) -> None:
    fill(world)
    world.load()
    seen = [sorted(d["_id"] for d in base["adults"].find()) for base in
            (world.production, world.playground)]  # fmt: skip
    assert seen[0] == seen[1] == list(range(18, 50))


def test_documents_of_the_largest_size(world: World) -> None:
    """16 MB is the server's limit; a message may hold several of them."""
    empty = len(bson.encode({"_id": 0, "x": b""}))
    for n in range(3):
        world.production["big"].insert_one({"_id": n, "x": bytes([n]) * (LARGEST - empty)})
    world.load()
    found = {d["_id"]: d["x"] for d in world.playground["big"].find()}
    assert {n: (len(x), set(x)) for n, x in found.items()} == {
        n: (LARGEST - empty, {n}) for n in range(3)
    }


def test_many_documents_in_many_batches(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "BATCH_ROWS", 700)
    monkeypatch.setattr(source, "BATCH_ROWS", 300)
    rows = [{"_id": n, "n": n} for n in range(5_000)]
    world.production["many"].insert_many(rows)
    world.load(mask=Decoded())
    assert list(world.playground["many"].find().sort("_id")) == rows


class Twice(Decoded):
    """A policy that gives one document's `_id` to another."""

    def document(self, collection: str, document: dict[str, Any]) -> dict[str, Any]:
        return document | {"_id": min(document["_id"], 3_000)}


def test_documents_that_the_server_does_not_take(world: World) -> None:
    rows = [{"_id": n, "n": n} for n in range(3_002)]
    world.production["many"].insert_many(rows)
    world.playground["many"].insert_one({"_id": "mine"})
    with pytest.raises(SandboxError, match=r"loading many: duplicate key \(code 11000\)"):
        world.load(mask=Twice())
    assert [one["_id"] for one in world.playground["many"].find()] == ["mine"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"n": 2, "ok": 1}, "the server took fewer documents than it was sent"),
        ({"n": 3, "ok": 1, "writeConcernError": {"code": 64}}, r"write errors \(code 64\)"),
    ],
)
def test_a_server_that_does_not_say_that_it_has_all(
    world: World, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], words: str
) -> None:
    world.production["many"].insert_many([{"_id": n} for n in range(3)])
    world.playground["many"].insert_one({"_id": "mine"})
    command = Database.command

    def told(self: Any, what: Any, *rest: Any, **more: Any) -> Any:
        found = command(self, what, *rest, **more)
        return answer if isinstance(what, dict) and "insert" in what else found

    monkeypatch.setattr(Database, "command", told)
    with pytest.raises(SandboxError, match=f"loading many: {words}"):
        world.load()
    assert [one["_id"] for one in world.playground["many"].find()] == ["mine"]


def test_dates_that_python_has_no_word_for_pass_through_a_mask() -> None:
    """The stand-in stores none of them; the real server does."""
    dates = [DatetimeMS(n) for n in (-(2**63), -62135596800001, -1, 253402300800000, 2**63 - 1)]
    data = b"".join(bson.encode({"_id": n, "d": date}) for n, date in enumerate(dates))
    change = source.changer(Dataset(store="mongo", name="c"), Decoded())
    assert change.batch(data) == (len(dates), data)


def test_a_large_collection_is_masked_as_it_is_stored(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In compiled loops, and the same as Python makes of decoded documents."""
    policy = parse(
        'version = 1\n[mongo.types]\n"**" = "keep"\nowner = "person"\n"mail[]" = "email"\n',
        file="masking.toml",
    )
    rows = [
        one | {"owner": f"Ann {n}", "mail": ["a@b.c"] * n} for n, one in enumerate(every_type())
    ]
    world.production["types"].insert_many(rows)
    python = PolicyMask(policy, key="ab" * 32)
    expected = python.documents("types", list(world.production["types"].find()))
    monkeypatch.setattr(loops, "MANY", 1)
    monkeypatch.setattr(loops, "SOME", 1)
    monkeypatch.setattr(PolicyMask, "documents", None)  # nothing goes that way
    mask = PolicyMask(policy, key="ab" * 32)
    world.load(mask=mask)
    made = {source.CODEC.encode(one) for one in world.playground["types"].find()}
    assert made == {source.CODEC.encode(one) for one in expected}
    assert b"Ann" not in b"".join(made)
    assert mask.counts == python.counts
    assert not mask.uncovered


# --- several cursors ---------------------------------------------------------------------------


@pytest.fixture
def listener() -> Commands:
    return Commands()


class Answering:
    """A collection of a server that answers every command so."""

    name = "many"

    def __init__(self, told: Any) -> None:
        self._told, self.database = told, self

    def command(self, *command: Any, **options: Any) -> Any:
        if isinstance(self._told, Exception):
            raise self._told
        return self._told


def by_ranges(monkeypatch: pytest.MonkeyPatch, size: int = 10_000) -> None:
    """As of a server that goes to a bound by its index, which the stand-in does not."""
    monkeypatch.setattr(reading, "RANGE_BYTES", size)
    monkeypatch.setattr(reading, "_plans_bounds", lambda collection: True)
    monkeypatch.setattr(reading, "_begins_at", lambda collection, bound: True)


def rows_read(world: World, listener: Commands) -> int:
    one = world.source(listeners=[listener])
    with one.cut() as cut:
        (dataset,) = one.datasets(cut)
        rows = sum(rows for rows, _ in one.read(cut, dataset, Keep()))
    one.close()
    return rows


def bounded(listener: Commands) -> list[Any]:
    """The finds over a range of ids."""
    return [c for c in listener.sent if "find" in c and ("min" in c or "max" in c)]


def test_a_server_that_looks_through_everything_is_read_by_one_cursor(
    world: World, monkeypatch: pytest.MonkeyPatch, listener: Commands
) -> None:
    world.production["many"].insert_many([{"_id": n, "x": "y" * 100} for n in range(5_000)])
    monkeypatch.setattr(reading, "RANGE_BYTES", 10_000)
    assert rows_read(world, listener) == 5_000
    assert [c for c in listener.sent if "explain" in c]
    assert not [c for c in listener.sent if "$sample" in str(c)]
    assert not bounded(listener)


def test_a_server_that_draws_no_ids_in_time_is_read_by_one_cursor(
    world: World, monkeypatch: pytest.MonkeyPatch, listener: Commands
) -> None:
    world.production["many"].insert_many([{"_id": n, "x": "y" * 100} for n in range(20_000)])
    by_ranges(monkeypatch)
    monkeypatch.setattr(reading, "SAMPLED_MS", 1)
    assert rows_read(world, listener) == 20_000
    assert [c["maxTimeMS"] for c in listener.sent if "aggregate" in c and "maxTimeMS" in c] == [1]
    assert not bounded(listener)


@pytest.mark.parametrize(
    ("stage", "planned"),
    [
        ({"stage": "IXSCAN", "indexBounds": {"_id": ["[MinKey, MaxKey]"]}}, True),
        ({"stage": "IXSCAN", "keyPattern": {"_id": 1}}, False),
    ],
)
def test_what_a_server_plans_for_a_range(stage: dict[str, Any], planned: bool) -> None:
    """As mongod 8.0 tells it, in its classic form and in that of its newer engine."""
    fetch = {"stage": "LIMIT", "inputStage": {"stage": "FETCH", "inputStage": stage}}
    for plan in (fetch, {"queryPlan": fetch, "slotBasedPlan": {"stages": "[2] limit"}}):
        told = {"queryPlanner": {"winningPlan": plan}}
        assert reading._plans_bounds(Answering(told)) is planned  # type: ignore[arg-type]
    assert not reading._plans_bounds(Answering(OperationFailure("no")))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("told", "near"),
    [
        ({"executionStats": {"totalKeysExamined": 1}}, True),
        ({"executionStats": {"totalKeysExamined": 5_000}}, False),
        ({"queryPlanner": {}}, False),
        (OperationFailure("not allowed"), False),
    ],
)
def test_what_a_server_says_of_a_range(told: Any, near: bool) -> None:
    assert reading._begins_at(Answering(told), 7) is near  # type: ignore[arg-type]


@pytest.mark.parametrize("mask", [Keep(), Decoded()], ids=["raw", "decoded"])
def test_a_large_collection_is_read_by_several_cursors(
    world: World, monkeypatch: pytest.MonkeyPatch, listener: Commands, mask: Any
) -> None:
    """Ids of several types do not compare with $gt and $lt: each must still come exactly once."""
    rows: list[dict[str, Any]] = [{"_id": n, "n": n} for n in range(-300, 300)]
    rows += [{"_id": f"t{n:04}", "n": n} for n in range(600)]
    rows += [{"_id": {"k": n}, "n": n} for n in range(600)] + every_type()[1:]
    world.production["mixed"].insert_many(rows)
    by_ranges(monkeypatch)
    one = world.source(listeners=[listener])
    with one.cut() as cut:
        (dataset,) = one.datasets(cut)
        seen = documents(piece for _, piece in one.read(cut, dataset, mask))
    one.close()
    assert sorted(seen) == content(world.production)["mixed"]
    assert len(bounded(listener)) == reading.CURSORS


def test_a_reader_that_stops_early_leaves_no_thread(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.production["many"].insert_many([{"_id": n, "x": "y" * 100} for n in range(5_000)])
    by_ranges(monkeypatch)
    monkeypatch.setattr(source, "PIECE", 1000)
    monkeypatch.setattr(source, "BATCH_ROWS", 10)
    one = world.source()
    with one.cut() as cut:
        (dataset,) = one.datasets(cut)
        pieces = one.read(cut, dataset, Keep())
        next(pieces)
        pieces.close()  # type: ignore[attr-defined]
    one.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("stream")]


# --- one moment ----------------------------------------------------------------------------------


def test_a_server_without_a_cluster_time_says_so(world: World) -> None:
    one = world.source([])
    with one.cut() as cut:
        assert cut.facts["consistent"] is False
        assert cut.facts["why"].startswith("not a replica set")
    one.close()


def test_every_read_names_the_cuts_cluster_time(
    run: Any, monkeypatch: pytest.MonkeyPatch, listener: Commands
) -> None:
    """What is sent, since the stand-in answers with the newest whatever time is asked for."""
    recipe = RECIPES["mongo"]
    command = [*recipe.command("", recipe.home), "--replSet", "rs0"]
    with isolated(run.start("mongo", command=command)) as world:
        world.production["many"].insert_many([{"_id": n} for n in range(2_000)])
        world.production["few"].insert_one({"_id": 1})
        by_ranges(monkeypatch, size=5_000)
        one = world.source(listeners=[listener])
        with one.cut() as cut:
            time_read = bson.Timestamp(*cut.facts["cluster_time"])
            for dataset in one.datasets(cut):
                assert sum(rows for rows, _ in one.read(cut, dataset, Keep())) == dataset.rows
        one.close()
    finds = [c for c in listener.sent if c.get("find") in ("many", "few")]
    concerns = [find["readConcern"] for find in finds[1:]]  # the first asks what time it is
    assert len(concerns) == reading.CURSORS + 1
    assert all(c == {"level": "snapshot", "atClusterTime": time_read} for c in concerns)


# --- what expires --------------------------------------------------------------------------------


def expiring(world: World) -> None:
    """Documents that an index deletes at once, unless something is done about it."""
    old = datetime.now(UTC) - timedelta(days=30)
    base = world.production
    base["sessions"].insert_many(
        [
            {"_id": 1, "at": old, "a": {"at": old}},
            {"_id": 2, "at": [old, "text"], "a": {"at": old}},
            {"_id": 3, "at": "never"},
        ]
    )
    base["nested"].insert_one({"_id": 1, "list": [{"at": old}, {"at": old}]})
    far = {"expireAfterSeconds": 10**8}
    indexes = [
        {"name": "by_at", "key": {"at": 1}, **far},
        {"name": "by_a", "key": {"a.at": 1}, **far},
    ]
    base.command("createIndexes", "sessions", indexes=indexes)
    base.command("createIndexes", "nested", indexes=[{"name": "in", "key": {"list.at": 1}, **far}])
    base.command("create", "measures", timeseries={"timeField": "t"}, expireAfterSeconds=10**8)


def expiries(base: Any, name: str) -> dict[str, int]:
    return {
        i["name"]: int(i["expireAfterSeconds"])
        for i in base[name].list_indexes()
        if "expireAfterSeconds" in i
    }


def test_expiry_is_held_back(world: World) -> None:
    expiring(world)
    notes = world.load(ttl="hold")
    assert expiries(world.playground, "sessions") == {}
    assert content(world.playground) == content(world.production)
    assert sorted(notes) == [
        "measures: documents do not expire here",
        "nested: index in does not expire documents here",
        "sessions: index by_a does not expire documents here",
        "sessions: index by_at does not expire documents here",
    ]


def test_dates_are_shifted_by_the_copys_age(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    expiring(world)
    day = 86_400_000
    described = design.describe

    def yesterday(base: Any, name: str, options: Any, space: Any, now_ms: int) -> Dataset:
        return described(base, name, options, space, now_ms - day)

    monkeypatch.setattr(design, "describe", yesterday)
    notes = world.load(ttl="shift")
    was = {d["_id"]: d for d in world.production["sessions"].find()}
    now = {d["_id"]: d for d in world.playground["sessions"].find()}
    for moved, before in (
        (now[1]["at"], was[1]["at"]),
        (now[2]["at"][0], was[2]["at"][0]),
        (now[2]["a"]["at"], was[2]["a"]["at"]),
    ):
        assert 0 <= int(moved) - int(before) - day < 60_000
    assert now[2]["at"][1] == "text" and now[3] == was[3]
    assert set(expiries(world.playground, "sessions")) == {"by_at", "by_a"}
    # Each date in an array of documents cannot be named: the index is held back, nothing is moved.
    assert content(world.playground)["nested"] == content(world.production)["nested"]
    assert sorted(notes) == [
        "measures: documents do not expire here",
        "nested: index in does not expire documents here",
    ]


def test_expiry_is_kept_when_the_policy_says_so(world: World) -> None:
    expiring(world)
    assert world.load(ttl="keep") == []
    assert shape(world.playground) == shape(world.production)


def test_what_the_stand_in_cannot_index_is_said_as_the_server_says_it() -> None:
    """Text and hashed indexes, as `listIndexes` of MongoDB 8 gives them and `createIndexes` takes
    them back: mongorestore does the same."""
    text = {
        "v": 2, "key": {"_fts": "text", "_ftsx": 1}, "name": "words", "weights": {"a": 1, "b": 3},
        "default_language": "german", "language_override": "language", "textIndexVersion": 3,
    }  # fmt: skip
    hashed = {"v": 2, "key": {"h": "hashed"}, "name": "h_hashed"}
    listed = [design.to_text(design.told(index)) for index in (text, hashed)]
    dataset = Dataset(store="mongo", name="c", options={"indexes": listed})
    assert design.indexed(dataset) == [
        {k: v for k, v in text.items() if k != "v"},
        {"key": {"h": "hashed"}, "name": "h_hashed"},
    ]
    assert list(design.indexed(dataset)[0]["key"]) == ["_fts", "_ftsx"]


# --- masked --------------------------------------------------------------------------------------


class Renamed(Decoded):
    """Every name becomes another, and odd documents stay behind."""

    def document(self, collection: str, document: dict[str, Any]) -> dict[str, Any] | None:
        if document["_id"] % 2:
            return None
        return {**document, "name": f"{collection} {document['_id']}"}


def test_the_mask_sees_every_document(world: World) -> None:
    world.production["people"].insert_many([{"_id": n, "name": f"Änn {n}"} for n in range(100)])
    one = world.source()
    with one.cut() as cut:
        (dataset,) = one.datasets(cut)
        pieces = list(one.read(cut, dataset, Renamed()))
    one.close()
    assert sum(rows for rows, _ in pieces) == 50
    assert "Änn".encode() not in b"".join(piece for _, piece in pieces)
    world.load(mask=Renamed())
    assert list(world.playground["people"].find()) == [
        {"_id": n, "name": f"people {n}"} for n in range(0, 100, 2)
    ]


# --- load, swap, undo ----------------------------------------------------------------------------


def two_loads(world: World) -> None:
    """A first load is in place; production has moved on."""
    world.production["a"].insert_one({"_id": 1, "load": 1})
    world.production["gone"].insert_one({"_id": 1})
    world.production.command("create", "seen", viewOn="a", pipeline=[])
    world.load()
    world.production["a"].update_one({}, {"$set": {"load": 2}})
    world.production["gone"].drop()
    world.production["b"].insert_one({"_id": 1})


def names(world: World) -> list[str]:
    found = world.playground.list_collection_names()
    return sorted(n for n in found if not n.startswith(("sandbox_", "system.")))


def test_nothing_is_seen_before_the_swap_and_undo_brings_it_back(world: World) -> None:
    two_loads(world)
    before = content(world.playground), shape(world.playground)
    world.load(swap=False, settle=False)
    seen = {n: docs for n, docs in content(world.playground).items() if not n.startswith(NEW)}
    assert seen == before[0]
    store = world.store()
    store.swap()
    store.swap()
    assert world.playground["a"].find_one() == {"_id": 1, "load": 2}
    assert [n for n in names(world) if not n.startswith(OLD)] == ["a", "b", "seen"]
    store.undo()
    store.undo()
    store.settle()
    assert (content(world.playground), shape(world.playground)) == before
    world.load()
    assert names(world) == ["a", "b", "seen"]
    marker = store.marker()
    assert marker is not None and marker.counts == {"a": 1, "b": 1}
    store.close()


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", range(12))  # commands that change something
def test_killed_anywhere_in_swap_the_playground_is_whole(
    world: World, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    two_loads(world)
    before = content(world.playground), shape(world.playground)
    world.load(swap=False, settle=False)
    left = [after]

    def tried(name: str) -> Callable[..., Any]:
        real = getattr(Swapper, name)

        def step(self: Swapper, *arguments: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return real(self, *arguments)

        return step

    steps = ("_move", "_put", "_drop_views", "_make_views", "_finish")
    with monkeypatch.context() as patched:
        for name in steps:
            patched.setattr(Swapper, name, tried(name))
        store = world.store()
        with contextlib.suppress(Killed):
            store.swap()
        store.close()
    again = world.store()
    again.undo()
    again.settle()
    again.close()
    assert (content(world.playground), shape(world.playground)) == before


def test_an_unfinished_load_is_never_swapped_in(world: World) -> None:
    two_loads(world)
    store, one = world.store(), world.source()
    with one.cut() as cut:
        store.stage(one.datasets(cut), b"")
    with pytest.raises(SandboxError, match="nothing is staged"):
        store.swap()
    store.settle()
    assert names(world) == ["a", "gone", "seen"]
    one.close(), store.close()


@pytest.mark.parametrize("data", [b"\x01", b"\0\0\0\0\0", b"\xff\xff\xff\x7f\0", b"\x10\0\0\0\0"])
def test_a_damaged_stream(world: World, data: bytes) -> None:
    two_loads(world)
    store, one = world.store(), world.source()
    with one.cut() as cut:
        datasets = one.datasets(cut)
    store.stage(datasets, b"")
    with pytest.raises(SnapshotBroken):
        store.write(datasets[0], [bson.encode({"_id": 1}), data])
    store.settle()
    one.close(), store.close()


# --- what is not ours ----------------------------------------------------------------------------


def unmark(world: World) -> None:
    world.playground[MARKER].delete_many({})


def mark_as_production(world: World) -> None:
    marker = {**marker_document(OURS), "environment": "production"}
    world.playground[MARKER].replace_one({"_id": "marker"}, marker)


@pytest.mark.parametrize("harm", [unmark, mark_as_production])
@pytest.mark.parametrize("act", ["stage", "write", "finish", "swap", "undo", "settle"])
def test_every_write_refuses(world: World, harm: Callable[[World], None], act: str) -> None:
    world.playground["mine"].insert_one({"_id": 1})
    harm(world)
    store = world.store()
    arguments: dict[str, Any] = {
        "stage": ([], b""),
        "write": (Dataset(store="mongo", name="mine"), [bson.encode({"_id": 2})]),
        "finish": (OURS,),
    }
    with pytest.raises(Refused):
        getattr(store, act)(*arguments.get(act, ()))
    store.close()
    assert content(world.playground) == {"mine": [bson.encode({"_id": 1})]}


def test_a_playground_that_is_productions_database_is_refused(world: World) -> None:
    store = world.store(production=world.playground.name)
    with pytest.raises(Refused, match="production's"):
        store.stage([], b"")
    store.close()


def test_another_projects_marker_stops_finish(world: World) -> None:
    store = world.store()
    store.stage([], b"")
    with pytest.raises(Refused, match="not of other"):
        store.finish(replace(OURS, project="other"))
    store.close()


def test_a_collection_that_nobody_named_is_told(world: World) -> None:
    world.production["known"].insert_one({})
    world.production["new"].insert_one({})
    one = world.source(["known"])
    with one.cut() as cut, pytest.raises(ConfigError, match="what becomes of new"):
        one.datasets(cut)
    one.close()


def test_the_reader_cannot_write(world: World) -> None:
    one = world.source()
    with pytest.raises(OperationFailure) as caught:
        one._base["x"].insert_one({})
    assert caught.value.code == 13
    one.close()
    assert not hasattr(one, "write") and not hasattr(one, "swap")


def test_wrong_logins_and_addresses(world: World) -> None:
    space = world.space(world.stem)
    stranger = Identity(role="reader", name="nobody", secret="hunter2")
    for endpoint, identity in (
        (world.endpoint, stranger),
        (Endpoint(port=1, options={"serverSelectionTimeoutMS": 200}), stranger),  # type: ignore[dict-item]
    ):
        with pytest.raises(Unreachable) as caught:
            Source(Access(endpoint=endpoint, identity=identity, space=space)).ready()
        assert "hunter2" not in str(caught.value)


def test_search_names_collection_and_field(world: World) -> None:
    world.playground["a"].insert_many(
        [{"_id": 1, "p": {"q": ["x", {"r": "his name is Änn"}]}}, {"_id": 2, "Änn": 1}]
    )
    store = world.store()
    assert store.search(["Änn", ""]) == ["a", "a.p.q.r"]
    assert store.search(["nobody"]) == []
    store.close()


def test_what_the_artifact_holds_is_what_mongorestore_reads(world: World) -> None:
    """A .bson file is documents one after the other."""
    world.production["types"].insert_many(every_type())
    one = world.source()
    with one.cut() as cut:
        (dataset,) = one.datasets(cut)
        stream = b"".join(piece for _, piece in one.read(cut, dataset, Keep()))
    one.close()
    assert [bson.encode(d) for d in bson.decode_file_iter(io.BytesIO(stream), LOSSLESS)] == [
        bson.encode(d) for d in world.production["types"].find()
    ]
