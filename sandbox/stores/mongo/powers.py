"""What belongs to the whole MongoDB server: other databases, users, operations, settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sandbox.stores.mongo.trials import CANARY, Command, Right, Trial, stage

SERVER = ""  # the database of a right to the whole server


def server(home: str, other: str) -> Iterator[Trial]:
    """`home`: the login's own database; `other`: the one that it may not see, or not change."""
    root = [{"role": "root", "db": "admin"}]
    more = [{"resource": {"db": other, "collection": ""}, "actions": ["find"]}]
    ways: tuple[tuple[str, str, Command, tuple[Right, ...]], ...] = (
        ("see every operation (currentOp)", "admin", {"currentOp": 1, "$all": True},
         ((SERVER, "inprog"),)),
        ("see every operation ($currentOp)", "admin", stage(1, "$currentOp", {"allUsers": True}),
         ((SERVER, "inprog"), ("admin", "find"))),
        ("see every session", "admin", stage(1, "$listLocalSessions", {"allUsers": True}),
         ((SERVER, "listSessions"), ("admin", "find"))),
        ("end operations", "admin", {"killOp": 1, "op": 0}, ((SERVER, "killop"),)),
        ("end sessions", "admin", {"killAllSessions": [{"user": CANARY, "db": "admin"}]},
         ((SERVER, "killAnySession"),)),
        ("read the log", "admin", {"getLog": "startupWarnings"}, ((SERVER, "getLog"),)),
        ("read the server's status", "admin", {"serverStatus": 1}, ((SERVER, "serverStatus"),)),
        ("see which collections are busy", "admin", {"top": 1}, ((SERVER, "top"),)),
        ("read how the server was started", "admin", {"getCmdLineOpts": 1},
         ((SERVER, "getCmdLineOpts"),)),
        ("read facts about the machine", "admin", {"hostInfo": 1}, ((SERVER, "hostInfo"),)),
        ("change a server parameter", "admin", {"setParameter": 1, CANARY: 1},
         ((SERVER, "setParameter"),)),
        ("read the replication log", "local", {"find": "oplog.rs", "limit": 1},
         (("local", "find"),)),
        ("read the server's sessions", "config", {"find": "system.sessions", "limit": 1},
         (("config", "find"),)),
        ("read the password hashes", "admin", {"find": "system.users", "limit": 1},
         (("admin", "find"),)),
        ("write the users", "admin",
         {"delete": "system.users", "deletes": [{"q": {"_id": CANARY}, "limit": 1}]},
         (("admin", "remove"),)),
        ("see every user", "admin", {"usersInfo": CANARY}, (("admin", "viewUser"),)),
        ("see every role", "admin", {"rolesInfo": CANARY}, (("admin", "viewRole"),)),
        ("give itself root", "admin", {"grantRolesToUser": CANARY, "roles": root},
         (("admin", "grantRole"),)),
        ("widen a role at home", home, {"grantPrivilegesToRole": CANARY, "privileges": more},
         ((home, "grantRole"), (other, "grantRole"))),
        ("make a user", "admin", {"createUser": CANARY, "pwd": "", "roles": []},
         (("admin", "createUser"),)),
        ("make a role", "admin", {"createRole": "", "privileges": [], "roles": []},
         (("admin", "createRole"),)),
    )  # fmt: skip
    for tried, database, command, needs in ways:
        yield Trial(tried=tried, needs=needs, database=database, command=command)
    for tried, action in (("stop the server", "shutdown"),
                          ("hold the server's writes", "fsync")):  # fmt: skip
        yield Trial(tried=tried, needs=((SERVER, action),))


def beyond(privileges: Sequence[Mapping[str, Any]], own: str, allowed: Sequence[str]) -> str:
    """The first right that is none of `allowed` on the database `own`; "" where there is none."""
    for privilege in privileges:
        resource = privilege.get("resource", {})
        at_home = resource.get("db") == own
        for action in privilege.get("actions", ()):
            if not at_home or action not in allowed:
                where = resource.get("db", "the server") or "every database"
                return f"{action} on {where}"
    return ""


def holds(privileges: Sequence[Mapping[str, Any]], right: Right) -> bool:
    database, action = right
    return any(
        bool({action, "anyAction"} & set(privilege.get("actions", ())))
        and _covers(privilege.get("resource", {}), database)
        for privilege in privileges
    )


def _covers(resource: Mapping[str, Any], database: str) -> bool:
    if resource.get("anyResource"):
        return True
    if database == SERVER:
        return bool(resource.get("cluster"))
    return resource.get("db") in ("", database)
