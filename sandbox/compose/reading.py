"""A Compose file's text -> ComposeFile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sandbox.compose import parts
from sandbox.compose.document import Document, load
from sandbox.compose.interpolation import interpolate
from sandbox.compose.model import SECOND, ComposeFile, Resource, Service
from sandbox.compose.values import Reader

EnvReader = Callable[[str], Mapping[str, str] | None]

TOP = ("name", "services", "volumes", "networks")
KEYS = frozenset(
    [
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
        "ulimits",
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
    ]
)
RESTARTS = ("no", "always", "unless-stopped", "on-failure")
MODES = ("host", "none", "bridge")


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

    Keys are checked in every service, values in those of the active profiles.
    Raises ConfigError naming the file, the line, the path and what is wrong.
    """
    document = load(text, file=file)
    reader = Reader(document)
    top = reader.table(document.tree, TOP, "")
    if not top.get("services"):
        raise reader.bad("services", "there are none")
    declared = {
        name: reader.table(body, KEYS, f"services.{name}")
        for name, body in reader.mapping(top["services"], "services").items()
        if not name.startswith("x-")
    }
    services = {
        name: _service(document, name, body, variables, read_env)
        for name, body in declared.items()
        if _active(reader, name, body, profiles)
    }
    found = ComposeFile(
        file=file,
        root=root,
        name=interpolate(reader.text(top.get("name", ""), "name"), variables, document, "name"),
        services=services,
        declared=frozenset(declared),
        volumes=_resources(document, top, "volumes", variables),
        networks=_resources(document, top, "networks", variables),
    )
    return _checked(reader, found)


def _active(reader: Reader, name: str, body: Mapping[str, Any], profiles: frozenset[str]) -> bool:
    own = reader.strings(body.get("profiles"), f"services.{name}.profiles")
    return not own or bool(profiles & set(own))


def _resources(
    document: Document, top: Mapping[str, Any], kind: str, variables: Mapping[str, str]
) -> dict[str, Resource]:
    """The declared volumes or networks."""
    reader, found = Reader(document), {}
    keys = ("driver", "name", "external", "labels", *(("internal",) if kind == "networks" else ()))
    own_driver = "local" if kind == "volumes" else "bridge"
    for name, raw in reader.mapping(top.get(kind), kind).items():
        path = f"{kind}.{name}"
        body = reader.table(interpolate(raw, variables, document, path), keys, path)
        driver = reader.text(body.get("driver") or own_driver, f"{path}.driver")
        if driver != own_driver:
            raise reader.bad(f"{path}.driver", f"{driver!r} is not supported", own_driver)
        found[name] = Resource(
            name=name,
            fixed_name=reader.optional_text(body, "name", path),
            external=reader.truth(body.get("external", False), f"{path}.external"),
            internal=reader.truth(body.get("internal", False), f"{path}.internal"),
            labels=reader.pairs(body.get("labels"), f"{path}.labels"),
        )
    return found


