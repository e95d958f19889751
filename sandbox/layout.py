"""Settings x layout x playground's name -> spaces and names. Pure."""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import ConfigError
from sandbox.model import (
    Environment,
    FilesSpace,
    Kind,
    Layout,
    MongoSpace,
    Narrowed,
    PostgresSpace,
    QdrantSpace,
    RedisSpace,
    Role,
    Space,
)
from sandbox.settings import Settings

PLAYGROUND_NAME = re.compile(r"^[a-z][a-z0-9]{0,15}$")
RESERVED = ("shared",)  # dev_shared is the window on shared tables
FIRST_PORT, PORTS = 19_000, 1_000  # of the servers of named playgrounds


@dataclass(frozen=True, kw_only=True)
class Place:
    """One store in one layout: both spaces, and whose server holds the playground's."""

    kind: Kind
    production: Space
    playground: Space
    service: str  # "" for files
    port: int  # inside the container; 0 for files
    server: Environment  # whose Compose project runs the playground's server
    shared: bool  # the playground's space is production's: nothing may be written there


def places(
    settings: Settings, *, layout: Layout, root: Path, playground: str = ""
) -> tuple[Place, ...]:
    """Where each declared store's two spaces are. `root` is sandbox.toml's folder."""
    check_playground_name(playground)
    return tuple(_place(kind, settings, layout, root, playground) for kind in settings.kinds())


def check_playground_name(name: str) -> None:
    if name and not PLAYGROUND_NAME.match(name):
        raise ConfigError(
            f"{name!r} cannot name a playground",
            where="--playground",
            hint="1 to 16 lower-case letters and digits, a letter first",
        )
    if name in RESERVED:
        raise ConfigError(
            f"{name!r} is a name of this tool's own", where="--playground", hint="take another"
        )


def server_port(playground: str, taken: Collection[str]) -> str:
    """The application's port in a named playground: the same one each time, unless another has
    it."""
    start = zlib.crc32(playground.encode())
    ports = (str(FIRST_PORT + (start + step) % PORTS) for step in range(PORTS))
    return next((port for port in ports if port not in taken), "0")


def compose_project(settings: Settings, environment: Environment, playground: str = "") -> str:
    """The Compose project's name: containers, networks and volumes are found by it."""
    suffix = f"-{playground}" if playground and environment == "playground" else ""
    return f"{settings.project}-{environment}{suffix}"


def identity_name(settings: Settings, role: Role, playground: str = "") -> str:
    """The login's name in every store: momentry_reader, momentry_playground_ann, ..."""
    suffix = f"_{playground}" if playground and role in ("keeper", "playground") else ""
    return f"{settings.project.replace('-', '_')}_{role}{suffix}"


def playground_value(value: str, playground: str) -> str:
    """A named playground's space: momentry_dev: -> momentry_dev_ann:, dev -> dev_ann."""
    if not playground:
        return value
    stem, separator = (value[:-1], value[-1]) if value and value[-1] in ":/." else (value, "")
    return f"{stem}_{playground}{separator}"


def _place(kind: Kind, settings: Settings, layout: Layout, root: Path, playground: str) -> Place:
    production = _space(kind, settings, "production", root, "")
    # In `partial` three stores are still production's own; prefix and directories are apart.
    is_shared = layout == "partial" and kind in ("postgres", "mongo", "qdrant")
    own = production if is_shared else _space(kind, settings, "playground", root, playground)
    declared = getattr(settings, kind)
    dedicated = layout == "dedicated" and kind != "files"
    return Place(
        kind=kind,
        production=production,
        playground=own,
        service="" if kind == "files" else declared.service,
        port=0 if kind == "files" else declared.port,
        server="playground" if dedicated else "production",
        shared=is_shared,
    )


def _space(
    kind: Kind, settings: Settings, environment: Environment, root: Path, playground: str
) -> Space:
    name = playground if environment == "playground" else ""
    if kind == "files":
        assert settings.files is not None
        base = root / settings.files.root
        return FilesSpace(
            directories={
                purpose: base / playground_value(getattr(pair, environment), name)
                for purpose, pair in settings.files.directories.items()
            }
        )
    own = playground_value(getattr(getattr(settings, kind), environment), name)
    if kind == "postgres":
        assert settings.postgres is not None
        return PostgresSpace(
            database=settings.postgres.database,
            schema=own,
            isolated=settings.postgres.isolated,
            shared=settings.postgres.shared,
            narrowed={
                table: Narrowed(where=entry.where, columns=entry.columns)
                for table, entry in settings.postgres.narrowed.items()
            },
        )
    if kind == "mongo":
        assert settings.mongo is not None
        return MongoSpace(
            database=own, collections=settings.mongo.collections, ttl=settings.mongo.ttl
        )
    if kind == "qdrant":
        return QdrantSpace(collection=own)
    assert settings.redis is not None
    return RedisSpace(prefix=own, database=settings.redis.database)
