"""Compose YAML -> what to run. Pure: it is given text and variables, it returns frozen values.

A key that is not supported is an error with its path, never ignored.
https://docs.docker.com/reference/compose-file/
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from sandbox.errors import ConfigError
from sandbox.interpolation import interpolate

SECOND = 1_000_000_000  # nanoseconds
KEYS = (
    "image",
    "command",
    "entrypoint",
    "environment",
    "env_file",
    "profiles",
    "healthcheck",
    "depends_on",
    "volumes",
    "networks",
    "network_mode",
    "ports",
    "mem_limit",
    "cpus",
    "deploy",
    "shm_size",
    "restart",
    "labels",
    "user",
    "working_dir",
    "stop_grace_period",
    "stop_signal",
    "init",
    "read_only",
    "tmpfs",
    "cap_add",
    "cap_drop",
    "extra_hosts",
)
CONDITIONS = ("service_started", "service_healthy", "service_completed_successfully")
RESTARTS = ("no", "always", "unless-stopped", "on-failure")
SIZES = {
    "": 1,
    "b": 1,
    "k": 1 << 10,
    "kb": 1 << 10,
    "m": 1 << 20,
    "mb": 1 << 20,
    "g": 1 << 30,
    "gb": 1 << 30,
}
EnvReader = Callable[[str], Mapping[str, str] | None]


@dataclass(frozen=True, kw_only=True)
class Health:
    """Times in nanoseconds, as the engine wants them; `test` as Docker's own list."""

    test: tuple[str, ...]
    interval: int = 30 * SECOND
    timeout: int = 30 * SECOND
    retries: int = 3
    start_period: int = 0


@dataclass(frozen=True, kw_only=True)
class Port:
    """`published` 0: a free one."""

    target: int
    published: int
    protocol: str = "tcp"


@dataclass(frozen=True, kw_only=True)
class Mount:
    """`source`: a volume's name, a path for a bind, "" for tmpfs."""

    type: str
    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service, ready to be made into a container."""

    name: str
    image: str
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    health: Health | None = None
    depends_on: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    networks: tuple[str, ...] = ("default",)
    network_mode: str = ""
    ports: tuple[Port, ...] = ()
    memory: int = 0  # bytes; 0: no limit
    cpus: float = 0.0
    shm_size: int = 0  # bytes
    restart: str = "no"
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


@dataclass(frozen=True, kw_only=True)
class ComposeFile:
    """The services of the active profiles, and the volumes and networks that the file declares."""

    file: str
    root: str  # the folder that its relative paths begin in
    services: Mapping[str, Service]
    volumes: tuple[str, ...]
    networks: tuple[str, ...]


class Reader:
    """Values of one file with the path of each, so that an error names it."""

    def __init__(self, file: str) -> None:
        self.file = file

    def bad(self, path: str, message: str, hint: str = "") -> ConfigError:
        return ConfigError(message, where=f"{self.file}: {path}", hint=hint)

    def mapping(self, value: Any, path: str) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.bad(path, "must be a mapping")
        return {str(key): item for key, item in value.items()}

    def strings(self, value: Any, path: str) -> tuple[str, ...]:
        if value is None:
            return ()
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list):
            raise self.bad(path, "must be a list")
        return tuple(_text(item) for item in value)

    def only(self, value: Mapping[str, Any], allowed: Sequence[str], path: str) -> None:
        for key in value:
            if key not in allowed and not key.startswith("x-"):
                raise self.bad(f"{path}.{key}" if path else key, "this key is not supported")

    def words(self, value: Any, path: str) -> tuple[str, ...] | None:
        """A command: a list as it is, a string split as a shell would."""
        if value is None:
            return None
        if isinstance(value, str):
            try:
                return tuple(shlex.split(value))
            except ValueError as error:
                raise self.bad(path, f"cannot be split into words: {error}") from None
        return self.strings(value, path)

    def pairs(self, value: Any, path: str) -> dict[str, str]:
        """`environment` and `labels`: a mapping, or a list of NAME=value."""
        if isinstance(value, list):
            split = [str(item).partition("=") for item in value]
            return {name: text for name, _, text in split}
        return {k: "" if v is None else _text(v) for k, v in self.mapping(value, path).items()}

    def integer(self, value: Any, path: str) -> int:
        try:
            return int(str(value))
        except ValueError:
            raise self.bad(path, f"{value!r} is not a whole number") from None

    def truth(self, value: Any, path: str) -> bool:
        if not isinstance(value, bool):
            raise self.bad(path, "must be true or false")
        return value

    def duration(self, value: Any, path: str) -> int:
        """`1m30s` -> nanoseconds."""
        parts = re.findall(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)", str(value))
        if not parts or "".join(a + b for a, b in parts) != str(value):
            raise self.bad(path, f"{value!r} is not a duration", "for example 10s or 1m30s")
        units = {"us": 1e3, "ms": 1e6, "s": 1e9, "m": 6e10, "h": 3.6e12}
        return int(sum(float(number) * units[unit] for number, unit in parts))

    def size(self, value: Any, path: str) -> int:
        """`256m` -> bytes."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]*)", str(value).lower())
        if not match or match[2] not in SIZES:
            raise self.bad(path, f"{value!r} is not a size", "for example 256m or 1g")
        return int(float(match[1]) * SIZES[match[2]])


