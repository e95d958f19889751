"""REST JSON <-> qdrant-edge's values. Everything is checked before the engine sees it: a request
that it refuses halfway would stay half applied."""

from __future__ import annotations

import math
import uuid
from typing import Any

import numpy as np
import qdrant_edge as edge

DISTANCES = {
    "Cosine": edge.Distance.Cosine,
    "Euclid": edge.Distance.Euclid,
    "Dot": edge.Distance.Dot,
    "Manhattan": edge.Distance.Manhattan,
}
SCHEMAS = ("keyword", "integer", "float", "geo", "text", "bool", "datetime", "uuid")


class Bad(Exception):
    """The request is wrong; HTTP 400."""


def config(wanted: dict[str, Any]) -> edge.EdgeConfig:
    """A collection's REST configuration -> the shard's. HNSW and quantization are only echoed:
    this server builds no index in the background."""
    vectors = wanted.get("vectors") or {}
    if "size" in vectors:
        dense: Any = _dense(vectors)
    else:
        dense = {name: _dense(value) for name, value in vectors.items()} or None
    sparse = {
        name: edge.EdgeSparseVectorParams(
            modifier=edge.Modifier.Idf if (value or {}).get("modifier") == "idf" else None
        )
        for name, value in (wanted.get("sparse_vectors") or {}).items()
    }
    return edge.EdgeConfig(vectors=dense, sparse_vectors=sparse or None, wal_enabled=False)


def _dense(value: dict[str, Any]) -> edge.EdgeVectorParams:
    if value.get("distance") not in DISTANCES:
        raise Bad(f"distance must be one of {', '.join(DISTANCES)}")
    size = value.get("size")
    if not isinstance(size, int) or not 1 <= size <= 65536:
        raise Bad("size must be between 1 and 65536")
    datatypes = {
        "float16": edge.VectorStorageDatatype.Float16,
        "uint8": edge.VectorStorageDatatype.Uint8,
    }
    multi = value.get("multivector_config")
    return edge.EdgeVectorParams(
        size=size,
        distance=DISTANCES[value["distance"]],
        on_disk=value.get("on_disk"),
        multivector_config=edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim)
        if multi
        else None,
        datatype=datatypes.get(value.get("datatype") or ""),
    )


def point_id(value: Any) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64:
        return value
    if isinstance(value, str):
        try:
            return str(uuid.UUID(value))
        except ValueError:
            pass
    raise Bad(f"{value!r} is not a valid point id: an unsigned integer or a UUID")


def vector(value: Any, wanted: dict[str, Any]) -> Any:
    """One point's vectors, checked against the collection's configuration."""
    vectors, sparse = wanted.get("vectors") or {}, wanted.get("sparse_vectors") or {}
    if "size" in vectors and isinstance(value, list):
        return _checked(value, vectors)
    if value is None or value == []:
        return {}
    if not isinstance(value, dict):
        raise Bad("this collection has named vectors")
    out: dict[str, Any] = {}
    for name, one in value.items():
        if name in sparse:
            out[name] = _sparse(one)
        elif name == "" and "size" in vectors:
            out[name] = _checked(one, vectors)
        elif "size" not in vectors and name in vectors:
            out[name] = _checked(one, vectors[name])
        else:
            raise Bad(f"Not existing vector name error: {name}")
    return out


def _checked(value: Any, declared: dict[str, Any]) -> Any:
    rows = value if declared.get("multivector_config") else [value]
    if not isinstance(rows, list) or not rows:
        raise Bad("a multivector needs at least one row")
    for row in rows:
        if not isinstance(row, list) or len(row) != declared["size"]:
            got = len(row) if isinstance(row, list) else "none"
            raise Bad(f"Vector dimension error: expected dim: {declared['size']}, got {got}")
        try:
            if not math.isfinite(math.fsum(row)):
                raise Bad("a vector must hold finite numbers")
        except (TypeError, OverflowError):
            raise Bad("a vector must hold finite numbers") from None
    return value


def _sparse(value: Any) -> edge.SparseVector:
    try:
        indices, values = list(value["indices"]), [float(v) for v in value["values"]]
    except (KeyError, TypeError, ValueError):
        raise Bad("a sparse vector needs indices and values") from None
    if len(indices) != len(values) or len(set(indices)) != len(indices):
        raise Bad("sparse indices must be unique, and as many as values")
    return edge.SparseVector(indices, values)


