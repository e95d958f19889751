"""Roles, users and markers. Passwords go through createUser and updateUser only, which the server
keeps out of its log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pymongo.errors import OperationFailure

from sandbox.contract import Access, Statement
from sandbox.errors import Refused, Unreachable
from sandbox.model import Identity, Marker, MongoSpace, Role, Space
from sandbox.stores.mongo.roles import WHY, home, privileges, same
from sandbox.stores.mongo.session import (
    MARKER,
    Client,
    connect,
    database,
    doing,
    marker_document,
    read_marker,
)

MECHANISMS = ["SCRAM-SHA-256"]
NOT_FOUND = (11, 31)  # user, role


@dataclass(frozen=True, kw_only=True)
class _Change:
    statement: Statement
    run: Callable[[], object]


class Admin:
    """Works on one server: which roles it was given says which environments live there."""

    def __init__(
        self,
        access: Access,
        *,
        production: Space,
        playground: Space,
        identities: Mapping[Role, Identity],
        project: str,
        playground_name: str = "",
    ) -> None:
        assert isinstance(production, MongoSpace) and isinstance(playground, MongoSpace)
        self._access = access
        self._production, self._playground = production, playground
        self._identities = {r: i for r, i in identities.items() if r != "admin"}
        self._theirs = Marker(project=project, environment="production")
        self._ours = Marker(project=project, environment="playground", playground=playground_name)
        self._kept: Client | None = None

    @property
    def _client(self) -> Client:
        if self._kept is None:
            self._kept = connect(self._access)
        return self._kept

    def statements(self) -> Sequence[Statement]:
        return [change.statement for change in self._changes()]

    def isolate(self) -> Sequence[Statement]:
        done = []
        for change in list(self._changes()):
            with doing(change.statement.text.split("(")[0]):
                change.run()
            done.append(change.statement)
        return done

    def prepare(self, catalog: bytes) -> Sequence[Statement]:
        return ()

    def remove(self) -> Sequence[Statement]:
        """Drop the playground's database and logins; Refused when its marker is not ours (P6)."""
        self._check_apart()
        name = self._playground.database
        found = read_marker(database(self._client, name))
        if found is None or _whose(found) != _whose(self._ours):
            raise Refused("it is not marked as this playground's", where=f"mongo {name}")
        done = []
        with doing("removing the playground"):
            for role in ("keeper", "playground"):
                identity = self._identities.get(role)
                if identity is None:
                    continue
                self._gone("admin", "dropUser", identity.name)
                self._gone(name, "dropRole", identity.name)
                text = f"{_js('admin')}.dropUser({identity.name!r})"
                done.append(Statement(text=text, why="its login"))
            self._client.drop_database(name)
        return [*done, Statement(text=f"{_js(name)}.dropDatabase()", why="its collections")]

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    # --- what is missing ---------------------------------------------------------------------

    def _changes(self) -> Iterator[_Change]:
        self._check_apart()
        markers = list(self._markers())  # refuses before anything is done
        for role, identity in self._identities.items():
            yield from self._role(role, identity)
            yield from self._user(role, identity)
        yield from markers

    def _check_apart(self) -> None:
        if self._production.database == self._playground.database:
            raise Refused("both environments name one database", where="mongo")

    def _home(self, role: Role) -> str:
        return home(role, production=self._production, playground=self._playground)

    def _role(self, role: Role, identity: Identity) -> Iterator[_Change]:
        where, name = self._home(role), identity.name
        wanted = privileges(role, where)
        base = self._client[where]
        with doing("looking at roles"):
            told: Mapping[str, Any] = {"role": name, "db": where}
            found = base.command("rolesInfo", told, showPrivileges=True)["roles"]
        if found and same(found[0]["privileges"], wanted) and not found[0].get("roles"):
            return
        command = "updateRole" if found else "createRole"
        yield _Change(
            statement=Statement(
                text=f"{_js(where)}.{command}({_json(name)}, "
                f"{{privileges: {_json(wanted)}, roles: []}})",
                why=WHY[role],
            ),
            run=lambda: base.command(command, name, privileges=wanted, roles=[]),
        )

    def _user(self, role: Role, identity: Identity) -> Iterator[_Change]:
        name = identity.name
        wanted = [{"role": name, "db": self._home(role)}]
        base = self._client["admin"]
        with doing("looking at users"):
            found = base.command("usersInfo", {"user": name, "db": "admin"})["users"]
        rights = bool(found) and _pairs(found[0]["roles"]) == _pairs(wanted)
        if rights and self._lets_in(identity):
            return
        command = "updateUser" if found else "createUser"
        yield _Change(
            statement=Statement(
                text=f"{_js('admin')}.{command}({_json(name)}, {{pwd: passwordPrompt(), "
                f"roles: {_json(wanted)}, mechanisms: {_json(MECHANISMS)}}})",
                why=f"the login of {WHY[role].split(':')[0]}",
            ),
            run=lambda: base.command(
                command, name, pwd=identity.secret, roles=wanted, mechanisms=MECHANISMS
            ),
        )

    def _lets_in(self, identity: Identity) -> bool:
        """Whether the password is the one we know: the server tells nobody."""
        try:
            connect(replace(self._access, identity=identity)).close()
        except Unreachable:
            return False
        return True

    def _markers(self) -> Iterator[_Change]:
        """One for each environment that has a login here."""
        if "production" in self._identities or "reader" in self._identities:
            yield from self._mark(self._production, self._theirs)
        if "playground" in self._identities:
            yield from self._mark(self._playground, self._ours)

    def _mark(self, space: MongoSpace, wanted: Marker) -> Iterator[_Change]:
        base = database(self._client, space.database)
        found = read_marker(base)
        if found is not None and _whose(found) != _whose(wanted):
            raise Refused(
                f"it is marked as {found.environment} {found.playground or ''}of {found.project}, "
                f"not as {wanted.environment} of {wanted.project}",
                where=f"mongo {space.database}",
            )
        if found is None:
            document = {"_id": "marker", **marker_document(wanted)}
            yield _Change(
                statement=Statement(
                    text=f"{_js(space.database)}.{MARKER}.insertOne({_json(document)})",
                    why=f"marks the database as {wanted.environment} of {wanted.project}",
                ),
                run=lambda: base[MARKER].replace_one({"_id": "marker"}, document, upsert=True),
            )

    def _gone(self, where: str, command: str, name: str) -> None:
        try:
            self._client[where].command(command, name)
        except OperationFailure as error:
            if error.code not in NOT_FOUND:
                raise


def _whose(marker: Marker) -> tuple[str, str, str]:
    return marker.project, marker.environment, marker.playground


def _pairs(roles: Sequence[Mapping[str, Any]]) -> set[tuple[str, str]]:
    return {(role["role"], role["db"]) for role in roles}


def _js(database_name: str) -> str:
    return f"db.getSiblingDB({_json(database_name)})"


def _json(value: Any) -> str:
    return json.dumps(value)
