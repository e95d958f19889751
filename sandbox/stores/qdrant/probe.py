"""Tries to cross from the playground's token into production, and from the reader's to writing."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from sandbox.contract import Access
from sandbox.errors import SandboxError
from sandbox.model import Attempt
from sandbox.stores.qdrant.access import Denied, Rest

ROW = "Qdrant"
DENIED = "forbidden"
CANARY = 9_007_199_254_740_991  # a point id that nobody uses


class QdrantProber:
    """Writes name a point that does not exist; collections that are made or dropped, a canary."""

    def __init__(self, *, playground: Access, production: Access, reader: Access) -> None:
        self._playground, self._production, self._reader = playground, production, reader
        self._rests: list[Rest] = []

    def attempts(self) -> Iterator[Attempt]:
        own, other = self._playground.space.name, self._production.space.name
        who = self._playground.identity.name
        rest = self._open(self._playground)
        yield _attempt(who, "ask for its own collection", "works", lambda: rest.exists(own))
        target = rest
        if self._playground.endpoint != self._production.endpoint:
            moved = replace(self._production, identity=self._playground.identity)
            target = self._open(moved)
        for tried, run in {**_readings(target, other), **_writings(target, other)}.items():
            yield _attempt(who, tried, DENIED, run)
        for tried, run in _powers(target, own, other).items():
            yield _attempt(who, tried, DENIED, run)
        reader = self._open(self._reader)
        name = self._reader.identity.name
        yield _attempt(name, "read production", "works", lambda: reader.exists(other))
        for tried, run in _writings(reader, other).items():
            yield _attempt(name, tried, DENIED, run)

    def close(self) -> None:
        for rest in self._rests:
            rest.close()

    def _open(self, access: Access) -> Rest:
        rest = Rest(access)
        self._rests.append(rest)
        return rest


def _readings(rest: Rest, other: str) -> dict[str, Callable[[], Any]]:
    at = f"/collections/{other}"
    return {
        "scroll production": lambda: rest.ask("POST", f"{at}/points/scroll", {"limit": 1}),
        "count production": lambda: rest.ask("POST", f"{at}/points/count", {}),
        "fetch a production point": lambda: rest.ask("POST", f"{at}/points", {"ids": [CANARY]}),
        "look at production's settings": lambda: rest.ask("GET", at),
        "list production's snapshots": lambda: rest.ask("GET", f"{at}/snapshots"),
    }


def _writings(rest: Rest, other: str) -> dict[str, Callable[[], Any]]:
    at = f"/collections/{other}"
    ids = {"points": [CANARY]}
    return {
        "delete a production point": lambda: rest.ask("POST", f"{at}/points/delete", ids),
        "set a production payload": lambda: rest.ask(
            "POST", f"{at}/points/payload", {**ids, "payload": {"sandbox": 1}}
        ),
        "clear a production payload": lambda: rest.ask("POST", f"{at}/points/payload/clear", ids),
        "drop a payload index": lambda: rest.ask("DELETE", f"{at}/index/sandbox_canary"),
        "change production's settings": lambda: rest.ask("PATCH", at, {}),
        "delete production's snapshot": lambda: rest.ask(
            "DELETE", f"{at}/snapshots/sandbox_canary"
        ),
    }


def _powers(rest: Rest, own: str, other: str) -> dict[str, Callable[[], Any]]:
    canary = f"sandbox_canary_{secrets.token_hex(4)}"
    alias = {"create_alias": {"alias_name": canary, "collection_name": other}}
    return {
        "make a collection": lambda: rest.ask("PUT", f"/collections/{canary}", {}),
        "drop a collection": lambda: rest.ask("DELETE", f"/collections/{canary}"),
        "alias production": lambda: rest.ask("POST", "/collections/aliases", {"actions": [alias]}),
        "see production in the list": lambda: _unseen(rest, other),
        "snapshot the whole server": lambda: rest.ask("GET", "/snapshots"),
        "read production's marker": lambda: rest.ask("GET", f"/collections/sandbox_marker_{other}"),
    }


def _unseen(rest: Rest, other: str) -> None:
    names = [one["name"] for one in rest.ask("GET", "/collections")["collections"]]
    if other not in names:
        raise Denied("it is not in the list")


def _attempt(who: str, tried: str, expected: str, run: Callable[[], Any]) -> Attempt:
    began = time.perf_counter()
    try:
        run()
        happened = "works"
    except Denied:
        happened = DENIED
    except SandboxError as error:
        happened = error.message
    return Attempt(
        row=ROW,
        identity=who,
        tried=tried,
        expected=expected,
        happened=happened,
        ok=happened == expected,
        seconds=time.perf_counter() - began,
    )
