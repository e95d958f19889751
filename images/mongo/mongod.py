"""Takes the official image's variables and mongod's options, and runs SecantusDB with them.

MONGO_INITDB_ROOT_USERNAME and MONGO_INITDB_ROOT_PASSWORD (or ..._FILE) make the root user where
there is none; with them the server asks for a login from then on. Without `--replSet` it is a
standalone server, as the official one is.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from secantus import commands, rbac
from secantus.auth import SCRAM_SHA_256, derive_credentials
from secantus.server import SecantusDBServer
from secantus.storage import _INT64_MIN, _doc_table_for


def main() -> None:
    arguments = sys.argv[1:]
    if arguments and arguments[0] != "mongod" and not arguments[0].startswith("-"):
        os.execvp(arguments[0], arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    options = parse([a for a in arguments if a != "mongod"])
    home = Path(options.dbpath)
    home.mkdir(parents=True, exist_ok=True)
    user, password = (variable(f"MONGO_INITDB_ROOT_{n}") for n in ("USERNAME", "PASSWORD"))
    secured = home / "root-user"
    server = SecantusDBServer(
        options.bind_ip,
        options.port,
        str(home / "wiredtiger"),
        require_auth=bool(options.auth or (user and password) or secured.exists()),
        replica_set_name=options.replSet,
        enable_test_commands=False,
        cache_size=f"{cache_megabytes()}M",
    )
    seldom_collected()
    keep_options(server.storage)
    count_by_keys(server.storage)
    ask_for_rights()
    try:
        if user and password:
            make_root(server, user, password)
            secured.touch()
        server.start()
        print(f"listening on {options.bind_ip}:{options.port}", flush=True)
        server.wait()
    except KeyboardInterrupt:
        print("stopping", flush=True)
    finally:
        if server._socket is not None:  # wakes the thread that accepts: it would be waited for
            server._socket.shutdown(socket.SHUT_RDWR)
        server.stop()


def cache_megabytes() -> int:
    """As the real server takes it: half of the memory but for a gigabyte, and no less than 256."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in ("memory.max", "memory/memory.limit_in_bytes"):  # of the container, if it has one
        with contextlib.suppress(OSError, ValueError):  # "max" is none
            found.append(int(Path("/sys/fs/cgroup", path).read_text()))
    return max((min(found) // 2**20 - 1024) // 2, 256)


def seldom_collected() -> None:
    """What a cursor has still to send is all in memory, as objects: to look through them for cycles
    again and again took a part of every command, which the real server has not."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def keep_options(storage: Any) -> None:
    """A renamed collection keeps its options, as on the real server: here they were lost."""
    rename = storage.rename_collection

    def renamed(
        from_db: str, from_name: str, to_db: str, to_name: str, **how: Any
    ) -> tuple[bool, str | None]:
        options = storage.get_collection_options(from_db, from_name)
        done: tuple[bool, str | None] = rename(from_db, from_name, to_db, to_name, **how)
        if done[0]:
            storage.set_collection_options(to_db, to_name, **options)
        return done

    storage.rename_collection = renamed


def count_by_keys(storage: Any) -> None:
    """How many documents a collection has is known to the real server. Here they were all read; to
    pass over their keys takes a fourteenth of the time."""
    read = storage.count_matching

    def counted(
        db: str, coll: str, filter: dict[str, Any] | None = None, **how: Any
    ) -> int:  # the names are the storage's own
        made_up = (storage._is_oplog_rs, storage._is_system_users, storage._is_system_version)
        if filter or any(is_it(db, coll) for is_it in made_up):
            return int(read(db, coll, filter, **how))
        storage._refresh_read_snapshot()
        with storage._lock:
            cursor = storage._cursor_optional(_doc_table_for(db, coll))
            return 0 if cursor is None else _between(cursor, (db, coll))

    storage.count_matching = counted


def _between(cursor: Any, place: tuple[str, str]) -> int:
    """The keys that begin with `place`."""
    try:
        for side, record in (("lower", _INT64_MIN), ("upper", -_INT64_MIN - 1)):
            cursor.set_key(*place, record)
            cursor.bound(f"action=set,bound={side},inclusive=true")
        found = 0
        while cursor.next() == 0:
            found += 1
        return found
    finally:
        cursor.reset()  # without the bounds: others use it


# Commands that no right was asked for: the action that the real server asks for, and where.
UNASKED = {
    "killAllSessions": ("killAnySession", rbac.SCOPE_CLUSTER),
    "killAllSessionsByPattern": ("killAnySession", rbac.SCOPE_CLUSTER),
    "replSetGetStatus": ("replSetGetStatus", rbac.SCOPE_CLUSTER),
    "replSetStepDown": ("replSetStateChange", rbac.SCOPE_CLUSTER),
    "createSearchIndexes": ("createIndex", rbac.SCOPE_COLLECTION),
    "updateSearchIndex": ("createIndex", rbac.SCOPE_COLLECTION),
    "dropSearchIndex": ("dropIndex", rbac.SCOPE_COLLECTION),
}
BULK = {"insert": "insert", "update": "update", "delete": "remove"}


def ask_for_rights() -> None:
    """The real server asks for rights on every namespace of a `bulkWrite` and on the target of a
    `renameCollection`; here a login limited to one database could write any other. Its
    users may close cursors of their own, for which a right was asked here."""
    commands._COMMAND_ACTIONS.update(UNASKED)
    commands._COMMAND_ACTIONS.pop("killCursors")
    root = rbac.BUILT_IN_ROLES["root"]
    root.actions = root.actions | {action for action, _ in UNASKED.values()}
    commands._HANDLERS["connectionStatus"] = _told
    for name, needs in (("bulkWrite", _bulk_needs), ("renameCollection", _rename_needs)):
        commands._HANDLERS[name] = _asked(name, commands._HANDLERS[name], needs)


def _told(doc: dict[str, Any], ctx: Any) -> dict[str, Any]:
    """`showPrivileges`: what the roles of this login come to."""
    answer: dict[str, Any] = commands._connection_status(doc, ctx)
    if doc.get("showPrivileges") and ctx.connection_auth is not None:
        found: list[Any] = []
        for role in ctx.connection_auth.effective_roles:
            found += _privileges(str(role.get("role")), str(role.get("db")), ctx.storage.get_role)
        answer["authInfo"]["authenticatedUserPrivileges"] = found
    return answer


def _privileges(role: str, database: str, known: Any) -> list[Any]:
    built_in = rbac.BUILT_IN_ROLES.get(role)
    if built_in is None:
        record = known(database, role) or {}
        inherited = [
            one
            for more in record.get("roles") or ()
            for one in _privileges(more["role"], more["db"], known)
        ]
        return [*(record.get("privileges") or ()), *inherited]
    resources: list[Any] = [{"db": "" if built_in.any_db else database, "collection": ""}]
    if built_in.cluster:
        resources.append({"cluster": True})
    return [{"resource": one, "actions": sorted(built_in.actions)} for one in resources]


def _asked(name: str, run: Any, needs: Any) -> Any:
    def asked(doc: dict[str, Any], ctx: Any) -> dict[str, Any]:
        if ctx.require_auth:
            for action, database in needs(doc):
                roles, known = ctx.connection_auth.effective_roles, ctx.storage.get_role
                if not rbac.check_privilege(roles, action, target_db=database, role_resolver=known):
                    message = f"not authorized on {database} to execute command {name}"
                    return {"ok": 0.0, "errmsg": message, "code": 13, "codeName": "Unauthorized"}
        done: dict[str, Any] = run(doc, ctx)
        return done

    return asked


def _bulk_needs(doc: dict[str, Any]) -> list[tuple[str, str]]:
    names = [str(one.get("ns", "")).partition(".")[0] for one in doc.get("nsInfo") or ()]
    operations = [next(iter(one.items()), ("", 0)) for one in doc.get("ops") or ()]
    return [
        (BULK.get(kind, kind), names[at] if isinstance(at, int) and 0 <= at < len(names) else "")
        for kind, at in operations
    ]


def _rename_needs(doc: dict[str, Any]) -> list[tuple[str, str]]:
    source, target = (str(doc.get(key, "")).partition(".")[0] for key in ("renameCollection", "to"))
    return [] if source == target else [("insert", target), ("createCollection", target)]


def _stop(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the data is being flushed: once is enough
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mongod")
    parser.add_argument("--dbpath", default="/data/db")
    parser.add_argument("--port", type=int, default=27017)
    parser.add_argument("--bind_ip", default="0.0.0.0")
    parser.add_argument("--bind_ip_all", action="store_const", const="0.0.0.0", dest="bind_ip")
    parser.add_argument("--replSet", default=None)
    parser.add_argument("--auth", action="store_true")
    known, others = parser.parse_known_args(arguments)
    if others:
        print(f"not known here, so without effect: {' '.join(others)}", flush=True)
    return known


def variable(name: str) -> str:
    file = os.environ.get(f"{name}_FILE")
    return Path(file).read_text().rstrip("\r\n") if file else os.environ.get(name, "")


def make_root(server: SecantusDBServer, user: str, password: str) -> None:
    """What createUser would store; does nothing when the user is there."""
    credentials = derive_credentials(password, mechanism=SCRAM_SHA_256, username=user)
    record = {
        "_id": f"admin.{user}",
        "user": user,
        "db": "admin",
        "credentials": credentials.to_doc(),
        "roles": [{"role": "root", "db": "admin"}],
        "mechanisms": [SCRAM_SHA_256],
    }
    server.storage.add_user("admin", user, record, replace=False)


main()
