"""Keeps a pristine copy of each collection beside it, made by the server, and tells what changed.

A collection is told by its shape (options, indexes) and its documents. Where the server tells which
of them were written (`stream`), those alone are compared with the pristine ones and put back; else
a digest of all documents in the order of their ids says whether any changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo.database import Database
from pymongo.errors import OperationFailure

from sandbox.errors import NoBaseline
from sandbox.model import Change, Dataset
from sandbox.stores.mongo import design, patch, stream
from sandbox.stores.mongo.session import BASE, MARKER, NEW, Document, doing, is_own_name

KEPT = "base"  # the document beside the marker
ORDERED = ("capped", "timeseries")  # which `$out` does not fill


@dataclass(frozen=True, kw_only=True)
class Look:
    """What is not as it was loaded. `patches`: collections that go back document by document;
    `now`: the moment up to which the server told of writes, None where it tells nothing."""

    changes: Sequence[Change]
    patches: Mapping[str, patch.Patch]
    now: stream.Since | None


def keep(base: Database[Document], datasets: Sequence[Dataset], views: bytes, name: str) -> None:
    """Copy what is staged; the baseline's name goes last."""
    forget(base)
    whole = {
        dataset.name: any(option in design.created(dataset) for option in ORDERED)
        for dataset in datasets
    }
    for dataset in datasets:
        if not whole[dataset.name]:
            with doing(f"keeping {dataset.name}"):
                base[NEW + dataset.name].aggregate([{"$out": BASE + dataset.name}])
    with doing("marking the moment"):
        now = stream.mark(base)  # what is written from here on is told
    kept = []
    for dataset in datasets:
        staged = NEW + dataset.name
        kept.append(
            {
                "name": dataset.name,
                "options": design.to_text(dict(dataset.options)),
                "shape": shape(base, staged),
                "digest": digest(base, staged),
                "copied": not whole[dataset.name],
                **({} if whole[dataset.name] else told_since(base, staged, now)),
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


def told_since(base: Database[Document], name: str, now: stream.Since | None) -> Document:
    """What is kept of a collection that is as it was loaded at this moment."""
    uuid = None if now is None else _listed(base, name).get("info", {}).get("uuid")
    return {} if now is None or uuid is None else {"uuid": uuid, "since": now.document()}


def advance(base: Database[Document], since: Mapping[str, Document]) -> None:
    """From now on a look begins later. Safe to repeat."""
    record = base[MARKER].find_one({"_id": KEPT})
    if record is None or not since:
        return
    for one in record["collections"]:
        one.update(since.get(one["name"], {}))
    base[MARKER].replace_one({"_id": KEPT}, record)


def look(base: Database[Document], record: Mapping[str, Any]) -> Look:
    """Collections and views that are not as they were loaded."""
    present = {c["name"]: c for c in base.list_collections() if not is_own_name(c["name"])}
    was = {one["name"]: one for one in record["collections"]}
    views = {view.name: view for view in design.views_from_text(record["views"].encode())}
    touched, now = stream.read(base, _begun(present, was)) or ({}, None)
    found, patches = [], {}
    for name in sorted(present.keys() | was.keys() | views.keys()):
        what = _shape(base, name, present.get(name), was.get(name), views.get(name))
        rows = None
        if not what and name in was:
            made = _patch(base, name, touched.get(name))
            if made is None:
                what = "" if digest(base, name) == was[name]["digest"] else "rows"
            elif made.rows:
                what, rows, patches[name] = "rows", made.rows, made
        if what:
            change = Change(store="mongo", dataset=name, what=what, rows=rows)  # type: ignore[arg-type]
            found.append(change)
    return Look(changes=found, patches=patches, now=now)


def _begun(
    present: Mapping[str, Any], was: Mapping[str, Mapping[str, Any]]
) -> dict[str, stream.Since]:
    """The moments from which writes count, of collections that are still the same ones."""
    return {
        name: stream.since(one["since"])
        for name, one in was.items()
        if "since" in one and present.get(name, {}).get("info", {}).get("uuid") == one["uuid"]
    }


def _patch(
    base: Database[Document], name: str, touched: stream.Touched | None
) -> patch.Patch | None:
    """None where all of the collection has to be read."""
    if touched is None or touched.whole:
        return None
    with doing(f"comparing {name}"):
        return patch.compare(base[name], base[BASE + name], list(touched.ids.values()))


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
    options = _listed(base, name).get("options", {})
    kept = {key: options[key] for key in sorted(options) if key in design.CARRIED}
    indexes = [design.told(index) for index in base[name].list_indexes()]
    return design.to_text([kept, sorted(design.to_text(i) for i in indexes if i)])


def _listed(base: Database[Document], name: str) -> Mapping[str, Any]:
    """What the server says of a collection; nothing of one that is not there."""
    return next(iter(base.list_collections(filter={"name": name})), {})


def digest(base: Database[Document], name: str) -> str:
    """Of every document's bytes."""
    hashed = hashlib.blake2b(digest_size=16)
    batch: Any
    with doing(f"comparing {name}"):
        for batch in base[name].find_raw_batches({}, sort=[("_id", 1)]):
            hashed.update(batch)
    return hashed.hexdigest()


def _shape(
    base: Database[Document], name: str, now: Any, was: Any, view: design.View | None
) -> str:
    if now is None:
        return "removed"
    if was is None and view is None:
        return "added"
    if (now["type"] == "view") != (view is not None):
        return "altered"
    if view is not None:
        return "" if design.view(name, now["options"]) == view else "altered"
    return "" if shape(base, name) == was["shape"] else "altered"
