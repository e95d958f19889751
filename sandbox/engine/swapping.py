"""Puts new containers in the place of old ones, all or none.

The old ones are only taken off their networks until the new ones answer, so putting them back
loses nothing. What stage a swap has reached can be read from the containers' names.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, NotFound

from sandbox.engine import baselines, cloning, containers, labels
from sandbox.engine.standing import Standing
from sandbox.errors import SandboxError
from sandbox.report import Report
from sandbox.report import Step as Done

ROOT = Path(__file__).parents[2]
SETTLES = 0.3  # seconds


class Swap:
    """One project's containers."""

    def __init__(self, client: docker.DockerClient, project: str) -> None:
        self._client = client
        self._project = project

    def run(
        self,
        images: Mapping[str, str],
        *,
        begin: Callable[[str], None],
        ready: Callable[[], None],
        report: Report,
    ) -> None:
        """Put containers of `images` in place. When one does not start or `ready` raises, the old
        ones are back and run, and the failure is raised. `begin` is told the swap's name when all
        is prepared and nothing has changed yet."""
        began = time.monotonic()
        found = baselines.each(images, self._look)
        made, ahead = Standing(self._client, self._project).take(found, images)
        generation = made or secrets.token_hex(4)
        try:
            self._all(
                found,
                lambda one: self._prepare(found[one], images[one], generation, ahead.get(one)),
            )
            begin(generation)
            self._all(found, lambda one: self._exchange(found[one], generation))
            ready()
        except BaseException:
            self.recover()
            raise
        for attributes in found.values():  # the first of these decides; see `recover`
            self._rename(attributes["Id"], attributes, labels.GONE, generation)
        seconds = time.monotonic() - began
        report(Done(name="reset", detail=", ".join(images), seconds=seconds))

    def recover(self) -> tuple[str, ...]:
        """Finish or undo what an interrupted run left; returns what was done, in words.

        A swap is decided once one of its old containers is called `gone`: by then every new one
        had answered.
        """
        done: list[str] = []
        while self._unfinished():
            self._quiet()
            done += self._mend()
        return tuple(done)

    def _mend(self) -> list[str]:
        staged = self._staged()
        decided = {generation for stage, generation in staged if stage == labels.GONE}
        done = []
        for (stage, generation), members in staged.items():
            if stage == labels.OLD and generation not in decided:
                self._all(members, partial(self._put_back, members))
                done.append(f"put back {', '.join(sorted(members))}")
        for (stage, generation), members in staged.items():
            if stage == labels.OLD and generation in decided:
                for place, identifier in members.items():
                    self._client.api.rename(
                        identifier, labels.staged(place, labels.GONE, generation)
                    )
                done.append(f"finished the swap of {', '.join(sorted(members))}")
            if stage == labels.NEXT:
                for identifier in members.values():
                    containers.discard(self._client, identifier)
                done.append(f"removed what was prepared for {', '.join(sorted(members))}")
        return done

    def _unfinished(self) -> bool:
        return any(stage in (labels.NEXT, labels.OLD) for stage, _ in self._staged())

    def _quiet(self) -> None:
        """Wait for what a killed process had asked for: the engine still does it. To look at a
        container waits until the engine is through with it."""
        seen: Any = None
        while seen != (seen := self._look_around()):
            time.sleep(SETTLES)
            for identifier, *_ in seen:
                with contextlib.suppress(NotFound):
                    self._client.api.inspect_container(identifier)

    def _look_around(self) -> list[Any]:
        return sorted(
            (one["Id"], one["Names"], one["State"], sorted(one["NetworkSettings"]["Networks"]))
            for one in containers.listed(self._client, self._project)
        )

    def in_place(self, generation: str) -> bool:
        """Whether the containers that this swap made are there for good, after `recover`."""
        filters = {"label": [f"{labels.PROJECT}={self._project}", f"{labels.SWAP}={generation}"]}
        found = self._client.api.containers(all=True, filters=filters)
        return any(labels.in_place(containers.listed_name(one)) for one in found if one["Names"])

    def sweep(self) -> int:
        """Remove the old containers of decided swaps; returns how many."""
        found = [
            identifier
            for (stage, _), members in self._staged().items()
            if stage == labels.GONE
            for identifier in members.values()
        ]
        for identifier in found:
            containers.discard(self._client, identifier)
        return len(found)

    # --- one service -----------------------------------------------------------------------------

    def _look(self, service: str, image: str) -> dict[str, Any]:
        """The present container. Raises Refused where it, or `image`, is not to be swapped."""
        baselines.require(self._client, self._project, service, image)
        attributes = cloning.container(self._client, self._project, service)
        cloning.refuse_volumes(attributes, service, self._project)
        return attributes

    def _prepare(
        self, attributes: Mapping[str, Any], image: str, generation: str, ahead: str | None
    ) -> None:
        """Make the next container, and let it start meanwhile, where it can."""
        name = labels.staged(_place(attributes), labels.NEXT, generation)
        apart = cloning.starts_apart(attributes)
        if ahead is not None and self._woken(ahead, name, apart):
            return
        tags = {labels.SWAP: generation}
        cloning.clone(self._client, attributes, image=image, name=name, tags=tags)
        if apart:
            self._boot(name)

    def _boot(self, name: str) -> None:
        self._start(name)
        cloning.loose(self._client, name)  # now: in the exchange it would be waited for

    def _woken(self, ahead: str, name: str, apart: bool) -> bool:
        """Whether what was made ahead can be taken: the freezer of a busy machine fails now and
        then."""
        try:
            self._client.api.rename(ahead, name)
            if self._client.api.inspect_container(ahead)["State"]["Paused"]:
                self._client.api.unpause(ahead)
            elif apart:
                self._boot(name)
        except (APIError, SandboxError):
            containers.discard(self._client, ahead)
            return False
        return True

    def _exchange(self, attributes: Mapping[str, Any], generation: str) -> None:
        api, place = self._client.api, _place(attributes)
        self._rename(attributes["Id"], attributes, labels.OLD, generation)
        if attributes["State"]["Running"]:
            for network in cloning.networks(attributes):
                api.disconnect_container_from_network(attributes["Id"], network)
        api.rename(labels.staged(place, labels.NEXT, generation), place)
        if not cloning.starts_apart(attributes):
            self._start(place)
            return
        try:
            cloning.join(self._client, place, attributes)
        except APIError as error:
            raise SandboxError(f"{place} does not join: {error.explanation}") from None

    def _start(self, name: str) -> None:
        try:
            self._client.api.start(name)
        except APIError as error:
            raise SandboxError(f"{name} does not start: {error.explanation}") from None

    def _put_back(self, members: Mapping[str, str], place: str) -> None:
        """The old container runs in its place again. The rename is last: until then this can be
        done once more."""
        api, identifier = self._client.api, members[place]
        with contextlib.suppress(NotFound):
            containers.discard(self._client, api.inspect_container(place)["Id"])
        attributes = api.inspect_container(identifier)
        attached = attributes["NetworkSettings"]["Networks"]
        for network, aliases in cloning.networks(attributes).items():
            if network not in attached:
                api.connect_container_to_network(identifier, network, aliases=aliases)
        if attributes["State"]["Paused"]:
            api.unpause(identifier)
        elif not attributes["State"]["Running"]:
            api.start(identifier)
        api.rename(identifier, place)

    def _rename(
        self, identifier: str, attributes: Mapping[str, Any], stage: str, generation: str
    ) -> None:
        self._client.api.rename(identifier, labels.staged(_place(attributes), stage, generation))

    # --- all of them -----------------------------------------------------------------------------

    def _staged(self) -> dict[tuple[str, str], dict[str, str]]:
        """(stage, generation) -> place -> container id."""
        found: dict[tuple[str, str], dict[str, str]] = {}
        for one in containers.listed(self._client, self._project):
            match = labels.STAGE.match(containers.listed_name(one))
            if match and one["State"] != "removing":
                members = found.setdefault((match["stage"], match["generation"]), {})
                members[match["place"]] = one["Id"]
        return found

    def _all(self, members: Iterable[str], job: Callable[[str], None]) -> None:
        """Side by side; every one ends before the first failure is raised."""
        names = list(members)
        with ThreadPoolExecutor(max(len(names), 1)) as pool:
            futures = [pool.submit(job, name) for name in names]
        for future in futures:
            future.result()


def sweep_detached(project: str, images: Mapping[str, str], environment: Mapping[str, str]) -> None:
    """In a process of its own remove what was put aside and make ahead what the next reset to
    `images` will take: with large data both take a while, and nobody need wait."""
    subprocess.Popen(
        [sys.executable, "-m", "sandbox.engine.sweeping", project, json.dumps(images)],
        cwd=ROOT,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _place(attributes: Mapping[str, Any]) -> str:
    return str(attributes["Name"]).lstrip("/")
