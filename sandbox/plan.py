"""Desired services x observed containers -> steps. Pure: `--dry-run` prints what `apply` runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from sandbox.compose import ComposeFile, Service
from sandbox.errors import ConfigError

Action = Literal["keep", "create", "start", "recreate", "remove"]


@dataclass(frozen=True, kw_only=True)
class Observed:
    """One container that stands in the engine, by the labels that Compose gives."""

    id: str
    name: str
    service: str
    state: str  # created, running, exited, ...
    health: str  # healthy, unhealthy, starting or ""
    config_hash: str
    image: str
    ports: Mapping[int, int]  # inside -> outside


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one service needs, and why."""

    action: Action
    service: str
    why: str

    def __str__(self) -> str:
        return f"{self.action} {self.service}: {self.why}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything `apply` needs. `waves`: services that may start side by side, in turn."""

    project: str
    file: ComposeFile
    steps: tuple[Step, ...]
    waves: tuple[tuple[str, ...], ...]
    present: Mapping[str, Observed]

    @property
    def changes(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.action != "keep")


def plan(file: ComposeFile, observed: Sequence[Observed], *, project: str) -> Plan:
    """What to do so that the services of `file` run; containers of no service here stay alone
    unless they are half-made leftovers of one that is."""
    present = {one.service: one for one in observed}
    steps = [_step(service, present.get(name)) for name, service in file.services.items()]
    return Plan(project=project, file=file, steps=tuple(steps), waves=_waves(file), present=present)


def config_hash(service: Service) -> str:
    """Changes when, and only when, the container would be another one."""
    text = json.dumps(asdict(service), sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()


def _step(service: Service, present: Observed | None) -> Step:
    if present is None:
        return Step(action="create", service=service.name, why="it is not there")
    if present.config_hash != config_hash(service):
        return Step(action="recreate", service=service.name, why="its settings changed")
    if present.state == "running":
        return Step(action="keep", service=service.name, why="it runs")
    if present.state in ("created", "dead", "removing"):
        return Step(
            action="recreate", service=service.name, why=f"it is half made ({present.state})"
        )
    return Step(action="start", service=service.name, why=f"it is {present.state}")


def _waves(file: ComposeFile) -> tuple[tuple[str, ...], ...]:
    """Topological order by depends_on. Raises ConfigError naming a cycle."""
    left = {name: set(service.depends_on) for name, service in file.services.items()}
    waves: list[tuple[str, ...]] = []
    while left:
        free = tuple(sorted(name for name, needs in left.items() if not needs & set(left)))
        if not free:
            raise ConfigError(
                f"these services wait for one another: {', '.join(sorted(left))}",
                where=f"{file.file}: services",
                hint="take one depends_on away",
            )
        waves.append(free)
        for name in free:
            del left[name]
    return tuple(waves)
