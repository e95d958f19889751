"""What changed in a collection since its load, told by the versions of its points, and the way back
of those points from a pristine copy on the same server.

A point's version is the number of the operation that touched it last; nobody can set it. Only
points whose version is another than after the load are read. Where the server cannot tell every
version (sparse vectors only, a limit of its strict mode), the caller has to read everything.
"""

from __future__ import annotations

import base64
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeVar

import orjson

from sandbox.errors import NoBaseline
from sandbox.stores.qdrant import collections, markers
from sandbox.stores.qdrant.rest import AT_A_TIME, Answered, Rest

Id = int | str
T = TypeVar("T")
AT_ONCE = 256  # points in one request
MOST = 16 << 20  # bytes of versions that are kept; a request takes 32 MB by default
FEW = 1_000  # points that are always put back one by one; of a large collection, a quarter


@dataclass(frozen=True, kw_only=True)
class Difference:
    """`old`: what the points that go away or change hold now, as JSON by id; `new`: what comes.
    A point of `new` only is missing now, one of `old` only was not loaded."""

    old: Mapping[Id, bytes]
    new: Mapping[Id, bytes]

    @property
    def rows(self) -> int:
        return len({*self.old, *self.new})


def shape(info: Mapping[str, Any]) -> str:
    """The whole configuration and the payload indexes, as a digest."""
    text = orjson.dumps(collections.options(info), option=orjson.OPT_SORT_KEYS)
    return blake2b(text, digest_size=16).hexdigest()


def make_base(rest: Rest, name: str, number: int, wanted: Mapping[str, Any]) -> str:
    """An empty collection for the pristine copy: on disk, without any index."""
    base = markers.based(name, number)
    body = collections.creation(wanted, indexing=False)
    body.pop("quantization_config", None)
    body["on_disk_payload"] = True
    vectors = body.get("vectors") or {}
    if "size" in vectors:
        body["vectors"] = _on_disk(vectors)
    else:
        body["vectors"] = {key: _on_disk(one) for key, one in vectors.items()}
    rest.result("DELETE", ["collections", base])
    rest.result("PUT", ["collections", base], body)
    return base


def note(rest: Rest, name: str, number: int) -> None:
    """Keep the version of every point, where the server tells them all."""
    found = _versions(rest, markers.numbered(name, number))
    forget(rest, name, number)
    if found is None or not _tells(rest, markers.based(name, number)):
        return
    packed = base64.b64encode(zlib.compress(orjson.dumps(list(found.items())), 1))
    if len(packed) <= MOST:
        markers.write(rest, name, _place("versions", number), {"versions": packed.decode()})


def forget(rest: Rest, name: str, number: int) -> None:
    for what in ("versions", "restored", "rewind"):
        markers.forget(rest, name, _place(what, number))


def look(rest: Rest, name: str, number: int) -> Difference | None:
    """What is not as it was loaded; None where it cannot be told from versions."""
    kept = markers.read(rest, name, _place("versions", number))
    present = _versions(rest, markers.numbered(name, number)) if kept else None
    if kept is None or present is None:
        return None
    loaded = dict(orjson.loads(zlib.decompress(base64.b64decode(kept["versions"]))))
    clean = {**loaded, **_restored(rest, name, number)}
    touched = [one for one, version in present.items() if clean.get(one) != version]
    missing = [one for one in loaded if one not in present]
    now = fetch(rest, markers.numbered(name, number), touched)
    was = fetch(rest, markers.based(name, number), [*touched, *missing])
    if any(one in loaded and one not in was for one in (*touched, *missing)):
        raise NoBaseline("its pristine copy is not whole", where="qdrant", hint="./inv load")
    differ = {one for one in {*now, *was} if now.get(one) != was.get(one)}
    return Difference(
        old={one: text for one, text in now.items() if one in differ},
        new={one: text for one, text in was.items() if one in differ},
    )


# --- the way back ---------------------------------------------------------------------------------


