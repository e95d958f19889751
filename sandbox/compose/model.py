"""What a Compose file says, as frozen values in the engine's own units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SECOND = 1_000_000_000  # nanoseconds


@dataclass(frozen=True, kw_only=True)
class Health:
    """Times in nanoseconds, as the engine wants them; `test` as Docker's own list.

    `test` ("NONE",): the image's own check is switched off. `start_interval` 0: the engine's.
    """

    test: tuple[str, ...]
    interval: int = 30 * SECOND
    timeout: int = 30 * SECOND
    retries: int = 3
    start_period: int = 0
    start_interval: int = 0

    @property
    def off(self) -> bool:
        return self.test[0] == "NONE"


@dataclass(frozen=True, kw_only=True)
class Port:
    """`target` inside; `published` on 127.0.0.1, 0: a free one."""

    target: int
    published: int
    protocol: str = "tcp"


@dataclass(frozen=True, kw_only=True)
class Mount:
    """`type`: volume, bind or tmpfs. `source`: a declared volume, a path, "" for tmpfs.

    `options`: a tmpfs's, as the engine takes them (`size=64m`).
    """

    type: str
    source: str
    target: str
    read_only: bool = False
    options: str = ""


@dataclass(frozen=True, kw_only=True)
class Ulimit:
    soft: int
    hard: int


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A declared volume or network. `fixed_name`: instead of `<project>_<name>`. `external`: it
    must be there already and is never made or removed."""

    name: str
    fixed_name: str = ""
    external: bool = False
    internal: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)

    def full_name(self, project: str) -> str:
        return self.fixed_name or (self.name if self.external else f"{project}_{self.name}")


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service, ready to be made into a container. Sizes in bytes, 0: no limit."""

    name: str
    image: str
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    health: Health | None = None
    depends_on: Mapping[str, str] = field(default_factory=dict)  # service -> condition
    mounts: tuple[Mount, ...] = ()
    networks: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"default": ()})
    network_mode: str = ""
    ports: tuple[Port, ...] = ()
    memory: int = 0
    cpus: float = 0.0
    shm_size: int = 0
    ulimits: Mapping[str, Ulimit] = field(default_factory=dict)
    restart: str = "no"
    restart_retries: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    working_dir: str = ""
    stop_grace: int = 10  # seconds
    stop_signal: str = ""
    init: bool = False
    read_only: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    extra_hosts: Mapping[str, str] = field(default_factory=dict)
    line: int = field(default=0, compare=False)  # in its file, for messages

    @property
    def volumes(self) -> tuple[str, ...]:
        """The declared volumes that it uses."""
        return tuple(mount.source for mount in self.mounts if mount.type == "volume")


@dataclass(frozen=True, kw_only=True)
class ComposeFile:
    """The services of the active profiles, and the volumes and networks that the file declares.

    `declared`: every service's name, active or not. `root`: where its relative paths begin.
    """

    file: str
    root: str
    services: Mapping[str, Service]
    volumes: Mapping[str, Resource]
    networks: Mapping[str, Resource]
    declared: frozenset[str] = frozenset()
    name: str = ""
