"""Collections and aliases on disk: one shard each, its REST configuration beside it."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from server import convert

NAME = re.compile(r'^[^<>:"/\\|?*\0\x1f]{1,255}$')


class Missing(Exception):
    """There is no such collection; HTTP 404."""


class Collection:
    """One open shard. Without a write-ahead log, what is not flushed is lost on a kill."""

    def __init__(self, folder: Path, config: dict[str, Any], *, new: bool) -> None:
        self.folder, self.config = folder, config
        path = str(folder / "shard")
        if new:
            (folder / "shard").mkdir(parents=True)
            self.shard = edge.EdgeShard.create(path, convert.config(config))
            self.save()
        else:
            self.shard = edge.EdgeShard.load(path)
        self.dirty = False

    def save(self) -> None:
        _replace(self.folder / "config.json", json.dumps(self.config))

    def flush(self) -> None:
        if self.dirty:
            self.shard.flush()
            self.dirty = False

    def info(self) -> dict[str, Any]:
        """As `GET /collections/{name}` tells it."""
        facts, config = self.shard.info(), self.config
        params = {
            "shard_number": config.get("shard_number") or 1,
            "replication_factor": config.get("replication_factor") or 1,
            "write_consistency_factor": config.get("write_consistency_factor") or 1,
            "on_disk_payload": config.get("on_disk_payload", True),
        }
        for name in ("vectors", "sparse_vectors", "sharding_method"):
            if config.get(name) is not None:
                params[name] = config[name]
        hnsw = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000}
        hnsw |= {"max_indexing_threads": 0, "on_disk": False}
        optimizers = {
            "deleted_threshold": 0.2,
            "vacuum_min_vector_number": 1000,
            "default_segment_number": 0,
            "flush_interval_sec": 5,
            "indexing_threshold": 10000,
        }
        schema = {k: {**v, "points": 0} for k, v in (config.get("payload_schema") or {}).items()}
        return {
            "status": "green",
            "optimizer_status": "ok",
            "indexed_vectors_count": facts.indexed_vectors_count,
            "points_count": facts.points_count,
            "segments_count": facts.segments_count,
            "config": {
                "params": params,
                "hnsw_config": hnsw | (config.get("hnsw_config") or {}),
                "optimizer_config": optimizers | (config.get("optimizers_config") or {}),
                "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0}
                | (config.get("wal_config") or {}),
                "quantization_config": config.get("quantization_config"),
                "strict_mode_config": {"enabled": False},
                **({"metadata": config["metadata"]} if config.get("metadata") else {}),
            },
            "payload_schema": schema,
        }


class Storage:
    """All collections of one server."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "collections"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._aliases_file = folder / "aliases.json"
        self.collections: dict[str, Collection] = {}
        for one in sorted(self._folder.iterdir()):
            if (one / "config.json").exists():
                config = json.loads((one / "config.json").read_text())
                self.collections[one.name] = Collection(one, config, new=False)
            else:
                shutil.rmtree(one)  # was being made or deleted when the server was killed
        try:
            self.aliases: dict[str, str] = json.loads(self._aliases_file.read_text())
        except FileNotFoundError:
            self.aliases = {}

    def get(self, name: str) -> Collection:
        found = self.collections.get(self.aliases.get(name, name))
        if found is None:
            raise Missing(f"Not found: Collection `{name}` doesn't exist!")
        return found

    def create(self, name: str, config: dict[str, Any]) -> None:
        if not NAME.match(name):
            raise convert.Bad(f"collection name cannot be {name!r}")
        if name in self.collections or name in self.aliases:
            raise convert.Bad(f"Wrong input: Collection `{name}` already exists!")
        convert.config(config)  # refuse before anything is on disk
        self.collections[name] = Collection(self._folder / name, config, new=True)

    def delete(self, name: str) -> bool:
        found = self.collections.pop(name, None)
        if found is None:
            return False
        (found.folder / "config.json").unlink()  # from here on it does not count
        found.shard.close()
        shutil.rmtree(found.folder)
        self._save_aliases({a: c for a, c in self.aliases.items() if c != name})
        return True

    def change_aliases(self, actions: list[dict[str, Any]]) -> None:
        """All of them or none."""
        aliases = dict(self.aliases)
        for action in actions:
            if "create_alias" in action:
                one = action["create_alias"]
                if one["collection_name"] not in self.collections:
                    raise Missing(
                        f"Not found: Collection `{one['collection_name']}` doesn't exist!"
                    )
                if one["alias_name"] in self.collections:
                    raise convert.Bad(
                        f"Wrong input: Collection `{one['alias_name']}` already exists!"
                    )
                aliases[one["alias_name"]] = one["collection_name"]
            elif "delete_alias" in action:
                aliases.pop(action["delete_alias"]["alias_name"], None)
            elif "rename_alias" in action:
                one = action["rename_alias"]
                if one["old_alias_name"] not in aliases:
                    raise Missing(f"Not found: Alias {one['old_alias_name']} does not exists!")
                aliases[one["new_alias_name"]] = aliases.pop(one["old_alias_name"])
            else:
                raise convert.Bad("unknown alias action")
        self._save_aliases(aliases)

    def flush(self) -> None:
        for collection in self.collections.values():
            collection.flush()

    def close(self) -> None:
        for collection in self.collections.values():
            collection.shard.flush()
            collection.shard.close()

    def _save_aliases(self, aliases: dict[str, str]) -> None:
        if aliases != self.aliases:
            _replace(self._aliases_file, json.dumps(aliases))
            self.aliases = aliases


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
