"""Containers made ahead, in the background, whose large files are copied already.

A container that stands upon an image copies a file up when it is first opened for writing, and
PostgreSQL opens all of them so: with large files the first query after a reset would wait for a
disk. What is made ahead is never started, holds its data in its own layer and costs its size once
more; a reset takes it when it is there and makes a new container when it is not.
"""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, NotFound

from sandbox.engine import cloning, labels
from sandbox.errors import Unreachable

LARGE = 16 << 20  # bytes of data in an image, from which on it pays


class Standing:
    """Those of one project."""

    def __init__(self, client: docker.DockerClient, project: str) -> None:
        self._client = client
        self._project = project

    def take(
        self, found: Mapping[str, Mapping[str, Any]], images: Mapping[str, str]
    ) -> tuple[str, dict[str, str]]:
        """The swap that they were made for, and service -> container id, of those that fit the
        present containers; ("", {}) when there is none."""
        by_swap: dict[str, dict[str, str]] = {}
        there = self._there(labels.READY)
        for service, attributes in found.items():
            for one, match in there:
                is_its = match["place"] == attributes["Name"].lstrip("/")
                if is_its and one["ImageID"] == images[service] and self._fits(one, attributes):
                    by_swap.setdefault(match["generation"], {})[service] = one["Id"]
        if not by_swap:
            return "", {}
        return max(by_swap.items(), key=lambda pair: len(pair[1]))

    def make(self, images: Mapping[str, str]) -> None:
        """For every service whose image is large, the one that the next reset will take. Meant for
        a process of its own; one at a time works on a project."""
        with _alone(self._project):
            present = self._drop_stale(images)
            generation = secrets.token_hex(4)
            for service, image in images.items():
                if service not in present and self._size(image) >= LARGE:
                    with contextlib.suppress(NotFound, Unreachable):  # taken down meanwhile
                        self._make(service, image, generation)

    def _make(self, service: str, image: str, generation: str) -> None:
        attributes = cloning.container(self._client, self._project, service)
        place = attributes["Name"].lstrip("/")
        warm = labels.staged(place, labels.WARM, generation)
        tags = {labels.SWAP: generation}
        made = cloning.clone(self._client, attributes, image=image, name=warm, tags=tags)
        try:
            self._fill(made, attributes, image, f"{warm}-from")
            # Whoever takes the project down looks for such as this until none is left; so it is
            # either seen by them, or they had removed the present one before this look.
            self._client.api.inspect_container(attributes["Id"])
            self._client.api.rename(made, labels.staged(place, labels.READY, generation))
        except BaseException:
            with contextlib.suppress(NotFound):
                self._client.api.remove_container(made, force=True, v=True)
            raise

    def _fill(self, made: str, attributes: Mapping[str, Any], image: str, name: str) -> None:
        """Copy the data of `image` up, by way of a container called `name`."""
        source = cloning.beside(self._client, attributes, image=image, name=name)
        try:
            pieces, _ = self._client.api.get_archive(source, cloning.DATA, chunk_size=1 << 20)
            self._client.api.put_archive(made, cloning.DATA.rpartition("/")[0], pieces)
        finally:
            with contextlib.suppress(NotFound):
                self._client.api.remove_container(source, force=True, v=True)

    def _drop_stale(self, images: Mapping[str, str]) -> set[str]:
        """Returns the services that have one of the wanted image."""
        present = set()
        for stage in (labels.WARM, labels.READY):
            for one, _ in self._there(stage):
                service = one["Labels"].get(labels.SERVICE, "")
                if service not in images:
                    continue
                if stage == labels.READY and one["ImageID"] == images[service]:
                    present.add(service)
                    continue
                with contextlib.suppress(NotFound, APIError):
                    self._client.api.remove_container(one["Id"], force=True, v=True)
        return present

    def _there(self, stage: str) -> list[Any]:
        filters = {"label": f"{labels.PROJECT}={self._project}"}
        found = []
        for one in self._client.api.containers(all=True, filters=filters):
            match = labels.STAGE.match(one["Names"][0].lstrip("/")) if one["Names"] else None
            if match and match["stage"] == stage:
                found.append((one, match))
        return found

    def _fits(self, one: Mapping[str, Any], attributes: Mapping[str, Any]) -> bool:
        """Whether it is what a clone of the present container would be."""
        made = self._client.api.inspect_container(one["Id"])
        return bool(
            made["Config"]["Env"] == attributes["Config"]["Env"]
            and made["HostConfig"]["PortBindings"] == cloning.bindings(attributes)
            and cloning.is_apart(made) == cloning.starts_apart(attributes)
            and one["Labels"].get(labels.CONFIG_HASH)
            == attributes["Config"]["Labels"].get(labels.CONFIG_HASH)
        )

    def _size(self, image: str) -> int:
        """Bytes of an image's own layers, over the plain one."""
        api: Any = self._client.api
        with contextlib.suppress(APIError, ValueError, TypeError):
            facts = api.inspect_image(image)
            plain = (facts["Config"].get("Labels") or {}).get(labels.IMAGE, "")
            return int(facts["Size"]) - int(api.inspect_image(plain)["Size"])
        return 0


@contextlib.contextmanager
def _alone(project: str) -> Iterator[None]:
    path = Path(tempfile.gettempdir(), f"sandbox-standing-{project}.lock")
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
