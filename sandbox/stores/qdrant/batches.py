"""The artifact's format for points: JSON lines, each a batch, in the server's own JSON.

    {"count":96,"points":[{"id":1,"payload":{...},"vector":[...]}, ...]}

UTF-8 without \\u escapes but for control characters. `vector` is a list of numbers, a list of lists
(multi vectors), or an object of names to either of them or to {"indices":[...],"values":[...]}.
Numbers are float32 in their shortest form, so a copy of a copy is the same. What is kept as it is
never gets parsed: a server's answer becomes a line, and a line becomes a request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

import orjson

from sandbox.contract import Mask
from sandbox.errors import SnapshotBroken
from sandbox.model import Point

PIECE = 1 << 20  # bytes
LARGEST = 512  # points in a batch
HEAD = re.compile(rb'"result":\{"points":(?=\[)')
TAIL = re.compile(rb'\],"next_page_offset":(null|\d+|"[0-9a-fA-F-]{32,36}")\}')
TAIL_WITHIN = 600  # bytes from the end
LINE = re.compile(rb'\{"count":(\d+),"points":(?=\[)')


def line(count: int, points: bytes) -> bytes:
    """One batch; `points` is a JSON array."""
    return b'{"count":%d,"points":%b}\n' % (count, points)


def request(one: bytes) -> tuple[int, bytes]:
    """A line -> how many points, and the body of the request that stores them."""
    match = LINE.match(one)
    if match is None or not one.endswith(b"]}"):
        raise SnapshotBroken("a line of the stream is no batch of points", where="qdrant")
    return int(match[1]), b'{"points":' + one[match.end() :]


def cut_answer(answer: bytes) -> tuple[bytes, Any]:
    """A scroll's answer -> the JSON array of its points, and where to go on (None: nowhere).

    The text is cut where Qdrant's layout is certain, and parsed otherwise. The last match is the
    real one: before it, quotes inside of strings are escaped, and keys of payloads stand deeper.
    """
    head = HEAD.search(answer, 0, TAIL_WITHIN)
    tails = list(TAIL.finditer(answer, max(0, len(answer) - TAIL_WITHIN)))
    if head and tails and tails[-1].start() >= head.end():
        return answer[head.end() : tails[-1].start() + 1], orjson.loads(tails[-1][1])
    result = orjson.loads(answer)["result"]
    return orjson.dumps(result["points"]), result.get("next_page_offset")


def masked(points: bytes, collection: str, mask: Mask, *, many: bool) -> tuple[int, bytes]:
    """A JSON array of points through the mask. `many`: there are more, in this or other arrays."""
    read = [
        Point(id=raw["id"], vector=raw.get("vector"), payload=raw.get("payload") or {})
        for raw in parsed(points, many=many)
    ]
    out = [
        {"id": made.id, "payload": made.payload, "vector": made.vector}
        for made in mask.points(collection, read)
    ]
    return len(out), orjson.dumps(out, option=orjson.OPT_SERIALIZE_NUMPY)


def parsed(points: bytes, *, many: bool) -> list[dict[str, Any]]:
    """Vectors as arrays, where a compiled loop can read them."""
    apart = _apart() if many else None
    if apart is None:
        found: list[dict[str, Any]] = orjson.loads(points)
        return found
    text, held = apart(points)
    found = orjson.loads(text)
    for one in found:
        vector = one.get("vector")
        if isinstance(vector, int):
            one["vector"] = held[vector]
        elif isinstance(vector, dict):
            named = vector.items()
            one["vector"] = {n: held[v] if isinstance(v, int) else v for n, v in named}
    return found


@cache
def _apart() -> Callable[[bytes], tuple[bytes, list[Any]]] | None:
    """The compiled loop, where there is a compiler."""
    try:
        from sandbox.stores.qdrant.vectors import apart
    except ImportError:
        return None
    return apart


def lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """A stream's lines, whatever pieces it comes in. Raises SnapshotBroken at a cut-off end."""
    held: list[bytes] = []
    for piece in pieces:
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            yield b"".join([*held, piece[start:end]])
            held = []
            start = end + 1
        if start < len(piece):
            held.append(piece[start:])
    if held:
        raise SnapshotBroken("the stream of points is cut off", where="qdrant")


def halves(body: bytes) -> list[bytes]:
    """A request that was too large, as two; empty when one point alone is too large."""
    points = orjson.loads(body)["points"]
    if len(points) < 2:
        return []
    middle = len(points) // 2
    return [orjson.dumps({"points": part}) for part in (points[:middle], points[middle:])]


def batch_size(sample: bytes, count: int) -> int:
    """How many points make about 1 MiB, by a first answer's length."""
    each = max(1, len(sample) // max(1, count))
    return max(1, min(LARGEST, PIECE // each))


def strings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a payload, keys included, with its path: `owner.email`, `tags[]`."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, one in value.items():
            below = f"{path}.{key}" if path else key
            yield below, key
            yield from strings(one, below)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one, f"{path}[]")
