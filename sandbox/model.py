"""The values that flow through the project: frozen, no driver, clock, file or network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

Kind = Literal["postgres", "mongo", "qdrant", "redis", "files"]
Environment = Literal["production", "playground"]
Layout = Literal["partial", "namespaced", "dedicated"]
Role = Literal["admin", "reader", "keeper", "playground", "production"]

KINDS: tuple[Kind, ...] = ("postgres", "mongo", "qdrant", "redis", "files")
SERVER_KINDS: tuple[Kind, ...] = ("postgres", "mongo", "qdrant", "redis")
LAYOUTS: tuple[Layout, ...] = ("partial", "namespaced", "dedicated")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A login in one store. Roles:

    - `admin` makes identities and spaces, in `isolate` only;
    - `reader` reads production and can write nothing;
    - `keeper` is this tool's own login: loads, swaps and resets the playground's spaces;
    - `playground` is what the developer's application uses;
    - `production` is what the production application uses (probes only).
    """

    role: Role
    name: str
    secret: str = field(repr=False, default="")


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a store's server answers. `options` are the driver's own (TLS, for one)."""

    host: str = "127.0.0.1"
    port: int = 0
    options: Mapping[str, str] = field(default_factory=dict)


# --- spaces: the one place in one store that one environment owns -------------------------------


@dataclass(frozen=True, kw_only=True)
class Narrowed:
    """A shared table that the playground sees only as a view over some rows and columns."""

    where: str = "true"
    columns: tuple[str, ...] = ()  # empty: all


@dataclass(frozen=True, kw_only=True)
class PostgresSpace:
    """A schema: `isolated` tables live in it, `shared` ones (or `prefix_*`) in production's."""

    kind: Literal["postgres"] = "postgres"
    database: str
    schema: str
    isolated: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    narrowed: Mapping[str, Narrowed] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.schema


@dataclass(frozen=True, kw_only=True)
class MongoSpace:
    """A database. `ttl` says what becomes of indexes that would delete what was just loaded:
    `hold` them back (nothing expires), `shift` the dates by the copy's age, or `keep` both."""

    kind: Literal["mongo"] = "mongo"
    database: str
    collections: tuple[str, ...] = ()
    ttl: Literal["hold", "shift", "keep"] = "hold"

    @property
    def name(self) -> str:
        return self.database


@dataclass(frozen=True, kw_only=True)
class QdrantSpace:
    """A collection, or an alias over a numbered one."""

    kind: Literal["qdrant"] = "qdrant"
    collection: str

    @property
    def name(self) -> str:
        return self.collection


@dataclass(frozen=True, kw_only=True)
class RedisSpace:
    """A key prefix in one numbered database."""

    kind: Literal["redis"] = "redis"
    prefix: str
    database: int = 0

    @property
    def name(self) -> str:
        return self.prefix


@dataclass(frozen=True, kw_only=True)
class FilesSpace:
    """Directories by purpose (`output`, `backup`), absolute."""

    kind: Literal["files"] = "files"
    directories: Mapping[str, Path]

    @property
    def name(self) -> str:
        return ", ".join(str(path) for path in self.directories.values())


Space = PostgresSpace | MongoSpace | QdrantSpace | RedisSpace | FilesSpace


# --- what a store holds --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Field:
    """A column; the other stores have no declared fields."""

    name: str
    type: str
    nullable: bool = True
    generated: bool = False
    unique: bool = False
    length: int | None = None  # characters, for varchar(n)
    values: tuple[str, ...] = ()  # an enum's labels
    base: str = ""  # what a domain is of
    parts: tuple[tuple[str, str], ...] = ()  # a composite's fields (or of an array's): name, type


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One thing that is read and written as a stream: a table, a collection, a prefix, a directory.

    `rows` and `bytes` are estimates, for progress bars. `options` is what the store needs to make
    the same thing again (indexes, validators, vector parameters), JSON-serialisable.
    """

    store: Kind
    name: str
    fields: tuple[Field, ...] = ()
    rows: int = 0
    bytes: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


def slices(dataset: Dataset) -> tuple[Dataset, ...]:
    """The streams that a dataset is read, kept and written in, side by side: one for each of its
    options' `slices` where the store names any (ranges of a large table), else the dataset."""
    ranges = dataset.options.get("slices") or ()
    if len(ranges) < 2:
        return (dataset,)
    rest = {key: value for key, value in dataset.options.items() if key != "slices"}
    return tuple(
        replace(
            dataset,
            rows=dataset.rows // len(ranges),
            bytes=dataset.bytes // len(ranges),
            options={**rest, "slice": number, "of": len(ranges), "range": one},
        )
        for number, one in enumerate(ranges)
    )


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where a subset begins in one table. `where`: SQL, None for only what others refer to;
    `children`: also every row that refers to these, and so on, or only rows of the tables that are
    listed; `line`: where it is declared."""

    where: str | None = None
    children: bool | tuple[str, ...] = False
    line: str = ""


# --- records, as the Python route of masking sees them -------------------------------------------


@dataclass(slots=True, kw_only=True)
class Point:
    """A Qdrant point. `vector`: list of floats, or a mapping of names to vectors."""

    id: int | str
    vector: Any
    payload: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Entry:
    """A Redis key, its name without the space's prefix.

    `type`: string, list, set, zset, hash, stream. `value` by type: bytes; list of bytes; list of
    bytes; list of (member, score); list of (field, value); list of (id, [(field, value), ...]).
    `expires_at`: milliseconds since the epoch, or None. `groups`: a stream's consumer groups.
    """

    key: bytes
    type: str
    value: Any
    expires_at: int | None = None
    groups: tuple[Mapping[str, Any], ...] = ()


@dataclass(slots=True, kw_only=True)
class FileEntry:
    """A file, directory or symlink under one directory of a space; `path` is relative, with `/`.

    `mode`: permission bits. `mtime`: nanoseconds since the epoch. `source`: where its bytes are.
    """

    path: str
    type: Literal["file", "directory", "symlink"]
    mode: int
    mtime: int
    size: int
    target: str = ""  # a symlink's
    source: Path | None = None


# --- facts ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One probe, after it ran: what was tried, what isolation demands, what happened."""

    row: str  # the matrix's resource: "PostgreSQL", "Redis", ...
    identity: str
    tried: str
    expected: str
    happened: str
    ok: bool
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Marker:
    """What stands in every space: whose it is, and what the last load left there."""

    project: str
    environment: Environment
    playground: str = ""
    snapshot: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    baseline: str = ""  # names the pristine copy that belongs to this load; "": none was asked for


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing of a space that is not as its baseline has it.

    `what`: other rows, or a dataset (or an object of the catalog) that is new, gone or made
    otherwise. `rows`: how many differ, None where that is not known. `detail`: more, in words.
    """

    store: Kind
    dataset: str
    what: Literal["rows", "added", "removed", "altered"]
    rows: int | None = None
    detail: str = ""
