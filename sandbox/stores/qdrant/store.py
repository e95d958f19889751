"""Loads points into a new numbered collection and switches the playground's alias to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from sandbox.contract import Access, Tool
from sandbox.errors import Refused, SandboxError
from sandbox.model import Dataset, Identity, Marker, Space
from sandbox.stores.qdrant.access import need_own, write_marker
from sandbox.stores.qdrant.source import QdrantSource

BATCH = 500  # points
IN_FLIGHT = 3  # requests


class QdrantStore(QdrantSource):
    """The playground's alias, as keeper. Its key may do everything, so that every name that is
    changed goes through `_own`, which lets the playground's numbered collections pass only."""

    def __init__(
        self, access: Access, *, owner: Identity, production: Space, tool: Tool | None = None
    ) -> None:
        super().__init__(access, tool=tool)
        self._production = production.name
        self._datasets: tuple[Dataset, ...] = ()
        self._staged = ""

    def stage(self, datasets: Sequence[Dataset], catalog: bytes) -> None:
        need_own(self.rest, self._name, self._production)
        present = self._target()
        if present is None and self._name in self._collections():
            raise Refused(
                f"{self._name} is a collection, not an alias; it may not be ours", where="qdrant"
            )
        self.settle()
        self._datasets = tuple(datasets)
        number = 1 + max([self._number(name) for name in self._numbered()], default=0)
        self._staged = f"{self._name}__{number}"
        for dataset in datasets:
            create = {**dataset.options["create"]}
            optimizers = dict(create.get("optimizers_config") or {})
            # No index is built while points still come in.
            create["optimizers_config"] = {**optimizers, "indexing_threshold": 0}
            self.rest.ask("PUT", f"/collections/{self._own(self._staged)}", create)

    def write(self, dataset: Dataset, pieces: Iterable[bytes]) -> int:
        rows = 0
        path = f"/collections/{self._own(self._staged)}/points?wait=true"
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            waiting: set[Future[Any]] = set()
            for batch in _batches(pieces):
                rows += len(batch)
                body = b'{"points":[' + b",".join(batch) + b"]}"
                waiting.add(pool.submit(self.rest.ask, "PUT", path, body))
                if len(waiting) >= IN_FLIGHT:
                    done, waiting = wait(waiting, return_when="FIRST_COMPLETED")
                    for future in done:
                        future.result()
            for future in waiting:
                future.result()
        return rows

    def finish(self, marker: Marker) -> Sequence[str]:
        for dataset in self._datasets:
            name = self._own(self._staged)
            for field, schema in dataset.options["indexes"].items():
                self.rest.ask(
                    "PUT",
                    f"/collections/{name}/index?wait=true",
                    {"field_name": field, "field_schema": schema},
                )
            optimizers = dataset.options["create"].get("optimizers_config") or {}
            self.rest.ask("PATCH", f"/collections/{name}", {"optimizers_config": optimizers})
        write_marker(self.rest, self._name, marker)
        return ()

    def swap(self) -> None:
        numbered = self._numbered()
        present = self._target()
        newest = max(numbered, key=self._number, default=None)
        if newest is None or newest == present:
            return
        need_own(self.rest, self._name, self._production)
        self._point_to(newest, present)

    def undo(self) -> None:
        """Back to the collection before the newest one."""
        numbered = sorted(self._numbered(), key=self._number)
        present = self._target()
        if len(numbered) < 2 or present != numbered[-1]:
            return
        need_own(self.rest, self._name, self._production)
        self._point_to(numbered[-2], present)

    def settle(self) -> None:
        """Delete every numbered collection that the alias does not point to."""
        present = self._target()
        for name in self._numbered():
            if name != present:
                self.rest.ask("DELETE", f"/collections/{self._own(name)}")

    def search(self, needles: Sequence[str]) -> Sequence[str]:
        from sandbox.stores.qdrant.source import SCROLL

        found: set[str] = set()
        offset: Any = None
        while True:
            page = self.rest.ask(
                "POST",
                f"/collections/{self._name}/points/scroll",
                {"limit": SCROLL, "offset": offset, "with_payload": True},
            )
            for point in page["points"]:
                for key, value in point["payload"].items():
                    if any(needle.lower() in str(value).lower() for needle in needles):
                        found.add(f"points.{key}")
            offset = page.get("next_page_offset")
            if offset is None:
                return sorted(found)

    def _own(self, name: str) -> str:
        number = name.removeprefix(f"{self._name}__")
        if name == number or not number.isdigit() or name == self._production:
            raise SandboxError(f"{name} is not a collection of this playground", where="qdrant")
        return name

    def _collections(self) -> list[str]:
        return [one["name"] for one in self.rest.ask("GET", "/collections")["collections"]]

    def _numbered(self) -> list[str]:
        prefix = f"{self._name}__"
        return [
            n for n in self._collections() if n.startswith(prefix) and n[len(prefix) :].isdigit()
        ]

    def _number(self, name: str) -> int:
        return int(name.rsplit("__", 1)[1])

    def _target(self) -> str | None:
        for one in self.rest.ask("GET", "/aliases")["aliases"]:
            if one["alias_name"] == self._name:
                return str(one["collection_name"])
        return None

    def _point_to(self, name: str, present: str | None) -> None:
        """One request: the alias is never without a collection."""
        actions: list[dict[str, Any]] = []
        if present is not None:
            actions.append({"delete_alias": {"alias_name": self._name}})
        actions.append(
            {"create_alias": {"alias_name": self._name, "collection_name": self._own(name)}}
        )
        self.rest.ask("POST", "/collections/aliases", {"actions": actions})


def _batches(pieces: Iterable[bytes]) -> Iterator[list[bytes]]:
    """JSON lines in batches, wherever the pieces end; they go to the server as they are."""
    left = b""
    batch: list[bytes] = []
    for piece in pieces:
        *lines, left = (left + piece).split(b"\n")
        for line in lines:
            batch.append(line)
            if len(batch) == BATCH:
                yield batch
                batch = []
    if batch:
        yield batch
