"""Another container like one that is there: same settings, names, networks and ports."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import docker
from docker.errors import NotFound

from sandbox.engine import labels
from sandbox.engine.containers import container_name
from sandbox.engine.ports import LOOPBACK
from sandbox.errors import Refused, Unreachable

DATA = "/var/lib/sandbox"  # where the Compose files put every store's data
NONE = "none"  # the engine's network that leads nowhere
OF_IMAGES = (
    labels.BASELINE,
    labels.GENERATION,
    labels.SERVICES,
    labels.OWNER,
    labels.SNAPSHOT,
    labels.CREATED,
)


def container(client: docker.DockerClient, project: str, service: str) -> dict[str, Any]:
    """The service's container in its place. Raises Unreachable when there is none."""
    try:
        found: dict[str, Any] = client.api.inspect_container(container_name(project, service))
    except NotFound:
        message = f"{service} of {project} does not run"
        raise Unreachable(message, hint="./inv up starts it") from None
    if (found["Config"]["Labels"] or {}).get(labels.PROJECT) != project:
        raise Refused(f"the container {found['Name'].lstrip('/')} is not ours")
    return found


def refuse_volumes(attributes: Mapping[str, Any], service: str, project: str) -> None:
    """Data in a volume is in no image. Production's always is in one: it can never be swapped."""
    for mount in attributes["Mounts"]:
        if mount["Type"] in ("volume", "bind"):
            raise Refused(
                f"{service} of {project} keeps {mount['Destination']} in a {mount['Type']}, which "
                "no baseline can hold",
                hint="in the playground's Compose file, a tmpfs in its place, if it may go",
            )


def networks(attributes: Mapping[str, Any]) -> dict[str, list[str]]:
    """Network -> the names that it answers to there."""
    written = (attributes["Config"]["Labels"] or {}).get(labels.NETWORKS)
    if written:
        found: dict[str, list[str]] = json.loads(written)
        return found
    short = attributes["Id"][:12]
    return {
        name: [alias for alias in facts.get("Aliases") or [] if alias != short]
        for name, facts in attributes["NetworkSettings"]["Networks"].items()
        if name not in ("host", "none")
    }


def clone(
    client: docker.DockerClient,
    attributes: Mapping[str, Any],
    *,
    image: str,
    name: str,
    tags: Mapping[str, str] = {},
) -> str:
    """Make, but do not start, a container as `attributes` says, from another image. `tags`: labels
    that it has besides. One that `starts_apart` is on no network until `join`."""
    api: Any = client.api  # one of its calls has no types
    attached = networks(attributes)
    apart = starts_apart(attributes)
    first = NONE if apart else attributes["HostConfig"]["NetworkMode"]
    host = {
        **attributes["HostConfig"],
        "PortBindings": bindings(attributes),
        "NetworkMode": first,
    }
    if apart:
        own_name = f"{attributes['Config']['Hostname']}:{LOOPBACK}"  # it finds itself all the same
        host["ExtraHosts"] = sorted({*(host.get("ExtraHosts") or ()), own_name})
    config = {
        **attributes["Config"],
        "Image": image,
        "Labels": {
            key: value
            for key, value in (attributes["Config"]["Labels"] or {}).items()
            if key not in OF_IMAGES
        }
        | dict(tags),
        "HostConfig": host,
    }
    if first in attached:
        endpoint = {"Aliases": attached[first]}
        config["NetworkingConfig"] = {"EndpointsConfig": {first: endpoint}}
    made = api.create_container_from_config(config, name)
    for network, aliases in attached.items():
        if network != first and not apart:
            api.connect_container_to_network(made["Id"], network, aliases=aliases)
    return str(made["Id"])


def starts_apart(attributes: Mapping[str, Any]) -> bool:
    """Whether such a server can start while the present one has its ports and names: it takes them
    when it joins its networks. Not one that waits for another service or has no network of its own.
    """
    attached, tags = networks(attributes), attributes["Config"]["Labels"] or {}
    named = attributes["HostConfig"]["NetworkMode"] in (*attached, NONE)
    return bool(attached) and named and "bridge" not in attached and not tags.get(labels.DEPENDS_ON)


def loose(client: docker.DockerClient, identifier: str) -> None:
    """Off the network that leads nowhere, with which no other goes together."""
    client.api.disconnect_container_from_network(identifier, NONE)


def join(client: docker.DockerClient, identifier: str, attributes: Mapping[str, Any]) -> None:
    """Put a container that started apart, and is `loose`, on the networks of `attributes`, and its
    ports with it."""
    for network, aliases in networks(attributes).items():
        client.api.connect_container_to_network(identifier, network, aliases=aliases)


def beside(
    client: docker.DockerClient, attributes: Mapping[str, Any], *, image: str, name: str, why: str
) -> str:
    """Make, but do not start, a server of `image` that only this machine can reach, on free ports:
    it answers to none of the service's names, and Compose does not know it. `why`: its label, with
    the project as its value; who sweeps it looks for that."""
    api: Any = client.api
    tags = dict.fromkeys(attributes["Config"]["Labels"] or {}, "")  # the image has them all
    free = [{"HostIp": LOOPBACK, "HostPort": ""}]
    published = dict.fromkeys(attributes["HostConfig"].get("PortBindings") or {}, free)
    config = {
        **attributes["Config"],
        "Image": image,
        "Labels": {**tags, why: attributes["Config"]["Labels"][labels.PROJECT]},
        "HostConfig": {
            **attributes["HostConfig"],
            "PortBindings": published,
            "NetworkMode": "bridge",
            "RestartPolicy": {"Name": "no"},
        },
    }
    return str(api.create_container_from_config(config, name)["Id"])


@contextlib.contextmanager
def shallow(
    client: docker.DockerClient, attributes: Mapping[str, Any], deep: bool
) -> Iterator[str]:
    """The stopped container itself; when it is `deep`, a new one over the plain image that holds
    its data, so that what older baselines held does not pile up."""
    plain = (attributes["Config"]["Labels"] or {}).get(labels.IMAGE)
    if not deep or not plain:
        yield attributes["Id"]
        return
    name = f"{attributes['Name'].lstrip('/')}.next-{attributes['Id'][:8]}"
    made = clone(client, attributes, image=plain, name=name)
    try:
        pieces, _ = client.api.get_archive(attributes["Id"], DATA)
        client.api.put_archive(made, DATA.rpartition("/")[0], pieces)
        yield made
    finally:
        client.api.remove_container(made, force=True, v=True)


def bindings(attributes: Mapping[str, Any]) -> Any:
    """The ports that it really has; what it was made with may say `any`."""
    real = {
        inside: outside
        for inside, outside in (attributes["NetworkSettings"]["Ports"] or {}).items()
        if outside
    }
    return real or attributes["HostConfig"].get("PortBindings")
