"""One service -> a container: the engine's own arguments, and its stop."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, NotFound
from docker.types import LogConfig, Ulimit

from sandbox.compose import ComposeFile, Mount, Resource, Service
from sandbox.engine import labels as tags
from sandbox.engine.ports import LOOPBACK

NANO = 1_000_000_000
LOG_SIZE = "10m"
STOPS_WITHIN = 30  # seconds, where a container does not say


def container_name(project: str, service: str) -> str:
    return f"{project}-{service}-1"


def listed(client: docker.DockerClient, project: str) -> list[Any]:
    """All of a project's, those of its swaps too, as the engine lists them."""
    filters = {"label": f"{tags.PROJECT}={project}"}
    found: list[Any] = client.api.containers(all=True, filters=filters)
    return found


def listed_name(one: Mapping[str, Any]) -> str:
    """The name of one that was listed; one that is just going may have none."""
    return str(next(iter(one["Names"] or ()), "")).lstrip("/")


def networks(file: ComposeFile, service: Service, project: str) -> dict[str, list[str]]:
    """Full name -> the names that the service answers to there; Compose gives the same two."""
    return {
        file.networks.get(name, Resource(name=name)).full_name(project): [
            service.name,
            container_name(project, service.name),
            *aliases,
        ]
        for name, aliases in service.networks.items()
    }


def create(
    client: docker.DockerClient,
    service: Service,
    *,
    image: str,
    name: str,
    labels: Mapping[str, str],
    ports: Mapping[int, int],
    networks: Mapping[str, list[str]],
    binds: list[str],
) -> str:
    """Make a container and return its id; nothing runs yet. `ports`: inside -> outside."""
    api = client.api
    first = next(iter(networks), "")
    endpoint: Any = None
    if first:
        config = api.create_endpoint_config(aliases=networks[first])
        endpoint = {"EndpointsConfig": {first: config}}
    made = api.create_container(
        image=image,
        name=name,
        command=list(service.command) if service.command is not None else None,
        entrypoint=list(service.entrypoint) if service.entrypoint is not None else None,
        environment=dict(service.environment),
        labels=dict(labels),
        ports=[(port.target, port.protocol) for port in service.ports],
        host_config=_host_config(client, service, ports, first, binds),
        networking_config=endpoint,
        healthcheck=_health(service),
        user=service.user or None,
        working_dir=service.working_dir or None,
        stop_signal=service.stop_signal or None,
        stop_timeout=service.stop_grace,
        hostname=None if service.network_mode == "host" else service.name,
        detach=True,
    )
    identifier = str(made["Id"])
    for network in list(networks)[1:]:
        api.connect_container_to_network(identifier, network, aliases=networks[network])
    return identifier


def binds(file: ComposeFile, service: Service, project: str) -> list[str]:
    """Volumes and folders, as the engine takes them."""
    return [
        _bind(mount, file, project, Path(file.root))
        for mount in service.mounts
        if mount.type != "tmpfs"
    ]


def _host_config(
    client: docker.DockerClient,
    service: Service,
    ports: Mapping[int, int],
    network: str,
    binds: list[str],
) -> Any:
    return client.api.create_host_config(
        binds=binds,
        tmpfs={m.target: _tmpfs(m) for m in service.mounts if m.type == "tmpfs"} or None,
        port_bindings={
            f"{port.target}/{port.protocol}": (LOOPBACK, ports.get(port.target) or None)
            for port in service.ports
        },
        restart_policy={"Name": service.restart, "MaximumRetryCount": service.restart_retries},
        mem_limit=service.memory or None,
        nano_cpus=int(service.cpus * NANO) or None,
        shm_size=service.shm_size or None,
        ulimits=[
            Ulimit(name=name, soft=limit.soft, hard=limit.hard)
            for name, limit in service.ulimits.items()
        ]
        or None,
        network_mode=service.network_mode or network,
        init=service.init or None,
        read_only=service.read_only,
        cap_add=list(service.cap_add) or None,
        cap_drop=list(service.cap_drop) or None,
        extra_hosts=dict(service.extra_hosts) or None,
        log_config=LogConfig(type="json-file", config={"max-size": LOG_SIZE, "max-file": "3"}),
    )


def stop_seconds(attributes: Mapping[str, Any]) -> int:
    """How long a container may take to stop before it is killed."""
    return int(attributes["Config"].get("StopTimeout") or STOPS_WITHIN)


def stop(client: docker.DockerClient, identifier: str) -> Mapping[str, Any]:
    """Stop it cleanly; returns its state afterwards. Safe on a stopped or paused one."""
    api = client.api
    attributes = api.inspect_container(identifier)
    if attributes["State"]["Paused"]:
        api.unpause(identifier)
    api.stop(identifier, timeout=stop_seconds(attributes))
    state: Mapping[str, Any] = api.inspect_container(identifier)["State"]
    return state


def remove(client: docker.DockerClient, identifier: str) -> None:
    """Stop and remove; volumes stay. Safe when it is gone, or going, already."""
    with contextlib.suppress(NotFound):
        stop(client, identifier)
        _remove(client, identifier, volumes=False)


def discard(client: docker.DockerClient, identifier: str) -> None:
    """Remove a container whose data is thrown away, with its anonymous volumes. Safe when it is
    gone, or going, already."""
    with contextlib.suppress(NotFound):
        _remove(client, identifier, volumes=True)


def _remove(client: docker.DockerClient, identifier: str, *, volumes: bool) -> None:
    """It is gone afterwards, whoever removed it."""
    try:
        client.api.remove_container(identifier, force=True, v=volumes)
    except APIError as error:
        if error.status_code != 409:  # someone else is removing it
            raise
        client.api.wait(identifier, condition="removed")


def discard_all(client: docker.DockerClient, label: str) -> None:
    """Every container with this label, `name=value`."""
    for one in client.api.containers(all=True, filters={"label": label}):
        discard(client, one["Id"])


def _bind(mount: Mount, file: ComposeFile, project: str, root: Path) -> str:
    if mount.type == "bind":
        source = str((root / Path(mount.source).expanduser()).resolve())
    else:
        source = file.volumes[mount.source].full_name(project)
    return f"{source}:{mount.target}:{'ro' if mount.read_only else 'rw'}"


def _tmpfs(mount: Mount) -> str:
    return ",".join(filter(None, (mount.options, "ro" if mount.read_only else "")))


def _health(service: Service) -> dict[str, Any] | None:
    health = service.health
    if health is None:
        return None
    if health.off:
        return {"test": ["NONE"]}
    return {
        "test": list(health.test),
        "interval": health.interval,
        "timeout": health.timeout,
        "retries": health.retries,
        "start_period": health.start_period,
    }
