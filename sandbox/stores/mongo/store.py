"""Loads collections beside the playground's own and renames them into place, as keeper."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bson
from pymongo import collection

from sandbox.contract import Access, Tool
from sandbox.errors import NoBaseline, Refused
from sandbox.model import Change, Dataset, Identity, Marker, Space
from sandbox.stores.mongo import design, patch, rewind, stream, writing
from sandbox.stores.mongo.session import (
    LOSSLESS,
    MARKER,
    NEW,
    Document,
    doing,
    is_own_name,
    marker_document,
    need_own,
)
from sandbox.stores.mongo.source import Source
from sandbox.stores.mongo.swapping import STAGED, Swapper, create_indexes

WORKERS = 4


class Store(Source):
    """The playground's database. `__new__.` and `__old__.` collections are what a load makes and
    what a swap puts aside."""

    def __init__(
        self, access: Access, *, owner: Identity, production: Space, tool: Tool | None = None
    ) -> None:
        super().__init__(access, tool=tool)
        self._production = production.name
        self._staged: Sequence[Dataset] = ()
        self._views = b""

    def stage(self, datasets: Sequence[Dataset], catalog: bytes) -> None:
        self.settle()
        self._staged, self._views = datasets, catalog
        with doing("making collections"):
            for dataset in datasets:
                self._base.command("create", NEW + dataset.name, **design.created(dataset))

    def write(self, dataset: Dataset, pieces: Iterable[bytes]) -> int:
        need_own(self._base, self._production)
        options = design.created(dataset)
        ordered = "capped" in options or "timeseries" in options  # their order is their content
        target: collection.Collection[Any] = self._base[NEW + dataset.name]
        return writing.insert(target, pieces, ordered=ordered)

    def finish(self, marker: Marker) -> Sequence[str]:
        """Indexes when the data is there; what they were moved or held back by is in the notes."""
        self._same(need_own(self._base, self._production), marker)
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="mongo") as pool:
            notes = [note for found in pool.map(self._index, self._staged) for note in found]
        with doing("forgetting the pristine copy"):
            rewind.forget(self._base)
        if marker.baseline:
            rewind.keep(self._base, self._staged, self._views, marker.baseline)
        with doing("noting what is staged"):
            staged: Document = {
                "marker": marker_document(marker),
                "collections": [dataset.name for dataset in self._staged],
                "views": self._views.decode(),
            }
            self._base[MARKER].replace_one({"_id": STAGED}, staged, upsert=True)
        return notes + [note for dataset in self._staged for note in _notes(dataset)]

    def swap(self) -> None:
        """One collection after the other: each is away for the moment between two renames."""
        need_own(self._base, self._production)
        with doing("swapping"):
            self._swapper.swap()

    def undo(self) -> None:
        need_own(self._base, self._production)
        with doing("swapping back"):
            self._swapper.undo()

    def settle(self) -> None:
        need_own(self._base, self._production)
        with doing("dropping what is not in place"):
            self._swapper.settle()

    def changes(self) -> Sequence[Change]:
        marker = need_own(self._base, self._production)
        with doing("comparing"):
            return rewind.look(self._base, rewind.read(self._base, marker.baseline)).changes

    def rewind(self) -> Sequence[Change]:
        """Documents that changed come back one by one where the server tells which they are;
        other collections that changed are made again from their copies. The rest stays."""
        marker = need_own(self._base, self._production)
        self.settle()
        with doing("comparing"):
            record = rewind.read(self._base, marker.baseline)
            found = rewind.look(self._base, record)
        kept = {one["name"]: one for one in record["collections"]}
        patched = found.patches.keys()
        anew = {change.dataset for change in found.changes} & kept.keys() - patched
        with doing("going back"):
            try:
                for name in sorted(anew):
                    rewind.stage(self._base, rewind.dataset(kept[name]), kept[name])
                for name in sorted(patched):
                    patch.stage(self._base, name, found.patches[name])
            except NoBaseline:
                self.settle()
                raise
            staged: Document = {
                "marker": marker_document(marker),
                "collections": sorted(anew),
                "patched": sorted(patched),
                "kept": sorted(kept.keys() - anew),
                "views": record["views"],
                "since": self._since(kept.keys() - anew, anew, found.now),
            }
            self._base[MARKER].replace_one({"_id": STAGED}, staged, upsert=True)
        return found.changes

    def _since(
        self, stay: Collection[str], anew: Collection[str], now: stream.Since | None
    ) -> Document:
        """From where the next look begins, once this one is through."""
        if now is None:
            return {}
        found: Document = {name: {"since": now.document()} for name in stay}
        later = stream.mark(self._base) if anew else None
        found |= {name: rewind.told_since(self._base, NEW + name, later) for name in anew}
        return found

    def swapped(self) -> bool:
        return self._swapper.swapped()

    def search(self, needles: Sequence[str]) -> Sequence[str]:
        wanted = [needle for needle in needles if needle]
        if not wanted:
            return []
        found: set[str] = set()
        with doing("searching"):
            for name in sorted(self.count()):
                batch: Any
                for batch in self._base[name].find_raw_batches({}):
                    found.update(_places(name, batch, wanted))
        return sorted(found)

    # --- the parts ---------------------------------------------------------------------------

    @property
    def _swapper(self) -> Swapper:
        return Swapper(self._client, self._base)

    def _same(self, present: Marker, coming: Marker) -> None:
        whose = (coming.project, coming.environment, coming.playground)
        if (present.project, present.environment, present.playground) != whose:
            raise Refused(
                f"the database is marked as {present.environment} of {present.project}, "
                f"not of {coming.project}; nothing was changed",
                where=f"mongo {self._space.database}",
            )

    def _index(self, dataset: Dataset) -> Sequence[str]:
        """Indexes that delete come after the dates have moved, by as much as the copy is old."""
        wanted = design.indexed(dataset)
        expiring = [i for i in wanted if "expireAfterSeconds" in i]
        name, ttl = NEW + dataset.name, dataset.options.get("ttl", "hold")
        with doing(f"building indexes of {dataset.name}"):
            stuck = expiring if ttl == "hold" else []
            if ttl == "shift":
                fields = {next(iter(index["key"])) for index in expiring}
                moved = {field: self._shift(name, dataset, field) for field in fields}
                stuck = [i for i in expiring if not moved[next(iter(i["key"]))]]
            kept = [_without_expiry(i) if i in stuck else i for i in wanted]
            create_indexes(self._base, name, kept)
        return [f"{dataset.name}: index {i['name']} does not expire documents here" for i in stuck]

    def _shift(self, name: str, dataset: Dataset, field: str) -> bool:
        """Move the dates that an index deletes by; False where they lie in arrays of documents:
        no update can say each of them by its own value."""
        here = self._base[name]
        parts = field.split(".")
        above = [".".join(parts[:n]) for n in range(1, len(parts))]
        if above and here.find_one({"$or": [{p: {"$type": "array"}} for p in above]}):
            return False
        hello = self._client.admin.command("hello", codec_options=LOSSLESS)
        late = int(hello["localTime"]) - int(dataset.options["cut_ms"])
        here.update_many(
            {field: {"$type": "date"}}, _later(field, late), bypass_document_validation=True
        )
        return True


def _without_expiry(index: Mapping[str, Any]) -> Document:
    return {key: value for key, value in index.items() if key != "expireAfterSeconds"}


def _later(field: str, milliseconds: int) -> list[Mapping[str, Any]]:
    """Every date in a field, or in the array there, by so much later."""

    def moved(value: str) -> Mapping[str, Any]:
        is_date = {"$eq": [{"$type": value}, "date"]}
        return {"$cond": [is_date, {"$add": [value, bson.Int64(milliseconds)]}, value]}

    whole = f"${field}"
    each = {"$map": {"input": whole, "as": "one", "in": moved("$$one")}}
    return [{"$set": {field: {"$cond": [{"$isArray": whole}, each, moved(whole)]}}}]


def _notes(dataset: Dataset) -> Iterator[str]:
    yield from design.held_back(dataset)
    for option in dataset.options.get("lost", ()):
        yield f"{dataset.name}: option {option} is not carried"


def _places(name: str, batch: bytes, wanted: Sequence[str]) -> Iterator[str]:
    """`collection.field.path` of every text that one of `wanted` stands in; positions in arrays
    are left out. Only batches that hold the bytes are decoded."""
    if not re.search(b"|".join(re.escape(needle.encode()) for needle in wanted), batch):
        return
    for document in bson.decode_all(batch, LOSSLESS):
        for path, text in _texts(document, name):
            if any(needle in text for needle in wanted):
                yield path


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield path, key
            yield from _texts(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, path)
    elif isinstance(value, bytes):
        yield path, value.decode(errors="replace")
    elif not is_own_name(path):
        yield path, str(value)
