"""Desired services x what stands in the engine -> steps. Pure: `--dry-run` prints what runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from sandbox.compose import ComposeFile, Resource, Service
from sandbox.errors import ConfigError, Refused

Action = Literal["make", "keep", "create", "start", "recreate", "remove"]
Resources = Literal["network", "volume"]
HALF_MADE = ("created", "dead", "removing")  # `created`: made, and nobody started it


@dataclass(frozen=True, kw_only=True)
class Observed:
    """One container that stands in the engine, by the labels that Compose gives."""

    id: str
    name: str
    service: str
    state: str  # created, running, paused, restarting, exited, ...
    health: str  # healthy, unhealthy, starting or ""
    config_hash: str
    image: str  # the one that the file asks for
    ports: Mapping[int, int]  # inside -> outside
    number: int = 1
    image_id: str = ""  # the one that runs
    outdated: bool = False  # that one was built here from what has changed since


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What stands in the engine. `networks` and `volumes`: every full name there -> the project
    that its label names, "" for none."""

    containers: tuple[Observed, ...] = ()
    networks: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Observed]:
        return iter(self.containers)

    def __len__(self) -> int:
        return len(self.containers)


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one thing needs, and why. `service` is the network's or volume's name for `make`."""

    action: Action
    service: str
    why: str
    kind: Literal["container", "network", "volume"] = "container"

    def __str__(self) -> str:
        kind = "" if self.kind == "container" else f"{self.kind} "
        return f"{self.action} {kind}{self.service}: {self.why}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that `apply` needs. `waves`: services that may start side by side, in turn.

    `present`: by service; `orphans`: containers that no service of the file stands for.
    """

    project: str
    file: ComposeFile
    steps: tuple[Step, ...]
    waves: tuple[tuple[str, ...], ...]
    present: Mapping[str, Observed]
    orphans: tuple[Observed, ...] = ()

    @property
    def changes(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.action != "keep")


def plan(file: ComposeFile, observed: Seen, *, project: str) -> Plan:
    """What to do so that the services of `file` run, in the order of doing it.

    A service of a profile that is not active is left as it is; a container of no service in the
    file is removed (its volumes never are). Raises ConfigError for a cycle, Refused where another
    project owns a name.
    """
    waves = _waves(file)
    present = {one.service: one for one in observed if one.number == 1}
    orphans = tuple(one for one in observed if one.service not in file.declared or one.number != 1)
    steps = [
        *_resources(file, observed, project),
        *(
            Step(action="remove", service=one.name, why="the file has no such service")
            for one in orphans
        ),
        *(_step(file.services[name], present.get(name)) for wave in waves for name in wave),
    ]
    return Plan(
        project=project,
        file=file,
        steps=tuple(steps),
        waves=waves,
        present=present,
        orphans=orphans,
    )


def config_hash(service: Service) -> str:
    """Changes when, and only when, the container would be another one."""
    facts = asdict(service)
    del facts["line"]
    text = json.dumps(facts, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()


def networks_of(file: ComposeFile) -> dict[str, Resource]:
    """The networks that the active services use."""
    used = sorted({name for service in file.services.values() for name in service.networks})
    return {name: file.networks.get(name, Resource(name=name)) for name in used}


def volumes_of(file: ComposeFile) -> dict[str, Resource]:
    """The volumes that the active services use."""
    used = sorted({name for service in file.services.values() for name in service.volumes})
    return {name: file.volumes[name] for name in used}


def _resources(file: ComposeFile, observed: Seen, project: str) -> Iterator[Step]:
    both: tuple[tuple[Resources, Mapping[str, Resource], Mapping[str, str]], ...] = (
        ("network", networks_of(file), observed.networks),
        ("volume", volumes_of(file), observed.volumes),
    )
    for kind, wanted, there in both:
        for resource in wanted.values():
            full = resource.full_name(project)
            where = f"{file.file}: {kind}s.{resource.name}"
            if resource.external:
                if full not in there:
                    message = f"the external {kind} {full!r} is not there"
                    raise ConfigError(message, where=where, hint=f"docker {kind} create {full}")
            elif full not in there:
                yield Step(action="make", service=full, why="it is not there", kind=kind)
            elif there[full] != project:
                owner = f"project {there[full]!r}" if there[full] else "nobody's project"
                raise Refused(
                    f"a {kind} called {full} is there already and belongs to {owner}",
                    where=where,
                    hint="say external: true to use it, or remove it",
                )


def _step(service: Service, present: Observed | None) -> Step:
    def step(action: Action, why: str) -> Step:
        return Step(action=action, service=service.name, why=why)

    if present is None:
        return step("create", "it is not there")
    if present.state in HALF_MADE:
        return step("recreate", f"it is half made ({present.state})")
    if present.config_hash != config_hash(service):
        return step("recreate", "its settings changed")
    if present.outdated:
        return step("recreate", "its image's sources changed")
    if present.state in ("running", "restarting"):
        return step("keep", "it runs")
    return step("start", f"it is {present.state}")


def _waves(file: ComposeFile) -> tuple[tuple[str, ...], ...]:
    """Topological order by depends_on. Raises ConfigError naming a cycle."""
    left = {name: set(service.depends_on) for name, service in file.services.items()}
    waves: list[tuple[str, ...]] = []
    while left:
        free = tuple(sorted(name for name, needs in left.items() if not needs & set(left)))
        if not free:
            raise ConfigError(
                f"these services wait for one another: {' -> '.join(_cycle(left))}",
                where=f"{file.file}: services",
                hint="take one depends_on away",
            )
        waves.append(free)
        for name in free:
            del left[name]
    return tuple(waves)


def _cycle(left: Mapping[str, set[str]]) -> list[str]:
    path = [min(left)]
    while True:
        following = min(left[path[-1]] & set(left))
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)