def _service(
    document: Document,
    name: str,
    raw: Mapping[str, Any],
    variables: Mapping[str, str],
    read_env: EnvReader,
) -> Service:
    path = f"services.{name}"
    reader = Reader(document)
    body = reader.mapping(interpolate(raw, variables, document, path), path)
    if not isinstance(body.get("image"), str) or not body["image"]:
        raise reader.bad(f"{path}.image", "an image is needed")
    memory, cpus = parts.limits(reader, body, path)
    restart, retries = _restart(reader, body, path)
    mode = reader.optional_text(body, "network_mode", path)
    if mode and mode not in MODES:
        raise reader.bad(f"{path}.network_mode", f"{mode!r} is not supported", ", ".join(MODES))
    grace = reader.duration(body.get("stop_grace_period") or "10s", f"{path}.stop_grace_period")
    return Service(
        name=name,
        line=reader.line(path),
        image=body["image"],
        command=reader.words(body.get("command"), f"{path}.command"),
        entrypoint=reader.words(body.get("entrypoint"), f"{path}.entrypoint"),
        environment=_environment(reader, body, path, variables, read_env),
        health=parts.health(reader, body.get("healthcheck"), f"{path}.healthcheck"),
        depends_on=parts.depends_on(reader, body.get("depends_on"), f"{path}.depends_on"),
        mounts=parts.mounts(reader, body, path),
        networks=parts.networks(reader, body.get("networks"), f"{path}.networks", mode),
        network_mode=mode,
        ports=parts.ports(reader, body.get("ports"), f"{path}.ports"),
        memory=memory,
        cpus=cpus,
        shm_size=reader.size(body.get("shm_size") or "0", f"{path}.shm_size"),
        ulimits=parts.ulimits(reader, body.get("ulimits"), f"{path}.ulimits"),
        restart=restart,
        restart_retries=retries,
        labels=_labels(reader, body, path),
        user=reader.optional_text(body, "user", path),
        working_dir=reader.optional_text(body, "working_dir", path),
        stop_grace=-(-grace // SECOND),
        stop_signal=reader.optional_text(body, "stop_signal", path),
        init=reader.truth(body.get("init", False), f"{path}.init"),
        read_only=reader.truth(body.get("read_only", False), f"{path}.read_only"),
        cap_add=reader.strings(body.get("cap_add"), f"{path}.cap_add"),
        cap_drop=reader.strings(body.get("cap_drop"), f"{path}.cap_drop"),
        extra_hosts=parts.hosts(reader, body.get("extra_hosts"), f"{path}.extra_hosts"),
    )


def _environment(
    reader: Reader,
    body: Mapping[str, Any],
    path: str,
    variables: Mapping[str, str],
    read_env: EnvReader,
) -> dict[str, str]:
    """Env files in order, then `environment`, which wins. A name alone takes the variable's value
    and is left out when there is none."""
    found: dict[str, str] = {}
    files = body.get("env_file") or []
    for index, entry in enumerate(files if isinstance(files, list) else [files]):
        where = f"{path}.env_file[{index}]"
        options = (
            {"path": entry}
            if isinstance(entry, str)
            else reader.table(entry, ("path", "required"), where)
        )
        wanted = reader.text(options.get("path"), f"{where}.path")
        values = read_env(wanted)
        if values is None and reader.truth(options.get("required", True), f"{where}.required"):
            raise reader.bad(where, f"there is no file {wanted!r}", "run ./inv env")
        found.update(values or {})
    given = reader.optional_pairs(body.get("environment"), f"{path}.environment")
    for name, value in given.items():
        if value is not None:
            found[name] = value
        elif name in variables:
            found[name] = variables[name]
    return found


def _labels(reader: Reader, body: Mapping[str, Any], path: str) -> dict[str, str]:
    found = reader.pairs(body.get("labels"), f"{path}.labels")
    for name in found:
        if name.startswith(("com.docker.compose.", "sandbox.")):
            raise reader.bad(f"{path}.labels.{name}", "this label is the tool's own")
    return found


def _restart(reader: Reader, body: Mapping[str, Any], path: str) -> tuple[str, int]:
    value = body.get("restart")
    text = "no" if value in (None, False) else reader.text(value, f"{path}.restart")
    word, colon, count = text.partition(":")
    if word not in RESTARTS or (colon and word != "on-failure"):
        raise reader.bad(f"{path}.restart", f"{text!r} is none of {', '.join(RESTARTS)}")
    retries = reader.integer(count, f"{path}.restart", low=0, high=1000) if colon else 0
    return word, retries


def _checked(reader: Reader, file: ComposeFile) -> ComposeFile:
    """What one part of the file says about another."""
    taken: dict[tuple[int, str], str] = {}
    for name, service in file.services.items():
        path = f"services.{name}"
        for other in service.depends_on:
            if other not in file.declared:
                raise reader.bad(f"{path}.depends_on.{other}", f"there is no service {other!r}")
            if other not in file.services:
                hint = "start that profile too, or take the line out"
                message = f"{other!r} is in a profile that is not active"
                raise reader.bad(f"{path}.depends_on.{other}", message, hint)
            if service.depends_on[other] == "service_healthy" and not _has_health(file, other):
                message = f"{other!r} has no healthcheck to wait for"
                raise reader.bad(f"{path}.depends_on.{other}", message)
        for volume in service.volumes:
            if volume not in file.volumes:
                raise reader.bad(f"{path}.volumes", f"volume {volume!r} is not declared")
        for network in service.networks:
            if network != "default" and network not in file.networks:
                raise reader.bad(f"{path}.networks", f"network {network!r} is not declared")
        for port in service.ports:
            other = (
                taken.setdefault((port.published, port.protocol), name) if port.published else ""
            )
            if other and other != name:
                message = f"port {port.published} is {other}'s already"
                raise reader.bad(f"{path}.ports", message, "0 takes any free one")
    return file


def _has_health(file: ComposeFile, name: str) -> bool:
    health = file.services[name].health
    return health is None or not health.off  # without one here, the image may bring its own