def shown(value: Any) -> Any:
    """A stored vector as JSON: float32 in its shortest form."""
    if isinstance(value, dict):
        return {name: shown(one) for name, one in value.items()}
    if isinstance(value, edge.SparseVector):
        return {
            "indices": list(value.indices),
            "values": np.asarray(value.values, dtype=np.float32),
        }
    if value and isinstance(value[0], list):
        return [np.asarray(row, dtype=np.float32) for row in value]
    return np.asarray(value, dtype=np.float32)


def index(schema: Any) -> tuple[Any, dict[str, Any]]:
    """A field schema -> the engine's parameters, and how the collection's info shows it."""
    options = {"type": schema} if isinstance(schema, str) else dict(schema or {})
    kind = options.get("type")
    if kind not in SCHEMAS:
        raise Bad(f"field_schema must be one of {', '.join(SCHEMAS)}")
    classes = {
        "keyword": edge.KeywordIndexParams,
        "integer": edge.IntegerIndexParams,
        "float": edge.FloatIndexParams,
        "geo": edge.GeoIndexParams,
        "text": edge.TextIndexParams,
        "bool": edge.BoolIndexParams,
        "datetime": edge.DatetimeIndexParams,
        "uuid": edge.UuidIndexParams,
    }
    simple = {k: v for k, v in options.items() if k in ("is_tenant", "lookup", "range")}
    if kind == "text":
        simple = {k: v for k, v in options.items() if k in ("lowercase", "min_token_len")}
    shown_as: dict[str, Any] = {"data_type": kind, "points": 0}
    if not isinstance(schema, str):
        shown_as["params"] = options
    return classes[kind](**simple), shown_as


def filters(value: dict[str, Any] | None) -> edge.Filter | None:
    if not value:
        return None

    def group(name: str) -> list[Any] | None:
        part = value.get(name)
        if part is None:
            return None
        return [condition(c) for c in (part if isinstance(part, list) else [part])]

    unknown = set(value) - {"must", "should", "must_not", "min_should"}
    if unknown:
        raise Bad(f"unknown filter key {sorted(unknown)[0]}")
    return edge.Filter(must=group("must"), should=group("should"), must_not=group("must_not"))


def condition(value: dict[str, Any]) -> Any:
    if "has_id" in value:
        return edge.HasIdCondition({point_id(v) for v in value["has_id"]})
    if "is_empty" in value:
        return edge.IsEmptyCondition(value["is_empty"]["key"])
    if "is_null" in value:
        return edge.IsNullCondition(value["is_null"]["key"])
    if "has_vector" in value:
        return edge.HasVectorCondition(value["has_vector"])
    if "nested" in value:
        inner = filters(value["nested"]["filter"])
        return edge.NestedCondition(value["nested"]["key"], inner)
    if "key" not in value:
        return filters(value)
    return edge.FieldCondition(
        value["key"], match=_match(value.get("match")), range=_range(value.get("range"))
    )


def _match(value: dict[str, Any] | None) -> Any:
    if not value:
        return None
    for name, make in (
        ("value", edge.MatchValue),
        ("text", edge.MatchText),
        ("any", edge.MatchAny),
        ("except", edge.MatchExcept),
        ("phrase", edge.MatchPhrase),
    ):
        if name in value:
            return make(value[name])
    raise Bad("unknown match")


def _range(value: dict[str, Any] | None) -> Any:
    if not value:
        return None
    bounds = {k: value.get(k) for k in ("gt", "gte", "lt", "lte") if value.get(k) is not None}
    if any(isinstance(v, str) for v in bounds.values()):
        return edge.RangeDateTime(**bounds)
    return edge.RangeFloat(**bounds)


def record(one: Any, *, score: bool = False) -> dict[str, Any]:
    """A record or scored point as JSON."""
    identifier = one.id if isinstance(one.id, int) else str(one.id)
    out: dict[str, Any] = {"id": identifier}
    if score:
        out |= {"version": one.version, "score": float(np.float32(one.score))}
    if one.payload is not None:
        out["payload"] = one.payload
    if one.vector is not None:
        out["vector"] = shown(one.vector)
    return out
