"""sandbox.toml and env files -> frozen values. Pure: it is given text, it returns values.

Every wrong input becomes one ConfigError that names the file and the key.
"""

from __future__ import annotations

import functools
import io
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from sandbox.errors import ConfigError
from sandbox.model import Environment, Kind, Layout

Name = Annotated[str, StringConstraints(min_length=1, max_length=63)]
ProjectName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,30}$")]
RelativePath = Annotated[str, StringConstraints(min_length=1)]


class Strict(BaseModel):
    """A table of the file: frozen, and a key that is not declared is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EnvironmentSettings(Strict):
    """Where an environment's servers and variables are declared.

    `urls`: of an external production, store -> the variable that holds its reader's URL.
    `secret_command`: a program and its arguments that prints the value of `{variable}`, for those
    that stand neither in the environment nor in the env file.
    `accept_writer`: read with a login that could write all the same, in read-only sessions.
    """

    compose: RelativePath
    env_file: RelativePath
    external: bool = False
    urls: dict[Kind, Name] = Field(default_factory=dict)
    secret_command: tuple[str, ...] = ()
    accept_writer: bool = False


class Environments(Strict):
    production: EnvironmentSettings
    playground: EnvironmentSettings


class Pair(Strict):
    """One value per environment."""

    production: str
    playground: str


class Variables(Strict):
    """The names of the variables that the application reads its addresses from."""

    server_port: Name = "SERVER_PORT"
    redis_prefix: Name = "REDIS_PREFIX"
    postgres_url: Name = "DATABASE_URL"
    postgres_schema: Name = "DATABASE_SCHEMA"
    mongo_url: Name = "MONGODB_URL"
    mongo_database: Name = "MONGODB_DATABASE"
    qdrant_url: Name = "QDRANT_URL"
    qdrant_key: Name = "QDRANT_API_KEY"
    qdrant_collection: Name = "QDRANT_COLLECTION"
    redis_url: Name = "REDIS_URL"


class AdminSettings(Strict):
    """A server's administrator: the user, and the variable that holds its password."""

    user: Name
    production: Name
    playground: Name


class NarrowedSettings(Strict):
    where: str = "true"
    columns: tuple[Name, ...] = ()


class PostgresSettings(Strict):
    service: Name
    port: int = 5432
    database: Name
    admin: AdminSettings
    production: Name
    playground: Name
    isolated: tuple[Name, ...]
    shared: tuple[Name, ...] = ()
    narrowed: dict[Name, NarrowedSettings] = Field(default_factory=dict)


class MongoSettings(Strict):
    service: Name
    port: int = 27017
    admin: AdminSettings
    production: Name
    playground: Name
    collections: tuple[Name, ...]
    ttl: Literal["hold", "shift", "keep"] = "hold"


class QdrantSettings(Strict):
    service: Name
    port: int = 6333
    admin: AdminSettings
    production: Name
    playground: Name


class RedisSettings(Strict):
    service: Name
    port: int = 6379
    database: int = Field(default=0, ge=0)
    admin: AdminSettings
    production: Name
    playground: Name


class DirectoryPair(Strict):
    """`variable`: the one that tells the application this directory, if any."""

    variable: str = ""
    production: RelativePath
    playground: RelativePath


class FilesSettings(Strict):
    """`user`: of the machine, whom the playground's directories belong to; "" is whoever runs this
    tool."""

    root: RelativePath
    user: Annotated[str, StringConstraints(pattern=r"^([a-z_][a-z0-9_-]{0,14})?$")] = ""
    directories: dict[Name, DirectoryPair]


class Settings(Strict):
    """The whole of sandbox.toml."""

    project: ProjectName
    layout: Layout
    policy: RelativePath = "masking.toml"
    masking_key_command: str = ""
    snapshots: RelativePath = ".sandbox/snapshots"
    environments: Environments
    application: dict[Name, Pair] = Field(default_factory=dict)
    variables: Variables = Variables()
    postgres: PostgresSettings | None = None
    mongo: MongoSettings | None = None
    qdrant: QdrantSettings | None = None
    redis: RedisSettings | None = None
    files: FilesSettings | None = None

    def environment(self, name: Environment) -> EnvironmentSettings:
        return (
            self.environments.production if name == "production" else self.environments.playground
        )

    def kinds(self) -> tuple[Kind, ...]:
        """The stores that the file declares, in their usual order."""
        declared: dict[Kind, object] = {
            "postgres": self.postgres,
            "mongo": self.mongo,
            "qdrant": self.qdrant,
            "redis": self.redis,
            "files": self.files,
        }
        return tuple(kind for kind, value in declared.items() if value is not None)


