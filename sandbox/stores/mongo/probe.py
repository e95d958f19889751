"""Tries to cross from the playground's database into production's and back, the reader into
writing. What is tried is in `trials` and `powers`."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pymongo.errors import OperationFailure, PyMongoError

from sandbox.contract import Access
from sandbox.errors import Unreachable
from sandbox.model import Attempt
from sandbox.stores.mongo import powers, trials
from sandbox.stores.mongo.roles import ACTIONS
from sandbox.stores.mongo.session import MARKER, Client, connect, line, read_marker, space_of
from sandbox.stores.mongo.trials import Target, Trial
from sandbox.trying import Found, message, timed

ROW = "MongoDB"
DENIED = "not authorized"
UNAUTHORIZED = 13
HOME = "write and read at home"
# No such command, stage, field or form: a way that this server does not have.
UNKNOWN = {59, 115, 40324, 40415, 40105, 9, 14}
NO_SUCH_WAY = "this server has no such way"


class MongoProber:
    """The probes of one playground. Its canary is a collection at home, gone at the end."""

    def __init__(self, *, playground: Access, production: Access, reader: Access) -> None:
        self._playground, self._production, self._reader = playground, production, reader
        token = f"{trials.CANARY}_{secrets.token_hex(4)}"
        own, theirs = space_of(playground), space_of(production)
        self._home = Target(what="the playground", database=own.database, present=token,
                            absent=f"{token}_absent")  # fmt: skip
        self._there = Target(what="production", database=theirs.database,
                             present=(*theirs.collections, token)[0],
                             absent=f"{token}_absent")  # fmt: skip
        self._clients: list[Client] = []

    def attempts(self) -> Iterator[Attempt]:
        client, reader = self._open(self._playground), self._open(self._reader)
        who = self._playground.identity.name
        with self._canary(client) as planted:
            yield planted
            if planted.ok and self._playground.endpoint == self._production.endpoint:
                yield from self._across(client)
                yield from self._from_production()
            elif planted.ok:
                yield from self._apart()
            if planted.ok:
                yield self._sought(reader, self._reader.identity.name, who)
        yield from self._from_reader(reader)

    def close(self) -> None:
        for client in self._clients:
            client.close()

    # --- the playground --------------------------------------------------------------------------

    def _across(self, client: Client) -> Iterator[Attempt]:
        who, there, home = self._playground.identity.name, self._there, self._home
        privileges = _privileges(client)
        for trial in (
            *trials.reads(there, home),
            *trials.joins(there, home),
            *trials.writes(there, home),
            *trials.pipelines(there, home, at_home=True),
            *trials.users(there),
            *powers.server(home.database, there.database),
        ):
            yield _try(client, who, privileges, trial)
        yield _timed(who, "list databases", "none but its own", lambda: _listed(client, home))
        yield _beyond(who, privileges, home.database, ACTIONS["playground"])

    def _apart(self) -> Iterator[Attempt]:
        """Servers of their own: no login may work on the other's."""
        for server, login, where in (
            (self._production, self._playground, "production's"),
            (self._playground, self._production, "the playground's"),
            (self._playground, self._reader, "the playground's"),
        ):
            access = replace(server, identity=login.identity)
            yield _timed(login.identity.name, f"log in to {where} server", "login refused",
                         partial(_refused, access))  # fmt: skip

    @contextlib.contextmanager
    def _canary(self, client: Client) -> Iterator[Attempt]:
        """A document at home; whose home it is, the marker says over this connection first."""
        base, name = client[self._home.database], self._home.present
        planted: list[bool] = []

        def plant() -> Found:
            marker = read_marker(base)
            if marker is None or marker.environment != "playground":
                return "its database is not marked as a playground's; nothing was tried", False
            planted.append(True)
            base[name].insert_one({"_id": name})
            there = base[name].find_one({"_id": name}) is not None
            return ("works", True) if there else ("what was written is not there", False)

        attempt = _timed(self._playground.identity.name, HOME, "works", plant)
        try:
            yield attempt
        finally:
            if planted:
                with contextlib.suppress(PyMongoError):
                    for one in (name, self._home.absent):
                        base.drop_collection(one)

    # --- production and the reader ---------------------------------------------------------------

    def _from_production(self) -> Iterator[Attempt]:
        """The other way: its own login may neither see nor touch the playground."""
        who, there, home = self._production.identity.name, self._there, self._home
        kept: list[Client] = []

        def log_in() -> Found:
            kept.append(self._open(self._production))
            kept[0][there.database].command("count", there.absent)
            return "works", True

        yield _timed(who, "log in and count at home", "works", log_in)
        if not kept:
            return
        privileges = _privileges(kept[0])
        small = replace(there, present=MARKER)  # one document: what works at home must cost nothing
        for trial in (
            *trials.reads(home, small),
            *trials.joins(home, small),
            *trials.writes(home, there),
            *trials.pipelines(home, there, at_home=True),
        ):
            yield _try(kept[0], who, privileges, trial)
        yield self._sought(kept[0], who, self._playground.identity.name)
        yield _beyond(who, privileges, there.database, ACTIONS["production"])

    def _sought(self, client: Client, who: str, owner: str) -> Attempt:
        """The playground's canary, in what is production's to its own logins."""

        def look() -> Found:
            name = self._home.present
            found = client[self._there.database][name].find_one({"_id": name})
            return ("not there", True) if found is None else ("it is there", False)

        return _timed(who, f"find a canary of {owner} in production", "not there", look)

    def _from_reader(self, reader: Client) -> Iterator[Attempt]:
        who, there, home = self._reader.identity.name, self._there, self._home

        def look() -> Found:
            reader[there.database].command("count", there.present)
            return "works", True

        yield _timed(who, "read production", "works", look)
        privileges = _privileges(reader)
        for trial in (
            *trials.writes(there, None),
            *trials.pipelines(there, replace(there, absent=f"{there.absent}_3"), at_home=False),
            *trials.users(there),
            *powers.server(there.database, there.database),
        ):
            yield _try(reader, who, privileges, trial)
        if self._playground.endpoint == self._production.endpoint:
            for trial in trials.reads(home, replace(there, present=MARKER)):
                yield _try(reader, who, privileges, trial)
        yield _beyond(who, privileges, there.database, ACTIONS["reader"])

    def _open(self, access: Access) -> Client:
        client = connect(access)
        self._clients.append(client)
        return client


