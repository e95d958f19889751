"""What each login may do: a role of its own in one database, with no right beyond."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.model import MongoSpace, Role

READ = ("find", "listCollections", "listIndexes", "collStats", "dbStats")
WRITE = ("insert", "update", "remove")
SHAPE = (
    "createCollection", "dropCollection", "createIndex", "dropIndex", "collMod",
    "renameCollectionSameDB",
)  # fmt: skip

# Dropping a whole database would drop its marker with it: nobody needs that here.
ACTIONS: Mapping[Role, Sequence[str]] = {
    "reader": READ,
    "keeper": (*READ, *WRITE, *SHAPE, "bypassDocumentValidation", "changeStream"),
    "playground": (*READ, *WRITE, *SHAPE, "changeStream"),
    "production": (*READ, *WRITE, *SHAPE, "changeStream"),
}
WHY: Mapping[Role, str] = {
    "reader": "reads production's database and can write nothing",
    "keeper": "this tool's login for the playground's database",
    "playground": "the playground's application: its own database only",
    "production": "production's application: its own database only",
}


def home(role: Role, *, production: MongoSpace, playground: MongoSpace) -> str:
    """The database that a role belongs to: a role can hold rights on its own database only."""
    return (production if role in ("reader", "production") else playground).database


def privileges(role: Role, database: str) -> list[dict[str, Any]]:
    return [{"resource": {"db": database, "collection": ""}, "actions": list(ACTIONS[role])}]


def same(found: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> bool:
    """Whether two lists of privileges say the same, in whatever order."""

    def plain(listed: Sequence[Mapping[str, Any]]) -> set[tuple[Any, ...]]:
        return {(tuple(sorted(p["resource"].items())), tuple(sorted(p["actions"]))) for p in listed}

    return plain(found) == plain(wanted)
