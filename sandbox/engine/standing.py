"""Containers made ahead, in the background, which have booted already and stand still.

What the next reset puts in place has its data in its own layer: a container that stands upon an
image copies a file up when it is first opened for writing, PostgreSQL opens all of them so, and
with large files the first query would wait for a disk. And where it can start while the present one
has the ports, it has started, answered its health check, and is paused: a reset waits for no server
that reads its data. That costs the data's size once more on disk, and idle servers' memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import docker
from docker.errors import APIError, NotFound

from sandbox.engine import cloning, containers, labels, programs, watching
from sandbox.errors import SandboxError, Unreachable

LOCK = "sandbox-standing-{user}-{project}.lock"  # another user's could not be opened
STANDS = ("created", "paused")  # one that runs, or has ended, was awake: a reboot, somebody's hand


class _Unpausable(Exception):
    """Not every engine can pause: not a rootless one with the older control groups."""


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
        listed = containers.listed(self._client, self._project)
        used = _used(listed)
        there = [pair for pair in _at(labels.READY, listed) if pair[1]["generation"] not in used]
        for service, attributes in found.items():
            for one, match in there:
                is_its = match["place"] == attributes["Name"].lstrip("/")
                if is_its and one["ImageID"] == images[service] and self._fits(one, attributes):
                    by_swap.setdefault(match["generation"], {})[service] = one["Id"]
        if not by_swap:
            return "", {}
        return max(by_swap.items(), key=lambda pair: len(pair[1]))

    def make(self, images: Mapping[str, str]) -> None:
        """For every service, the container that the next reset will take. Meant for a process of
        its own; one at a time works on a project."""
        with _alone(self._project) as notes:
            ready = self._drop_stale(images)
            generation = next(iter(ready.values()), "") or secrets.token_hex(4)
            for service, image in images.items():
                if service not in ready:
                    with contextlib.suppress(NotFound, Unreachable):  # taken down meanwhile
                        self._make_one(service, image, generation, notes)

    @cached_property
    def _engine(self) -> str:
        return str(self._client.info()["ID"])

    def _make_one(self, service: str, image: str, generation: str, notes: IO[str]) -> None:
        """Booted, where the engine can pause; that it cannot is noted, and not tried again."""
        notes.seek(0)
        able = notes.read() != self._engine
        try:
            self._make(service, image, generation, boot=able)
        except _Unpausable:
            notes.truncate(0)
            notes.write(self._engine)
            notes.flush()
            self._make(service, image, generation, boot=False)

    def _make(self, service: str, image: str, generation: str, *, boot: bool) -> None:
        attributes = cloning.container(self._client, self._project, service)
        place = attributes["Name"].lstrip("/")
        warm = labels.staged(place, labels.WARM, generation)
        tags = {labels.SWAP: generation}
        made = cloning.clone(self._client, attributes, image=image, name=warm, tags=tags)
        try:
            self._fill(made, attributes, image, f"{warm}-from")
            if boot and cloning.starts_apart(attributes):
                self._boot(made, warm)
            # Whoever takes the project down looks for such as this until none is left; so it is
            # either seen by them, or they had removed the present one before this look.
            self._client.api.inspect_container(attributes["Id"])
            self._client.api.rename(made, labels.staged(place, labels.READY, generation))
        except BaseException:
            containers.discard(self._client, made)
            raise

    def _fill(self, made: str, attributes: Mapping[str, Any], image: str, name: str) -> None:
        """Copy the data of `image` up, by way of a container called `name`."""
        source = cloning.beside(self._client, attributes, image=image, name=name, why=labels.COPIED)
        try:
            pieces, _ = self._client.api.get_archive(source, cloning.DATA, chunk_size=1 << 20)
            with contextlib.closing(pieces):  # half read, it would keep the engine from removing it
                self._client.api.put_archive(made, cloning.DATA.rpartition("/")[0], pieces)
        finally:
            containers.discard(self._client, source)

    def _boot(self, made: str, name: str) -> None:
        """Start it, wait until it answers, and let it stand still."""
        self._client.api.start(made)
        watching.healthy(self._client, made, name)
        with contextlib.suppress(SandboxError):  # else a reset would wait until it is on the disk
            programs.run(self._client, made, ["sync", "-f", cloning.DATA], b"", {})
        cloning.loose(self._client, made)
        try:
            self._client.api.pause(made)
        except APIError:  # the freezer of a busy machine fails now and then
            time.sleep(1)
            try:
                self._client.api.pause(made)
            except NotFound:
                raise
            except APIError as error:
                raise _Unpausable from error

    def _drop_stale(self, images: Mapping[str, str]) -> dict[str, str]:
        """Service -> swap, of those that have one of the wanted image. A swap takes containers that
        were made for it alone: those of a swap that has been, because it came before all were
        ready, go, and so do all but those of one swap."""
        listed = containers.listed(self._client, self._project)
        used = _used(listed)
        ready: dict[str, str] = {}
        for stage in (labels.WARM, labels.READY):
            for one, match in _at(stage, listed):
                service = one["Labels"].get(labels.SERVICE, "")
                if service not in images:
                    continue
                fits = one["ImageID"] == images[service] and one["State"] in STANDS
                swap = match["generation"]
                alone = swap not in used and {swap}.issuperset(ready.values())
                if stage == labels.READY and fits and alone:
                    ready[service] = swap
                    continue
                with contextlib.suppress(APIError):
                    containers.discard(self._client, one["Id"])
        return ready

    def _fits(self, one: Mapping[str, Any], attributes: Mapping[str, Any]) -> bool:
        """Whether it is what a clone of the present container would be."""
        made = self._client.api.inspect_container(one["Id"])
        return bool(
            made["State"]["Status"] in (STANDS if cloning.starts_apart(attributes) else STANDS[:1])
            and made["Config"]["Env"] == attributes["Config"]["Env"]
            and made["HostConfig"]["PortBindings"] == cloning.bindings(attributes)
            and one["Labels"].get(labels.CONFIG_HASH)
            == attributes["Config"]["Labels"].get(labels.CONFIG_HASH)
        )


def _used(listed: Iterable[Mapping[str, Any]]) -> set[str]:
    """The swaps that containers in place came with: each has its name for itself."""
    present = (one for one in listed if labels.in_place(containers.listed_name(one)))
    return {one["Labels"].get(labels.SWAP, "") for one in present}


def _at(stage: str, listed: Iterable[Any]) -> list[Any]:
    """Those of one stage, each with what its name says."""
    named = ((one, labels.STAGE.match(containers.listed_name(one))) for one in listed)
    return [(one, match) for one, match in named if match and match["stage"] == stage]


def sweep(client: docker.DockerClient, project: str) -> None:
    """Remove what an interrupted copy left; while one goes on, or where we cannot tell, nothing."""
    with contextlib.suppress(OSError), _alone(project, wait=False):
        containers.discard_all(client, f"{labels.COPIED}={project}")


@contextlib.contextmanager
def _alone(project: str, *, wait: bool = True) -> Iterator[IO[str]]:
    """Nobody else makes or sweeps; yields a file for notes about the engine. Raises BlockingIOError
    where somebody does and we do not `wait`."""
    path = Path(tempfile.gettempdir(), LOCK.format(user=os.getuid(), project=project))
    with path.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield lock
