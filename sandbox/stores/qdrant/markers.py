"""Whose a space is. Qdrant keeps no notes with a collection, so there is a small collection beside:
`<name>__sandbox`, with one point for each numbered collection (its id is the number) and point 0
for a space whose collection has no number, as production's. A login's token names a point of its
own there, and counts only while it is there."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

from sandbox.errors import Refused
from sandbox.model import Marker
from sandbox.stores.qdrant.collections import PLACEHOLDER
from sandbox.stores.qdrant.rest import Answered, Rest, aliases
from sandbox.stores.qdrant.tokens import marker_collection


def numbered(name: str, number: int) -> str:
    return f"{name}__{number}"


def based(name: str, number: int) -> str:
    """The pristine copy of a numbered collection."""
    return f"{numbered(name, number)}__base"


def base_of(name: str, collection: str) -> int:
    """3 for `name__3__base`; 0 for anything else."""
    return number_of(name, collection.removesuffix("__base")) if "__base" in collection else 0


def number_of(name: str, collection: str) -> int:
    """3 for `name__3`; 0 for anything else."""
    match = re.fullmatch(rf"{re.escape(name)}__([0-9]+)", collection)
    return int(match[1]) if match else 0


def of_space(rest: Rest, name: str) -> Marker | None:
    """The marker of what `name` stands for now."""
    present = number_of(name, aliases(rest).get(name, ""))
    return as_marker(read(rest, name, present))


def as_marker(found: dict[str, Any] | None) -> Marker | None:
    if found is None:
        return None
    try:
        return Marker(**found["marker"])
    except (KeyError, TypeError):
        raise Refused("its marker cannot be read", where="qdrant") from None


def read(rest: Rest, name: str, number: int | str) -> dict[str, Any] | None:
    """A marker's payload: `marker`, and of a loaded collection `previous`, the number that it
    replaced, until the load is settled. None where there is none, or it is not ours to see."""
    path = ["collections", marker_collection(name), "points", str(number)]
    try:
        found = rest.result("GET", path)
    except Answered as error:
        if error.status == 404:
            return None
        raise
    except Refused:
        return None
    payload: dict[str, Any] = found["payload"] or {}
    return payload


def write(rest: Rest, name: str, number: int | str, payload: dict[str, Any]) -> None:
    body = {"points": [{"id": number, "vector": [1.0], "payload": payload}]}
    path = ["collections", marker_collection(name), "points"]
    rest.result("PUT", path, body, wait="true")


def forget(rest: Rest, name: str, number: int | str) -> None:
    path = ["collections", marker_collection(name), "points", "delete"]
    rest.result("POST", path, {"points": [number]}, wait="true")


def ensure_collection(rest: Rest, name: str) -> None:
    own = marker_collection(name)
    if rest.found(["collections", own]) is None:
        rest.result("PUT", ["collections", own], {**PLACEHOLDER, "shard_number": 1})


def payload(marker: Marker, **more: Any) -> dict[str, Any]:
    return {"marker": asdict(marker), **more}
