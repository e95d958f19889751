"""Compose's labels, so that `docker compose -p <project>` works on what is started here.

The names are those that Docker Compose v2 gives (pkg/api/labels.go)."""

from __future__ import annotations

from collections.abc import Mapping

from sandbox.compose import Service
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
TEMPORARY = "sandbox.temporary"  # a container that is not in its place yet
BASELINE = "sandbox.baseline"  # an image that a playground can be reset to

COMPOSE_VERSION = "2.40.3"  # the version whose labels these are


def of_container(
    plan: Plan, service: Service, image_id: str, *, config_files: str, working_dir: str
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
    }


def of_network(project: str, name: str) -> Mapping[str, str]:
    return {PROJECT: project, NETWORK: name, VERSION: COMPOSE_VERSION}


def of_volume(project: str, name: str) -> Mapping[str, str]:
    return {PROJECT: project, VOLUME: name, VERSION: COMPOSE_VERSION}
