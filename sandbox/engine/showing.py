"""A baseline's servers beside the present ones, to look at what they hold; gone afterwards."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import docker

from sandbox.engine import baselines, cloning, containers, labels, programs, watching


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A server that runs for a while. `ports`: inside -> 127.0.0.1's; `run` runs one of its own
    programs in it, as a store's `Tool`."""

    ports: Mapping[int, int]
    run: Callable[..., bytes]


def start(client: docker.DockerClient, project: str, service: str, image: str) -> Shown:
    """Returns when it is healthy. Raises Refused where `image` is no baseline of the service."""
    baselines.require(client, project, service, image)
    attributes = cloning.container(client, project, service)
    name = f"{project}-{service}-shown-{secrets.token_hex(4)}"
    identifier = cloning.beside(client, attributes, image=image, name=name, why=labels.BESIDE)
    client.api.start(identifier)
    watching.healthy(client, identifier, name)
    found = client.api.inspect_container(identifier)["NetworkSettings"]["Ports"]
    ports = {int(k.partition("/")[0]): int(v[0]["HostPort"]) for k, v in found.items() if v}
    return Shown(ports=ports, run=partial(_run, client, identifier))


def sweep(client: docker.DockerClient, project: str) -> None:
    """Remove them all, whoever started them."""
    containers.discard_all(client, f"{labels.BESIDE}={project}")


def _run(
    client: docker.DockerClient,
    identifier: str,
    argv: Any,
    *,
    stdin: bytes = b"",
    environment: Mapping[str, str] = {},
) -> bytes:
    return programs.run(client, identifier, argv, stdin, environment)
