"""A snapshot's collections as the folder that `mongodump` writes and `mongorestore` reads.

    <folder>/<database>/<collection>.bson            documents, one after the other
    <folder>/<database>/<collection>.metadata.json   options and indexes, canonical extended JSON

A view has metadata only. https://www.mongodb.com/docs/database-tools/mongorestore/
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from bson import json_util

from sandbox.errors import ConfigError
from sandbox.model import Dataset
from sandbox.stores.mongo import design
from sandbox.stores.mongo.session import Document

UNESCAPED = "$&+:=@"  # what Go's url.PathEscape, which names mongodump's files, leaves as it is
SHELL = json_util.RELAXED_JSON_OPTIONS  # mongosh takes it as it stands
LONGEST = 238  # of a collection's name in a file's: longer ones are cut and hashed


def dump(
    folder: Path,
    datasets: Sequence[Dataset],
    catalog: bytes,
    pieces: Callable[[Dataset], Iterable[bytes]],
) -> list[str]:
    """Fill `folder`, which is one database's. Returns what mongorestore will not do, in words.

    A time-series collection is dumped by mongodump as the server's own buckets, which no driver
    reads: its documents stand in a file without metadata, to be restored into a collection that
    was made before.
    """
    folder.mkdir(mode=0o700, parents=True)
    notes: list[str] = []
    for dataset in datasets:
        stem = file_stem(dataset.name)
        with _private(folder / f"{stem}.bson") as file:
            for piece in pieces(dataset):
                file.write(piece)
        options = design.created(dataset)
        if "timeseries" in options:
            told = json_util.dumps({"create": dataset.name, **options}, json_options=SHELL)
            notes.append(f"{dataset.name}: before mongorestore, db.runCommand({told})")
            continue
        indexes, held = _indexes(dataset)
        _metadata(folder, dataset.name, options, indexes, "collection")
        notes += [*held, *design.held_back(dataset)]
    for view in design.views_from_text(catalog):
        options = {"viewOn": view.on, "pipeline": list(view.pipeline)}
        if view.collation:
            options["collation"] = view.collation
        _metadata(folder, view.name, options, [], "view")
    return notes


def file_stem(name: str) -> str:
    stem = quote(name, safe=UNESCAPED)
    if len(stem) > LONGEST:
        raise ConfigError("its name is too long for a file of mongodump", where=f"mongo {name}")
    return stem


def _indexes(dataset: Dataset) -> tuple[list[Document], list[str]]:
    """Those that would delete what was just restored do not, unless the policy says so."""
    wanted = design.indexed(dataset)
    if dataset.options.get("ttl", "hold") == "keep":
        return wanted, []
    held = [index["name"] for index in wanted if "expireAfterSeconds" in index]
    kept = [{k: v for k, v in one.items() if k != "expireAfterSeconds"} for one in wanted]
    return kept, [f"{dataset.name}: index {name} does not expire documents" for name in held]


def _metadata(folder: Path, name: str, options: Any, indexes: Sequence[Any], kind: str) -> None:
    told = {"options": options, "indexes": indexes, "collectionName": name, "type": kind}
    with _private(folder / f"{file_stem(name)}.metadata.json") as file:
        file.write(design.to_text(told).encode())


def _private(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
