"""The requests on one collection's points: JSON in, JSON-ready values out."""

from __future__ import annotations

import random
from typing import Any

import qdrant_edge as edge

from server import convert
from server.storage import Collection

Operation = edge.UpdateOperation
DONE = {"operation_id": 0, "status": "completed"}


def upsert(collection: Collection, body: dict[str, Any]) -> dict[str, Any]:
    if "batch" in body:
        batch = body["batch"]
        payloads = batch.get("payloads") or [None] * len(batch["ids"])
        vectors = batch["vectors"]
        if isinstance(vectors, dict):
            names = list(vectors)
            columns = zip(*vectors.values(), strict=True)
            vectors = [dict(zip(names, row, strict=True)) for row in columns]
        rows = list(zip(batch["ids"], vectors, payloads, strict=True))
    else:
        rows = [(p["id"], p.get("vector"), p.get("payload")) for p in body.get("points", [])]
    points = [
        edge.Point(
            convert.point_id(identifier),
            convert.vector(vector, collection.config),
            _object(payload),
        )
        for identifier, vector, payload in rows
    ]
    return _update(collection, Operation.upsert_points(points))


def delete(collection: Collection, body: dict[str, Any]) -> dict[str, Any]:
    if "points" in body:
        return _update(collection, Operation.delete_points(_ids(body)))
    return _update(collection, Operation.delete_points_by_filter(_filter(body)))


def payload(collection: Collection, body: dict[str, Any], action: str) -> dict[str, Any]:
    """`action`: set, overwrite, delete or clear."""
    by_ids = "points" in body
    target = _ids(body) if by_ids else _filter(body)
    if action == "clear":
        make = Operation.clear_payload if by_ids else Operation.clear_payload_by_filter
        return _update(collection, make(target))
    if action == "delete":
        make = Operation.delete_payload if by_ids else Operation.delete_payload_by_filter
        return _update(collection, make(target, body["keys"]))
    makes = {
        ("set", True): Operation.set_payload,
        ("set", False): Operation.set_payload_by_filter,
        ("overwrite", True): Operation.overwrite_payload,
        ("overwrite", False): Operation.overwrite_payload_by_filter,
    }
    made = makes[action, by_ids](target, _object(body.get("payload")) or {}, body.get("key"))
    return _update(collection, made)


def vectors(collection: Collection, body: dict[str, Any], action: str) -> dict[str, Any]:
    if action == "update":
        changed = [
            edge.PointVectors(
                convert.point_id(one["id"]), convert.vector(one["vector"], collection.config)
            )
            for one in body["points"]
        ]
        return _update(collection, Operation.update_vectors(changed))
    if "points" in body:
        return _update(collection, Operation.delete_vectors(_ids(body), body["vector"]))
    return _update(collection, Operation.delete_vectors_by_filter(_filter(body), body["vector"]))


def batch(collection: Collection, body: dict[str, Any]) -> list[dict[str, Any]]:
    calls = {
        "upsert": lambda b: upsert(collection, b),
        "delete": lambda b: delete(collection, b),
        "set_payload": lambda b: payload(collection, b, "set"),
        "overwrite_payload": lambda b: payload(collection, b, "overwrite"),
        "delete_payload": lambda b: payload(collection, b, "delete"),
        "clear_payload": lambda b: payload(collection, b, "clear"),
        "update_vectors": lambda b: vectors(collection, b, "update"),
        "delete_vectors": lambda b: vectors(collection, b, "delete"),
    }
    operations = [next(iter(one.items())) for one in body["operations"]]
    for name, _ in operations:
        if name not in calls:
            raise convert.Bad(f"unknown operation {name}")
    return [calls[name](value) for name, value in operations]


def retrieve(collection: Collection, body: dict[str, Any]) -> list[dict[str, Any]]:
    found = collection.shard.retrieve(
        [convert.point_id(i) for i in body["ids"]],
        _selected(body.get("with_payload", True)),
        body.get("with_vector", False),
    )
    return [convert.record(one) for one in found]