def parse(
    text: str,
    *,
    file: str,
    variables: Mapping[str, str],
    profiles: frozenset[str] = frozenset(),
    read_env: EnvReader = lambda _: None,
    root: str = ".",
) -> ComposeFile:
    """Read a Compose file. `read_env` gives an env file's values, None where there is no such file.

    Raises ConfigError naming the file, the path in it and what is wrong.
    """
    reader = Reader(file)
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be read"
        raise ConfigError(f"not valid YAML: {problem}", where=f"{file}{line}") from None
    top = reader.mapping(raw, "the file")
    reader.only(top, ("name", "services", "volumes", "networks"), "")
    wanted = {
        name: body
        for name, body in reader.mapping(top.get("services"), "services").items()
        if _active(reader, name, body, profiles)
    }
    services = {
        name: _service(
            reader, name, interpolate(body, variables, file, f"services.{name}"), read_env
        )
        for name, body in wanted.items()
    }
    volumes = _declared(reader, top.get("volumes"), "volumes")
    networks = _declared(reader, top.get("networks"), "networks")
    _check_references(reader, services, volumes, networks, set(reader.mapping(top["services"], "")))
    return ComposeFile(file=file, root=root, services=services, volumes=volumes, networks=networks)


def _active(reader: Reader, name: str, body: Any, profiles: frozenset[str]) -> bool:
    own = reader.strings(
        reader.mapping(body, f"services.{name}").get("profiles"), f"services.{name}.profiles"
    )
    return not own or bool(profiles & set(own))


def _declared(reader: Reader, value: Any, path: str) -> tuple[str, ...]:
    found = reader.mapping(value, path)
    for name, body in found.items():
        reader.only(reader.mapping(body, f"{path}.{name}"), ("driver",), f"{path}.{name}")
    return tuple(found)


def _service(reader: Reader, name: str, raw: Any, read_env: EnvReader) -> Service:
    path = f"services.{name}"
    body = reader.mapping(raw, path)
    for key in body:
        if key not in KEYS and not key.startswith("x-"):
            raise reader.bad(f"{path}.{key}", "this key is not supported")
    if not isinstance(body.get("image"), str):
        raise reader.bad(f"{path}.image", "an image is needed")
    limits = _limits(reader, body, path)
    restart = str(body.get("restart", "no")).partition(":")[0]
    if restart not in RESTARTS:
        raise reader.bad(f"{path}.restart", f"{restart!r} is none of {', '.join(RESTARTS)}")
    mode = str(body.get("network_mode", ""))
    if mode not in ("", "host", "none", "bridge"):
        raise reader.bad(f"{path}.network_mode", f"{mode!r} is not supported", "host, none, bridge")
    return Service(
        name=name,
        image=body["image"],
        command=reader.words(body.get("command"), f"{path}.command"),
        entrypoint=reader.words(body.get("entrypoint"), f"{path}.entrypoint"),
        environment=_environment(reader, body, path, read_env),
        health=_health(reader, body.get("healthcheck"), f"{path}.healthcheck"),
        depends_on=_depends(reader, body.get("depends_on"), f"{path}.depends_on"),
        mounts=_mounts(reader, body, path),
        networks=_networks(reader, body.get("networks"), f"{path}.networks", mode),
        network_mode=mode,
        ports=_ports(reader, body.get("ports"), f"{path}.ports"),
        memory=limits[0],
        cpus=limits[1],
        shm_size=reader.size(body["shm_size"], f"{path}.shm_size") if "shm_size" in body else 0,
        restart=restart,
        labels=reader.pairs(body.get("labels"), f"{path}.labels"),
        user=_text(body.get("user", "")),
        working_dir=_text(body.get("working_dir", "")),
        stop_grace=reader.duration(
            body.get("stop_grace_period", "10s"), f"{path}.stop_grace_period"
        )
        // SECOND,
        stop_signal=_text(body.get("stop_signal", "")),
        init=reader.truth(body.get("init", False), f"{path}.init"),
        read_only=reader.truth(body.get("read_only", False), f"{path}.read_only"),
        cap_add=reader.strings(body.get("cap_add"), f"{path}.cap_add"),
        cap_drop=reader.strings(body.get("cap_drop"), f"{path}.cap_drop"),
        extra_hosts=_hosts(reader, body.get("extra_hosts"), f"{path}.extra_hosts"),
    )


