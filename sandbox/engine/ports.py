"""Ports on 127.0.0.1: who has one, and a free one that stays the same from start to start."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Mapping
from typing import Any

import docker

LOOPBACK = "127.0.0.1"
FIRST, COUNT = 20_000, 12_000  # below the range that the kernel gives to outgoing connections


class Ports:
    """The ports of one engine during one run; two services never get the same one."""

    def __init__(self, client: docker.DockerClient, *, local: bool) -> None:
        self._local = local  # only then can a bind tell
        self._held = _held(client)
        self._given: set[int] = set()
        self._lock = threading.Lock()

    def holder(self, port: int) -> str:
        """Who has `port`: a container's name, "another program", or "" when it is free."""
        if port in self._held:
            return f"container {self._held[port]}"
        return "another program" if self._local and not _can_bind(port) else ""

    def release(self, port: int) -> None:
        """Its container is gone."""
        self._held.pop(port, None)

    def free(self, seed: str) -> int:
        """A free port. The same `seed` (project, service, port) finds the same one again, when
        nobody has taken it since."""
        start = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big")
        with self._lock:
            for offset in range(COUNT):
                port = FIRST + (start + offset * 7) % COUNT
                if port not in self._given and not self.holder(port):
                    self._given.add(port)
                    return port
        return 0  # the engine's own choice


def bound(attributes: Mapping[str, Any]) -> dict[int, int]:
    """The ports that a container was made with, inside -> outside, running or not."""
    found = {}
    for inside, outside in (attributes["HostConfig"].get("PortBindings") or {}).items():
        if outside and outside[0].get("HostPort"):
            found[int(inside.partition("/")[0])] = int(outside[0]["HostPort"])
    return found


def _held(client: docker.DockerClient) -> dict[int, str]:
    return {
        port["PublicPort"]: one["Names"][0].lstrip("/")
        for one in client.api.containers()
        for port in one["Ports"]
        if port.get("PublicPort")
    }


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
