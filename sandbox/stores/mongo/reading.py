"""One collection's documents, raw, from several cursors at once, each over its own range of ids.

Ranges are bounds of the index on `_id`: unlike `$gte` and `$lt` they cross types, so that every
document comes exactly once whatever its id is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import bson
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from sandbox.model import Dataset
from sandbox.stores.mongo.design import created
from sandbox.stores.mongo.session import key

CURSORS = 4
RANGE_BYTES = 64 << 20  # a collection smaller than this is read by one cursor
NEAR = 16  # keys that a server may look at to find the first document of a range
SAMPLES = 32  # ids looked at for each bound
SAMPLED_MS = 500  # drawing ids at random takes a few; some servers look through everything instead
ORDERED = ("capped", "timeseries")  # their order is their content
# Collections whose index on `_id` does not order plain ids, or that have none.
ONE_CURSOR = (*ORDERED, "collation", "clusteredIndex")

Options = dict[str, Any]
Open = Callable[[Options], Iterator[bytes]]


def ranges(collection: Collection[Any], dataset: Dataset) -> list[Options]:
    """Arguments of `find` for each cursor; together they see every document once."""
    count = min(CURSORS, dataset.bytes // RANGE_BYTES)
    ordered = any(option in created(dataset) for option in ONE_CURSOR)
    if count < 2 or ordered or not _plans_bounds(collection):
        return [{}]
    try:
        bounds = _bounds(collection, count)
    except OperationFailure:  # no $sample, none in time, no index on _id: one cursor needs neither
        return [{}]
    if not bounds or not _begins_at(collection, bounds[-1]):
        return [{}]
    found = []
    for number in range(len(bounds) + 1):
        one: Options = {"hint": [("_id", 1)]}
        if number:
            one["min"] = {"_id": bounds[number - 1]}
        if number < len(bounds):
            one["max"] = {"_id": bounds[number]}
        found.append(one)
    return found


def _bounds(collection: Collection[Any], count: int) -> list[Any]:
    """Up to `count - 1` different ids, in the server's own order."""
    sample = [
        {"$sample": {"size": SAMPLES * count}},
        {"$project": {"_id": 1}},
        {"$sort": {"_id": 1}},
    ]
    found = [one["_id"] for one in collection.aggregate(sample, maxTimeMS=SAMPLED_MS)]
    bounds: list[Any] = []
    for number in range(1, count):
        bound = found[number * len(found) // count : number * len(found) // count + 1]
        if bound and (not bounds or key(bound[0]) != key(bounds[-1])):
            bounds += bound
    return bounds


def _plans_bounds(collection: Collection[Any]) -> bool:
    """Whether the server would go to a bound, without going: asked before it draws any ids."""
    try:
        told = _explained(collection, bson.MinKey(), "queryPlanner")
    except OperationFailure:
        return False
    return "indexBounds" in str(told.get("queryPlanner"))


def _begins_at(collection: Collection[Any], bound: Any) -> bool:
    """Whether a cursor goes to its bound by the index. Where the server looks through all that
    stands before it instead, each cursor would cost as much as one over everything."""
    try:
        told = _explained(collection, bound, "executionStats")
        return int(told["executionStats"]["totalKeysExamined"]) <= NEAR
    except (OperationFailure, KeyError):
        return False


def _explained(collection: Collection[Any], bound: Any, verbosity: str) -> Mapping[str, Any]:
    """What the server says of finding the first document from `bound` on."""
    first = {"find": collection.name, "min": {"_id": bound}, "hint": {"_id": 1}, "limit": 1}
    first["maxTimeMS"] = SAMPLED_MS
    return collection.database.command("explain", first, verbosity=verbosity)
