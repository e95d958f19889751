"""One connection to MongoDB and the marker that stands in every database of ours."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from sandbox.contract import Access
from sandbox.errors import Refused, Unreachable
from sandbox.model import Marker, MongoSpace

MARKER = "sandbox_marker"
STAGED, OLD = "__new__.", "__old__."
# Dates as milliseconds: what Python's own type cannot say must pass unchanged.
LOSSLESS: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_MS
)
Client = MongoClient[dict[str, Any]]


def space_of(access: Access) -> MongoSpace:
    assert isinstance(access.space, MongoSpace)
    return access.space


def connect(access: Access) -> Client:
    """A client that has answered once. Raises Unreachable, never showing the password."""
    client: Client = MongoClient(
        access.endpoint.host,
        access.endpoint.port,
        username=access.identity.name,
        password=access.identity.secret,
        authSource=access.endpoint.options.get("authSource", "admin"),
        directConnection=True,
        serverSelectionTimeoutMS=5000,
        tls=bool(access.endpoint.options.get("tls")),
    )
    try:
        client.admin.command("ping")
        client[space_of(access).database].command("ping")
    except PyMongoError as error:
        client.close()
        raise Unreachable(
            f"MongoDB does not let {access.identity.name} in: {str(error).splitlines()[0][:120]}",
            where=f"{access.endpoint.host}:{access.endpoint.port}",
            hint="./inv up starts it, ./inv isolate makes its logins",
        ) from None
    return client


def read_marker(client: Client, database: str, collection: str = MARKER) -> Marker | None:
    found = client[database][collection].find_one({"_id": "sandbox"})
    if found is None:
        return None
    found.pop("_id")
    return Marker(**found)


def write_marker(client: Client, database: str, marker: Marker, collection: str = MARKER) -> None:
    client[database][collection].replace_one(
        {"_id": "sandbox"}, {"_id": "sandbox", **asdict(marker)}, upsert=True
    )


def need_own(client: Client, database: str, production: str) -> Marker:
    """The marker over this connection, before something is dropped (P6)."""
    marker = read_marker(client, database)
    if database == production or (marker is not None and marker.environment == "production"):
        raise Refused(f"database {database} is production's; nothing was changed", where="mongo")
    if marker is None:
        raise Refused(
            f"database {database} has no marker, so it may not be ours",
            where="mongo",
            hint="./inv isolate makes it",
        )
    return marker
