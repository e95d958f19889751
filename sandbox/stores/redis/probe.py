"""Tries to cross from the playground's prefix into production's, and from the reader to writing."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import redis

from sandbox.contract import Access
from sandbox.errors import Unreachable
from sandbox.model import Attempt
from sandbox.stores.redis.session import Client, connect, space_of

ROW = "Redis"
DENIED = "permission denied"


class RedisProber:
    """Keys have canary names. FLUSHALL and FLUSHDB would destroy, so they are sent inside a
    transaction that is discarded: the server checks the right when a command is queued."""

    def __init__(self, *, playground: Access, production: Access, reader: Access) -> None:
        self._playground, self._production, self._reader = playground, production, reader
        self._clients: list[Client] = []

    def attempts(self) -> Iterator[Attempt]:
        client = self._open(self._playground)
        who, own = self._playground.identity.name, space_of(self._playground).prefix
        other = space_of(self._production).prefix
        canary = f"sandbox_canary_{secrets.token_hex(4)}"
        yield _attempt(
            who, "write and read a key at home", "works", lambda: _home(client, f"{own}{canary}")
        )
        if self._playground.endpoint != self._production.endpoint:
            yield self._elsewhere(who)
        else:
            for tried, command in _crossings(own, other, canary).items():
                yield _attempt(who, tried, DENIED, lambda c=command: client.execute_command(*c))
            for flush in ("FLUSHALL", "FLUSHDB"):
                yield _attempt(who, flush, DENIED, lambda f=flush: _queued(client, f))
            yield from self._canary(client, who, own, other, canary)
        reader = self._open(self._reader)
        name = self._reader.identity.name
        yield _attempt(
            name,
            "read production",
            "works",
            lambda: reader.execute_command("EXISTS", f"{other}{canary}"),
        )
        for tried, command in _writings(other, canary).items():
            yield _attempt(name, tried, DENIED, lambda c=command: reader.execute_command(*c))

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
            ok = "invalid username-password" in error.message
            happened = "login refused" if ok else error.message
        return Attempt(
            row=ROW,
            identity=who,
            tried="log in to production's server",
            expected="login refused",
            happened=happened,
            ok=ok,
        )

    def _canary(
        self, client: Client, who: str, own: str, other: str, canary: str
    ) -> Iterator[Attempt]:
        """Production's canary, planted and removed by production's own login."""
        production = self._open(self._production)
        key = f"{other}{canary}"
        production.set(key, "canary", px=60_000)
        try:
            yield _attempt(who, "read production's canary", DENIED, lambda: client.get(key))
        finally:
            production.delete(key)


def _crossings(own: str, other: str, canary: str) -> dict[str, tuple[Any, ...]]:
    mine, theirs = f"{own}{canary}", f"{other}{canary}"
    return {
        "GET a production key": ("GET", theirs),
        "SET a production key": ("SET", theirs, "x", "PX", "1"),
        "DEL a production key": ("DEL", theirs),
        "RENAME into production": ("RENAME", mine, theirs),
        "COPY from production": ("COPY", theirs, mine),
        "COPY into production": ("COPY", mine, theirs),
        "DUMP a production key": ("DUMP", theirs),
        "SORT ... STORE into production": ("SORT", mine, "STORE", theirs),
        "XREAD a production stream": ("XREAD", "COUNT", "1", "STREAMS", theirs, "0"),
        "WATCH a production key": ("WATCH", theirs),
        "MOVE to another database": ("MOVE", mine, "1"),
        "SELECT another database": ("SELECT", "1"),
        "Lua on a production key": ("EVAL", "return redis.call('GET', KEYS[1])", "1", theirs),
        "list all keys with KEYS": ("KEYS", f"{other}*"),
        "list all keys with SCAN": ("SCAN", "0", "MATCH", f"{other}*"),
        "RANDOMKEY": ("RANDOMKEY",),
        "DBSIZE": ("DBSIZE",),
        "publish on production's channel": ("PUBLISH", f"{other}{canary}", "x"),
        "read the configuration": ("CONFIG", "GET", "maxmemory"),
        "list users": ("ACL", "LIST"),
        "list clients": ("CLIENT", "LIST"),
        "start a background rewrite": ("BGREWRITEAOF",),
        "read the slow log": ("SLOWLOG", "GET"),
        "SCRIPT FLUSH": ("SCRIPT", "EXISTS", "0"),
        "SWAPDB": ("SWAPDB", "14", "15"),
        "forge production's marker": ("APPEND", f"sandbox:marker:{other}", ""),
    }


def _writings(other: str, canary: str) -> dict[str, tuple[Any, ...]]:
    key = f"{other}{canary}"
    return {
        "SET": ("SET", key, "x", "PX", "1"),
        "DEL": ("DEL", key),
        "EXPIRE": ("EXPIRE", key, "1"),
        "RENAME": ("RENAME", key, key + "2"),
        "XADD": ("XADD", key, "*", "a", "b"),
        "Lua": ("EVAL", "return 1", "0"),
        "CONFIG": ("CONFIG", "GET", "maxmemory"),
        "PUBLISH": ("PUBLISH", key, "x"),
    }


def _queued(client: Client, command: str) -> None:
    """MULTI, the command, DISCARD, on one connection: never executed."""
    connection = client.connection_pool.get_connection()
    try:
        for words in (("MULTI",), (command,)):
            connection.send_command(*words)
            connection.read_response()
    finally:
        connection.send_command("DISCARD")
        connection.read_response()
        client.connection_pool.release(connection)


def _home(client: Client, key: str) -> None:
    client.set(key, "home", px=10_000)
    if client.get(key) != b"home":
        raise redis.ResponseError("what was written is not there")
    client.delete(key)


def _attempt(who: str, tried: str, expected: str, run: Any) -> Attempt:
    began = time.perf_counter()
    try:
        run()
        happened = "works"
    except redis.exceptions.NoPermissionError:
        happened = DENIED
    except redis.RedisError as error:
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
