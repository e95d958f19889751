"""The playground's collection: an alias over `<name>__1`, `<name>__2`, ...

A load fills the next number; `swap` moves the alias. Which number was replaced stands in the new
one's marker until `settle`, so every step may be interrupted and called again. A rewind moves no
alias: it puts back the points that changed, in their place.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import orjson

from sandbox.contract import Access, Tool
from sandbox.errors import ConfigError, NoBaseline, Refused, SnapshotBroken
from sandbox.model import Change, Dataset, Identity, Marker, QdrantSpace, Space
from sandbox.stores.qdrant import batches, collections, markers, rest, rewind
from sandbox.stores.qdrant.rewind import Difference
from sandbox.stores.qdrant.scrolling import Page, scroll
from sandbox.stores.qdrant.source import DATASET, Source
from sandbox.stores.qdrant.tokens import marker_collection

TOO_LARGE = 413
KEPT = ("digest", "shape")  # beside the marker of what was loaded
ALTERED = "its configuration or payload indexes changed"
UNKNOWN = "its points changed, and the server does not tell which"


class Store(Source):
    """The playground's space, as keeper."""

    def __init__(
        self, access: Access, *, owner: Identity, production: Space, tool: Tool | None = None
    ) -> None:
        assert isinstance(production, QdrantSpace)
        name = access.space.name
        fence = rest.own_only(name, marker_collection(name), production.collection)
        self._begin(access, fence)
        self._options: dict[str, Any] = {}
        self._rows = 0
        self._unchanged = False  # a rewind found nothing to do
        self._lock = threading.Lock()

    def stage(self, datasets: Sequence[Dataset], catalog: bytes) -> None:
        marker = self._guard()
        if len(datasets) > 1:
            raise ConfigError(
                f"the snapshot has {len(datasets)} collections, the playground has one",
                where=f"qdrant {self._name}",
            )
        present = self._present()
        if self._previous(present) is not None:
            raise Refused("an earlier load is not settled", where=f"qdrant {self._name}")
        if rewind.state(self._rest, self._name, present):
            raise Refused("an earlier reset is not settled", where=f"qdrant {self._name}")
        self._drop_but(present)
        staged = markers.numbered(self._name, present + 1)
        self._options, self._rows, self._unchanged = {}, 0, False
        body = dict(collections.PLACEHOLDER)
        if datasets:
            self._options = dict(datasets[0].options)
            body = collections.creation(self._options, indexing=False)
        self._rest.result("PUT", ["collections", staged], body)
        markers.write(self._rest, self._name, present + 1, markers.payload(marker, staged=False))

    def write(self, dataset: Dataset, pieces: Iterable[bytes]) -> int:
        """Several batches at once; each is stored before it counts."""
        self._guard()
        target = markers.numbered(self._name, self._present() + 1)
        rows = sum(self._upload(target, batches.lines(pieces)))
        with self._lock:
            self._rows += rows
        return rows

    def finish(self, marker: Marker) -> Sequence[str]:
        """Switches indexing on and makes payload indexes; all points must be there."""
        own = self._guard()
        if (marker.environment, marker.project, marker.playground) != (
            "playground",
            own.project,
            own.playground,
        ):
            raise Refused("the new marker is not this playground's", where=self._name)
        present = self._present()
        staged = markers.numbered(self._name, present + 1)
        found = self._points(staged)
        if found != self._rows:
            raise SnapshotBroken(
                f"{self._rows:,} points were sent, {found:,} are there: an id stands twice",
                where=f"qdrant {staged}",
            )
        notes = collections.complete(self._rest, staged, self._options) if self._options else []
        kept = self._keep(present + 1) if marker.baseline else {}
        done = markers.payload(marker, staged=True, **kept)
        markers.write(self._rest, self._name, present + 1, done)
        return notes

    def swap(self) -> None:
        self._guard()
        if self._unchanged:
            return
        present = self._present()
        if rewind.state(self._rest, self._name, present) in ("staged", "going"):
            rewind.swap(self._rest, self._name, present)
            return
        if self._swapped(present):
            return
        staged = self._staged(present)
        found = markers.read(self._rest, self._name, staged) or {}
        # The way back is written before the alias moves.
        markers.write(self._rest, self._name, staged, {**found, "previous": present})
        self._point_alias_at(staged)

    def undo(self) -> None:
        self._guard()
        present = self._present()
        if rewind.state(self._rest, self._name, present) in ("going", "done"):
            rewind.undo(self._rest, self._name, present)
        previous = self._previous(present)
        if previous is None:
            return
        if previous and not self._exists(previous):
            raise Refused("the old collection is gone", where=f"qdrant {self._name}")
        self._point_alias_at(previous)

    def settle(self) -> None:
        self._guard()
        present = self._present()
        state = rewind.state(self._rest, self._name, present)
        if state == "going":
            rewind.undo(self._rest, self._name, present)
        elif state == "done":
            rewind.settle(self._rest, self._name, present)
        elif state:
            rewind.drop(self._rest, self._name, present)
        if self._previous(present) is not None:
            found = markers.read(self._rest, self._name, present) or {}
            # From here on `undo` does not look at the old one.
            kept = {key: one for key, one in found.items() if key in ("marker", *KEPT)}
            markers.write(self._rest, self._name, present, kept)
        self._drop_but(present)

    def changes(self) -> Sequence[Change]:
        """By the versions of the points; where these are not told, every point is read."""
        return self._look()[1]

    def rewind(self) -> Sequence[Change]:
        """Puts the points that changed back from the pristine copy. Only a load changes the
        collection itself."""
        self.settle()
        found, changes = self._look()
        self._unchanged = not changes
        if self._unchanged:
            return []
        if found is None:
            raise NoBaseline(f"{changes[0].detail}, and a load alone can mend that")
        present = self._present()
        rewind.stage(self._rest, self._name, present, found, self._shown(present))
        return changes

    def swapped(self) -> bool:
        present = self._present()
        return self._swapped(present) or rewind.state(self._rest, self._name, present) == "done"

    def _look(self) -> tuple[Difference | None, list[Change]]:
        """What differs, point by point where that is known, and in words."""
        marker, present = self._guard(), self._present()
        kept = markers.read(self._rest, self._name, present) or {}
        if not marker.baseline or "shape" not in kept:
            raise NoBaseline("nothing was noted of its load", where="qdrant", hint="./inv load")
        altered = Change(store="qdrant", dataset=DATASET, what="altered", detail=ALTERED)
        if rewind.shape(self._info(present)) != kept["shape"]:
            return None, [altered]
        found = rewind.look(self._rest, self._name, present)
        if found is not None:
            change = Change(store="qdrant", dataset=DATASET, what="rows", rows=found.rows)
            return found, [change] if found.rows else []
        if self._digest(present) == kept["digest"]:
            return None, []
        return None, [Change(store="qdrant", dataset=DATASET, what="rows", detail=UNKNOWN)]

    def _keep(self, number: int) -> dict[str, str]:
        """A pristine copy, out of the playground's reach, and the facts that tell a change."""
        options = self._options or collections.options(self._info(number))
        base = rewind.make_base(self._rest, self._name, number, options)
        hashed = hashlib.blake2b(digest_size=16)

        def lines() -> Iterator[bytes]:
            for points, _ in self._pages(number):
                hashed.update(points)
                if points != b"[]":
                    yield batches.line(0, points)[:-1]

        for _ in self._upload(base, lines()):
            pass
        rewind.note(self._rest, self._name, number)
        return {"digest": hashed.hexdigest(), "shape": rewind.shape(self._info(number))}

    def _digest(self, number: int) -> str:
        """Of every point in the order of their ids."""
        hashed = hashlib.blake2b(digest_size=16)
        for points, _ in self._pages(number):
            hashed.update(points)
        return hashed.hexdigest()

    def _pages(self, number: int) -> Iterator[Page]:
        return scroll(self._rest, markers.numbered(self._name, number), with_vector=True)

    def _info(self, number: int) -> dict[str, Any]:
        path = ["collections", markers.numbered(self._name, number)]
        info: dict[str, Any] = self._rest.result("GET", path)
        return info

    def _shown(self, number: int) -> dict[str, Any]:
        return collections.options(self._info(number))

    def _swapped(self, present: int) -> bool:
        return self._previous(present) is not None

    def search(self, needles: Sequence[str]) -> Sequence[str]:
        """`points.path` of every payload field, or key, that holds one."""
        wanted = [needle for needle in needles if needle]
        raw = [orjson.dumps(needle)[1:-1] for needle in wanted]
        found: set[str] = set()
        for points, _ in scroll(self._rest, self._name, with_vector=False):
            if not any(needle in points for needle in raw):
                continue
            for point in orjson.loads(points):
                for path, text in batches.strings({"id": str(point["id"])}):
                    _note(found, f"{DATASET}.{path}", text, wanted)
                for path, text in batches.strings(point.get("payload") or {}):
                    _note(found, f"{DATASET}.{path}", text, wanted)
        return sorted(found)

    # --- numbers ---------------------------------------------------------------------------------

    def _guard(self) -> Marker:
        """The playground's marker. Raises Refused unless the space is a playground's."""
        if self._is_real(self._name):
            raise Refused(
                "it is a collection, not the playground's alias",
                where=f"qdrant {self._name}",
                hint="rename it, then ./inv isolate",
            )
        marker = self.marker()
        if marker is None:
            raise Refused(
                "the collection has no marker; it may not be ours",
                where=f"qdrant {self._name}",
                hint="./inv isolate makes the space and its marker",
            )
        if marker.environment != "playground":
            raise Refused(
                f"it is marked as production of {marker.project}; nothing was changed",
                where=f"qdrant {self._name}",
            )
        return marker

    def _present(self) -> int:
        return markers.number_of(self._name, rest.aliases(self._rest).get(self._name, ""))

    def _previous(self, number: int) -> int | None:
        found = markers.read(self._rest, self._name, number) or {}
        previous = found.get("previous")
        return None if previous is None else int(previous)

    def _staged(self, present: int) -> int:
        """The number of the finished load."""
        for number in self._numbers():
            found = markers.read(self._rest, self._name, number) or {}
            if number != present and found.get("staged"):
                return number
        raise SnapshotBroken(
            "there is no finished load to put in place", where=f"qdrant {self._name}"
        )

    def _numbers(self) -> list[int]:
        names = [one["name"] for one in self._rest.result("GET", ["collections"])["collections"]]
        return sorted(filter(None, (markers.number_of(self._name, name) for name in names)))

    def _exists(self, number: int) -> bool:
        return number in self._numbers()

    def _is_real(self, name: str) -> bool:
        listed = self._rest.result("GET", ["collections"])["collections"]
        return any(one["name"] == name for one in listed)

    def _drop_but(self, present: int) -> None:
        listed = self._rest.result("GET", ["collections"])["collections"]
        for name in (one["name"] for one in listed):
            base, number = (of(self._name, name) for of in (markers.base_of, markers.number_of))
            if (base or number) in (0, present):
                continue
            self._rest.result("DELETE", ["collections", name])
            if number:
                markers.forget(self._rest, self._name, number)
                rewind.forget(self._rest, self._name, number)

    def _point_alias_at(self, number: int) -> None:
        """In one request: there is no moment without an alias. 0: there was none."""
        target = {"alias_name": self._name, "collection_name": markers.numbered(self._name, number)}
        actions: list[dict[str, Any]] = [{"create_alias": target}] if number else []
        if self._name in rest.aliases(self._rest):
            actions.insert(0, {"delete_alias": {"alias_name": self._name}})
        self._rest.result("POST", ["collections", "aliases"], {"actions": actions})

    # --- uploading -------------------------------------------------------------------------------

    def _upload(self, target: str, lines: Iterable[bytes]) -> Iterator[int]:
        """The number of points of each batch; the first failure is raised."""
        waiting: set[Future[int]] = set()
        with ThreadPoolExecutor(max_workers=rest.AT_A_TIME) as pool:
            for one in lines:
                count, body = batches.request(one)
                waiting.add(pool.submit(self._put, target, count, body))
                if len(waiting) > rest.AT_A_TIME:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            for future in waiting:
                yield future.result()

    def _put(self, target: str, count: int, body: bytes) -> int:
        path = ["collections", target, "points"]
        try:
            self._rest.raw("PUT", path, body, wait="true")
        except rest.Answered as error:
            parts = batches.halves(body) if error.status == TOO_LARGE else []
            if not parts:
                raise
            for part in parts:
                self._put(target, 0, part)
        return count


def _note(found: set[str], place: str, text: str, needles: Sequence[str]) -> None:
    if any(needle in text for needle in needles):
        found.add(place)
