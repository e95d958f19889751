"""A connection cut in the middle of a stream, a server that goes away, a full disk: one clear
error, nothing that counts, the playground as it was; and going on with what is finished."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandbox import artifact as artifacts
from sandbox import transfer
from sandbox.errors import SandboxError
from sandbox.masking.keep import KEEP
from sandbox.model import SERVER_KINDS
from sandbox.report import silent
from tests.contract.copy_worlds import Copied, copied
from tests.contract.test_copy_contract import equal, marker, put, take

ROOT = Path(__file__).parents[2]


class Proxy:
    """Passes bytes on to a server until `left` of them have come back (or gone out, with
    `outgoing`); then every connection is cut and none is taken any more."""

    def __init__(self, port: int, *, left: int = 1 << 60, outgoing: bool = False) -> None:
        self._target, self._left, self._outgoing = port, left, outgoing
        self.passed = 0
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._open += [client, server]
                for source, target, counted in (
                    (client, server, self._outgoing),
                    (server, client, not self._outgoing),
                ):
                    arguments = (source, target, counted)
                    threading.Thread(target=self._pass, args=arguments, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while data := source.recv(4096):
                if counted:
                    with self._lock:
                        self.passed += len(data)
                        if self.passed >= self._left:
                            break
                target.sendall(data)
            else:
                target.shutdown(socket.SHUT_WR)
                return
            self.close()

    def close(self) -> None:
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@contextmanager
def proxied(world: Copied, **how: Any) -> Iterator[tuple[Any, Proxy]]:
    """Only what is to be cut gives up soon: what is measured may be slow on a busy machine."""
    proxy = Proxy(world.endpoint.port, **how)
    soon = world.kind == "mongo" and "left" in how
    options: Any = {"serverSelectionTimeoutMS": 500} if soon else {}
    yield replace(world.endpoint, host="127.0.0.1", port=proxy.port, options=options), proxy
    proxy.close()


@pytest.fixture(scope="module", params=SERVER_KINDS)
def world(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copied]:
    with copied(request.param, request, tmp_path_factory.mktemp("trouble")) as made:
        yield made


def bytes_of_reading(world: Copied, root: Path) -> int:
    with proxied(world) as (endpoint, proxy):
        source = world.source(endpoint)
        take(world, source, root)
        source.close()
        return proxy.passed


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_connection_cut_while_reading(world: Copied, tmp_path: Path, share: float) -> None:
    left = int(bytes_of_reading(world, tmp_path / "whole") * share)
    root = tmp_path / "cut"
    with proxied(world, left=left) as (endpoint, _):
        source = world.source(endpoint)
        with pytest.raises(SandboxError) as caught:
            take(world, source, root)
        source.close()
    assert "\n" not in str(caught.value)
    assert artifacts.listing(root) == []
    assert len(artifacts.interrupted(root)) == 1
    writer = artifacts.resume(root, artifacts.interrupted(root)[0], facts={})
    again = world.source(None)
    transfer.take(
        {world.kind: again},
        KEEP,
        writer,
        check=lambda held: None,
        after=lambda held: None,
        report=silent,
    )
    again.close()
    made = writer.commit({})
    made.verify()
    put(world, made)
    equal(world.content("playground"), world.content("production"), "what came in the end")


@pytest.mark.parametrize("share", [0.3, 0.95])
def test_a_server_that_goes_away_while_loading(world: Copied, tmp_path: Path, share: float) -> None:
    source = world.source(None)
    made = take(world, source, tmp_path)
    source.close()
    put(world, made)
    world.spoil("playground")
    before = world.content("playground"), world.shape("playground")
    with proxied(world, outgoing=True) as (endpoint, proxy):
        _load(world, made, endpoint)
        whole = proxy.passed
        _settle(world)
    with (
        proxied(world, outgoing=True, left=int(whole * share)) as (endpoint, _),
        pytest.raises(SandboxError) as caught,
    ):
        _load(world, made, endpoint)
    assert "\n" not in str(caught.value)
    equal((world.content("playground"), world.shape("playground")), before, "the playground")
    put(world, made)
    equal(world.content("playground"), world.content("production"), "what came in the end")
    assert world.left() == []


def _load(world: Copied, made: artifacts.Artifact, endpoint: Any) -> None:
    store = world.store(endpoint)
    try:
        transfer.load(made, {world.kind: store}, marker(world, made), report=silent)
    finally:
        store.close()


def _settle(world: Copied) -> None:
    store = world.store(None)
    store.settle()
    store.close()


class Meanwhile:
    """A source that somebody alters between the plan and the end of reading."""

    def __init__(self, real: Any, alter: Callable[[], Any]) -> None:
        self._real, self._alter = real, alter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def altered(self, cut: Any, datasets: Any) -> Any:
        self._alter()
        return self._real.altered(cut, datasets)


def test_what_is_made_otherwise_between_plan_and_read(world: Copied, tmp_path: Path) -> None:
    """Last of all: production is another afterwards. PostgreSQL's tables are locked meanwhile
    (test_postgres_failures.py), and keys have no shape."""
    assert world.alter or world.kind in ("postgres", "redis")
    for number, (told, alter) in enumerate(world.alter.items()):
        root = tmp_path / str(number)
        source = world.source(None)
        with pytest.raises(SandboxError, match=f"changed while it was read.*{told}") as caught:
            take(world, Meanwhile(source, alter), root)  # type: ignore[arg-type]
        source.close()
        assert "\n" not in str(caught.value)
        assert artifacts.listing(root) == []
        left = artifacts.resume(root, artifacts.interrupted(root)[0], facts={})
        assert left.finished(world.kind) == frozenset()  # nothing for --resume to go on with
        left.leave()


# --- a full disk ---------------------------------------------------------------------------------

FILL = """
import os, sys
from pathlib import Path
from sandbox import artifact as artifacts
from sandbox.errors import SnapshotBroken
from sandbox.model import Dataset

root = Path(sys.argv[1])
writer = artifacts.create(root, facts={})
with writer.part("redis", Dataset(store="redis", name="small")) as part:
    part.write(1, b"finished")
try:
    with writer.part("redis", Dataset(store="redis", name="large")) as part:
        for _ in range(64):
            part.write(1, os.urandom(1 << 16))
except SnapshotBroken as error:
    print(error)
writer.leave()
assert artifacts.listing(root) == []
for large in root.glob("*/redis/large*"):
    large.unlink()
again = artifacts.resume(root, artifacts.interrupted(root)[0], facts={})
print(sorted(again.finished("redis")))
"""


def test_a_full_disk_while_writing_a_snapshot(tmp_path: Path) -> None:
    """A tmpfs of 1 MB, in a mount namespace of its own."""
    namespace = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    script = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        [*namespace, "sh", "-c", script, "sh", str(tmp_path), sys.executable, FILL],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    told, resumed = done.stdout.strip().splitlines()
    assert "cannot be written: No space left on device" in told and "--resume" in told
    assert resumed == "['small']"
