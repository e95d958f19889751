"""Tries to reach production's collection with the playground's token, and to write it with the
reader's.

What would change something uses a canary's name or id, or changes nothing when it is let through;
where a login says of itself that it has the right, it is believed and nothing is tried.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import httpx

from sandbox.contract import Access
from sandbox.errors import Unreachable
from sandbox.model import Attempt, Endpoint, QdrantSpace
from sandbox.stores.qdrant import rest
from sandbox.stores.qdrant.tokens import ORDER, Right, right
from sandbox.trying import Found, message, timed

ROW = "Qdrant"
DENIED = (401, 403)
EXPECTED = "denied"


@dataclass(frozen=True, kw_only=True)
class _Try:
    """One request. `needs`: the right that lets it through. `undo`: removes what it made."""

    tried: str
    needs: Right
    method: str
    path: tuple[str, ...]
    body: Any = None
    undo: tuple[str, tuple[str, ...], Any] | None = None
    server: bool = False  # the right is one to the whole server
    crosses: bool = False  # only success crosses: the canary that it names is nowhere


class Prober:
    """The probes of one playground."""

    def __init__(self, *, playground: Access, production: Access, reader: Access) -> None:
        assert isinstance(playground.space, QdrantSpace)
        assert isinstance(production.space, QdrantSpace)
        self._accesses = {"playground": playground, "production": production, "reader": reader}
        self._home, self._theirs = playground.space.collection, production.space.collection
        self._open = {who: _opened(access) for who, access in self._accesses.items()}
        self._nobody = {
            who: rest.Rest(access.endpoint, "", fence=_unfenced)
            for who, access in self._accesses.items()
            if who != "reader"
        }

    def attempts(self) -> Iterator[Attempt]:
        yield self._told("playground", "write, read and delete a point at home", "allowed",
                         lambda: self._at_home("playground", self._home))  # fmt: skip
        together = self._endpoint("playground") == self._endpoint("production")
        if together:
            for one in _crossing(self._theirs, self._home):
                yield self._attempt("playground", self._theirs, one, at_home=True)
            yield self._told("playground", "list collections and aliases", "none but its own",
                             self._listed)  # fmt: skip
        yield self._told("reader", "read production", "allowed", self._reader_reads)
        for one in _changes(self._theirs):
            yield self._attempt("reader", self._theirs, one)
        if together:
            for one in _backwards(self._home):
                yield self._attempt("production", self._home, one)
        yield from self._canaries()
        for who, rest_ in self._nobody.items():
            yield self._told("nobody", f"list {who}'s collections without a login", EXPECTED,
                             partial(_anonymous, rest_))  # fmt: skip

    def close(self) -> None:
        for one in [*self._open.values(), *self._nobody.values()]:
            one.close()

    # --- attempts --------------------------------------------------------------------------------

    def _attempt(self, who: str, collection: str, one: _Try, *, at_home: bool = False) -> Attempt:
        """`at_home`: what the playground may do with its own collection is done there first: where
        that is denied, that it is elsewhere proves nothing."""
        first = _renamed(one, self._theirs, self._home) if at_home else None

        def run() -> Found:
            if first is not None and self._denied_at_home(who, first):
                return f"{EXPECTED} at home", False
            return self._tried(who, collection, one)

        return self._told(who, one.tried, EXPECTED, run)

    def _denied_at_home(self, who: str, one: _Try) -> bool:
        login = self._open[who]
        status = login.send(one.method, one.path, one.body).status_code
        if one.undo and status < 300:
            login.send(*one.undo)
        return status in DENIED

    def _tried(self, who: str, collection: str, one: _Try) -> Found:
        known = right(self._accesses[who].identity.secret, "" if one.server else collection)
        if ORDER.index(known) >= ORDER.index(one.needs):
            return f"not tried: its login says that it has the right to {known}", False
        login = self._open[who]
        response = login.send(one.method, one.path, one.body)
        if response.status_code in DENIED:
            return "denied", True
        if one.crosses and response.status_code >= 300:
            return f"nothing found, HTTP {response.status_code}", True
        if one.undo and response.status_code < 300:
            login.send(*one.undo)
        return f"let through, HTTP {response.status_code}", False

    def _told(self, who: str, tried: str, expected: str, run: Callable[[], Found]) -> Attempt:
        identity = self._accesses[who].identity.name if who in self._accesses else ""
        return timed(ROW, identity or who, tried, expected, run, words=_words)

    def _endpoint(self, who: str) -> Endpoint:
        return self._accesses[who].endpoint

    def _at_home(self, who: str, collection: str) -> Found:
        login, number = self._open[who], _canary()
        try:
            for method, path, body in (
                ("PUT", (), {"points": [{"id": number, "vector": {}, "payload": {}}]}),
                ("POST", (), {"ids": [number]}),
            ):
                response = login.send(method, _points(collection, *path), body, wait="true")
                if response.status_code >= 300:
                    return f"failed at home, HTTP {response.status_code}", False
            found = bool(response.json()["result"])
        finally:
            _delete(login, collection, number)
        return ("allowed", True) if found else ("what was written is not there", False)

    def _reader_reads(self) -> Found:
        path = _points(self._theirs, "scroll")
        status = self._open["reader"].send("POST", path, {"limit": 1}).status_code
        return ("allowed", True) if status < 300 else (f"failed, HTTP {status}", False)

    def _listed(self) -> Found:
        login = self._open["playground"]
        named = [one["name"] for one in login.result("GET", ["collections"])["collections"]]
        named += [name for pair in rest.aliases(login).items() for name in pair]
        strange = [n for n in named if n != self._home and not n.startswith(f"{self._home}__")]
        return (f"sees {len(strange)} others", False) if strange else ("none but its own", True)

    def _canaries(self) -> Iterator[Attempt]:
        for planter, home, seeker, other in (
            ("playground", self._home, "production", self._theirs),
            ("production", self._theirs, "playground", self._home),
        ):
            if self._accesses[planter].identity.secret == self._accesses["reader"].identity.secret:
                continue  # an external production: its reader is the only login, and plants nothing
            yield self._told(seeker, f"find the {planter}'s canary at its own home", "not there",
                             partial(self._sought, planter, home, seeker, other))  # fmt: skip

    def _sought(self, planter: str, home: str, seeker: str, other: str) -> Found:
        number, login = _canary(), self._open[planter]
        body = {"points": [{"id": number, "vector": {}, "payload": {}}]}
        try:
            planted = login.send("PUT", _points(home), body, wait="true")
            if planted.status_code >= 300:
                return f"not planted, HTTP {planted.status_code}", False
            answer = self._open[seeker].send("POST", _points(other), {"ids": [number]})
        finally:
            _delete(login, home, number)
        if answer.status_code >= 300:
            return f"could not look, HTTP {answer.status_code}", False
        return ("it is there", False) if answer.json()["result"] else ("not there", True)


def _renamed(one: _Try, theirs: str, home: str) -> _Try | None:
    """The same request with the playground's own collection; None where a token for a collection
    has no such right."""
    if one.server or one.needs == "manage":
        return None

    def own(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: own(held) for key, held in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(map(own, value))
        return home if value == theirs else value

    undo = own(one.undo) if one.undo else None
    return replace(one, path=own(one.path), body=own(one.body), undo=undo)


def _crossing(theirs: str, home: str) -> tuple[_Try, ...]:
    """From the playground into production."""
    number, name = _canary(), f"sandbox_canary_{secrets.token_hex(4)}"
    alias = {"alias_name": name, "collection_name": theirs}
    recover = {"location": f"file:///nowhere/{name}.snapshot"}
    lookup = {"query": number, "lookup_from": {"collection": theirs}, "limit": 1}
    return (
        _Try(tried="read points", needs="read", method="POST",
             path=_points(theirs, "scroll"), body={"limit": 1}),
        _Try(tried="read a point by its id", needs="read", method="POST",
             path=_points(theirs), body={"ids": [number]}),
        _Try(tried="count points", needs="read", method="POST",
             path=_points(theirs, "count"), body={}),
        _Try(tried="search", needs="read", method="POST",
             path=_points(theirs, "query"), body={"limit": 1}),
        _Try(tried="look up a vector of production's from home", needs="read", method="POST",
             path=_points(home, "query"), body=lookup, crosses=True),
        _Try(tried="read the configuration", needs="read", method="GET",
             path=("collections", theirs)),
        _Try(tried="list snapshots", needs="read", method="GET",
             path=("collections", theirs, "snapshots")),
        *_changes(theirs),
        _Try(tried="make an alias over production", needs="manage", server=True, method="POST",
             path=("collections", "aliases"), body={"actions": [{"create_alias": alias}]},
             undo=("POST", ("collections", "aliases"),
                   {"actions": [{"delete_alias": {"alias_name": name}}]})),
        _Try(tried="make a collection", needs="manage", server=True, method="PUT",
             path=("collections", name), body={"vectors": {"size": 1, "distance": "Dot"}},
             undo=("DELETE", ("collections", name), None)),
        _Try(tried="recover a snapshot into its own collection", needs="manage", server=True,
             method="PUT", path=("collections", home, "snapshots", "recover"), body=recover),
        _Try(tried="list snapshots of the whole server", needs="read", server=True, method="GET",
             path=("snapshots",)),
        _Try(tried="read the server's telemetry", needs="read", server=True, method="GET",
             path=("telemetry",)),
    )  # fmt: skip


def _changes(theirs: str) -> tuple[_Try, ...]:
    """Writes to production: of a canary that is not there, or of nothing."""
    number, field = _canary(), f"sandbox_canary_{secrets.token_hex(4)}"
    nobody = {"points": [number]}
    return (
        _Try(tried="write a point", needs="write", method="PUT", path=_points(theirs),
             body={"points": [{"id": number, "vector": {}, "payload": {}}]},
             undo=("POST", _points(theirs, "delete"), nobody)),
        _Try(tried="delete a point", needs="write", method="POST",
             path=_points(theirs, "delete"), body=nobody),
        _Try(tried="change a payload", needs="write", method="POST",
             path=_points(theirs, "payload"), body={**nobody, "payload": {field: 1}}),
        _Try(tried="clear a payload", needs="write", method="POST",
             path=_points(theirs, "payload", "clear"), body=nobody),
        _Try(tried="change a vector", needs="write", method="PUT",
             path=_points(theirs, "vectors"), body={"points": []}),
        _Try(tried="several changes in one request", needs="write", method="POST",
             path=_points(theirs, "batch"), body={"operations": [{"delete": nobody}]}),
        _Try(tried="make a payload index", needs="write", method="PUT",
             path=("collections", theirs, "index"),
             body={"field_name": field, "field_schema": "bool"},
             undo=("DELETE", ("collections", theirs, "index", field), None)),
        _Try(tried="delete a snapshot", needs="write", method="DELETE",
             path=("collections", theirs, "snapshots", f"{field}.snapshot")),
        _Try(tried="change the configuration", needs="manage", method="PATCH",
             path=("collections", theirs), body={}),
        _Try(tried="drop a collection", needs="manage", server=True, method="DELETE",
             path=("collections", field)),
    )  # fmt: skip


def _backwards(home: str) -> tuple[_Try, ...]:
    """From production into the playground."""
    number = _canary()
    return (
        _Try(tried="read the playground", needs="read", method="POST",
             path=_points(home, "scroll"), body={"limit": 1}),
        _Try(tried="write the playground", needs="write", method="POST",
             path=_points(home, "delete"), body={"points": [number]}),
    )  # fmt: skip


def _anonymous(login: rest.Rest) -> Found:
    status = login.send("GET", ["collections"]).status_code
    return ("denied", True) if status in DENIED else (f"let through, HTTP {status}", False)


def _delete(login: rest.Rest, collection: str, number: int) -> httpx.Response:
    return login.send("POST", _points(collection, "delete"), {"points": [number]}, wait="true")


def _points(collection: str, *more: str) -> tuple[str, ...]:
    return ("collections", collection, "points", *more)


def _canary() -> int:
    """An id that nobody has: the upper half of 64 bits."""
    return (1 << 63) | secrets.randbits(62)


def _opened(access: Access) -> rest.Rest:
    return rest.opened(access, _unfenced)


def _unfenced(method: str, path: Sequence[str], body: Any) -> None:
    """A prober sends what is forbidden: that is its purpose."""


def _words(error: Exception) -> str | None:
    if isinstance(error, Unreachable):
        return None  # silence is no proof
    told = message(error)
    return f"failed: {told}" if told else None
