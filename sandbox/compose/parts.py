"""The parts of a service that have a short and a long form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sandbox.compose.model import Health, Mount, Port, Ulimit
from sandbox.compose.values import Reader

CONDITIONS = ("service_started", "service_healthy", "service_completed_successfully")
LOOPBACK = "127.0.0.1"
TIMES = ("interval", "timeout", "start_period", "start_interval")


def health(reader: Reader, value: Any, path: str) -> Health | None:
    """None: nothing is said, and the image's own check holds."""
    body = reader.table(value, ("test", "retries", "disable", *TIMES), path)
    if not body:
        return None
    if reader.truth(body.get("disable", False), f"{path}.disable"):
        return Health(test=("NONE",))
    test = body.get("test")
    words = ("CMD-SHELL", test) if isinstance(test, str) else reader.strings(test, f"{path}.test")
    if not words or words[0] not in ("CMD", "CMD-SHELL", "NONE"):
        raise reader.bad(f"{path}.test", "must be a text, or begin with CMD, CMD-SHELL or NONE")
    if len(words) < 2 and words[0] != "NONE":
        raise reader.bad(f"{path}.test", f"{words[0]} names no command")
    times = {key: reader.duration(body[key], f"{path}.{key}") for key in TIMES if key in body}
    for key in ("interval", "timeout"):
        if times.get(key, 1) < 1:
            raise reader.bad(f"{path}.{key}", "must be more than 0")
    retries = reader.integer(body.get("retries", "3"), f"{path}.retries", low=1, high=10_000)
    return Health(test=words, retries=retries, **times)


def depends_on(reader: Reader, value: Any, path: str) -> dict[str, str]:
    if isinstance(value, list):
        return dict.fromkeys(reader.strings(value, path), "service_started")
    found = {}
    for name, raw in reader.mapping(value, path).items():
        where = f"{path}.{name}"
        body = reader.table(raw, ("condition",), where)
        condition = reader.text(body.get("condition") or CONDITIONS[0], f"{where}.condition")
        if condition not in CONDITIONS:
            hint = f"one of {', '.join(CONDITIONS)}"
            raise reader.bad(f"{where}.condition", f"{condition!r} is no condition", hint)
        found[name] = condition
    return found


def ports(reader: Reader, value: Any, path: str) -> tuple[Port, ...]:
    found = enumerate(reader.items(value, path))
    return tuple(_port(reader, one, f"{path}[{i}]") for i, one in found)


def _port(reader: Reader, value: Any, path: str) -> Port:
    if isinstance(value, dict):
        keys = ("target", "published", "host_ip", "protocol", "mode", "name")
        body = reader.table(value, keys, path)
        host = reader.text(body.get("host_ip") or LOOPBACK, f"{path}.host_ip")
        target, published = body.get("target"), body.get("published") or "0"
        protocol = reader.text(body.get("protocol") or "tcp", f"{path}.protocol")
    else:
        text, _, protocol = reader.text(value, path).partition("/")
        match = re.fullmatch(r"(?:(\[[^]]*\]|[^:]+):)?(?:([^:]*):)?([^:]+)", text)
        if not match:
            hint = 'for example "127.0.0.1:5432:5432"'
            raise reader.bad(path, f"{value!r} is not a port", hint)
        host, published, target = match[1] or LOOPBACK, match[2] or "", match[3]
        if match[2] is None and match[1] is not None:  # "5433:5432" and "127.0.0.1::5432"
            host, published = LOOPBACK, match[1]
        published, protocol = published or "0", protocol or "tcp"
    if host != LOOPBACK:
        hint = f"ports are published on {LOOPBACK} only"
        raise reader.bad(path, f"{host} would be open to the network", hint)
    if protocol not in ("tcp", "udp"):
        raise reader.bad(path, f"{protocol!r} is no protocol", "tcp or udp")
    if target is None:
        raise reader.bad(path, "target, the port inside, is missing")
    return Port(
        target=reader.integer(target, path, low=1, high=65535),
        published=reader.integer(published, path, low=0, high=65535),
        protocol=protocol,
    )


def mounts(reader: Reader, body: Mapping[str, Any], path: str) -> tuple[Mount, ...]:
    given = enumerate(reader.items(body.get("volumes"), f"{path}.volumes"))
    found = [_mount(reader, one, f"{path}.volumes[{i}]") for i, one in given]
    for target in reader.strings(body.get("tmpfs"), f"{path}.tmpfs"):
        place, _, options = target.partition(":")
        found.append(Mount(type="tmpfs", source="", target=place, options=options))
    seen: set[str] = set()
    for mount in found:
        if not mount.target.startswith("/"):
            raise reader.bad(f"{path}.volumes", f"{mount.target!r} must be a whole path, from /")
        if mount.target.rstrip("/") in seen:
            raise reader.bad(f"{path}.volumes", f"{mount.target} is mounted twice")
        seen.add(mount.target.rstrip("/"))
    return tuple(found)


