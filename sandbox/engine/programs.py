"""One program run inside a container."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import docker

from sandbox.engine import labels
from sandbox.errors import SandboxError, Unreachable

HEAD = struct.Struct(">BxxxL")  # of a frame: stream, length; see "Attach to a container" of the API
STDOUT, STDERR = 1, 2


def run(
    client: docker.DockerClient,
    identifier: str,
    argv: Sequence[str],
    stdin: bytes,
    environment: Mapping[str, str],
) -> bytes:
    """Its standard output. Raises SandboxError with the last line that it wrote to standard error;
    neither arguments nor environment stand in the error."""
    code, out, err = ended(client, identifier, argv, stdin, environment)
    if code != 0:
        lines = [line for line in _text(err + out).splitlines() if line.strip()]
        said = _text(err).strip().splitlines() or lines
        raise SandboxError(
            f"{argv[0]} failed ({code})", hint=said[-1] if said else "it said nothing"
        )
    return out


def tried(client: docker.DockerClient, identifier: str, argv: Sequence[str]) -> tuple[bool, str]:
    """Whether it ends with exit code 0, and what it said."""
    code, out, err = ended(client, identifier, argv)
    return code == 0, _text(out + err)


def ended(
    client: docker.DockerClient,
    identifier: str,
    argv: Sequence[str],
    stdin: bytes = b"",
    environment: Mapping[str, str] = {},
) -> tuple[int | None, bytes, bytes]:
    """Run it; its exit code, and what it wrote to standard output and to standard error."""
    api = client.api
    made = api.exec_create(identifier, list(argv), stdin=bool(stdin), environment=dict(environment))
    out, err = _spoken(api.exec_start(made["Id"], socket=True), stdin)
    while (found := api.exec_inspect(made["Id"]))["Running"]:  # the engine notes it a moment later
        time.sleep(0.01)
    return found["ExitCode"], out, err


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


def _spoken(connection: Any, stdin: bytes) -> tuple[bytes, bytes]:
    """Write standard input while reading the frames that standard output and error come in.

    They are read where the head of the engine's answer was read. That may have taken in, with the
    head, the first of what a quick program said; who reads the connection itself, as docker-py
    does, never sees it: https://github.com/docker/docker-py/issues/2042.
    """
    response = connection._response
    reader, raw = response.raw._fp.fp, getattr(connection, "_sock", connection)
    raw.settimeout(None)  # it may work for long and say nothing

    def feed() -> None:
        with contextlib.suppress(OSError):  # the program ended without reading everything
            raw.sendall(stdin)
            raw.shutdown(socket.SHUT_WR)

    feeder = threading.Thread(target=feed, daemon=True)
    if stdin:
        feeder.start()
    said: dict[int, list[bytes]] = {STDOUT: [], STDERR: []}
    try:
        while head := reader.read(HEAD.size):
            stream, length = HEAD.unpack(_whole(head, HEAD.size))
            said[stream].append(_whole(reader.read(length), length))
        if stdin:
            feeder.join(5)
    finally:
        response.close()
        connection.close()
    return b"".join(said[STDOUT]), b"".join(said[STDERR])


def _whole(piece: bytes, length: int) -> bytes:
    if len(piece) < length:
        raise Unreachable("the engine went away while a program ran")
    return piece


def _text(said: bytes) -> str:
    return said.decode("utf-8", "replace")
