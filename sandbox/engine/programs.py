"""One program run inside a container."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import docker

from sandbox.engine import labels
from sandbox.errors import SandboxError


def run(
    client: docker.DockerClient,
    identifier: str,
    argv: Sequence[str],
    stdin: bytes,
    environment: Mapping[str, str],
) -> bytes:
    """Its standard output. Raises SandboxError with the last line that it wrote to standard error;
    neither arguments nor environment stand in the error."""
    api = client.api
    made = api.exec_create(identifier, list(argv), stdin=bool(stdin), environment=dict(environment))
    out: bytes | None
    err: bytes | None
    if stdin:
        out, err = _with_input(api.exec_start(made["Id"], socket=True), stdin)
    else:
        out, err = api.exec_start(made["Id"], demux=True)
    code = api.exec_inspect(made["Id"])["ExitCode"]
    if code:
        text = (err or b"") + (out or b"")
        lines = [line for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
        said = (err or b"").decode("utf-8", "replace").strip().splitlines() or lines
        raise SandboxError(
            f"{argv[0]} failed ({code})", hint=said[-1] if said else "it said nothing"
        )
    return out or b""


@contextlib.contextmanager
def apart(
    client: docker.DockerClient, project: str, image: str, files: Sequence[str]
) -> Iterator[str]:
    """A container of `image` on the machine's network in which nothing runs, gone at the end. It
    carries the project's labels as Compose's `run` does, so that `down` would find it."""
    api = client.api
    made = api.create_container(
        image=image,
        entrypoint=["sleep", "3600"],
        labels={labels.PROJECT: project, labels.ONE_OFF: "True", labels.SERVICE: "apart"},
        host_config=api.create_host_config(
            network_mode="host", binds=[f"{path}:{path}:ro" for path in files], init=True
        ),
    )["Id"]
    try:
        api.start(made)
        yield made
    finally:
        api.remove_container(made, force=True, v=True)


def tried(client: docker.DockerClient, identifier: str, argv: Sequence[str]) -> tuple[bool, str]:
    """Whether it ends with exit code 0, and what it said."""
    made = client.api.exec_create(identifier, list(argv))
    said = client.api.exec_start(made["Id"]).decode("utf-8", "replace")
    return client.api.exec_inspect(made["Id"])["ExitCode"] == 0, said


def _with_input(connection: Any, stdin: bytes) -> tuple[bytes, bytes]:
    """Write standard input while reading Docker's multiplexed output frames."""
    raw = getattr(connection, "_sock", connection)

    def feed() -> None:
        with contextlib.suppress(OSError):  # the program ended without reading everything
            raw.sendall(stdin)
            raw.shutdown(socket.SHUT_WR)

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    out: dict[int, list[bytes]] = {1: [], 2: []}
    try:
        while header := _exactly(raw, 8):
            stream, length = struct.unpack(">BxxxL", header)
            out.setdefault(stream, []).append(_exactly(raw, length))
        feeder.join(5)
    finally:
        connection.close()
    return b"".join(out[1]), b"".join(out[2])


def _exactly(raw: Any, count: int) -> bytes:
    pieces: list[bytes] = []
    while count:
        piece = raw.recv(min(count, 1 << 16))
        if not piece:
            break
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)
