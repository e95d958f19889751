"""Reads a collection by scrolling: its whole configuration, then points as JSON lines."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import orjson

from sandbox.contract import Access, Cut, Mask, Tool
from sandbox.model import Dataset, Kind, Marker, Point
from sandbox.stores.qdrant.access import Rest, read_marker

SCROLL = 500  # points
CONFIG = ("hnsw_config", "quantization_config", "optimizer_config")


class QdrantSource:
    """A collection that is read and never written."""

    kind: Kind = "qdrant"

    def __init__(self, access: Access, *, tool: Tool | None = None) -> None:
        self._access = access
        self._name = access.space.name
        self._rest: Rest | None = None

    @property
    def rest(self) -> Rest:
        if self._rest is None:
            self._rest = Rest(self._access)
        return self._rest

    def ready(self) -> str:
        self.rest.ask("GET", "/collections")
        return "Qdrant"

    def marker(self) -> Marker | None:
        """None for a token that may see its own collection only."""
        from sandbox.stores.qdrant.access import Denied

        try:
            return read_marker(self.rest, self._name)
        except Denied:
            return None

    @contextmanager
    def cut(self) -> Iterator[Cut]:
        yield Cut(facts={"time": time.time(), "consistent": False})

    def datasets(self, cut: Cut) -> Sequence[Dataset]:
        """One dataset, `points`; its options make the same collection again."""
        if not self.rest.exists(self._name):
            return ()
        info = self.rest.ask("GET", f"/collections/{self._name}")
        config = info["config"]
        create = {k: v for k, v in config["params"].items() if v is not None}
        for key in CONFIG:
            if config.get(key):
                create["optimizers_config" if key == "optimizer_config" else key] = {
                    k: v for k, v in config[key].items() if v is not None
                }
        indexes = {
            field: schema.get("params") or schema["data_type"]
            for field, schema in (info.get("payload_schema") or {}).items()
        }
        options = {"create": create, "indexes": indexes}
        return (
            Dataset(store="qdrant", name="points", rows=info["points_count"] or 0, options=options),
        )

    def catalog(self, cut: Cut) -> bytes:
        return b""

    def read(self, cut: Cut, dataset: Dataset, mask: Mask) -> Iterator[tuple[int, bytes]]:
        offset: Any = None
        keeps = mask.keeps(dataset)
        while True:
            page = self.rest.ask(
                "POST",
                f"/collections/{self._name}/points/scroll",
                {"limit": SCROLL, "offset": offset, "with_payload": True, "with_vector": True},
            )
            lines = []
            for raw in page["points"]:
                line = raw if keeps else _masked(raw, mask)
                if line is not None:
                    lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            if lines:
                yield len(lines), b"".join(lines)
            offset = page.get("next_page_offset")
            if offset is None:
                return

    def originals(self, cut: Cut, dataset: Dataset, fields: Sequence[str]) -> Iterator[str]:
        return iter(())

    def count(self) -> Mapping[str, int]:
        if not self.rest.exists(self._name):
            return {"points": 0}
        found = self.rest.ask("POST", f"/collections/{self._name}/points/count", {"exact": True})
        return {"points": found["count"]}

    def close(self) -> None:
        if self._rest is not None:
            self._rest.close()


def _masked(raw: Mapping[str, Any], mask: Mask) -> dict[str, Any] | None:
    point = Point(id=raw["id"], vector=raw.get("vector"), payload=raw.get("payload") or {})
    masked = mask.point("points", point)
    if masked is None:
        return None
    return {"id": masked.id, "vector": masked.vector, "payload": masked.payload}
