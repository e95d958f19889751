"""Compose's labels, so that `docker compose -p <project>` works on what is started here.

The names are those that Docker Compose v2 gives (pkg/api/labels.go)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from sandbox.compose import Resource, Service
from sandbox.plan import Plan, config_hash

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
NUMBER = "com.docker.compose.container-number"
ONE_OFF = "com.docker.compose.oneoff"
CONFIG_HASH = "com.docker.compose.config-hash"
CONFIG_FILES = "com.docker.compose.project.config_files"
WORKING_DIR = "com.docker.compose.project.working_dir"
VERSION = "com.docker.compose.version"
IMAGE = "com.docker.compose.image"
DEPENDS_ON = "com.docker.compose.depends_on"
NETWORK = "com.docker.compose.network"
VOLUME = "com.docker.compose.volume"

REFERENCE = "sandbox.image"  # the image that the file asks for, where another one runs
NETWORKS = "sandbox.networks"  # full name -> aliases, to put a container back on its networks
BASELINE = "sandbox.baseline"  # on an image: the name that its state was first kept under
SNAPSHOT = "sandbox.snapshot"  # what had been loaded, where nothing had changed since
CREATED = "sandbox.created"  # RFC 3339 with microseconds: the engine's own has only seconds
GENERATION = "sandbox.generation"  # images of one moment carry the same
SERVICES = "sandbox.services"  # all services of that moment
OWNER = "sandbox.project"  # whose baseline it is
SWAP = "sandbox.swap"  # on a container: the swap that made it
COPIED = "sandbox.copied"  # on a container: for whose next one its data is just being copied
BESIDE = "sandbox.beside"  # on a container: whose baseline it only shows, for a while
DISPOSABLE = "sandbox.disposable"  # on a volume: `down` may remove it when asked to

COMPOSE_VERSION = "2.40.3"  # the version whose labels these are

# Names of the containers of a swap: <container>.<stage>-<generation>. Labels cannot change, names
# can; so a swap's state is in the names alone, and whoever comes next can finish or undo it.
NEXT = "next"  # made, about to take the place
OLD = "old"  # put aside until the new one is ready
GONE = "gone"  # its successor is in place for good
WARM = "warm"  # being made ahead
READY = "ready"  # made ahead, for the next swap
STAGE = re.compile(
    rf"^(?P<place>.+)\.(?P<stage>{NEXT}|{OLD}|{GONE}|{WARM}|{READY})-(?P<generation>[0-9a-f]{{8}})$"
)


def staged(name: str, stage: str, generation: str) -> str:
    return f"{name}.{stage}-{generation}"


def in_place(name: str) -> bool:
    """Whether a container is the service's, and not one that a swap has put aside."""
    return STAGE.match(name) is None


def thrown_away(name: str) -> bool:
    """Whether a container's data is of no more use: a swap has ended with it, or one will begin."""
    match = STAGE.match(name)
    return match is not None and match["stage"] in (GONE, WARM, READY)


def of_container(
    plan: Plan,
    service: Service,
    image_id: str,
    *,
    config_files: str,
    working_dir: str,
    networks: Mapping[str, list[str]],
) -> dict[str, str]:
    depends = ",".join(f"{name}:{how}:false" for name, how in service.depends_on.items())
    return {
        **service.labels,
        PROJECT: plan.project,
        SERVICE: service.name,
        NUMBER: "1",
        ONE_OFF: "False",
        CONFIG_HASH: config_hash(service),
        CONFIG_FILES: config_files,
        WORKING_DIR: working_dir,
        VERSION: COMPOSE_VERSION,
        IMAGE: image_id,
        DEPENDS_ON: depends,
        REFERENCE: service.image,
        NETWORKS: json.dumps(networks, sort_keys=True),
    }


def of_copy(project: str, service: Service) -> dict[str, str]:
    """On a server of somebody's tests: enough to be found by project and service."""
    own = {PROJECT: project, SERVICE: service.name, NUMBER: "1", ONE_OFF: "False"}
    return {**own, REFERENCE: service.image}


def of_network(project: str, resource: Resource) -> dict[str, str]:
    own = {PROJECT: project, NETWORK: resource.name, VERSION: COMPOSE_VERSION}
    return {**resource.labels, **own}


def of_volume(project: str, resource: Resource) -> dict[str, str]:
    own = {PROJECT: project, VOLUME: resource.name, VERSION: COMPOSE_VERSION}
    return {**resource.labels, **own}