def _environment(
    reader: Reader, body: Mapping[str, Any], path: str, read_env: EnvReader
) -> dict[str, str]:
    """Env files in order, then `environment`, which wins."""
    found: dict[str, str] = {}
    files = body.get("env_file") or []
    for index, entry in enumerate(files if isinstance(files, list) else [files]):
        where = f"{path}.env_file[{index}]"
        options = {"path": entry} if isinstance(entry, str) else reader.mapping(entry, where)
        reader.only(options, ("path", "required"), where)
        values = read_env(str(options.get("path", "")))
        if values is None and options.get("required", True):
            raise reader.bad(where, f"there is no file {options.get('path')!r}", "run ./inv env")
        found.update(values or {})
    found.update(reader.pairs(body.get("environment"), f"{path}.environment"))
    return found


def _health(reader: Reader, value: Any, path: str) -> Health | None:
    body = reader.mapping(value, path)
    keys = ("test", "interval", "timeout", "retries", "start_period", "disable")
    reader.only(body, keys, path)
    if not body or body.get("disable"):
        return None
    test = body.get("test")
    if isinstance(test, str):
        test = ["CMD-SHELL", test]
    words = reader.strings(test, f"{path}.test")
    if not words or words[0] not in ("CMD", "CMD-SHELL", "NONE"):
        raise reader.bad(f"{path}.test", "must begin with CMD, CMD-SHELL or NONE")
    times = {
        key: reader.duration(body[key], f"{path}.{key}")
        for key in ("interval", "timeout", "start_period")
        if key in body
    }
    retries = reader.integer(body.get("retries", 3), f"{path}.retries")
    return None if words[0] == "NONE" else Health(test=words, retries=retries, **times)


def _depends(reader: Reader, value: Any, path: str) -> dict[str, str]:
    if isinstance(value, list):
        return {str(name): "service_started" for name in value}
    found = {}
    for name, raw in reader.mapping(value, path).items():
        body = reader.mapping(raw, f"{path}.{name}")
        reader.only(body, ("condition", "restart", "required"), f"{path}.{name}")
        condition = str(body.get("condition", "service_started"))
        if condition not in CONDITIONS:
            raise reader.bad(f"{path}.{name}.condition", f"{condition!r} is no condition")
        found[name] = condition
    return found


def _ports(reader: Reader, value: Any, path: str) -> tuple[Port, ...]:
    if value is not None and not isinstance(value, list):
        raise reader.bad(path, "must be a list")
    return tuple(_port(reader, one, f"{path}[{i}]") for i, one in enumerate(value or []))


def _port(reader: Reader, value: Any, path: str) -> Port:
    if isinstance(value, dict):
        body = reader.mapping(value, path)
        reader.only(body, ("target", "published", "host_ip", "protocol", "mode", "name"), path)
        _check_host(reader, str(body.get("host_ip", "127.0.0.1")), path)
        return Port(
            target=reader.integer(body.get("target"), f"{path}.target"),
            published=reader.integer(body.get("published") or 0, f"{path}.published"),
            protocol=str(body.get("protocol", "tcp")),
        )
    text, _, protocol = str(value).partition("/")
    parts = text.split(":")
    if len(parts) > 3 or not parts[-1]:
        raise reader.bad(path, f"{value!r} is not a port", 'for example "127.0.0.1:5432:5432"')
    if len(parts) == 3:
        _check_host(reader, parts[0], path)
    published = parts[-2] if len(parts) > 1 else "0"
    return Port(
        target=reader.integer(parts[-1], path),
        published=reader.integer(published or "0", path),
        protocol=protocol or "tcp",
    )


