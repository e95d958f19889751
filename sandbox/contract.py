"""What every store can do. `Source` is all that production ever is: it has no write method.

A store knows neither masking nor Docker. It is given a `Mask` to apply and, where it needs a
server's own client programs, a `Tool` to run them with. The same contract suite
(`tests/contract`) runs against every store in every layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple, Protocol, runtime_checkable

from sandbox.model import (
    Attempt,
    Change,
    Dataset,
    Endpoint,
    Entry,
    FileEntry,
    Identity,
    Kind,
    Marker,
    Point,
    Space,
    Start,
)

Texts = Callable[[Sequence[str]], Sequence[str | None]]
Rows = Callable[[Any, int], bytes]  # COPY's messages, one behind the other in a buffer; how many
BINARY_COPY = b"PGCOPY\n\xff\r\n\0"  # begins PostgreSQL's binary COPY
Documents = Sequence[dict[str, Any]]
Batches = Callable[[bytes], tuple[int, bytes]]  # documents one behind the other; how many


class Codec(NamedTuple):
    """Between documents as they are stored and as Python has them, losing nothing."""

    decode: Callable[[bytes], list[dict[str, Any]]]
    encode: Callable[[Mapping[str, Any]], bytes]


class Mask(Protocol):
    """The policy, ready to apply. A name that the policy does not cover is recorded in
    `uncovered`, with where it was seen, and its value never passes; the caller then stops.

    `columns`: for one PostgreSQL table, column -> SQL expression over that table's columns, for
    what the server can say itself (a kept column has none).
    `texts`: for the other masked columns, column -> a function over PostgreSQL's text of the values
    of many rows, to be called in this order; the table travels as COPY text instead of binary then.
    `bulk`: of a large table, a function over many rows of binary COPY's messages for all columns
    that have no expression, those of `texts`, too; None where there is none.
    `encoded`: of a large collection, a function over documents as they are stored; None where there
    is none, and they are to be given to `documents`.
    `settings`: what the expressions read with `current_setting`, to be bound as parameters of
    `set_config(name, value, is_local => true)`: key material never stands in query text.
    `documents`, `points`, `entries`: many at once, which costs a fraction of one by one. Documents
    and points that do not come along are left out; an entry, which may be one window of a large
    value, is None in its place then.
    `content`: of a file that `file` let through; `file` is the entry as it is in production.
    A mask is shared by threads.
    """

    uncovered: Mapping[str, str]  # name -> where it was first seen and a suggested rule

    @property
    def settings(self) -> Mapping[str, str]: ...
    def columns(self, table: Dataset) -> Mapping[str, str]: ...
    def texts(self, table: Dataset) -> Mapping[str, Texts]: ...
    def bulk(self, table: Dataset) -> Rows | None: ...
    def where(self, table: Dataset) -> str: ...
    def documents(self, collection: str, documents: Documents) -> Documents: ...
    def encoded(self, collection: Dataset, codec: Codec) -> Batches | None: ...
    def points(self, collection: str, points: Sequence[Point]) -> Sequence[Point]: ...
    def entries(self, entries: Sequence[Entry]) -> Sequence[Entry | None]: ...
    def file(self, directory: str, file: FileEntry) -> FileEntry | None: ...
    def content(self, directory: str, file: FileEntry, stream: IO[bytes]) -> Iterator[bytes]: ...
    def keeps(self, dataset: Dataset) -> bool:
        """Whether every field of the dataset is kept as it is (raw bytes may pass through)."""
        ...


class Tool(Protocol):
    """Runs one of a server's own programs (`pg_dump`) beside that server."""

    def __call__(
        self, argv: Sequence[str], *, stdin: bytes = b"", environment: Mapping[str, str] = {}
    ) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class Cut:
    """One consistent moment of a source: `facts` for the manifest, `token` for the driver."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    token: Any = None


@dataclass(frozen=True, kw_only=True)
class Access:
    """A login at an endpoint, for one space."""

    endpoint: Endpoint
    identity: Identity
    space: Space


class Source(Protocol):
    """A store that can be read: `Source(access)`."""

    kind: Kind

    def ready(self) -> str:
        """Answer a real query; returns the server's product and version. Raises Unreachable."""
        ...

    def marker(self) -> Marker | None:
        """Whose space this is, read over the connection that the next call will use."""
        ...

    def can_write(self) -> str:
        """What this login could change here, in words; "" when nothing. The server is asked;
        nothing is written to find out."""
        ...

    def cut(self) -> AbstractContextManager[Cut]:
        """Hold one consistent, read-only view for all reads inside the block."""
        ...

    def datasets(self, cut: Cut) -> Sequence[Dataset]:
        """What there is, tables in an order that parents come first. A dataset whose options name
        `slices` is read and written as those (`model.slices`), side by side."""
        ...

    def catalog(self, cut: Cut) -> bytes:
        """What is not data: a schema's DDL, for one. b"" where datasets' options say it all."""
        ...

    def read(self, cut: Cut, dataset: Dataset, mask: Mask) -> Iterator[tuple[int, bytes]]:
        """Stream masked data in the store's artifact format as (rows, bytes) in pieces of about
        1 MiB; memory stays flat. Safe to call from several threads for different datasets.
        The stream is uncompressed (the artifact compresses) and names no space: tables without
        schema, keys without prefix, paths relative to their directory."""
        ...

    def originals(self, cut: Cut, dataset: Dataset, fields: Sequence[str]) -> Iterator[str]:
        """Distinct values of these fields as text, for the leak search: held in memory as
        fingerprints, written nowhere. Empty where `read` shows every value to the mask itself."""
        ...

    def count(self) -> Mapping[str, int]:
        """Rows by dataset, now."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Subsetting(Protocol):
    """A source whose datasets refer to one another, so that some rows can be read as a whole."""

    def subset(
        self,
        cut: Cut,
        starts: Mapping[str, Start],
        *,
        loose: Mapping[str, Sequence[str]],
        settings: Mapping[str, str],
    ) -> Sequence[str]:
        """Choose rows, for every `read` in this cut: those of `starts`, all that they refer to, and
        what refers to them where that is asked. `loose`: columns, by table, whose references do not
        count, since they will be null. Returns the datasets that are no longer read whole."""
        ...

    def chosen(self, cut: Cut, dataset: Dataset, field: str) -> Iterator[str]:
        """Distinct values, as text, of one field in the rows that were chosen."""
        ...

    def expected(self, cut: Cut, dataset: Dataset) -> int:
        """Exactly how many rows `read` will give."""
        ...


@runtime_checkable
class Unlocked(Protocol):
    """A source that nobody is kept from making otherwise while it is read."""

    def altered(self, cut: Cut, datasets: Sequence[Dataset]) -> Sequence[str]:
        """Which of these are gone or made otherwise than when they were listed, in words."""
        ...


@runtime_checkable
class Vectored(Protocol):
    """A source whose records have vectors: much to read, and nobody's value stands in one."""

    def without_vectors(
        self, cut: Cut, dataset: Dataset, mask: Mask
    ) -> Iterator[tuple[int, bytes]]:
        """`read`, for the leak search."""
        ...