# --- one attempt ---------------------------------------------------------------------------------


def _try(client: Client, who: str, privileges: Sequence[Any], trial: Trial) -> Attempt:
    return _timed(who, trial.tried, DENIED, lambda: _tried(client, privileges, trial))


def _tried(client: Client, privileges: Sequence[Any], trial: Trial) -> Found:
    if trial.home is not None:
        database, command = trial.home
        error = _sent(client, database, command)
        if error is not None and error.code == UNAUTHORIZED:
            return f"failed at home: {line(error)}", False
    if any(powers.holds(privileges, right) for right in trial.needs):
        return "it has the right to; not tried", False
    if trial.command is None:
        return DENIED, True
    error = _sent(client, trial.database, trial.command)
    if error is None:
        return "it worked", False
    if error.code == UNAUTHORIZED:
        return DENIED, True
    if error.code in UNKNOWN and _has_no_way(client, trial, error):
        return f"{NO_SUCH_WAY}: {line(error)}", True
    return f"let through: {line(error)}", False


def _has_no_way(client: Client, trial: Trial, error: OperationFailure) -> bool:
    """A command that the server does not know, or a stage that works at home and does not take
    another database's name."""
    if error.code in (59, 115):
        return True
    return trial.home is not None and _sent(client, *trial.home) is None


def _sent(client: Client, database: str, command: Mapping[str, Any]) -> OperationFailure | None:
    try:
        client[database].command(dict(command))
    except OperationFailure as error:
        return error
    return None


def _privileges(client: Client) -> Sequence[Mapping[str, Any]]:
    """What the server says that this login may do."""
    told = client.admin.command("connectionStatus", showPrivileges=True)["authInfo"]
    found: Sequence[Mapping[str, Any]] = told["authenticatedUserPrivileges"]
    return found


def _beyond(who: str, privileges: Sequence[Any], own: str, allowed: Sequence[str]) -> Attempt:
    def look() -> Found:
        found = powers.beyond(privileges, own, allowed)
        return (found, False) if found else ("none", True)

    return _timed(who, "hold any right beyond what it needs at home", "none", look)


def _listed(client: Client, home: Target) -> Found:
    """A server may answer with the names that this login has a right to."""
    try:
        answer = client.admin.command("listDatabases", nameOnly=True)
    except OperationFailure as error:
        return ("none but its own", True) if error.code == UNAUTHORIZED else (line(error), False)
    others = [one["name"] for one in answer["databases"] if one["name"] != home.database]
    return (f"sees {len(others)} others", False) if others else ("none but its own", True)


def _refused(access: Access) -> Found:
    try:
        connect(access).close()
    except Unreachable as error:
        refused = "uthentication" in error.message
        return ("login refused" if refused else error.message), refused
    return "the login works there", False


def _timed(who: str, tried: str, expected: str, run: Callable[[], Found]) -> Attempt:
    return timed(ROW, who, tried, expected, run, words=_words)


def _words(error: Exception) -> str | None:
    return line(error) if isinstance(error, PyMongoError) else message(error)
