"""Baselines: what a playground's own servers held at one moment, kept as images of theirs.

A baseline is whole when every service of its moment has an image; what is not whole is never
listed and never used.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound, NotFound

from sandbox.engine import cloning, containers, labels, watching
from sandbox.errors import ConfigError, Refused, SandboxError
from sandbox.report import Report, Warned
from sandbox.report import Step as Done

NAME = re.compile(r"^[a-z0-9][a-z0-9_.-]{0,40}$")
FREEZING = "freezing"  # a tag that stands while servers are stopped for a baseline
DEPTH = 3  # baselines upon baselines, before one is copied onto the plain image
KILLED = 137  # exit code after SIGKILL


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """`images`: service -> image id. `bytes`: what it adds on disk to what it stands upon, layers
    that it shares with an older baseline not counted again. `created`: RFC 3339."""

    name: str
    generation: str
    created: str
    images: Mapping[str, str]
    bytes: int


class Baselines:
    """Those of one project."""

    def __init__(self, client: docker.DockerClient, project: str) -> None:
        self._client = client
        self._api: Any = client.api  # some of its calls have no types
        self._project = project
        self._repository = f"sandbox-baseline/{project}"

    def all(self) -> tuple[Baseline, ...]:
        """The whole ones, the newest of each name, oldest first."""
        newest = {one.name: one for one in self._generations()}
        return tuple(sorted(newest.values(), key=lambda one: one.created))

    def freeze(self, services: Sequence[str], *, name: str, report: Report) -> dict[str, str]:
        """Stop these services cleanly, side by side, keep them as images, start them again.

        Returns service -> image id. Raises Refused where data is in a volume, which no image keeps;
        SandboxError where a server had to be killed: what it leaves is not clean.
        """
        if not NAME.match(name):
            hint = "letters, digits, . _ and -, 41 at most"
            raise ConfigError(f"{name!r} cannot name a baseline", where="baseline", hint=hint)
        found = {one: cloning.container(self._client, self._project, one) for one in services}
        for service, attributes in found.items():
            cloning.refuse_volumes(attributes, service, self._project)
        first = next(iter(found.values()))
        self._api.tag(first["Image"], self._repository, FREEZING)
        try:
            _each(found, lambda _, one: self._stop(one))
            generation = secrets.token_hex(4)
            made = _each(found, lambda key, one: self._keep(key, one, name, generation, services))
        finally:
            _each(found, lambda _, one: self._start(one))
            self._untag(FREEZING)
        report(Done(name=f"baseline {name}", detail=", ".join(services)))
        self._forget(lambda one: one.name == name and one.generation != generation)
        return made

    def prune(self, keep: Collection[str]) -> tuple[str, ...]:
        """Remove the baselines that are not named; returns those that went. One that a running
        container stands upon stays until the next reset."""
        return self._forget(lambda one: one.name not in keep)

    def resume(self, report: Report) -> None:
        """After an interrupted freeze: the servers run again, its half-made images are gone."""
        try:
            self._client.images.get(f"{self._repository}:{FREEZING}")
        except ImageNotFound:
            return
        filters = {"label": f"{labels.PROJECT}={self._project}", "status": "exited"}
        for one in self._api.containers(all=True, filters=filters):
            if labels.in_place(one["Names"][0].lstrip("/")):
                self._api.start(one["Id"])
        whole = {image for one in self._generations() for image in one.images.values()}
        for image in self._images():
            if image["Id"] not in whole:
                self._remove(image["Id"])
        self._untag(FREEZING)
        message = "an interrupted baseline was thrown away; the servers run again"
        report(Warned(message=message))

    # --- one service -----------------------------------------------------------------------------

    def _stop(self, attributes: Mapping[str, Any]) -> None:
        state = containers.stop(self._client, attributes["Id"])
        if state["ExitCode"] == KILLED or state["OOMKilled"]:
            seconds = containers.stop_seconds(attributes)
            raise SandboxError(
                f"{attributes['Name'].lstrip('/')} did not stop within {seconds} s",
                hint="give it a longer stop_grace_period in the Compose file",
            )

    def _start(self, attributes: Mapping[str, Any]) -> None:
        self._api.start(attributes["Id"])
        watching.healthy(self._client, attributes["Id"], attributes["Name"].lstrip("/"))

    def _keep(
        self,
        service: str,
        attributes: Mapping[str, Any],
        name: str,
        generation: str,
        services: Sequence[str],
    ) -> str:
        """Commit one stopped container. The image keeps command, environment and labels."""
        facts = {
            labels.BASELINE: name,
            labels.GENERATION: generation,
            labels.SERVICES: ",".join(services),
            labels.SERVICE: service,
            labels.OWNER: self._project,
        }
        changes = [f'LABEL {key}="{value}"' for key, value in facts.items()]
        tag = f"{service}-{name}-{generation}"
        with cloning.shallow(self._client, attributes, self._depth(attributes) >= DEPTH) as source:
            made = self._api.commit(
                source, repository=self._repository, tag=tag, pause=False, changes=changes
            )
        return str(made["Id"])

    def _depth(self, attributes: Mapping[str, Any]) -> int:
        """How many baselines a container stands upon."""
        return sum(1 for _ in self._chain(attributes["Image"]))

    def _chain(self, image: str) -> list[tuple[str, int]]:
        """The baselines that an image is made of, itself first: id and its own bytes."""
        found = []
        with contextlib.suppress(ImageNotFound):
            while image:
                facts = self._api.inspect_image(image)
                if labels.BASELINE not in (facts["Config"].get("Labels") or {}):
                    break
                below = self._api.inspect_image(facts["Parent"]) if facts["Parent"] else {}
                found.append((str(facts["Id"]), facts["Size"] - below.get("Size", 0)))
                image = facts["Parent"]
        return found

    # --- images ----------------------------------------------------------------------------------

    def _images(self) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = self._api.images(
            filters={"label": [f"{labels.OWNER}={self._project}", labels.GENERATION]}
        )
        return found

    def _generations(self) -> list[Baseline]:
        """Every whole one, oldest first; several may have one name."""
        groups: dict[str, dict[str, Mapping[str, Any]]] = {}
        for image in self._images():
            tags = image["Labels"]
            groups.setdefault(tags[labels.GENERATION], {})[tags[labels.SERVICE]] = image
        counted: set[str] = set()
        found = []
        order = sorted(groups.items(), key=lambda pair: max(i["Created"] for i in pair[1].values()))
        for generation, images in order:
            one = next(iter(images.values()))
            if set(images) != set(one["Labels"][labels.SERVICES].split(",")):
                continue
            layers = {k: v for i in images.values() for k, v in self._chain(i["Id"])}
            found.append(
                Baseline(
                    name=one["Labels"][labels.BASELINE],
                    generation=generation,
                    created=self._api.inspect_image(one["Id"])["Created"],
                    images={service: str(image["Id"]) for service, image in images.items()},
                    bytes=sum(size for layer, size in layers.items() if layer not in counted),
                )
            )
            counted |= set(layers)
        return found

    def _forget(self, unwanted: Callable[[Baseline], bool]) -> tuple[str, ...]:
        gone = []
        for one in reversed(self._generations()):  # the newest stand upon the older
            if unwanted(one) and not self._in_use(one):
                for image in one.images.values():
                    self._remove(image)
                gone.append(one.name)
        return tuple(reversed(gone))

    def _in_use(self, baseline: Baseline) -> bool:
        """Whether a container stands upon it: half of it must not go."""
        found = self._api.containers(
            all=True, filters={"label": f"{labels.PROJECT}={self._project}"}
        )
        return bool({one["ImageID"] for one in found} & set(baseline.images.values()))

    def _remove(self, image: str) -> None:
        with contextlib.suppress(NotFound, APIError):  # a newer one stands upon it: its name goes
            self._api.remove_image(image, force=True)

    def _untag(self, tag: str) -> None:
        with contextlib.suppress(ImageNotFound):
            self._api.remove_image(f"{self._repository}:{tag}", noprune=True)


def require(client: docker.DockerClient, project: str, service: str, image: str) -> None:
    """Raises Refused unless `image` is a baseline of this project's service."""
    try:
        found = client.images.get(image).attrs["Config"].get("Labels") or {}
    except ImageNotFound:
        raise Refused(
            f"the baseline of {service} is not there any more", hint="./inv baseline lists them"
        ) from None
    if (found.get(labels.OWNER), found.get(labels.SERVICE)) != (project, service):
        raise Refused(f"{image[:19]} is no baseline of {service} of {project}")


def _each(found: Mapping[str, Any], job: Callable[[str, Any], Any]) -> dict[str, Any]:
    """Do `job` for all side by side; every one ends before the first failure is raised."""
    with ThreadPoolExecutor(max(len(found), 1)) as pool:
        futures = {key: pool.submit(job, key, one) for key, one in found.items()}
    return {key: future.result() for key, future in futures.items()}
