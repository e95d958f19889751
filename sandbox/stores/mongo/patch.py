"""Documents of one collection that go back to what a pristine copy holds, one by one.

Each that differs is staged twice, as it comes (`__new__.`) and as it goes (`__old__.`): a document
of its id, with the other one inside, or nothing where there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import ReplaceOne
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError, PyMongoError

from sandbox.errors import NoBaseline
from sandbox.stores.mongo.session import LOSSLESS, NEW, OLD, Document, key

AT_ONCE = 500  # documents
FEW = 1_000  # documents that may always go back one by one; of a large collection, a quarter
MOST_BYTES = 64 << 20  # of documents that differ: they are held in memory
RAW: CodecOptions[RawBSONDocument] = LOSSLESS.with_options(document_class=RawBSONDocument)
T = TypeVar("T")
Raw = Mapping[bytes, RawBSONDocument]  # by the id's bytes


@dataclass(frozen=True, kw_only=True)
class Patch:
    """`old`: documents that go away or change, as they are; `new`: as they come; by `ids`."""

    ids: Mapping[bytes, Any]
    old: Raw
    new: Raw

    @property
    def rows(self) -> int:
        return len(self.ids)


def compare(
    present: Collection[Document], base: Collection[Document], touched: Sequence[Any]
) -> Patch | None:
    """Of these ids, the documents that differ to the byte. None where they are too many."""
    ids: dict[bytes, Any] = {}
    old: dict[bytes, RawBSONDocument] = {}
    new: dict[bytes, RawBSONDocument] = {}
    size = 0
    for part in _parts(touched):
        now, was = _fetch(present, part), _fetch(base, part)
        for place in now.keys() | was.keys():
            here, there = now.get(place), was.get(place)
            if here is not None and there is not None and here.raw == there.raw:
                continue
            for held, one in ((old, here), (new, there)):
                if one is not None:
                    held[place], ids[place] = one, one["_id"]
                    size += len(one.raw)
        if size > MOST_BYTES or (len(ids) > FEW and len(ids) > _quarter(base)):
            return None
    return Patch(ids=ids, old=old, new=new)


def _quarter(collection: Collection[Any]) -> int:
    return int(collection.estimated_document_count()) // 4


def stage(base: Database[Document], name: str, one: Patch) -> None:
    """Raises NoBaseline where a document does not fit into another."""
    for prefix, held in ((NEW, one.new), (OLD, one.old)):
        staged: Collection[Any] = base[prefix + name]
        rows: list[Document] = [
            {"_id": identity, **({"is": held[place]} if place in held else {})}
            for place, identity in one.ids.items()
        ]
        try:
            for part in _parts(rows):
                staged.insert_many(part, ordered=False)
        except PyMongoError:
            raise NoBaseline(f"documents of {name} are too large to go back one by one") from None


def apply(base: Database[Document], prefix: str, name: str) -> None:
    """Put what is staged in place; may be run again from the beginning."""
    staged, target = _raw(base[prefix + name]), _raw(base[name])
    gone = [one["_id"] for one in staged.find({"is": {"$exists": False}}, {"_id": 1})]
    for part in _parts(gone):
        target.delete_many({"_id": {"$in": part}})
    try:
        for held in _staged(staged):
            puts = [ReplaceOne({"_id": one["_id"]}, one["is"], upsert=True) for one in held]
            target.bulk_write(puts, ordered=False, bypass_document_validation=True)
    except BulkWriteError:  # two documents exchange what must be unique: all of them go first
        ids = [one["_id"] for one in staged.find({}, {"_id": 1})]
        for part in _parts(ids):
            target.delete_many({"_id": {"$in": part}})
        for held in _staged(staged):
            target.insert_many([one["is"] for one in held], bypass_document_validation=True)


def _staged(staged: Collection[RawBSONDocument]) -> Iterator[list[RawBSONDocument]]:
    return _parts(staged.find({"is": {"$exists": True}}))


def _fetch(collection: Collection[Document], ids: Sequence[Any]) -> dict[bytes, RawBSONDocument]:
    found = _raw(collection).find({"_id": {"$in": list(ids)}})
    return {key(one["_id"]): one for one in found}


def _raw(collection: Collection[Any]) -> Collection[RawBSONDocument]:
    return collection.with_options(codec_options=RAW)


def _parts(values: Iterable[T]) -> Iterator[list[T]]:
    left = iter(values)
    while part := list(islice(left, AT_ONCE)):
        yield part
