"""Takes the official image's variables and mongod's options, and runs SecantusDB with them.

MONGO_INITDB_ROOT_USERNAME and MONGO_INITDB_ROOT_PASSWORD (or ..._FILE) make the root user where
there is none; with them the server asks for a login from then on. Without `--replSet` it is a
standalone server, as the official one is.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from secantus.auth import SCRAM_SHA_256, derive_credentials
from secantus.server import SecantusDBServer


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
        cache_size="512M",
    )
    keep_options(server.storage)
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