def scroll(collection: Collection, body: dict[str, Any]) -> dict[str, Any]:
    offset = body.get("offset")
    limit = int(body.get("limit") or 10)
    found, following = collection.shard.scroll(
        edge.ScrollRequest(
            offset=None if offset is None else convert.point_id(offset),
            limit=limit,
            filter=convert.filters(body.get("filter")),
            with_payload=_selected(body.get("with_payload", True)),
            with_vector=body.get("with_vector", False),
        )
    )
    if following is not None and not isinstance(following, int):
        following = str(following)
    return {"points": [convert.record(one) for one in found], "next_page_offset": following}


def count(collection: Collection, body: dict[str, Any]) -> dict[str, Any]:
    request = edge.CountRequest(exact=True, filter=convert.filters(body.get("filter")))
    return {"count": collection.shard.count(request)}


def search(collection: Collection, body: dict[str, Any]) -> list[dict[str, Any]]:
    """`vector`: a list, or {"name": ..., "vector": ...}."""
    vector, using = body["vector"], None
    if isinstance(vector, dict):
        vector, using = vector["vector"], vector.get("name")
    return _nearest(collection, body, vector, using)


def query(collection: Collection, body: dict[str, Any]) -> dict[str, Any]:
    wanted = body.get("query")
    if wanted is None:
        found = scroll(collection, {**body, "offset": None})["points"]
        return {"points": [{**p, "version": 0, "score": 0.0} for p in found]}
    if wanted == {"sample": "random"}:
        return {"points": _drawn(collection, body)}
    if isinstance(wanted, dict) and "nearest" in wanted:
        wanted = wanted["nearest"]
    using = body.get("using")
    if isinstance(wanted, (int, str)):
        found = collection.shard.retrieve([convert.point_id(wanted)], False, True)
        if not found:
            raise convert.Bad(f"No point with id {wanted} found")
        wanted = found[0].vector
        if isinstance(wanted, dict):
            wanted = wanted[using or ""]
        body = {**body, "filter": _without(body.get("filter"), body["query"])}
    return {"points": _nearest(collection, body, wanted, using)}


def _drawn(collection: Collection, body: dict[str, Any]) -> list[dict[str, Any]]:
    """Points of no order. (The server draws them; here all ids are looked at.)"""
    whole = {"filter": body.get("filter"), "limit": 1 << 30, "with_payload": False}
    ids = [one["id"] for one in scroll(collection, whole)["points"]]
    limit = int(body.get("limit") or 10)
    chosen = random.sample(ids, min(limit, len(ids)))
    found = retrieve(collection, {"with_payload": False, **body, "ids": chosen})
    return [{**one, "version": 0, "score": 0.0} for one in found]


def _nearest(
    collection: Collection, body: dict[str, Any], vector: Any, using: str | None
) -> list[dict[str, Any]]:
    if isinstance(vector, dict):
        vector = convert.vector({using or "": vector}, collection.config)[using or ""]
    elif isinstance(vector, list):
        named = vector if using is None else {using: vector}
        checked = convert.vector(named, collection.config)
        vector = checked if using is None else checked[using]
    else:
        raise convert.Bad("this query is not supported by the stand-in")
    found = collection.shard.query(
        edge.QueryRequest(
            limit=int(body.get("limit") or 10),
            offset=int(body.get("offset") or 0),
            query=edge.Query.Nearest(vector, using),
            filter=convert.filters(body.get("filter")),
            with_payload=_selected(body.get("with_payload", False)),
            with_vector=body.get("with_vector", False),
            score_threshold=body.get("score_threshold"),
        )
    )
    return [convert.record(one, score=True) for one in found]


def _without(given: dict[str, Any] | None, identifier: Any) -> dict[str, Any]:
    return {"must": [given] if given else [], "must_not": [{"has_id": [identifier]}]}


def _update(collection: Collection, operation: Any) -> dict[str, Any]:
    collection.dirty = True
    collection.shard.update(operation)
    return DONE


def _ids(body: dict[str, Any]) -> list[int | str]:
    return [convert.point_id(i) for i in body["points"]]


def _filter(body: dict[str, Any]) -> edge.Filter:
    found = convert.filters(body.get("filter"))
    if found is None:
        if body.get("filter") == {}:
            return edge.Filter()
        raise convert.Bad("points or filter is needed")
    return found


def _object(value: Any) -> dict[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise convert.Bad("payload must be an object")
    return value


def _selected(value: Any) -> Any:
    if isinstance(value, dict):
        if "include" in value:
            return value["include"]
        raise convert.Bad("only include is supported in with_payload")
    return value
