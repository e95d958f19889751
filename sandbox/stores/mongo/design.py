"""What makes a collection the same again: its options, indexes and views, as text that keeps the
order of keys and every BSON type (canonical extended JSON)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bson import json_util
from bson.json_util import CANONICAL_JSON_OPTIONS
from pymongo.collection import Collection
from pymongo.database import Database

from sandbox.errors import ConfigError
from sandbox.model import Dataset, MongoSpace
from sandbox.stores.mongo.session import LOSSLESS, Document, is_own_name

# Options of a collection that `create` takes back as `listCollections` gives them.
CARRIED = (
    "capped", "size", "max", "validator", "validationLevel", "validationAction", "collation",
    "timeseries", "clusteredIndex", "expireAfterSeconds", "changeStreamPreAndPostImages",
    "storageEngine", "indexOptionDefaults",
)  # fmt: skip
GUESSED = 1024  # bytes of a document
NOT_TOLD = ("v", "ns")  # of an index: the server writes its own


@dataclass(frozen=True, kw_only=True)
class View:
    name: str
    on: str
    pipeline: Sequence[Document]
    collation: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Found:
    """A database as it is: collections by name with their options and the server's own mark of
    each, and views."""

    collections: Mapping[str, Document]
    uuids: Mapping[str, Any]
    views: Sequence[View]


def to_text(value: Any) -> str:
    return json_util.dumps(value, json_options=CANONICAL_JSON_OPTIONS)


def from_text(text: str) -> Any:
    return json_util.loads(text, json_options=_options())


def _options() -> json_util.JSONOptions:
    return json_util.JSONOptions(
        json_mode=json_util.JSONMode.CANONICAL,
        document_class=dict,
        tz_aware=LOSSLESS.tz_aware,
        uuid_representation=LOSSLESS.uuid_representation,
        datetime_conversion=LOSSLESS.datetime_conversion,
    )


def look(base: Database[Document], space: MongoSpace) -> Found:
    """Raises ConfigError naming every collection and view that `space` does not name."""
    collections: dict[str, Document] = {}
    uuids: dict[str, Any] = {}
    views: list[View] = []
    unnamed = []
    for found in base.list_collections():
        name = found["name"]
        if is_own_name(name):
            continue
        if name not in space.collections:
            unnamed.append(name)
        elif found["type"] == "view":
            views.append(view(name, found["options"]))
        else:
            collections[name] = dict(found["options"])
            uuids[name] = found.get("info", {}).get("uuid")
    if unnamed:
        raise ConfigError(
            f"nothing says what becomes of {', '.join(sorted(unnamed))}",
            where=f"mongo {base.name}",
            hint="name each under [mongo] collections, or drop it",
        )
    return Found(collections=collections, uuids=uuids, views=in_order(views))


def view(name: str, options: Mapping[str, Any]) -> View:
    return View(
        name=name,
        on=options["viewOn"],
        pipeline=list(options.get("pipeline", [])),
        collation=options.get("collation"),
    )


def in_order(views: Sequence[View]) -> list[View]:
    """Views after the views that they look at."""
    left = {view.name: view for view in sorted(views, key=lambda one: one.name)}
    done: list[View] = []
    while left:
        ready = [view for view in left.values() if view.on not in left] or list(left.values())
        for view in ready:
            done.append(left.pop(view.name))
    return done


def views_to_text(views: Sequence[View]) -> bytes:
    if not views:
        return b""
    return to_text([vars(view) for view in views]).encode()


def views_from_text(text: bytes) -> list[View]:
    return [View(**found) for found in from_text(text.decode())] if text else []


def describe(
    base: Database[Document], name: str, options: Mapping[str, Any], space: MongoSpace, now_ms: int
) -> Dataset:
    """A collection as a dataset: everything that `create` and `createIndexes` need."""
    collection = base[name]
    indexes = [] if "timeseries" in options else list(collection.list_indexes())
    if "timeseries" in options:  # the server's own index on its buckets is not told apart
        indexes = [i for i in collection.list_indexes() if i.get("name") != "_id_"]
    rows, size = _measured(collection)
    return Dataset(
        store="mongo",
        name=name,
        rows=rows,
        bytes=size,
        options={
            "create": to_text({key: options[key] for key in CARRIED if key in options}),
            "indexes": [to_text(index) for index in map(told, indexes) if index],
            "lost": sorted(set(options) - set(CARRIED) - {"uuid", "idIndex"}),
            "ttl": space.ttl,
            "cut_ms": now_ms,
        },
    )


def _measured(collection: Collection[Document]) -> tuple[int, int]:
    """Documents and bytes as the server has them noted, each shard its own, with no look at the
    data; where it notes no bytes, as a stand-in, they are guessed."""
    told = list(collection.aggregate([{"$collStats": {"storageStats": {}}}]))
    stats = [one["storageStats"] for one in told]
    rows = sum(int(one.get("count") or 0) for one in stats)
    rows = rows or collection.estimated_document_count()
    return rows, sum(int(one.get("size") or 0) for one in stats) or rows * GUESSED


def told(index: Mapping[str, Any]) -> Document:
    """An index as `createIndexes` takes it; {} for the one that every collection has."""
    if index["name"] == "_id_" or index.get("clustered"):
        return {}
    return {key: value for key, value in index.items() if key not in NOT_TOLD}


def created(dataset: Dataset) -> Document:
    """Options for `create`. A whole collection's expiry is held back when dates are shifted, too:
    neither the time of a measurement nor an `_id` can be changed."""
    options: Document = from_text(dataset.options.get("create", "{}"))
    if dataset.options.get("ttl", "hold") != "keep":
        options.pop("expireAfterSeconds", None)
    if "clusteredIndex" in options:
        kept = ("key", "name", "unique")
        options["clusteredIndex"] = {
            k: v for k, v in options["clusteredIndex"].items() if k in kept
        }
    return options


def indexed(dataset: Dataset) -> list[Document]:
    return [from_text(text) for text in dataset.options.get("indexes", ())]


def held_back(dataset: Dataset) -> list[str]:
    """A whole collection that would expire in production and does not here, in words."""
    options = from_text(dataset.options.get("create", "{}"))
    if "expireAfterSeconds" in options and dataset.options.get("ttl", "hold") != "keep":
        return [f"{dataset.name}: documents do not expire here"]
    return []
