"""One service -> the engine's arguments for a container; one program run in a container."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import docker
from docker.types import LogConfig

from sandbox.compose import Mount, Service
from sandbox.errors import SandboxError

NANO = 1_000_000_000
LOG_SIZE = "10m"


def container_name(project: str, service: str) -> str:
    return f"{project}-{service}-1"


def create(
    client: docker.DockerClient,
    service: Service,
    *,
    project: str,
    image: str,
    name: str,
    labels: Mapping[str, str],
    ports: Mapping[int, int],
    root: Path,
) -> str:
    """Make a container and return its id; nothing runs yet. `ports`: inside -> outside."""
    api = client.api
    host_config = api.create_host_config(
        binds=[_bind(mount, project, root) for mount in service.mounts if mount.type != "tmpfs"],
        tmpfs={mount.target: "" for mount in service.mounts if mount.type == "tmpfs"} or None,
        port_bindings={
            f"{port.target}/{port.protocol}": ("127.0.0.1", ports.get(port.target) or None)
            for port in service.ports
        },
        restart_policy={"Name": service.restart},
        mem_limit=service.memory or None,
        nano_cpus=int(service.cpus * NANO) or None,
        shm_size=service.shm_size or None,
        network_mode=service.network_mode or f"{project}_{service.networks[0]}",
        init=service.init or None,
        read_only=service.read_only,
        cap_add=list(service.cap_add) or None,
        cap_drop=list(service.cap_drop) or None,
        extra_hosts=dict(service.extra_hosts) or None,
        log_config=LogConfig(type="json-file", config={"max-size": LOG_SIZE, "max-file": "3"}),
    )
    networking: Any = None
    if service.networks:
        aliases = api.create_endpoint_config(
            aliases=[service.name, container_name(project, service.name)]
        )
        networking = {"EndpointsConfig": {f"{project}_{service.networks[0]}": aliases}}
    made = api.create_container(
        image=image,
        name=name,
        command=list(service.command) if service.command is not None else None,
        entrypoint=list(service.entrypoint) if service.entrypoint is not None else None,
        environment=dict(service.environment),
        labels=dict(labels),
        ports=[(port.target, port.protocol) for port in service.ports],
        host_config=host_config,
        networking_config=networking,
        healthcheck=_health(service),
        user=service.user or None,
        working_dir=service.working_dir or None,
        stop_signal=service.stop_signal or None,
        hostname=None if service.network_mode == "host" else service.name,
        detach=True,
    )
    identifier = str(made["Id"])
    for network in service.networks[1:]:
        api.connect_container_to_network(identifier, f"{project}_{network}", aliases=[service.name])
    return identifier


def stop_seconds(attributes: Mapping[str, Any]) -> int:
    """How long a container may take to stop before it is killed."""
    return int(attributes["Config"].get("StopTimeout") or 30)


def run(
    client: docker.DockerClient,
    identifier: str,
    argv: Sequence[str],
    stdin: bytes,
    environment: Mapping[str, str],
) -> bytes:
    """Run a program inside; returns its standard output. Raises SandboxError when it fails."""
    api = client.api
    made = api.exec_create(identifier, list(argv), stdin=bool(stdin), environment=dict(environment))
    if not stdin:
        out, err = api.exec_start(made["Id"], demux=True)
    else:
        out, err = _with_input(api.exec_start(made["Id"], socket=True), stdin)
    code = api.exec_inspect(made["Id"])["ExitCode"]
    if code:
        lines = [line for line in (err or b"").decode("utf-8", "replace").splitlines() if line]
        raise SandboxError(
            f"{argv[0]} failed ({code})", hint=lines[-1] if lines else "it said nothing"
        )
    return out or b""


def _with_input(connection: Any, stdin: bytes) -> tuple[bytes, bytes]:
    """Write standard input, close it, then read Docker's multiplexed output frames."""
    raw = getattr(connection, "_sock", connection)
    out: dict[int, list[bytes]] = {1: [], 2: []}
    try:
        raw.sendall(stdin)
        raw.shutdown(socket.SHUT_WR)
        while header := _exactly(raw, 8):
            stream, length = struct.unpack(">BxxxL", header)
            out.setdefault(stream, []).append(_exactly(raw, length))
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


def _bind(mount: Mount, project: str, root: Path) -> str:
    source = (
        str((root / Path(mount.source).expanduser()).resolve())
        if mount.type == "bind"
        else f"{project}_{mount.source}"
    )
    return f"{source}:{mount.target}:{'ro' if mount.read_only else 'rw'}"


def _health(service: Service) -> dict[str, Any] | None:
    health = service.health
    if health is None:
        return None
    return {
        "test": list(health.test),
        "interval": health.interval,
        "timeout": health.timeout,
        "retries": health.retries,
        "start_period": health.start_period,
    }
