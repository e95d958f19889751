"""One collection, for reading: the fence of its connection lets nothing pass that could write."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from sandbox.contract import Access, Cut, Mask, Tool
from sandbox.errors import Refused, Unreachable
from sandbox.model import Dataset, Kind, Marker, QdrantSpace
from sandbox.stores.qdrant import batches, collections, markers, rest
from sandbox.stores.qdrant.scrolling import scroll_ranges
from sandbox.stores.qdrant.tokens import ORDER, read_claims, right

DATASET = "points"
MANY_BYTES = 32 << 20  # of vectors: until then, loading the loop that reads them takes longer
NO_CHANGE = ("collections", "aliases")


class Source:
    """A collection, or what an alias of that name stands for."""

    kind: Kind = "qdrant"

    def __init__(self, access: Access, *, tool: Tool | None = None) -> None:
        self._begin(access, rest.read_only)

    def _begin(self, access: Access, fence: rest.Fence) -> None:
        assert isinstance(access.space, QdrantSpace)
        self._access = access
        self._name = access.space.collection
        self._rest = rest.opened(access, fence)

    def ready(self) -> str:
        return rest.version(self._rest)

    def marker(self) -> Marker | None:
        return markers.of_space(self._rest, self._name)

    def can_write(self) -> str:
        """A token says it itself, and the server holds to that. Of a plain key the server is asked
        with a change of no alias at all, which a key for reading may not send either."""
        secret = self._access.identity.secret
        if read_claims(secret) is not None:
            held = right(secret, self._name)
            return "" if ORDER.index(held) <= ORDER.index("read") else f"its token says {held}"
        asking = rest.opened(self._access, _no_change)
        try:
            answer = asking.send("POST", NO_CHANGE, {"actions": []})
        finally:
            asking.close()
        return "" if answer.status_code in (401, 403) else "its key may change every collection"

    @contextlib.contextmanager
    def cut(self) -> Iterator[Cut]:
        """Qdrant holds no view: the facts say when reading began and how many points there were."""
        began = datetime.now(UTC).isoformat(timespec="milliseconds")
        yield Cut(facts={"began": began, "points": self._points(self._name)})

    def datasets(self, cut: Cut) -> Sequence[Dataset]:
        """One, `points`; its options are the whole configuration of the collection, and aliases."""
        info = self._rest.found(["collections", self._name])
        if info is None:
            raise Unreachable("there is no such collection", where=f"qdrant {self._name}")
        options = collections.options(info) | self._further_names()
        points = self._points(self._name)
        size = points * _vector_bytes(options)
        return [Dataset(store="qdrant", name=DATASET, rows=points, bytes=size, options=options)]

    def altered(self, cut: Cut, datasets: Sequence[Dataset]) -> Sequence[str]:
        """The collection, when its configuration or its payload indexes are others."""
        info = self._rest.found(["collections", self._name])
        if info is None:
            return [f"collection {self._name} is gone"]
        now = collections.options(info)
        same = all(now == {key: one.options[key] for key in now} for one in datasets)
        return [] if same else [f"collection {self._name} is made otherwise"]

    def catalog(self, cut: Cut) -> bytes:
        return b""

    def read(self, cut: Cut, dataset: Dataset, mask: Mask) -> Iterator[tuple[int, bytes]]:
        """Batches as JSON lines; while one is masked, the next ones are on their way."""
        return self._read(dataset, mask, with_vector=True)

    def without_vectors(
        self, cut: Cut, dataset: Dataset, mask: Mask
    ) -> Iterator[tuple[int, bytes]]:
        """See `contract.Vectored`."""
        return self._read(dataset, mask, with_vector=False)

    def _read(
        self, dataset: Dataset, mask: Mask, *, with_vector: bool
    ) -> Iterator[tuple[int, bytes]]:
        keeps, many = mask.keeps(dataset), with_vector and dataset.bytes >= MANY_BYTES
        pages = scroll_ranges(self._rest, self._name, dataset.bytes, with_vector=with_vector)
        for points, full in pages:
            if keeps:
                count = full or len(orjson.loads(points))
            else:
                count, points = batches.masked(points, dataset.name, mask, many=many)
            if count:
                yield count, batches.line(count, points)

    def originals(self, cut: Cut, dataset: Dataset, fields: Sequence[str]) -> Iterator[str]:
        """None: `read` shows every value to the mask."""
        return iter(())

    def count(self) -> Mapping[str, int]:
        return {DATASET: self._points(self._name)}

    def close(self) -> None:
        self._rest.close()

    def _further_names(self) -> dict[str, Any]:
        """Aliases of the collection beside the name that it is read by, if there are any."""
        known = rest.aliases(self._rest)
        stands_for = known.get(self._name, self._name)
        further = sorted(a for a, c in known.items() if c == stands_for and a != self._name)
        return {"aliases": further} if further else {}

    def _points(self, name: str) -> int:
        body = {"exact": True}
        found = self._rest.result("POST", ["collections", name, "points", "count"], body)
        return int(found["count"])


def _vector_bytes(options: Mapping[str, Any]) -> int:
    """About how long one point is as JSON: 11 characters a number, and a payload."""
    vectors = (options["config"].get("params") or {}).get("vectors") or {}
    declared = [vectors] if "size" in vectors else list(vectors.values())
    return 300 + 11 * sum(int(one["size"]) for one in declared)


def _no_change(method: str, path: Sequence[str], body: Any) -> None:
    """Lets one request pass, and only while it changes nothing."""
    if (method, tuple(path), body) != ("POST", NO_CHANGE, {"actions": []}):
        raise Refused(f"{method} /{'/'.join(path)} was not sent")
