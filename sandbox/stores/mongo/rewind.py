"""Keeps a pristine copy of each collection beside it, made by the server, and tells which changed.

A collection is told by its shape (options, indexes) and by a digest of its documents in the order
of their ids: no server counts writes in a way that outlives it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from pymongo.database import Database
from pymongo.errors import OperationFailure

from sandbox.errors import NoBaseline
from sandbox.model import Change, Dataset
from sandbox.stores.mongo import design
from sandbox.stores.mongo.session import BASE, MARKER, NEW, Document, doing, is_own_name

KEPT = "base"  # the document beside the marker
ORDERED = ("capped", "timeseries")  # which `$out` does not fill


def keep(base: Database[Document], datasets: Sequence[Dataset], views: bytes, name: str) -> None:
    """Copy what is staged; the baseline's name goes last."""
    forget(base)
    kept = []
    for dataset in datasets:
        staged = NEW + dataset.name
        whole = any(option in design.created(dataset) for option in ORDERED)
        if not whole:
            with doing(f"keeping {dataset.name}"):
                base[staged].aggregate([{"$out": BASE + dataset.name}])
        kept.append(
            {
                "name": dataset.name,
                "options": design.to_text(dict(dataset.options)),
                "shape": shape(base, staged),
                "digest": digest(base, staged),
                "copied": not whole,
            }
        )
    record = {"baseline": name, "collections": kept, "views": views.decode()}
    base[MARKER].replace_one({"_id": KEPT}, record, upsert=True)


def forget(base: Database[Document]) -> None:
    base[MARKER].delete_one({"_id": KEPT})
    for name in base.list_collection_names():
        if name.startswith(BASE):
            base.drop_collection(name)


def read(base: Database[Document], baseline: str) -> Document:
    found = base[MARKER].find_one({"_id": KEPT})
    if not baseline or found is None:
        raise NoBaseline("no pristine copy is kept", where="mongo", hint="./inv load")
    if found["baseline"] != baseline:
        raise NoBaseline("the pristine copy is another load's", where="mongo", hint="./inv load")
    return found


def changes(base: Database[Document], record: Mapping[str, Any]) -> list[Change]:
    """Collections and views that are not as they were loaded."""
    present = {c["name"]: c for c in base.list_collections() if not is_own_name(c["name"])}
    was = {one["name"]: one for one in record["collections"]}
    views = {view.name: view for view in design.views_from_text(record["views"].encode())}
    found = []
    for name in sorted(present.keys() | was.keys() | views.keys()):
        what = _what(base, name, present.get(name), was.get(name), views.get(name))
        if what:
            found.append(Change(store="mongo", dataset=name, what=what))  # type: ignore[arg-type]
    return found


def stage(base: Database[Document], dataset: Dataset, one: Mapping[str, Any]) -> None:
    """A new collection of the old shape, filled by the server. Raises NoBaseline where that makes
    something else than there was."""
    name = dataset.name
    if not one["copied"]:
        raise NoBaseline(f"{name} is capped or a time series, which no server copies")
    staged = NEW + name
    base.command("create", staged, **design.created(dataset))
    indexes = design.indexed(dataset)
    if dataset.options.get("ttl", "hold") == "hold":
        indexes = [{k: v for k, v in i.items() if k != "expireAfterSeconds"} for i in indexes]
    try:
        base[BASE + name].aggregate([{"$out": staged}], bypassDocumentValidation=True)
        if indexes:  # afterwards: not every server keeps those that `$out` finds
            base.command("createIndexes", staged, indexes=indexes)
    except OperationFailure:
        raise NoBaseline(f"the server does not copy {name}") from None
    if shape(base, staged) != one["shape"] or digest(base, staged) != one["digest"]:
        raise NoBaseline(f"the server's copy of {name} is not the same")


def dataset(one: Mapping[str, Any]) -> Dataset:
    return Dataset(store="mongo", name=one["name"], options=design.from_text(one["options"]))


def shape(base: Database[Document], name: str) -> str:
    """Options and indexes, as text."""
    found = next(iter(base.list_collections(filter={"name": name})), None)
    options = dict(found["options"]) if found else {}
    kept = {key: options[key] for key in sorted(options) if key in design.CARRIED}
    indexes = [design.told(index) for index in base[name].list_indexes()]
    return design.to_text([kept, sorted(design.to_text(i) for i in indexes if i)])


def digest(base: Database[Document], name: str) -> str:
    """Of every document's bytes."""
    hashed = hashlib.blake2b(digest_size=16)
    batch: Any
    with doing(f"comparing {name}"):
        for batch in base[name].find_raw_batches({}, sort=[("_id", 1)]):
            hashed.update(batch)
    return hashed.hexdigest()


def _what(base: Database[Document], name: str, now: Any, was: Any, view: design.View | None) -> str:
    if now is None:
        return "removed"
    if was is None and view is None:
        return "added"
    if (now["type"] == "view") != (view is not None):
        return "altered"
    if view is not None:
        return "" if design.view(name, now["options"]) == view else "altered"
    if shape(base, name) != was["shape"]:
        return "altered"
    return "" if digest(base, name) == was["digest"] else "rows"
