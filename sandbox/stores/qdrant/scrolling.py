"""A collection's points page by page: in the order of their ids, or from several places at once.

A page begins at an id, so ranges need no filter: each is scrolled from its first id on until the
next one's. Bounds are ids of points that the server draws, which a token for reading may ask for.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from uuid import UUID

import orjson

from sandbox.stores.qdrant import batches
from sandbox.stores.qdrant.rest import AT_A_TIME, Answered, Rest
from sandbox.stores.streams import side_by_side

FIRST = 8  # points, to learn how large they are
RANGE_BYTES = 64 << 20  # a collection smaller than this is scrolled from one place
SAMPLES = 32  # ids looked at for each bound
Page = tuple[bytes, int]  # a JSON array, and how many points where that is certain without a look
Id = int | str


def scroll(rest: Rest, name: str, *, with_vector: bool) -> Iterator[Page]:
    """All points in the order of their ids; while one page is looked at, the next is on its way."""
    return side_by_side([_range(rest, name, None, None, with_vector=with_vector)])


def scroll_ranges(rest: Rest, name: str, size: int, *, with_vector: bool) -> Iterator[Page]:
    """All points, in no order; `size`: about how many bytes they are."""
    edges = [None, *bounds(rest, name, min(AT_A_TIME, size // RANGE_BYTES)), None]
    return side_by_side(
        [_range(rest, name, first, end, with_vector=with_vector) for first, end in pairwise(edges)]
    )


def bounds(rest: Rest, name: str, ranges: int) -> list[Id]:
    """Up to `ranges - 1` ids, ascending; none where the server draws no points (before 1.11)."""
    if ranges < 2:
        return []
    body = {"query": {"sample": "random"}, "limit": SAMPLES * ranges, "with_payload": False}
    try:
        drawn = rest.result("POST", ["collections", name, "points", "query"], body)["points"]
    except Answered:
        return []
    ids = sorted((one["id"] for one in drawn), key=order)
    places = (number * len(ids) // ranges for number in range(1, ranges))
    return list(dict.fromkeys(ids[place] for place in places if ids))


def order(identity: Id) -> tuple[int, int]:
    """Qdrant's own: numbers, then UUIDs."""
    return (0, identity) if isinstance(identity, int) else (1, UUID(identity).int)


def _range(
    rest: Rest, name: str, first: Id | None, end: Id | None, *, with_vector: bool
) -> Iterator[Page]:
    limit = FIRST
    offset: Id | None = first
    while True:
        body: dict[str, Any] = {"limit": limit, "with_payload": True, "with_vector": with_vector}
        if offset is not None:
            body["offset"] = offset
        answer = rest.raw("POST", ["collections", name, "points", "scroll"], body)
        points, offset = batches.cut_answer(answer)
        if end is not None and (offset is None or order(offset) >= order(end)):
            yield before(points, end), 0
            return
        # A page that is followed by another is full.
        yield points, 0 if offset is None else limit
        if offset is None:
            return
        limit = batches.batch_size(points, limit)


def before(points: bytes, end: Id) -> bytes:
    """The points of a range's last page that are not the next one's."""
    read = orjson.loads(points)
    kept = [one for one in read if order(one["id"]) < order(end)]
    return points if len(kept) == len(read) else orjson.dumps(kept)