def parse(text: str, *, file: str) -> Settings:
    """Read sandbox.toml. Raises ConfigError naming `file` and the key."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}", where=file) from None
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        raise _first_error(error, raw, file) from None
    _check_tables(settings, file)
    _check_spaces(settings, file)
    return settings


def parse_env(text: str, *, file: str) -> dict[str, str]:
    """Read an env file: NAME=value lines, quotes and comments allowed, no interpolation."""
    return dict(_parsed_env(text, file))


@functools.lru_cache(maxsize=16)  # a command looks up dozens of variables in the same two texts
def _parsed_env(text: str, file: str) -> Mapping[str, str]:
    values: dict[str, str] = {}
    for name, value in dotenv_values(stream=io.StringIO(text), interpolate=False).items():
        if value is None:
            raise ConfigError(f"{name} has no value", where=file, hint="write NAME=value")
        values[name] = value
    return values


def _first_error(error: ValidationError, raw: Mapping[str, Any], file: str) -> ConfigError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    more = len(error.errors()) - 1
    messages = {
        "extra_forbidden": "unknown key",
        "missing": "key is missing",
    }
    message = messages.get(first["type"], first["msg"])
    if key == "layout" and "layout" in raw:
        message = f"no layout {raw['layout']!r}; there are partial, namespaced and dedicated"
    hint = f"and {more} more" if more else "sandbox.toml in the project shows every key"
    return ConfigError(message, where=f"{file}: {key}", hint=hint)


def _check_tables(settings: Settings, file: str) -> None:
    postgres = settings.postgres
    if postgres is None:
        return
    seen: set[str] = set()
    for table in postgres.isolated:
        if table in seen:
            raise ConfigError(f"table {table!r} stands twice", where=f"{file}: postgres.isolated")
        seen.add(table)
        for pattern in postgres.shared:
            if fnmatchcase(table, pattern):
                raise ConfigError(
                    f"table {table!r} is in both lists (shared says {pattern!r})",
                    where=f"{file}: postgres.isolated",
                    hint="a table is either isolated or shared",
                )
    for table in postgres.narrowed:
        if not any(fnmatchcase(table, pattern) for pattern in postgres.shared):
            raise ConfigError(
                f"{table!r} is narrowed but not shared",
                where=f"{file}: postgres.narrowed.{table}",
                hint="add it to postgres.shared",
            )


def _check_spaces(settings: Settings, file: str) -> None:
    """Equal, overlapping or nested spaces cannot be told apart: refuse them."""
    for kind in ("postgres", "mongo", "qdrant"):
        pair = getattr(settings, kind)
        if pair is not None and pair.production == pair.playground:
            raise ConfigError(
                f"production and playground are both {pair.production!r}",
                where=f"{file}: {kind}.playground",
                hint="give the playground a name of its own",
            )
    if settings.redis is not None:
        _check_prefixes(settings.redis, file)
    if settings.files is not None:
        _check_directories(settings.files, file)


def _check_prefixes(redis: RedisSettings, file: str) -> None:
    production, playground = redis.production, redis.playground
    if production.startswith(playground) or playground.startswith(production):
        relation = "equals" if production == playground else "overlaps"
        raise ConfigError(
            f"prefix {playground!r} {relation} production's {production!r}: "
            "one contains the other's keys",
            where=f"{file}: redis.playground",
            hint="for example momentry: and momentry_dev:",
        )


def _check_directories(files: FilesSettings, file: str) -> None:
    places = [
        (f"files.directories.{purpose}.{side}", Path(files.root, getattr(pair, side)))
        for purpose, pair in files.directories.items()
        for side in ("production", "playground")
    ]
    for key, path in places:
        if path.is_absolute() and not Path(files.root).is_absolute():
            raise ConfigError(f"{path} is not below files.root", where=f"{file}: {key}")
        if ".." in path.parts:
            raise ConfigError(f"{path} leaves files.root through '..'", where=f"{file}: {key}")
    for index, (key, path) in enumerate(places):
        for other_key, other in places[:index]:
            if path == other or path in other.parents or other in path.parents:
                relation = "the same directory as" if path == other else "inside or around"
                raise ConfigError(
                    f"{path} is {relation} {other} ({other_key})",
                    where=f"{file}: {key}",
                    hint="every environment and purpose needs a directory apart from all others",
                )