@runtime_checkable
class Columnar(Protocol):
    """A source that masks declared columns itself, so that the mask never sees their originals."""

    def lines(self, cut: Cut, dataset: Dataset, fields: Sequence[str]) -> Iterator[bytes]:
        """These fields of every row as COPY text, in pieces of whole lines of about 128 KiB, for
        the leak search: held in memory as fingerprints, written nowhere."""
        ...

    def repeats(self, cut: Cut, dataset: Dataset, expression: str) -> bool:
        """Whether an SQL expression over its columns has one value, other than NULL, twice."""
        ...


@runtime_checkable
class Sampling(Protocol):
    """A source with declared fields, of which a few rows can be had without reading all."""

    def sample(self, cut: Cut, dataset: Dataset, rows: int) -> Iterator[Mapping[str, str | None]]:
        """At most this many rows from all over the dataset, as text by field, unmasked: for
        `classify`, which shows none of it."""
        ...


class Store(Source, Protocol):
    """The playground's side, as `keeper`: `Store(access, owner=..., production=..., tool=...)`.

    `owner` is the playground's identity, which owns what is loaded; `production` is the space that
    must never be touched. Loading goes into a new space first (`stage` ... `finish`), then `swap`.
    Every method that writes first reads the marker over the same connection and raises Refused
    when it is missing, is production's or another project's (P6).
    """

    def stage(self, datasets: Sequence[Dataset], catalog: bytes) -> None:
        """Make a new, empty space beside the present one, dropping an unfinished one."""
        ...

    def write(self, dataset: Dataset, pieces: Iterable[bytes]) -> int:
        """Load one dataset's stream into the staged space; returns rows. Thread-safe."""
        ...

    def finish(self, marker: Marker) -> Sequence[str]:
        """Indexes, constraints, sequences, marker. Returns what could not be carried, in words.
        Where `marker.baseline` is not empty, a pristine copy of what is staged is kept, out of the
        playground's reach: it is what `changes` compares with and `rewind` returns to."""
        ...

    def changes(self) -> Sequence[Change]:
        """What differs between the present space and its baseline, as cheaply as the server can
        tell. Raises NoBaseline where no pristine copy belongs to the present space."""
        ...

    def rewind(self) -> Sequence[Change]:
        """Stage the way back to the baseline by what changed, as `stage` ... `finish` stage a whole
        load: the present space stays as it is until `swap`. Returns what will be undone. Raises
        NoBaseline, with the reason, where only a whole load is sound; nothing is staged then."""
        ...

    def swapped(self) -> bool:
        """Whether `swap` is done and `settle` is not: what an interrupted command left."""
        ...

    def swap(self) -> None:
        """Put the staged space in the present one's place; the old one is kept until `settle`.
        Safe to call again after an interruption."""
        ...

    def undo(self) -> None:
        """Back to the old space, when another store could not swap. Safe to call again. PostgreSQL
        cannot take back a rewind that it has committed: it is swapped last, so nothing follows that
        could fail."""
        ...

    def settle(self) -> None:
        """Drop what is not in place: the old space after `swap`, the staged one before it."""
        ...

    def search(self, needles: Sequence[str]) -> Sequence[str]:
        """Where any of these strings stands in the space, as `dataset.field` (P8): the second look
        of the leak search, which has already found them in what `read` streams."""
        ...


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One thing that an administrator would run, as text without a secret, and what it is for."""

    text: str
    why: str


class Admin(Protocol):
    """Makes spaces and identities, as `admin`: `Admin(access, production=..., playground=...,
    identities=..., project=...)` with identities for reader, keeper, playground and production."""

    def statements(self) -> Sequence[Statement]:
        """What `isolate` would still have to do here; empty when nothing is missing."""
        ...

    def isolate(self) -> Sequence[Statement]:
        """Do it; safe to run twice. Returns what was done. Plants both markers."""
        ...

    def prepare(self, catalog: bytes) -> Sequence[Statement]:
        """What a load of this catalog needs of a server that is the playground's own and only its
        administrator may do: extensions, for one."""
        ...

    def remove(self) -> Sequence[Statement]:
        """Drop the playground's spaces and identities, markers checked first."""
        ...

    def close(self) -> None: ...


class Prober(Protocol):
    """Tries to cross: `Prober(playground=Access, production=Access, reader=Access)`.

    `playground` and `reader` are real logins at their own spaces; `production` names the space
    that the playground must not touch (its login is used only to plant and look for canaries).
    """

    def attempts(self) -> Iterator[Attempt]:
        """Each probe in turn. The first of each identity succeeds at home (P7): a dead connection
        must never look like isolation. Nothing in production is changed: writes are rolled back,
        use canary names, or are not tried where the right is already known to exist."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Backend:
    """The four classes of one store. `script(space, name, marker)`: what the administrator of a
    production that is not ours would run to make its reader."""

    source: Callable[..., Source]
    store: Callable[..., Store]
    admin: Callable[..., Admin]
    prober: Callable[..., Prober]
    script: Callable[[Any, str, Marker], Sequence[Statement]]
