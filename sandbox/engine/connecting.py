"""Where the Docker engine is: DOCKER_HOST, else the current context, else the default socket."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException
from docker.tls import TLSConfig

from sandbox.engine.engine import Engine
from sandbox.errors import ConfigError, Unreachable

DEFAULT_SOCKET = "unix:///var/run/docker.sock"
ANSWERS_WITHIN = 10  # seconds
TIMEOUT = 1800  # seconds for one request: keeping a large baseline is one
HINT = "./inv doctor tells what is missing; --yes installs an engine on Debian or Ubuntu as root"
CLOSED_HINT = (
    "sudo usermod -aG docker $USER, then log in again; or set DOCKER_HOST to another engine"
)


def connect(*, environment: Mapping[str, str]) -> Engine:
    """An engine that answers. Raises Unreachable with the address that was tried."""
    address, tls = _address(environment)
    try:
        client = docker.DockerClient(base_url=address, tls=tls or False, timeout=ANSWERS_WITHIN)
        client.ping()
        client.api.timeout = TIMEOUT
    except (DockerException, OSError, ValueError):
        if _closed(address):
            message = f"this user may not use the Docker engine at {address}"
            raise Unreachable(message, hint=CLOSED_HINT) from None
        message = f"no Docker engine answers at {address}"
        raise Unreachable(message, hint=HINT) from None
    except ImportError:  # ssh:// needs another package
        message = f"{address}: engines behind ssh are not supported"
        raise Unreachable(message, hint="forward its socket and set DOCKER_HOST") from None
    return Engine(client, address=address)


def _closed(address: str) -> bool:
    """Whether there is a socket, and this user may not write to it."""
    path = address.removeprefix("unix://")
    return path != address and Path(path).exists() and not os.access(path, os.R_OK | os.W_OK)


def _address(environment: Mapping[str, str]) -> tuple[str, TLSConfig | None]:
    host = environment.get("DOCKER_HOST")
    if host:
        wants_tls = environment.get("DOCKER_TLS_VERIFY") or environment.get("DOCKER_CERT_PATH")
        folder = environment.get("DOCKER_CERT_PATH") or str(_home(environment))
        return host, _tls(Path(folder)) if wants_tls else None
    return _context(environment) or (DEFAULT_SOCKET, None)


def _home(environment: Mapping[str, str]) -> Path:
    given = environment.get("DOCKER_CONFIG")
    return Path(given) if given else Path(environment.get("HOME") or "~").expanduser() / ".docker"


def _context(environment: Mapping[str, str]) -> tuple[str, TLSConfig | None] | None:
    """The current context's endpoint, from Docker's own configuration."""
    home = _home(environment)
    wanted = environment.get("DOCKER_CONTEXT") or _current(home)
    if wanted == "default":
        return None
    for meta in home.glob("contexts/meta/*/meta.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            facts = json.loads(meta.read_text())
            if facts["Name"] == wanted:
                certificates = home / "contexts" / "tls" / meta.parent.name / "docker"
                tls = _tls(certificates) if certificates.is_dir() else None
                return str(facts["Endpoints"]["docker"]["Host"]), tls
    raise Unreachable(
        f"Docker's current context is {wanted!r}, and it is not defined",
        hint="docker context use default, or set DOCKER_HOST",
    )


def _current(home: Path) -> str:
    config: Any = {}
    with contextlib.suppress(OSError, ValueError):
        config = json.loads((home / "config.json").read_text())
    return str(config.get("currentContext") or "default") if isinstance(config, dict) else "default"


def _tls(folder: Path) -> TLSConfig:
    """The certificates that Docker's own client would use."""
    pair = (str(folder / "cert.pem"), str(folder / "key.pem"))
    try:
        return TLSConfig(
            client_cert=pair if Path(pair[0]).exists() else None,
            ca_cert=str(folder / "ca.pem"),
            verify=True,
        )
    except DockerException as error:
        raise ConfigError(
            f"Docker's certificates do not load: {error}", where=str(folder)
        ) from None
