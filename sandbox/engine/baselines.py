"""Baselines: what a playground's own servers held at one moment, kept as images of theirs.

A baseline is whole when every service of its moment has an image of its name; what is not whole is
never listed and never used. A name is a tag, so that a moment may have several.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound, NotFound

from sandbox.engine import cloning, containers, labels, watching
from sandbox.errors import ConfigError, Refused, SandboxError
from sandbox.report import Report, Warned
from sandbox.report import Step as Done

NAME = re.compile(r"^[a-z0-9][a-z0-9_.-]{0,40}$")
FREEZING = "freezing."  # begins a tag that stands while a server is stopped for a baseline
DEPTH = 3  # baselines upon baselines, before one is copied onto the plain image
KILLED = 137  # exit code after SIGKILL


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """`images`: service -> image id. `created`: RFC 3339. `snapshot`: what it is the loaded state
    of, "" for a state that was saved later. `bytes`: what it adds on disk to what it stands upon,
    layers that it shares with an older baseline not counted again."""

    name: str
    generation: str
    created: str
    images: Mapping[str, str]
    snapshot: str = ""
    bytes: int = 0


def check_name(name: str) -> str:
    """`name`, when it can name a baseline. Raises ConfigError."""
    if not NAME.match(name):
        hint = "lower-case letters, digits, . _ and -, 41 at most"
        raise ConfigError(f"{name!r} cannot name a baseline", where="baseline", hint=hint)
    return name


class Baselines:
    """Those of one project."""

    def __init__(self, client: docker.DockerClient, project: str) -> None:
        self._client = client
        self._api: Any = client.api  # some of its calls have no types
        self._project = project
        self._repository = f"sandbox-baseline/{project}"

    def all(self) -> tuple[Baseline, ...]:
        """The whole ones, the newest of each name, oldest first; `bytes` are not looked up."""
        newest = {one.name: one for one in self._named()}
        return tuple(sorted(newest.values(), key=lambda one: one.created))

    def measured(self) -> tuple[Baseline, ...]:
        """The same with `bytes`."""
        counted: set[str] = set()
        found = []
        for one in self.all():
            layers = {
                layer: size for image in one.images.values() for layer, size in self._own(image)
            }
            added = sum(size for layer, size in layers.items() if layer not in counted)
            counted |= set(layers)
            found.append(replace(one, bytes=added))
        return tuple(found)

    def freeze(
        self,
        services: Sequence[str],
        *,
        name: str,
        snapshot: str,
        meanwhile: Callable[[str], None],
        report: Report,
    ) -> Baseline:
        """Stop these services cleanly, side by side, keep them as images, start them again.

        `meanwhile` runs while they are stopped, with the new generation; when it fails there is no
        baseline. Raises Refused where data is in a volume, which no image keeps; SandboxError where
        a server had to be killed: what it leaves is not clean.
        """
        check_name(name)
        found = {one: cloning.container(self._client, self._project, one) for one in services}
        for service, attributes in found.items():
            cloning.refuse_volumes(attributes, service, self._project)
        facts = {
            labels.BASELINE: name,
            labels.GENERATION: secrets.token_hex(4),
            labels.SERVICES: ",".join(services),
            labels.OWNER: self._project,
            labels.SNAPSHOT: snapshot,
            labels.CREATED: datetime.now(UTC).isoformat(),
        }
        for service, attributes in found.items():
            self._api.tag(attributes["Image"], self._repository, _mark(service, attributes))
        try:
            each(found, lambda _, one: self._stop(one))
            meanwhile(facts[labels.GENERATION])
            made = each(found, lambda key, one: self._keep(key, one, facts))
            self._give_names(made, name, facts[labels.GENERATION])
        finally:
            each(found, self._start)
        report(Done(name=f"baseline {name}", detail=", ".join(services)))
        baseline = Baseline(
            name=name,
            generation=facts[labels.GENERATION],
            created=facts[labels.CREATED],
            images=made,
            snapshot=snapshot,
        )
        self._replaced(baseline)
        return baseline

    def tag(self, name: str, new: str) -> Baseline:
        """Give a baseline one more name. Raises ConfigError when there is none called `name`."""
        check_name(new)
        for one in self.all():
            if one.name == name:
                self._give_names(one.images, new, one.generation)
                made = replace(one, name=new)
                self._replaced(made)
                return made
        raise ConfigError(f"there is no baseline {name!r}", hint="./inv baseline lists them")

    def prune(self, keep: Collection[str]) -> tuple[str, ...]:
        """Take away every name but these; returns those that went. An image goes with its last
        name; one that a container stands upon goes after the next reset."""
        gone = self._forget(lambda one: one.name not in keep)
        self._collect()
        return gone

    def resume(self, report: Report) -> None:
        """After an interrupted freeze: its servers run again, its half-made images are gone."""
        marks = self._marks()
        if not marks:
            return
        each(marks, lambda mark, service: self._restart(mark, service))
        self._collect()
        message = "an interrupted baseline was thrown away; the servers run again"
        report(Warned(message=message))

    def _marks(self) -> dict[str, str]:
        """Tag -> service, of those that a freeze may have stopped and not started again."""
        front = f"{self._repository}:{FREEZING}"
        names = [
            name for image in self._api.images(self._repository) for name in image["RepoTags"] or ()
        ]
        return {
            name.rpartition(":")[2]: name.removeprefix(front).rpartition(".")[0]
            for name in names
            if name.startswith(front)
        }

    # --- one service -----------------------------------------------------------------------------

    def _stop(self, attributes: Mapping[str, Any]) -> None:
        state = containers.stop(self._client, attributes["Id"])
        if state["ExitCode"] == KILLED or state["OOMKilled"]:
            seconds = containers.stop_seconds(attributes)
            raise SandboxError(
                f"{attributes['Name'].lstrip('/')} did not stop within {seconds} s",
                hint="give it a longer stop_grace_period in the Compose file",
            )

    def _start(self, service: str, attributes: Mapping[str, Any]) -> None:
        self._api.start(attributes["Id"])
        watching.healthy(self._client, attributes["Id"], attributes["Name"].lstrip("/"))
        self._untag(_mark(service, attributes))

    def _restart(self, mark: str, service: str) -> None:
        """The engine still does what a killed process had asked it for: a server that seems to run
        may be about to stop. To stop it once more returns when that stop is through. One that has
        been started since is let alone: it may not listen to signals yet."""
        with contextlib.suppress(NotFound):  # taken down meanwhile
            name = containers.container_name(self._project, service)
            attributes = self._api.inspect_container(name)
            if _mark(service, attributes) == mark:
                containers.stop(self._client, attributes["Id"])
            self._start(service, attributes)
        self._untag(mark)

    def _keep(self, service: str, attributes: Mapping[str, Any], facts: Mapping[str, str]) -> str:
        """Commit one stopped container. The image keeps command, environment and labels; it has no
        name, so that one of a killed process, which may hold what was written since, never counts.
        """
        own = {**facts, labels.SERVICE: service}
        changes = [f'LABEL {key}="{value}"' for key, value in own.items()]
        deep = sum(1 for _ in self._own(attributes["Image"])) >= DEPTH
        with cloning.shallow(self._client, attributes, deep) as source:
            made = self._api.commit(source, pause=False, changes=changes)
        return str(made["Id"])

    def _own(self, image: str) -> Iterator[tuple[str, int]]:
        """The layers that baselines have put upon the plain image, the newest first, each with its
        bytes. A layer's key names all that is below it: equal layers elsewhere are others."""
        try:
            facts = self._api.inspect_image(image)
            tags = facts["Config"].get("Labels") or {}
            if labels.GENERATION not in tags:
                return
            plain = self._api.inspect_image(tags.get(labels.IMAGE, ""))["RootFS"]["Layers"]
        except (ImageNotFound, APIError, ValueError, TypeError):
            return
        layers = facts["RootFS"]["Layers"]
        written = self._api.history(image)  # each commit is one entry and one layer
        for depth in range(len(layers) - len(plain)):
            yield "/".join(layers[: len(layers) - depth]), int(written[depth]["Size"])

    # --- images ----------------------------------------------------------------------------------

    def _images(self) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = self._api.images(
            filters={"label": [f"{labels.OWNER}={self._project}", labels.GENERATION]}
        )
        return found

    def _named(self) -> list[Baseline]:
        """Every whole one by each of its names, oldest first; several may have one name."""
        groups: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
        for image in self._images():
            tags = image["Labels"]
            service, generation = tags[labels.SERVICE], tags[labels.GENERATION]
            for reference in image["RepoTags"] or ():
                name = _name(reference.rpartition(":")[2], service, generation)
                if name:
                    groups.setdefault((name, generation), {})[service] = image
        found = []
        for (name, generation), images in groups.items():
            tags = next(iter(images.values()))["Labels"]
            if set(images) == set(tags[labels.SERVICES].split(",")):
                found.append(
                    Baseline(
                        name=name,
                        generation=generation,
                        created=tags.get(labels.CREATED, ""),
                        images={service: str(image["Id"]) for service, image in images.items()},
                        snapshot=tags.get(labels.SNAPSHOT, ""),
                    )
                )
        return sorted(found, key=lambda one: one.created)

    def _give_names(self, images: Mapping[str, str], name: str, generation: str) -> None:
        """With the last one the baseline is whole."""
        for service, image in images.items():
            self._api.tag(image, self._repository, _tag(service, name, generation))

    def _replaced(self, new: Baseline) -> None:
        """Another state has its name now."""
        self._forget(lambda one: one.name == new.name and one.generation != new.generation)
        self._collect()

    def _forget(self, unwanted: Callable[[Baseline], bool]) -> tuple[str, ...]:
        doomed = [one for one in self._named() if unwanted(one)]
        for one in doomed:
            for service in one.images:
                self._untag(_tag(service, one.name, one.generation))
        return tuple(one.name for one in doomed)

    def _collect(self) -> None:
        """Remove what no whole baseline names any more: left by an interruption, or until now
        under a container. The newest go first, because they stand upon the older."""
        whole = {
            f"{self._repository}:{_tag(service, one.name, one.generation)}"
            for one in self._named()
            for service in one.images
        }
        for image in sorted(self._images(), key=_created)[::-1]:
            names = {name for name in image["RepoTags"] or () if not name.startswith("<none>")}
            for name in names - whole:
                self._untag(name.rpartition(":")[2])
            if not names & whole:
                with contextlib.suppress(NotFound, APIError):  # something stands upon it
                    self._api.remove_image(image["Id"])

    def _untag(self, tag: str) -> None:
        """Take a name away; the image stays where a container needs it."""
        extra = tag.startswith(FREEZING)
        with contextlib.suppress(ImageNotFound):
            self._api.remove_image(f"{self._repository}:{tag}", force=True, noprune=extra)


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


def each(found: Mapping[str, Any], job: Callable[[str, Any], Any]) -> dict[str, Any]:
    """Do `job` for all side by side; every one ends before the first failure is raised."""
    with ThreadPoolExecutor(max(len(found), 1)) as pool:
        futures = {key: pool.submit(job, key, one) for key, one in found.items()}
    return {key: future.result() for key, future in futures.items()}


def _mark(service: str, attributes: Mapping[str, Any]) -> str:
    """Names a server, and which of its runs is to end."""
    return f"{FREEZING}{service}.{re.sub('[^0-9]', '', attributes['State']['StartedAt'])}"


def _tag(service: str, name: str, generation: str) -> str:
    return f"{service}-{name}-{generation}"


def _name(tag: str, service: str, generation: str) -> str:
    """The name in a tag; "" when it is no baseline's."""
    front, back = f"{service}-", f"-{generation}"
    return tag[len(front) : -len(back)] if tag.startswith(front) and tag.endswith(back) else ""


def _created(image: Mapping[str, Any]) -> str:
    return str(image["Labels"].get(labels.CREATED, ""))