def stage(rest: Rest, name: str, number: int, found: Difference, wanted: Mapping[str, Any]) -> None:
    """Keep what will be undone, beside, so that it can be undone in turn."""
    if found.rows > max(FEW, _count(rest, markers.numbered(name, number)) // 4):
        raise NoBaseline(f"{found.rows:,} of its points changed")
    journal = markers.numbered(name, number + 1)
    rest.result("PUT", ["collections", journal], collections.creation(wanted, indexing=False))
    put(rest, journal, found.old.values())
    facts = {
        "state": "staged",
        "old": list(found.old),
        "new": list(found.new),
        "digests": list(map(_digest, found.new.values())),
    }
    markers.write(rest, name, _place("rewind", number), facts)


def state(rest: Rest, name: str, number: int) -> str:
    """`staged`, `going`, `done`, or "" where nothing is under way."""
    found = markers.read(rest, name, _place("rewind", number))
    return str(found["state"]) if found else ""


def swap(rest: Rest, name: str, number: int) -> None:
    """May be called again after an interruption."""
    facts = _facts(rest, name, number, "going")
    _exchange(rest, name, number, markers.based(name, number), facts["new"], facts["old"])
    _facts(rest, name, number, "done")


def undo(rest: Rest, name: str, number: int) -> None:
    facts = _facts(rest, name, number, "going")
    journal = markers.numbered(name, number + 1)
    _exchange(rest, name, number, journal, facts["old"], facts["new"])
    markers.forget(rest, name, _place("rewind", number))


def drop(rest: Rest, name: str, number: int) -> None:
    """Forget a way back that was staged and not gone."""
    markers.forget(rest, name, _place("rewind", number))


def settle(rest: Rest, name: str, number: int) -> None:
    """What was put back counts as loaded, if it is still what was put there."""
    facts = markers.read(rest, name, _place("rewind", number)) or {}
    present, restored = markers.numbered(name, number), _restored(rest, name, number)
    wanted = dict(zip(facts.get("new", ()), facts.get("digests", ()), strict=False))

    def still(part: list[Id]) -> dict[Id, Any]:
        versions = _versions(rest, present, part) or {}
        now = fetch(rest, present, part)
        again = _versions(rest, present, part) or {}
        return {
            one: versions.get(one)
            for one, point in now.items()
            # Read between two looks at the same version: it is of that version.
            if _digest(point) == wanted[one] and versions.get(one) == again.get(one)
        }

    for found in _side_by_side(still, list(wanted)):
        restored |= found
    payload = {"restored": list(restored.items())}
    markers.write(rest, name, _place("restored", number), payload)
    markers.forget(rest, name, _place("rewind", number))


def put(rest: Rest, collection: str, points: Iterable[bytes]) -> None:
    for part in _parts(list(points)):
        body = b'{"points":[' + b",".join(part) + b"]}"
        rest.result("PUT", ["collections", collection, "points"], body, wait="true")


def fetch(rest: Rest, collection: str, ids: Sequence[Id]) -> dict[Id, bytes]:
    """Points by id, as JSON that is the same for the same point."""
    path = ["collections", collection, "points"]

    def read(part: list[Id]) -> dict[Id, bytes]:
        body = {"ids": part, "with_payload": True, "with_vector": True}
        return {point["id"]: _told(point) for point in rest.result("POST", path, body)}

    found: dict[Id, bytes] = {}
    for some in _side_by_side(read, ids):
        found |= some
    return found


def _told(point: Mapping[str, Any]) -> bytes:
    kept = {
        "id": point["id"],
        "payload": point.get("payload") or {},
        "vector": point.get("vector") or {},
    }
    return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)


def _exchange(
    rest: Rest, name: str, number: int, source: str, come: Sequence[Id], go: Sequence[Id]
) -> None:
    present = markers.numbered(name, number)
    _side_by_side(lambda part: put(rest, present, fetch(rest, source, part).values()), come)
    stay = set(come)
    path = ["collections", present, "points", "delete"]
    _side_by_side(
        lambda part: rest.result("POST", path, {"points": part}, wait="true"),
        [one for one in go if one not in stay],
    )


def _facts(rest: Rest, name: str, number: int, new_state: str) -> dict[str, Any]:
    """What was staged, its state changed on disk first."""
    found = markers.read(rest, name, _place("rewind", number)) or {}
    markers.write(rest, name, _place("rewind", number), {**found, "state": new_state})
    return found


def _restored(rest: Rest, name: str, number: int) -> dict[Id, Any]:
    found = markers.read(rest, name, _place("restored", number)) or {}
    return dict(found.get("restored", ()))


# --- versions -------------------------------------------------------------------------------------


def _versions(
    rest: Rest, collection: str, only: Sequence[Id] | None = None
) -> dict[Id, int] | None:
    """The version of every point, or of those of `only`. An exact search sees them all, and tells
    versions, which reading by id does not. None where it does not see all of them."""
    info = rest.result("GET", ["collections", collection])
    count = _count(rest, collection) if only is None else len(only)
    asked = _anything(info)
    if asked is None:
        return None
    body = {
        **asked,
        "limit": max(count, 1),
        "params": {"exact": True},
        "with_payload": False,
        "with_vector": False,
    }
    if only is not None:
        body["filter"] = {"must": [{"has_id": list(only)}]}
    try:
        points = rest.result("POST", ["collections", collection, "points", "query"], body)["points"]
    except Answered:
        return None
    found = {one["id"]: int(one["version"]) for one in points}
    return found if len(found) == count or only is not None else None


def _tells(rest: Rest, base: str) -> bool:
    """Whether versions rise on this server, tried with a point of the pristine copy."""
    path = ["collections", base, "points", "scroll"]
    some = [one["id"] for one in rest.result("POST", path, {"limit": 1})["points"]]
    before = _versions(rest, base, some) or {}
    put(rest, base, fetch(rest, base, some).values())
    after = _versions(rest, base, some) or {}
    return all(after.get(one, 0) > before.get(one, 0) for one in some)


def _anything(info: Mapping[str, Any]) -> dict[str, Any] | None:
    """A query that every point with a dense vector answers."""
    vectors = (info["config"].get("params") or {}).get("vectors") or {}
    named = {"": vectors} if "size" in vectors else vectors
    for name, one in named.items():
        vector: Any = [1.0] + [0.0] * (int(one["size"]) - 1)
        if one.get("multivector_config"):
            vector = [vector]
        return {"query": vector, **({"using": name} if name else {})}
    return None


def _count(rest: Rest, collection: str) -> int:
    path = ["collections", collection, "points", "count"]
    return int(rest.result("POST", path, {"exact": True})["count"])


def _parts(values: Sequence[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(values), AT_ONCE):
        yield list(values[start : start + AT_ONCE])


def _side_by_side(job: Callable[[list[Id]], T], ids: Sequence[Id]) -> list[T]:
    """What it says of each part of the ids, a few requests on their way at a time."""
    parts = list(_parts(ids))
    if len(parts) < 2:
        return list(map(job, parts))
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return list(pool.map(job, parts))


def _digest(point: bytes) -> str:
    return blake2b(point, digest_size=8).hexdigest()


def _on_disk(vector: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: one for key, one in vector.items() if key != "quantization_config"}
    return {**kept, "on_disk": True}


def _place(what: str, number: int) -> str:
    """Where it stands in the marker collection."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"sandbox:{what}:{number}"))
