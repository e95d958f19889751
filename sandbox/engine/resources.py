"""Networks and volumes of a plan, each made once."""

from __future__ import annotations

import contextlib

import docker
from docker.errors import APIError

from sandbox.engine import labels
from sandbox.plan import Plan, networks_of, volumes_of


def make(client: docker.DockerClient, plan: Plan) -> None:
    """Make what the plan says is missing."""
    missing = {(step.kind, step.service) for step in plan.changes if step.action == "make"}
    for network in networks_of(plan.file).values():
        name = network.full_name(plan.project)
        if ("network", name) not in missing:
            continue
        try:
            client.networks.create(
                name,
                driver="bridge",
                internal=network.internal,
                labels=labels.of_network(plan.project, network),
                check_duplicate=True,
            )
        except APIError as error:
            if error.status_code != 409:
                raise
    for volume in volumes_of(plan.file).values():
        name = volume.full_name(plan.project)
        if ("volume", name) in missing:
            client.volumes.create(name, labels=labels.of_volume(plan.project, volume))
    if any(kind == "network" for kind, _ in missing):
        made_once(client, plan)


def made_once(client: docker.DockerClient, plan: Plan) -> None:
    """Of networks with one name only the oldest stays: the engine goes on with what a killed
    command asked for, and lets two have one name."""
    for network in networks_of(plan.file).values():
        name = network.full_name(plan.project)
        same = [one for one in client.networks.list(names=[f"^{name}$"]) if one.name == name]
        for one in sorted(same, key=lambda one: str(one.attrs["Created"]))[1:]:
            if one.attrs["Labels"].get(labels.PROJECT) == plan.project:
                with contextlib.suppress(APIError):  # somebody is in it
                    one.remove()
