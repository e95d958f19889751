"""Users with a role on one database each, and the markers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from sandbox.contract import Access, Statement
from sandbox.errors import Refused, Unreachable
from sandbox.model import Identity, Marker, MongoSpace, Role, Space
from sandbox.stores.mongo.session import connect, read_marker, write_marker

ROLES: dict[Role, tuple[str, ...]] = {
    "reader": ("read",),
    "keeper": ("readWrite", "dbAdmin"),
    "playground": (),  # a role of its own, below
    "production": ("readWrite",),
}
# What an application does, in its own database. No renameCollection: a server that looks at the
# source's database only would let a collection be moved into production.
ACTIONS = (
    "find",
    "insert",
    "update",
    "remove",
    "createCollection",
    "dropCollection",
    "createIndex",
    "dropIndex",
    "listCollections",
    "listIndexes",
    "collStats",
    "dbStats",
    "collMod",
    "changeStream",
    "dropDatabase",
)
Change = tuple[Statement, Callable[[], object]]


class MongoAdmin:
    """`isolate` makes what is missing; twice is as once."""

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
        self._client = connect(access)
        self._production = production.database
        self._playground = playground.database
        self._identities = identities
        self._project = project
        self._name = playground_name

    def statements(self) -> Sequence[Statement]:
        return [statement for statement, _ in self._changes()]

    def isolate(self) -> Sequence[Statement]:
        done = []
        for statement, run in list(self._changes()):
            run()
            done.append(statement)
        return done

    def remove(self) -> Sequence[Statement]:
        marker = read_marker(self._client, self._playground)
        if marker is not None and marker.environment != "playground":
            raise Refused(f"database {self._playground} is not a playground's", where="mongo")
        self._client.drop_database(self._playground)
        for role in ("keeper", "playground"):
            identity = self._identities.get(role)
            if identity is not None:
                self._client.admin.command("dropUser", identity.name)
        text = f"use {self._playground}; db.dropDatabase()"
        return [Statement(text=text, why="the playground's database and logins")]

    def close(self) -> None:
        self._client.close()

    def _changes(self) -> Iterator[Change]:
        if "playground" in self._identities:
            yield from self._role(self._identities["playground"])
        for role, identity in self._identities.items():
            yield from self._user(role, identity)
        if "keeper" in self._identities:
            yield from self._mark(self._playground, "playground")
        if "reader" in self._identities:
            yield from self._mark(self._production, "production")

    def _role(self, identity: Identity) -> Iterator[Change]:
        resource = {"db": self._playground, "collection": ""}
        privileges = [{"resource": resource, "actions": list(ACTIONS)}]
        found = self._client.admin.command(
            "rolesInfo", {"role": identity.name, "db": "admin"}, showPrivileges=True
        )["roles"]
        present = (
            {a for p in found[0].get("privileges", []) for a in p["actions"]} if found else None
        )
        if present != set(ACTIONS):
            command = "createRole" if present is None else "updateRole"
            yield (
                Statement(
                    text=f"db.{command}({{role: {identity.name!r}, privileges: {privileges}}})",
                    why="what the playground may do, in its own database",
                ),
                lambda: self._client.admin.command(
                    command, identity.name, privileges=privileges, roles=[]
                ),
            )

    def _user(self, role: Role, identity: Identity) -> Iterator[Change]:
        database = self._production if role in ("reader", "production") else self._playground
        roles = [{"role": name, "db": database} for name in ROLES[role]]
        if role == "playground":
            roles = [{"role": identity.name, "db": "admin"}]
        users = self._client.admin.command("usersInfo", identity.name)["users"]
        text = f"({identity.name!r}, {{pwd: ..., roles: {roles}}})"
        if not users:
            yield (
                Statement(text=f"db.createUser{text}", why=f"the {role}'s login"),
                lambda: self._client.admin.command(
                    "createUser", identity.name, pwd=identity.secret, roles=roles
                ),
            )
            return
        present = sorted((r["role"], r["db"]) for r in users[0].get("roles", []))
        wanted = sorted((r["role"], r["db"]) for r in roles)
        if present != wanted or not self._fits(identity):
            yield (
                Statement(text=f"db.updateUser{text}", why=f"the {role}'s rights or password"),
                lambda: self._client.admin.command(
                    "updateUser", identity.name, pwd=identity.secret, roles=roles
                ),
            )

    def _fits(self, identity: Identity) -> bool:
        """Whether the login works with the password that we know."""
        space = MongoSpace(database="admin")
        access = Access(endpoint=self._access.endpoint, identity=identity, space=space)
        try:
            connect(access).close()
        except Unreachable as error:
            return "uthentication" not in str(error)
        return True

    def _mark(self, database: str, environment: str) -> Iterator[Change]:
        present = read_marker(self._client, database)
        name = self._name if environment == "playground" else ""
        marker = Marker(project=self._project, environment=environment, playground=name)  # type: ignore[arg-type]
        if present is None:
            text = f"db.getSiblingDB({database!r}).sandbox_marker.insertOne(...)"
            yield (
                Statement(text=text, why=f"whose {database} is"),
                lambda: write_marker(self._client, database, marker),
            )
        elif (present.project, present.environment, present.playground) != (
            self._project,
            environment,
            name,
        ):
            raise Refused(
                f"database {database} is marked as {present.environment} of {present.project}",
                where="mongo",
            )
