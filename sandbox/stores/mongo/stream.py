"""Which documents were written since a load, told by the server's own record of all writes.

A replica set, of one member too, keeps an oplog and lets it be read as a change stream. A look
begins at a document that was written then (`Since`) and ends at one that is written now. Where the
first one is not met, the record does not reach back that far, and nothing is known.
https://www.mongodb.com/docs/manual/changeStreams/
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import bson
from pymongo.database import Database
from pymongo.errors import OperationFailure
from pymongo.write_concern import WriteConcern

from sandbox.stores.mongo.session import MARKER, NEW, OLD, Document, key

SENTINEL = "since"  # a document beside the marker, written to be met in the stream
WITHIN_S = 30.0  # an end that does not come by then is not waited for
AWAIT_MS = 200
WRITES = ("insert", "update", "replace", "delete")
MOST = 200_000  # documents whose ids are held


@dataclass(frozen=True, kw_only=True)
class Since:
    """A moment: the sentinel that was written then, and where the stream stood shortly before."""

    nonce: str
    token: Mapping[str, Any]
    time: bson.Timestamp

    def document(self) -> Document:
        return asdict(self)


def since(document: Mapping[str, Any]) -> Since:
    return Since(**document)


def mark(base: Database[Document]) -> Since | None:
    """This moment; None on a server without a record of its writes, or that does not show it."""
    hello = base.client.admin.command("hello")
    if "setName" not in hello or hello.get("msg") == "isdbgrid":
        return None
    at = base.client.admin.command("ping").get("operationTime")
    try:
        with base.watch([], max_await_time_ms=AWAIT_MS) as stream:
            token = stream.resume_token
    except OperationFailure:
        return None
    if at is None or token is None:
        return None
    made = Since(nonce=secrets.token_hex(16), token=token, time=at)
    marks = base.get_collection(MARKER, write_concern=WriteConcern("majority"))
    marks.replace_one({"_id": SENTINEL}, {"nonce": made.nonce}, upsert=True)
    return made


class Touched:
    """What a stream told of one collection: ids of documents that were written, or that it was
    something else for a while (`whole`)."""

    def __init__(self) -> None:
        self.ids: dict[bytes, Any] = {}
        self.whole = False

    def add(self, identity: Any) -> None:
        self.ids[key(identity)] = identity
        self.whole |= len(self.ids) > MOST


def read(
    base: Database[Document], begun: Mapping[str, Since]
) -> tuple[dict[str, Touched], Since] | None:
    """What was written to each of these collections since its moment, and the moment now. None
    where the server cannot tell."""
    if not begun:
        return None
    try:
        now = mark(base)
        return None if now is None else (_read(base, begun, now), now)
    except (OperationFailure, Incomplete):  # no right, the history is lost, no end in sight
        return None


class Incomplete(Exception):
    """The stream does not reach from the beginning to the end."""


def _read(base: Database[Document], begun: Mapping[str, Since], now: Since) -> dict[str, Touched]:
    found = {name: Touched() for name in begun}
    met: set[str] = set()
    for event in _events(base, begun, now):
        kind, place = event["operationType"], event["ns"].get("coll", "")
        if place == MARKER:
            met.add(event.get("nonce", ""))
            continue
        for name in _concerned(event, begun, met):
            if kind in WRITES:
                found[name].add(event["documentKey"]["_id"])
            elif not _by_us(event, name):
                found[name].whole = True
    if not {one.nonce for one in begun.values()} <= met:
        raise Incomplete
    return found


def _concerned(
    event: Mapping[str, Any], begun: Mapping[str, Since], met: Collection[str]
) -> Iterator[str]:
    """The collections whose look has begun and that stand at the event's place."""
    names = {_bare(place) for place in _places(event)}
    return (name for name in names if name in begun and begun[name].nonce in met)


def _places(event: Mapping[str, Any]) -> set[str]:
    """The collections that an event names, both of a rename."""
    return {event["ns"].get("coll", ""), event.get("to", {}).get("coll", "")}


def _bare(name: str) -> str:
    return name.removeprefix(NEW).removeprefix(OLD)


def _by_us(event: Mapping[str, Any], name: str) -> bool:
    """Whether it is a step of a load or reset, which never make one collection of another. What
    else made a collection anew gave it another UUID, which is looked at first."""
    places = _places(event)
    if event["operationType"] == "rename":
        return places in ({NEW + name, name}, {name, OLD + name})
    return name not in places


def _events(
    base: Database[Document], begun: Mapping[str, Since], now: Since
) -> Iterator[Mapping[str, Any]]:
    """Events at these collections up to the end, what they hold left out."""
    names = [prefix + name for name in begun for prefix in ("", NEW, OLD)]
    here = {"$in": [*names, MARKER]}
    shown = {"operationType": 1, "ns": 1, "to": 1, "documentKey": 1, "nonce": "$fullDocument.nonce"}
    pipeline: Sequence[Document] = [
        {"$match": {"$or": [{"ns.coll": here}, {"to.coll": here}]}},
        {"$project": shown},
    ]
    first = min(begun.values(), key=lambda one: one.time)
    end = time.monotonic() + WITHIN_S
    with base.watch(
        pipeline, resume_after=first.token, batch_size=5_000, max_await_time_ms=AWAIT_MS
    ) as stream:
        while stream.alive and time.monotonic() < end:
            event = stream.try_next()
            if event is None:
                continue
            yield event
            if event.get("nonce") == now.nonce and event["ns"].get("coll") == MARKER:
                return
    raise Incomplete