def _mount(reader: Reader, value: Any, path: str) -> Mount:
    if isinstance(value, dict):
        return _long_mount(reader, value, path)
    parts = reader.text(value, path).split(":")
    if not 2 <= len(parts) <= 3 or (len(parts) == 3 and parts[2] not in ("ro", "rw")):
        raise reader.bad(path, f"{value!r} is not a mount", "source:target or source:target:ro")
    if not parts[0]:
        raise reader.bad(path, "the source is empty")
    return Mount(
        type="bind" if parts[0].startswith((".", "/", "~")) else "volume",
        source=parts[0],
        target=parts[1],
        read_only=parts[2:] == ["ro"],
    )


def _long_mount(reader: Reader, value: Any, path: str) -> Mount:
    body = reader.table(value, ("type", "source", "target", "read_only", "tmpfs"), path)
    kind = reader.text(body.get("type") or "volume", f"{path}.type")
    if kind not in ("volume", "bind", "tmpfs"):
        raise reader.bad(f"{path}.type", f"{kind!r} is not supported", "volume, bind or tmpfs")
    source = reader.optional_text(body, "source", path)
    if bool(source) == (kind == "tmpfs"):
        message = "a tmpfs has no source" if source else "a source is needed"
        raise reader.bad(f"{path}.source", message)
    if "tmpfs" in body and kind != "tmpfs":
        raise reader.bad(f"{path}.tmpfs", "is for the type tmpfs")
    memory = reader.table(body.get("tmpfs"), ("size", "mode"), f"{path}.tmpfs")
    options = []
    if "size" in memory:
        options.append(f"size={reader.size(memory['size'], f'{path}.tmpfs.size')}")
    if "mode" in memory:
        options.append(f"mode={reader.text(memory['mode'], f'{path}.tmpfs.mode')}")
    return Mount(
        type=kind,
        source=source,
        target=reader.optional_text(body, "target", path),
        read_only=reader.truth(body.get("read_only", False), f"{path}.read_only"),
        options=",".join(options),
    )


def networks(reader: Reader, value: Any, path: str, mode: str) -> dict[str, tuple[str, ...]]:
    """Network -> aliases beside the service's own name."""
    if mode:
        if value:
            raise reader.bad(path, "networks and network_mode exclude one another")
        return {}
    if not isinstance(value, dict):
        return dict.fromkeys(reader.strings(value, path) or ("default",), ())
    found: dict[str, tuple[str, ...]] = {}
    for name, raw in value.items():
        body = reader.table(raw, ("aliases",), f"{path}.{name}")
        found[name] = reader.strings(body.get("aliases"), f"{path}.{name}.aliases")
    return found or {"default": ()}


def limits(reader: Reader, body: Mapping[str, Any], path: str) -> tuple[int, float]:
    """Memory in bytes and CPUs; 0 is no limit."""
    where = f"{path}.deploy"
    deploy = reader.table(body.get("deploy"), ("resources",), where)
    resources = reader.table(deploy.get("resources"), ("limits",), f"{where}.resources")
    where = f"{where}.resources.limits"
    inside = reader.table(resources.get("limits"), ("cpus", "memory"), where)
    memory, cpus = 0, 0.0
    for key, at, given in (
        ("mem_limit", f"{path}.mem_limit", body.get("mem_limit")),
        ("memory", f"{where}.memory", inside.get("memory")),
    ):
        if given is not None:
            if memory:
                raise reader.bad(at, f"{key} says again what is limited already")
            memory = reader.size(given, at)
    for at, given in ((f"{path}.cpus", body.get("cpus")), (f"{where}.cpus", inside.get("cpus"))):
        if given is not None:
            cpus = reader.number(given, at)
    return memory, cpus


def ulimits(reader: Reader, value: Any, path: str) -> dict[str, Ulimit]:
    found = {}
    for name, raw in reader.mapping(value, path).items():
        where = f"{path}.{name}"
        if not isinstance(raw, dict):
            both = _limit(reader, raw, where)
            found[name] = Ulimit(soft=both, hard=both)
            continue
        body = reader.table(raw, ("soft", "hard"), where)
        found[name] = Ulimit(
            soft=_limit(reader, body.get("soft"), f"{where}.soft"),
            hard=_limit(reader, body.get("hard"), f"{where}.hard"),
        )
    return found


def _limit(reader: Reader, value: Any, path: str) -> int:
    return reader.integer(value, path, low=-1, high=1 << 53)


def hosts(reader: Reader, value: Any, path: str) -> dict[str, str]:
    if not isinstance(value, list):
        return reader.pairs(value, path)
    found = {}
    for index, item in enumerate(reader.strings(value, path)):
        pair = re.split("[=:]", item, maxsplit=1)
        if len(pair) != 2 or not all(pair):
            raise reader.bad(f"{path}[{index}]", f"{item!r} is not name:address")
        found[pair[0]] = pair[1]
    return found
