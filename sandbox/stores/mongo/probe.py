"""Tries to cross from the playground's database into production's, the reader into writing."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from pymongo.errors import OperationFailure, PyMongoError

from sandbox.contract import Access
from sandbox.errors import Unreachable
from sandbox.model import Attempt
from sandbox.stores.mongo.session import Client, connect, space_of

ROW = "MongoDB"
DENIED = "not authorized"
UNAUTHORIZED = 13


class MongoProber:
    """Writes go to canary collections that do not exist, never to a real one."""

    def __init__(self, *, playground: Access, production: Access, reader: Access) -> None:
        self._playground, self._production, self._reader = playground, production, reader
        self._clients: list[Client] = []

    def attempts(self) -> Iterator[Attempt]:
        client = self._open(self._playground)
        who = self._playground.identity.name
        own, other = space_of(self._playground).database, space_of(self._production).database
        canary = f"sandbox_canary_{secrets.token_hex(4)}"
        yield _attempt(who, "write and read at home", "works", lambda: _home(client[own][canary]))
        if self._playground.endpoint != self._production.endpoint:
            yield self._elsewhere(who)
        else:
            collections = space_of(self._production).collections
            first = collections[0] if collections else canary
            for tried, run in _crossings(client, own, other, first, canary).items():
                yield _attempt(who, tried, DENIED, run)
        reader = self._open(self._reader)
        name = self._reader.identity.name
        yield _attempt(
            name, "read production", "works", lambda: reader[other].command("count", canary)
        )
        for tried, run in _writings(reader, other, canary).items():
            yield _attempt(name, tried, DENIED, run)

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def _open(self, access: Access) -> Client:
        client = connect(access)
        self._clients.append(client)
        return client

    def _elsewhere(self, who: str) -> Attempt:
        try:
            connect(replace(self._production, identity=self._playground.identity)).close()
            happened, ok = "the login works there", False
        except Unreachable as error:
            ok = "uthentication" in error.message
            happened = "login refused" if ok else error.message
        return Attempt(
            row=ROW,
            identity=who,
            tried="log in to production's server",
            expected="login refused",
            happened=happened,
            ok=ok,
        )


def _crossings(
    client: Client, own: str, other: str, first: str, canary: str
) -> dict[str, Callable[[], Any]]:
    theirs, mine = client[other], client[own]
    return {
        "find in production": lambda: theirs[first].find_one(),
        "count in production": lambda: theirs.command("count", first),
        "aggregate in production": lambda: list(theirs[first].aggregate([{"$limit": 1}])),
        "list production's collections": lambda: theirs.list_collection_names(),
        "insert into production": lambda: theirs[canary].insert_one({}),
        "update in production": lambda: theirs[canary].update_one({"_id": 0}, {"$set": {"a": 1}}),
        "delete in production": lambda: theirs[canary].delete_one({"_id": 0}),
        "drop in production": lambda: theirs.command("drop", canary),
        "create an index in production": lambda: theirs[canary].create_index("a"),
        "$out into production": lambda: mine[canary].aggregate(
            [{"$out": {"db": other, "coll": canary}}]
        ),
        "$merge into production": lambda: mine[canary].aggregate(
            [{"$merge": {"into": {"db": other, "coll": canary}}}]
        ),
        "rename into production": lambda: _rename(client, own, other, canary),
        "make a user": lambda: theirs.command(
            "createUser", canary, pwd="x", roles=[{"role": "root", "db": "admin"}]
        ),
        "give itself root": lambda: client.admin.command(
            "grantRolesToUser", canary, roles=[{"role": "root", "db": "admin"}]
        ),
        "read the users": lambda: client.admin["system.users"].find_one(),
        "look at others' operations": lambda: client.admin.command(
            "currentOp", {"$all": True, "$ownOps": False}
        ),
        "change a server parameter": lambda: client.admin.command("setParameter", 1, quiet=1),
    }


def _writings(client: Client, other: str, canary: str) -> dict[str, Callable[[], Any]]:
    theirs = client[other]
    return {
        "insert": lambda: theirs[canary].insert_one({}),
        "update": lambda: theirs[canary].update_one({"_id": 0}, {"$set": {"a": 1}}),
        "delete": lambda: theirs[canary].delete_one({"_id": 0}),
        "drop": lambda: theirs.command("drop", canary),
        "create an index": lambda: theirs[canary].create_index("a"),
        "make a collection": lambda: theirs.create_collection(canary, check_exists=False),
    }


def _rename(client: Client, own: str, other: str, canary: str) -> None:
    """A canary of its own into production; what is left of it is dropped."""
    client[own][canary].insert_one({})
    try:
        client.admin.command("renameCollection", f"{own}.{canary}", to=f"{other}.{canary}")
    finally:
        client[own].drop_collection(canary)


def _home(collection: Any) -> None:
    collection.insert_one({"_id": "home"})
    try:
        if collection.find_one({"_id": "home"}) is None:
            raise OperationFailure("what was written is not there")
    finally:
        collection.drop()


def _attempt(who: str, tried: str, expected: str, run: Callable[[], Any]) -> Attempt:
    began = time.perf_counter()
    try:
        run()
        happened = "works"
    except OperationFailure as error:
        happened = DENIED if error.code == UNAUTHORIZED else str(error).split(", full error")[0]
    except PyMongoError as error:
        happened = str(error).splitlines()[0]
    return Attempt(
        row=ROW,
        identity=who,
        tried=tried,
        expected=expected,
        happened=happened,
        ok=happened == expected,
        seconds=time.perf_counter() - began,
    )