def _check_host(reader: Reader, host: str, path: str) -> None:
    if host != "127.0.0.1":
        raise reader.bad(
            path, f"{host} would be open to the network", "ports are published on 127.0.0.1 only"
        )


def _mounts(reader: Reader, body: Mapping[str, Any], path: str) -> tuple[Mount, ...]:
    found = [
        _mount(reader, one, f"{path}.volumes[{i}]")
        for i, one in enumerate(body.get("volumes") or [])
    ]
    for target in reader.strings(body.get("tmpfs"), f"{path}.tmpfs"):
        found.append(Mount(type="tmpfs", source="", target=target))
    return tuple(found)


def _mount(reader: Reader, value: Any, path: str) -> Mount:
    if isinstance(value, dict):
        body = reader.mapping(value, path)
        reader.only(body, ("type", "source", "target", "read_only"), path)
        kind = str(body.get("type", "volume"))
        if kind not in ("volume", "bind", "tmpfs"):
            raise reader.bad(f"{path}.type", f"{kind!r} is not supported")
        return Mount(
            type=kind,
            source=str(body.get("source", "")),
            target=str(body.get("target", "")),
            read_only=bool(body.get("read_only", False)),
        )
    parts = str(value).split(":")
    if not 2 <= len(parts) <= 3 or (len(parts) == 3 and parts[2] not in ("ro", "rw")):
        raise reader.bad(path, f"{value!r} is not a mount", "source:target or source:target:ro")
    bind = parts[0].startswith((".", "/", "~"))
    return Mount(
        type="bind" if bind else "volume",
        source=parts[0],
        target=parts[1],
        read_only=parts[-1] == "ro" and len(parts) == 3,
    )


def _networks(reader: Reader, value: Any, path: str, mode: str) -> tuple[str, ...]:
    if mode:
        if value:
            raise reader.bad(path, "networks and network_mode exclude one another")
        return ()
    if isinstance(value, dict):
        for name, body in value.items():
            reader.only(reader.mapping(body, f"{path}.{name}"), (), f"{path}.{name}")
        return tuple(value)
    return reader.strings(value, path) or ("default",)


def _limits(reader: Reader, body: Mapping[str, Any], path: str) -> tuple[int, float]:
    deploy = reader.mapping(body.get("deploy"), f"{path}.deploy")
    reader.only(deploy, ("resources",), f"{path}.deploy")
    resources = reader.mapping(deploy.get("resources"), f"{path}.deploy.resources")
    reader.only(resources, ("limits",), f"{path}.deploy.resources")
    where = f"{path}.deploy.resources.limits"
    limits = reader.mapping(resources.get("limits"), where)
    reader.only(limits, ("cpus", "memory"), where)
    memory = limits.get("memory", body.get("mem_limit"))
    cpus = limits.get("cpus", body.get("cpus", 0))
    try:
        count = float(cpus)
    except ValueError:
        raise reader.bad(f"{where}.cpus", f"{cpus!r} is not a number") from None
    return (reader.size(memory, f"{where}.memory") if memory is not None else 0, count)


def _hosts(reader: Reader, value: Any, path: str) -> dict[str, str]:
    if isinstance(value, list):
        split = [re.split("[=:]", str(item), maxsplit=1) for item in value]
        if any(len(pair) != 2 for pair in split):
            raise reader.bad(path, "must be name:address")
        return {pair[0]: pair[1] for pair in split}
    return {k: str(v) for k, v in reader.mapping(value, path).items()}


def _check_references(
    reader: Reader,
    services: Mapping[str, Service],
    volumes: Sequence[str],
    networks: Sequence[str],
    declared: set[str],
) -> None:
    for name, service in services.items():
        for other in service.depends_on:
            if other not in declared:
                raise reader.bad(f"services.{name}.depends_on", f"there is no service {other!r}")
            if other not in services:
                raise reader.bad(
                    f"services.{name}.depends_on", f"{other!r} is in a profile that is not active"
                )
        for mount in service.mounts:
            if mount.type == "volume" and mount.source not in volumes:
                raise reader.bad(
                    f"services.{name}.volumes", f"volume {mount.source!r} is not declared"
                )
        for network in service.networks:
            if network != "default" and network not in networks:
                raise reader.bad(
                    f"services.{name}.networks", f"network {network!r} is not declared"
                )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
