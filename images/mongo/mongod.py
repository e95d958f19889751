"""Takes the official image's variables and mongod's options, and runs SecantusDB with them.

MONGO_INITDB_ROOT_USERNAME and MONGO_INITDB_ROOT_PASSWORD make the root user at the first start;
with them the server asks for a login from then on.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pymongo import MongoClient
from pymongo.errors import PyMongoError

SERVER = ("python3", "-m", "secantus")


def main() -> None:
    arguments = sys.argv[1:]
    if arguments and arguments[0] != "mongod" and not arguments[0].startswith("-"):
        os.execvp(arguments[0], arguments)
    options = parse([a for a in arguments if a != "mongod"])
    home = Path(options.dbpath)
    home.mkdir(parents=True, exist_ok=True)
    user, password = (
        os.environ.get(f"MONGO_INITDB_ROOT_{n}", "") for n in ("USERNAME", "PASSWORD")
    )
    done = home / "root-user"
    if user and password and not done.exists():
        make_root(home, user, password)
        done.touch()
    auth = ["--auth"] if done.exists() or options.auth else []
    run([*command(home, options.port, "0.0.0.0"), *auth])


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dbpath", default="/data/db")
    parser.add_argument("--port", type=int, default=27017)
    parser.add_argument("--auth", action="store_true")
    known, _ = parser.parse_known_args(arguments)  # others tune the real server only
    return known


def command(home: Path, port: int, host: str) -> list[str]:
    return [
        *SERVER, "--host", host, "--port", str(port), "--storage-path", str(home / "wiredtiger"),
        "--log-level", "WARNING", "--cache-size", "512M",
    ]  # fmt: skip


def make_root(home: Path, user: str, password: str) -> None:
    """Start without logins on this container's own address only, make the user, stop."""
    with subprocess.Popen(command(home, 27999, "127.0.0.1")) as server:
        try:
            client: MongoClient = MongoClient("127.0.0.1", 27999, directConnection=True,
                                              serverSelectionTimeoutMS=500)  # fmt: skip
            for _ in range(200):
                try:
                    client.admin.command("ping")
                    break
                except PyMongoError:
                    time.sleep(0.05)
            roles = [{"role": "root", "db": "admin"}]
            client.admin.command("createUser", user, pwd=password, roles=roles)
            client.close()
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(20)


def run(arguments: list[str]) -> None:
    """Stay in front as PID 1 and pass a stop on, so that the data is flushed."""
    server = subprocess.Popen(arguments)

    def stop(_signal: int, _frame: object) -> None:
        server.send_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    sys.exit(server.wait())


main()
