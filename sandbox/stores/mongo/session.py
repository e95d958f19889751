"""One client of MongoDB, its errors without values, and the marker: whose a database is."""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import bson
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import MongoClient
from pymongo.asynchronous import monitor as asynchronous
from pymongo.database import Database
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    OperationFailure,
    PyMongoError,
)
from pymongo.synchronous import monitor

from sandbox.contract import Access, Codec
from sandbox.errors import ConfigError, LoginRefused, Refused, SandboxError, Unreachable
from sandbox.model import Marker, MongoSpace

Document = dict[str, Any]
Client = MongoClient[Document]
WITHIN_MS = 5_000
MARKER = "sandbox_marker"  # a collection in every space
NEW, OLD, BASE = "__new__.", "__old__.", "__base__."
BUSY_MS = 120_000
UNAUTHORIZED, LOGIN_FAILED, DUPLICATE, TOO_OLD = 13, 18, 11000, 239

# Every BSON type comes back as it went in: no UUID is guessed, no date leaves Python's range.
LOSSLESS: CodecOptions[Document] = CodecOptions(
    document_class=dict,
    tz_aware=True,
    uuid_representation=UuidRepresentation.UNSPECIFIED,
    datetime_conversion=DatetimeConversion.DATETIME_MS,
)

CODEC = Codec(
    decode=lambda data: bson.decode_all(data, LOSSLESS),
    encode=lambda document: bson.encode(document, codec_options=LOSSLESS),
)

# When Python ends, the driver waits up to half a second for daemon threads that sleep, although
# their clients are closed: each command would end that much later.
for _monitor in (monitor, asynchronous):
    atexit.unregister(getattr(_monitor, "_shutdown_resources", print))


def space_of(access: Access) -> MongoSpace:
    assert isinstance(access.space, MongoSpace)
    return access.space


def connect(access: Access) -> Client:
    """A client that has logged in. Raises Unreachable, never showing the password."""
    options: dict[str, Any] = {
        "authSource": "admin",
        "directConnection": True,
        "serverSelectionTimeoutMS": WITHIN_MS,
        # A server that is busy with one long command may leave a heartbeat unanswered, upon which
        # the driver would cancel that command: it is given long. One that is gone is noticed by the
        # next heartbeat, and one that was never there by the selection's timeout.
        "connectTimeoutMS": BUSY_MS,
        "serverMonitoringMode": "poll",
        "appname": "sandbox",
        **access.endpoint.options,
    }
    where = f"{access.endpoint.host}:{access.endpoint.port}"
    name = access.identity.name
    try:
        client: Client = MongoClient(
            access.endpoint.host,
            access.endpoint.port,
            username=name or None,
            password=access.identity.secret or None,
            **options,
        )
        client.admin.command("ping")
    except OSError as error:  # the driver opens the files that its options name
        raise ConfigError(
            error.strerror or "cannot be read", where=f"mongo: {error.filename}"
        ) from None
    except (PyMongoError, ConfigurationError) as error:
        refused = isinstance(error, OperationFailure) and error.code == LOGIN_FAILED
        raise (LoginRefused if refused else Unreachable)(
            f"MongoDB does not let {name or 'anybody'} in: {line(error)}",
            where=where,
            hint="./inv up starts it, ./inv isolate makes its logins",
        ) from None
    return client


def database(client: Client, name: str) -> Database[Document]:
    return client.get_database(name, codec_options=LOSSLESS)


def key(value: Any) -> bytes:
    """A value's own bytes, its type among them: equal for the same value only."""
    return bson.encode({"": value}, codec_options=LOSSLESS)


def line(error: Exception) -> str:
    """The server's own words in one line; none where they would quote a document."""
    if isinstance(error, BulkWriteError):
        details: Mapping[str, Any] = error.details or {}
        codes = sorted({e.get("code", 0) for e in details.get("writeErrors", [])})
        if not codes:
            return "the server took fewer documents than it was sent"
        what = "duplicate key" if DUPLICATE in codes else "write errors"
        return f"{what} (code {', '.join(map(str, codes))})"
    if isinstance(error, OperationFailure):
        facts: Mapping[str, Any] = error.details or {}
        if error.code == DUPLICATE:
            pattern = facts.get("keyPattern")
            return f"duplicate key{f' for {dict(pattern)}' if pattern else ''}"
        return str(facts.get("errmsg", type(error).__name__)).splitlines()[0]
    return (str(error).splitlines() or [type(error).__name__])[0].split(" (configured timeouts")[0]


@contextlib.contextmanager
def doing(what: str) -> Iterator[None]:
    """Turns the driver's errors into the project's: `what` was being done."""
    try:
        yield
    except ConnectionFailure as error:
        raise Unreachable(f"{what}: {line(error)}", where="mongo") from None
    except OperationFailure as error:
        if error.code == UNAUTHORIZED:
            raise Refused(f"{what}: this login may not: {line(error)}", where="mongo") from None
        hint = "raise minSnapshotHistoryWindowInSeconds there" if error.code == TOO_OLD else ""
        raise SandboxError(f"{what}: {line(error)}", where="mongo", hint=hint) from None
    except PyMongoError as error:
        raise SandboxError(f"{what}: {line(error)}", where="mongo") from None


def read_marker(base: Database[Document]) -> Marker | None:
    with doing("reading the marker"):
        found = base[MARKER].find_one({"_id": "marker"})
    return None if found is None else parse_marker(found, base.name)


def parse_marker(document: Document, where: str) -> Marker:
    try:
        return Marker(**{key: value for key, value in document.items() if key != "_id"})
    except TypeError:
        raise Refused("the space's marker cannot be read", where=f"mongo {where}") from None


def marker_document(marker: Marker) -> Document:
    found = asdict(marker)
    found["counts"] = dict(marker.counts)
    return found


def need_own(base: Database[Document], production: str) -> Marker:
    """The marker, over the connection that is about to be used (P6)."""
    where = f"mongo {base.name}"
    if base.name == production:
        raise Refused("the database is production's; nothing was changed", where=where)
    marker = read_marker(base)
    if marker is None:
        raise Refused(
            "the database has no marker, so it may not be ours",
            where=where,
            hint="./inv isolate makes the space and its marker",
        )
    if marker.environment != "playground":
        raise Refused("the database is marked as production's; nothing was changed", where=where)
    return marker


def is_own_name(name: str) -> bool:
    """Whether a collection is this tool's or the server's, and no part of what is copied."""
    return name == MARKER or name.startswith((NEW, OLD, BASE, "system."))
