"""One Docker engine: what runs there, and what is asked of it by project and service."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound

from sandbox.engine import containers, labels
from sandbox.engine.starting import Starting
from sandbox.errors import Unreachable
from sandbox.images import product
from sandbox.plan import Observed, Plan
from sandbox.report import Report

DEFAULT_SOCKET = "unix:///var/run/docker.sock"
TIMEOUT = 120  # seconds for one request to the engine


@dataclass(frozen=True, kw_only=True)
class ServiceStatus:
    """One container as `status` shows it. `product` names what really runs."""

    service: str
    state: str
    health: str
    image: str
    product: str
    ports: Mapping[int, int]


def connect(*, environment: Mapping[str, str]) -> Engine:
    """The engine of DOCKER_HOST, else the current context's, else the default socket's.

    Raises Unreachable with what was tried and how to get one.
    """
    address = environment.get("DOCKER_HOST") or _context_host(environment) or DEFAULT_SOCKET
    try:
        client = docker.DockerClient(base_url=address, timeout=TIMEOUT)
        client.ping()
    except (DockerException, OSError):
        raise Unreachable(
            f"no Docker engine answers at {address}",
            hint="start it, set DOCKER_HOST, or let ./inv up --yes install one on Debian or Ubuntu",
        ) from None
    return Engine(client)


def _context_host(environment: Mapping[str, str]) -> str:
    """The current context's endpoint, from Docker's own configuration."""
    home = Path(environment.get("DOCKER_CONFIG") or Path("~/.docker").expanduser())
    try:
        config = json.loads((home / "config.json").read_text())
    except (OSError, ValueError):
        config = {}
    wanted = environment.get("DOCKER_CONTEXT") or config.get("currentContext") or "default"
    if wanted == "default":
        return ""
    for meta in home.glob("contexts/meta/*/meta.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            facts = json.loads(meta.read_text())
            if facts["Name"] == wanted:
                return str(facts["Endpoints"]["docker"]["Host"])
    raise Unreachable(
        f"Docker's current context is {wanted!r}, and it is not defined",
        hint="docker context use default, or set DOCKER_HOST",
    )


class Engine:
    """Use by project (Compose's name for one set of containers) and service."""

    def __init__(self, client: docker.DockerClient) -> None:
        self.client = client

    # --- looking ---------------------------------------------------------------------------------

    def observe(self, project: str) -> tuple[Observed, ...]:
        """The project's containers, ours or Compose's own."""
        filters = {"label": [f"{labels.PROJECT}={project}", f"{labels.ONE_OFF}=False"]}
        found = self.client.api.containers(all=True, filters=filters)
        seen = [_observed(one) for one in found if labels.TEMPORARY not in one["Labels"]]
        return tuple(sorted(seen, key=lambda one: one.service))

    def status(self, project: str) -> tuple[ServiceStatus, ...]:
        return tuple(
            ServiceStatus(
                service=one.service,
                state=one.state,
                health=one.health,
                image=one.image,
                product=product(self._tag(one.image), one.image),
                ports=one.ports,
            )
            for one in self.observe(project)
        )

    def published(self, project: str, service: str, port: int) -> int:
        """The port on 127.0.0.1 behind which `service` answers. Raises Unreachable."""
        for one in self.observe(project):
            if one.service == service:
                if one.state == "running" and port in one.ports:
                    return one.ports[port]
                raise Unreachable(
                    f"{service} of {project} is {one.state}", hint="./inv up starts it"
                )
        raise Unreachable(f"{service} of {project} does not run", hint="./inv up starts it")

    def environment(self, project: str, service: str) -> dict[str, str]:
        """The environment that the running container really has."""
        pairs = self._container(project, service).attrs["Config"]["Env"] or []
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)

    def logs(self, project: str, service: str, *, follow: bool, tail: int) -> Iterator[str]:
        stream = self._container(project, service).logs(stream=True, follow=follow, tail=tail)
        left = b""
        for piece in stream:
            *lines, left = (left + piece).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in lines)
        if left:
            yield left.decode("utf-8", "replace")

    # --- doing -----------------------------------------------------------------------------------

    def apply(self, plan: Plan, report: Report) -> None:
        """Run a plan: images, network, volumes, then each service as its dependencies allow."""
        if plan.file.services:
            Starting(self.client, plan, report).run()

    def down(self, project: str) -> None:
        """Stop and remove containers and networks. Volumes always stay (P9)."""
        filters = {"label": f"{labels.PROJECT}={project}"}
        found = self.client.api.containers(all=True, filters=filters)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda one: self._remove(one["Id"]), found))
        for network in self.client.networks.list(filters=filters):
            with contextlib.suppress(APIError):  # another project's container is still in it
                network.remove()

    def exec(
        self,
        project: str,
        service: str,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        environment: Mapping[str, str] = {},
    ) -> bytes:
        """Run a program in the service's container; secrets go by `environment`, never by `argv`.

        Raises SandboxError with the last line that it wrote to standard error.
        """
        container = self._container(project, service)
        return containers.run(self.client, container.id, argv, stdin, environment)

    def _remove(self, identifier: str) -> None:
        with contextlib.suppress(NotFound):
            container = self.client.containers.get(identifier)
            container.stop(timeout=containers.stop_seconds(container.attrs))
            container.remove(force=True, v=False)

    def _container(self, project: str, service: str) -> Any:
        for one in self.observe(project):
            if one.service == service:
                return self.client.containers.get(one.id)
        raise Unreachable(f"{service} of {project} does not run", hint="./inv up starts it")

    def _tag(self, image: str) -> str:
        """What the image that runs is called here: an offline one carries its own repository."""
        with contextlib.suppress(DockerException):
            for tag in self.client.images.get(image).tags:
                if tag.startswith("sandbox-offline/"):
                    return str(tag)
        return image


def _observed(raw: Mapping[str, Any]) -> Observed:
    status = raw.get("Status", "")
    words = status.replace("(", " ").replace(")", " ").split()
    health = next((word for word in ("unhealthy", "healthy", "starting") if word in words), "")
    tags = raw["Labels"]
    return Observed(
        id=raw["Id"],
        name=raw["Names"][0].lstrip("/") if raw["Names"] else raw["Id"][:12],
        service=tags.get(labels.SERVICE, ""),
        state=raw["State"],
        health=health,
        config_hash=tags.get(labels.CONFIG_HASH, ""),
        image=tags.get(labels.REFERENCE) or raw["Image"],
        ports={p["PrivatePort"]: p["PublicPort"] for p in raw["Ports"] if p.get("PublicPort")},
    )
