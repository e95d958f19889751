"""What is tried against MongoDB: one command per way across, well-formed, and none that would
change anything if it were let through. The server asks for rights before it looks at what a command
says: so writes name a canary that is not there, or say something that no server does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

CANARY = "sandbox_canary"
Command = Mapping[str, Any]
Right = tuple[str, str]  # a database ("" is the whole server) and an action
NO_ID = {"_id": {"$none": 1}}
NO_CHANGE = {"$none": {"a": 1}}
NEVER = {"$set": {"a": {"$divide": [1, 0]}}}  # a stage that fails before the next one begins


@dataclass(frozen=True, kw_only=True)
class Target:
    """A database, one collection that is there, and a name where none is. `what`: in words."""

    what: str
    database: str
    present: str
    absent: str


@dataclass(frozen=True, kw_only=True)
class Trial:
    """`command` is sent to `database`. `needs`: rights that must be missing; where one is known to
    be there nothing is sent. `home`: the same where it is allowed, which must be let through first.
    Without a command the rights alone decide: the server would do it."""

    tried: str
    needs: tuple[Right, ...]
    database: str = ""
    command: Command | None = None
    home: tuple[str, Command] | None = None


def reads(there: Target, home: Target) -> Iterator[Trial]:
    """Ways for documents, or facts about them, to come over."""
    ways: tuple[tuple[str, str, Callable[[Target], Command]], ...] = (
        ("find in", "find", lambda t: {"find": t.present, "limit": 1, "singleBatch": True}),
        ("count in", "find", lambda t: {"count": t.present}),
        ("take distinct values of", "find",
         lambda t: {"distinct": t.present, "key": "_id", "query": {"_id": 0}}),
        ("aggregate in", "find", lambda t: stage(t.present, "$limit", 1)),
        ("explain a query of", "find", lambda t: {"explain": {"find": t.present}}),
        ("list the collections of", "listCollections", lambda _: {"listCollections": 1}),
        ("list the indexes of", "listIndexes", lambda t: {"listIndexes": t.present}),
        ("measure a collection of", "collStats", lambda t: {"collStats": t.present}),
        ("measure the database of", "dbStats", lambda _: {"dbStats": 1}),
    )  # fmt: skip
    for verb, action, make in ways:
        yield Trial(
            tried=f"{verb} {there.what}",
            needs=((there.database, action),),
            database=there.database,
            command=make(there),
            home=(home.database, make(home)),
        )
    yield Trial(
        tried=f"read the slow queries of {there.what} (system.profile)",
        needs=((there.database, "find"),),
        database=there.database,
        command={"find": "system.profile", "limit": 1},
    )
    yield Trial(
        tried=f"watch the changes of {there.what}",
        needs=((there.database, "changeStream"), (there.database, "find")),
        database=there.database,
        command=stage(there.present, "$changeStream", {}),
    )


def joins(there: Target, home: Target) -> Iterator[Trial]:
    """Stages at home that name the other database. MongoDB's own service aside, no server reads
    across databases: one that does not take the form has no such way."""
    other = {"db": there.database, "coll": there.present}
    few = {"pipeline": [{"$limit": 1}]}
    chain = {"startWith": "$_id", "connectFromField": "a", "connectToField": "_id", "maxDepth": 0}
    for name, across, at_home in (
        ("$lookup", {"from": other, **few, "as": "x"}, {"from": home.present, **few, "as": "x"}),
        ("$unionWith", {**other, **few}, {"coll": home.present, **few}),
        ("$graphLookup", {"from": other, **chain, "as": "x"},
         {"from": home.present, **chain, "as": "x"}),
    ):  # fmt: skip
        yield Trial(
            tried=f"{name} into {there.what}",
            needs=((there.database, "find"),),
            database=home.database,
            command=_of_one(home.present, name, across),
            home=(home.database, _of_one(home.present, name, at_home)),
        )


def writes(there: Target, home: Target | None) -> Iterator[Trial]:
    """Ways to make, change or remove something. `home`: where the same is allowed, if anywhere."""
    name = there.database
    ways: tuple[tuple[str, str, Callable[[Target], Command]], ...] = (
        ("insert into", "insert", lambda t: {"insert": t.absent, "documents": [NO_ID]}),
        ("update in", "update",
         lambda t: {"update": t.absent, "updates": [{"q": {"_id": 1}, "u": NO_CHANGE}]}),
        ("find and modify in", "update",
         lambda t: {"findAndModify": t.absent, "query": {"_id": 1}, "update": NO_CHANGE}),
        ("delete in", "remove",
         lambda t: {"delete": t.absent, "deletes": [{"q": {"_id": 1}, "limit": 1}]}),
        ("make a collection in", "createCollection",
         lambda t: {"create": t.absent, "capped": True}),
        ("make an index in", "createIndex",
         lambda t: {"createIndexes": t.absent, "indexes": [{"key": {}, "name": "a"}]}),
        ("drop an index of", "dropIndex", lambda t: {"dropIndexes": t.absent, "index": "a"}),
        ("change a collection of", "collMod", lambda t: {"collMod": t.absent}),
        ("drop a collection of", "dropCollection", lambda t: {"drop": t.absent}),
    )  # fmt: skip
    for verb, action, make in ways:
        yield Trial(
            tried=f"{verb} {there.what}",
            needs=((name, action),),
            database=name,
            command=make(there),
            home=(home.database, make(home)) if home else None,
        )
    yield Trial(
        tried=f"write by namespace (bulkWrite) in {there.what}",
        needs=((name, "remove"),),
        database="admin",
        command=_bulk(there),
        home=("admin", _bulk(home)) if home else None,
    )
    for verb, action in (("drop the database of", "dropDatabase"),
                         ("record the queries of", "enableProfiler")):  # fmt: skip
        yield Trial(tried=f"{verb} {there.what}", needs=((name, action),))


def users(there: Target) -> Iterator[Trial]:
    """Logins and roles that belong to the other database."""
    name = there.database
    more = [{"resource": {"db": name, "collection": ""}, "actions": ["find"]}]
    ways: tuple[tuple[str, str, Command], ...] = (
        ("make a user of", "createUser", {"createUser": CANARY, "pwd": "", "roles": []}),
        ("drop a user of", "dropUser", {"dropUser": CANARY}),
        ("make a role of", "createRole", {"createRole": "", "privileges": [], "roles": []}),
        ("drop a role of", "dropRole", {"dropRole": CANARY}),
        ("widen a role of", "grantRole", {"grantPrivilegesToRole": CANARY, "privileges": more}),
        ("see a user of", "viewUser", {"usersInfo": CANARY}),
        ("see a role of", "viewRole", {"rolesInfo": CANARY}),
    )
    for verb, action, command in ways:
        yield Trial(tried=f"{verb} {there.what}", needs=((name, action),), database=name,
                    command=command)  # fmt: skip


def pipelines(there: Target, home: Target, *, at_home: bool) -> Iterator[Trial]:
    """Ways to write from another database. `at_home`: whether the same is allowed there."""
    ways: tuple[tuple[str, tuple[str, ...], Callable[[Target], Any]], ...] = (
        ("$out", ("insert", "remove"), lambda t: {"db": t.database, "coll": t.absent}),
        ("$merge", ("insert", "update"),
         lambda t: {"into": {"db": t.database, "coll": t.absent}}),
    )  # fmt: skip
    for name, actions, make in ways:
        across, same = (
            {"aggregate": home.absent, "pipeline": [NEVER, {name: make(t)}], "cursor": {}}
            for t in (there, home)
        )
        yield Trial(
            tried=f"{name} into {there.what}",
            needs=tuple((there.database, action) for action in actions),
            database=home.database,
            command=across,
            home=(home.database, same) if at_home else None,
        )
    own, other = (f"{t.database}.{t.absent}" for t in (home, there))
    for tried, source, target, needs in (
        (f"rename something into {there.what}", f"{own}2", other, ("insert", "createCollection")),
        (f"rename something out of {there.what}", other, f"{own}2", ("renameCollectionSameDB",)),
    ):
        yield Trial(
            tried=tried,
            needs=tuple((there.database, action) for action in needs),
            database="admin",
            command={"renameCollection": source, "to": target},
            home=("admin", {"renameCollection": f"{own}2", "to": own}) if at_home else None,
        )


def stage(collection: str | int, name: str, value: Any) -> Command:
    return {"aggregate": collection, "pipeline": [{name: value}], "cursor": {}}


def _of_one(collection: str, name: str, value: Any) -> Command:
    """A stage over one document: a probe must cost a large production nothing."""
    pipeline = [{"$limit": 1}, {name: value}, {"$limit": 1}]
    return {"aggregate": collection, "pipeline": pipeline, "cursor": {}}


def _bulk(target: Target) -> Command:
    return {
        "bulkWrite": 1,
        "ops": [{"delete": 0, "filter": {"_id": 1}}],
        "nsInfo": [{"ns": f"{target.database}.{target.absent}"}],
    }
