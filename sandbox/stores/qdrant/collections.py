"""A collection's whole configuration: as a dataset's options, and made again from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.stores.qdrant.rest import Rest

PARAMS = (
    "vectors",
    "sparse_vectors",
    "shard_number",
    "replication_factor",
    "write_consistency_factor",
    "on_disk_payload",
)
CONFIGS = {
    "hnsw_config": "hnsw_config",
    "optimizers_config": "optimizer_config",
    "wal_config": "wal_config",
    "quantization_config": "quantization_config",
}
# An empty collection of no particular shape; a server wants at least one vector.
PLACEHOLDER: Mapping[str, Any] = {"vectors": {"size": 1, "distance": "Dot"}}
NO_INDEXING = {"indexing_threshold": 0}  # https://qdrant.tech/documentation/concepts/optimizer/


def options(info: Mapping[str, Any]) -> dict[str, Any]:
    """What `GET /collections/{name}` says, but for its counts."""
    schema = {
        field: {key: value for key, value in one.items() if key != "points"}
        for field, one in (info.get("payload_schema") or {}).items()
    }
    return {"config": info["config"], "payload_schema": schema}


def creation(wanted: Mapping[str, Any], *, indexing: bool) -> dict[str, Any]:
    """The body that makes such a collection; `indexing` False: indexes wait until `finish`."""
    config = wanted["config"]
    params = config.get("params") or {}
    body = {name: params[name] for name in PARAMS if params.get(name) is not None}
    for name, shown in CONFIGS.items():
        value = _known(config.get(shown))
        if value:
            body[name] = value
    if not indexing and threshold(wanted):
        body["optimizers_config"] = {**body.get("optimizers_config", {}), **NO_INDEXING}
    return body


def threshold(wanted: Mapping[str, Any]) -> int:
    """The source's indexing threshold in kilobytes; 0 when its indexing is off or unsaid."""
    return int((wanted["config"].get("optimizer_config") or {}).get("indexing_threshold") or 0)


def complete(rest: Rest, name: str, wanted: Mapping[str, Any]) -> list[str]:
    """Switch on what the load had to do without. Returns what could not be carried, in words."""
    config = wanted["config"]
    change: dict[str, Any] = {}
    if threshold(wanted):
        change["optimizers_config"] = {"indexing_threshold": threshold(wanted)}
    for key in ("strict_mode_config", "metadata"):
        if _known(config.get(key)):
            change[key] = _known(config[key])
    if change:
        rest.result("PATCH", ["collections", name], change)
    for field, schema in sorted(wanted["payload_schema"].items()):
        body = {"field_name": field, "field_schema": schema.get("params") or schema["data_type"]}
        rest.result("PUT", ["collections", name, "index"], body, wait="true")
    lost = [f"its alias {one}: the copy has one name" for one in wanted.get("aliases", ())]
    if (config.get("params") or {}).get("sharding_method") == "custom":
        lost.append("its custom shard keys: the points are all there, in automatic shards")
    return lost


def _known(value: Any) -> Any:
    """Without the keys that a server shows as null: they mean its own default."""
    if isinstance(value, dict):
        return {key: _known(one) for key, one in value.items() if one is not None}
    return value
