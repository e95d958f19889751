"""One small world for each store and layout, for the suites that copy every store alike.

`content` and `shape` look at a side through a driver of their own, not through what they test.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sandbox.contract import Source, Store
from sandbox.model import Endpoint, Kind
from sandbox.stores import files, mongo, postgres, qdrant, redis
from tests.contract import mongo_world, redis_world, test_mongo_copy, test_redis_copy
from tests.contract.postgres_world import database
from tests.contract.test_qdrant_store import FULL, INDEXES, Place, odd_points, plain_points
from tests.unit import test_files_store, test_files_stream


@dataclass(frozen=True, kw_only=True)
class Copied:
    """A filled production and an empty playground. An endpoint replaces the server's own."""

    kind: Kind
    project: str
    source: Callable[[Endpoint | None], Source]
    store: Callable[[Endpoint | None], Store]
    content: Callable[[str], Any]  # of "production" or "playground"
    shape: Callable[[str], Any]
    spoil: Callable[[str], None]  # a side's content is another from here on
    left: Callable[[], Any]  # names beside the playground's own
    shared: Callable[[], Store] | None = None  # layout `partial`: the space is production's own
    alter: Mapping[str, Callable[[], Any]] = field(default_factory=dict)  # production's shape
    endpoint: Endpoint = field(default_factory=Endpoint)


TABLES = """
CREATE TYPE mood AS ENUM ('calm', 'wild');
CREATE TABLE owners (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE NOT NULL,
    at timestamptz DEFAULT now(), mood mood, tags text[], shout text GENERATED ALWAYS AS
    (upper(name)) STORED);
CREATE TABLE items (id bigserial PRIMARY KEY, owner int REFERENCES owners DEFERRABLE,
    price numeric CHECK (price > 0), data jsonb, raw bytea);
CREATE INDEX items_data ON items USING gin (data);
INSERT INTO owners (name, mood, tags) SELECT E'n\\t"' || n, 'wild', ARRAY['a', NULL, 'ü']
    FROM generate_series(1, 700) n;
INSERT INTO items (owner, price, data, raw) SELECT 1 + n % 700, n / 7.0, jsonb_build_object('n', n),
    decode(md5(n::text), 'hex') FROM generate_series(1, 3000) n;
"""
COLUMNS = """SELECT table_name, column_name, data_type, column_default IS NOT NULL, is_identity,
    is_generated, is_nullable FROM information_schema.columns WHERE table_schema = %s
    ORDER BY 1, 2"""
CONSTRAINTS = """SELECT conrelid::regclass::text ~ 'items', contype, condeferrable,
    pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = %s::regnamespace
    AND conrelid <> 0 ORDER BY 1, 2, 4"""
BESIDE = "SELECT nspname FROM pg_namespace WHERE nspname ~ '^dev.*(new|old|staged)'"
INDEXED = "SELECT tablename, indexname FROM pg_indexes WHERE schemaname = %s ORDER BY 1, 2"


@contextmanager
def postgres_world(server: Any) -> Iterator[Copied]:
    with database(server, isolated=["owners", "items"], ddl=TABLES) as world:
        world.client.prepare_threshold = None  # tables are swapped under its plans
        schemas = {"production": "public", "playground": "dev"}

        def access(role: Any, endpoint: Endpoint | None) -> Any:
            return replace(world.access(role), endpoint=endpoint or world.endpoint)

        def content(side: str) -> Any:
            return [
                world.client.execute(f"SELECT * FROM {schemas[side]}.{t} ORDER BY id").fetchall()
                for t in ("owners", "items")
            ]

        def shape(side: str) -> Any:
            schema = schemas[side]
            found = [world.client.execute(q, (schema,)).fetchall() for q in (COLUMNS, INDEXED)]
            constraints = world.client.execute(CONSTRAINTS, (schema,)).fetchall()
            plain = [(*row[:3], row[3].replace(f"{schema}.", "")) for row in constraints]
            return [*found, plain]

        yield Copied(
            kind="postgres",
            project=world.project,
            endpoint=world.endpoint,
            source=lambda to: postgres.PostgresSource(access("reader", to), tool=world.tool),
            store=lambda to: postgres.PostgresStore(
                access("keeper", to),
                owner=world.identities["playground"],
                production=world.production,
                tool=world.tool,
            ),
            content=content,
            shape=shape,
            spoil=lambda side: world.client.execute(
                f"DELETE FROM {schemas[side]}.items WHERE id = 7"
            ),
            left=lambda: world.client.execute(BESIDE).fetchall(),
            shared=lambda: postgres.PostgresStore(
                replace(access("keeper", None), space=world.production),
                owner=world.identities["playground"],
                production=world.production,
                tool=world.tool,
            ),
        )


@contextmanager
def mongo_copied(server: Any) -> Iterator[Copied]:
    with mongo_world.isolated(server) as world:
        test_mongo_copy.fill(world)
        world.production["many"].insert_many([{"_id": n, "x": "y" * 300} for n in range(6_000)])
        sides = {"production": world.production, "playground": world.playground}

        def moved(access: Any, endpoint: Endpoint | None) -> Any:
            return replace(access, endpoint=endpoint or world.endpoint)

        def inside(name: str) -> Any:
            return world.space(name, [*world.production.list_collection_names(), "new"])

        def made_again() -> None:
            kept = list(world.production["people_of"].find())
            world.production["people_of"].drop()
            world.production["people_of"].insert_many(kept)

        world.production["people_of"].insert_many([{"_id": n} for n in range(3)])
        yield Copied(
            kind="mongo",
            project="demo",
            endpoint=world.endpoint,
            source=lambda to: mongo.Source(moved(world.access("reader", inside(world.stem)), to)),
            store=lambda to: mongo.Store(
                moved(world.access("keeper", inside(world.playground.name)), to),
                owner=world.identities["playground"],
                production=inside(world.stem),
            ),
            content=lambda side: _own(test_mongo_copy.content(sides[side])),
            shape=lambda side: _own(
                test_mongo_copy.shape(sides[side], without=("expireAfterSeconds",))
            ),
            spoil=lambda side: sides[side]["many"].delete_one({"_id": 7}),
            left=lambda: [
                n
                for n in world.playground.list_collection_names()
                if n.startswith(("__new", "__old"))
            ],
            shared=lambda: mongo.Store(
                replace(world.access("keeper", inside(world.stem)), endpoint=world.endpoint),
                owner=world.identities["playground"],
                production=inside(world.stem),
            ),
            alter={
                "people_of is made otherwise": made_again,
                "many is made otherwise": lambda: world.production["many"].create_index("x"),
                "new is new": lambda: world.production["new"].insert_one({}),
                "people_of is gone": lambda: world.production["people_of"].drop(),
            },
        )


def _own(found: dict[str, Any]) -> dict[str, Any]:
    """Without what a load that was cut off has left for the next one to drop."""
    return {name: value for name, value in found.items() if not name.startswith("__")}


@contextmanager
def redis_copied(server: Any) -> Iterator[Copied]:
    with redis_world.isolated(server) as world:
        prefixes = {
            "production": redis_world.PRODUCTION.prefix,
            "playground": redis_world.PLAYGROUND.prefix,
        }
        test_redis_copy.fill(world.client, prefixes["production"])

        def moved(access: Any, endpoint: Endpoint | None) -> Any:
            return replace(access, endpoint=endpoint or world.endpoint)

        yield Copied(
            kind="redis",
            project="momentry",
            endpoint=world.endpoint,
            source=lambda to: redis.Source(
                moved(world.access("reader", redis_world.PRODUCTION), to)
            ),
            store=lambda to: redis.Store(
                moved(world.access("keeper", redis_world.PLAYGROUND), to),
                owner=world.identities["playground"],
                production=redis_world.PRODUCTION,
            ),
            content=lambda side: test_redis_copy.content(world.client, prefixes[side]),
            shape=lambda side: None,
            spoil=lambda side: world.client.delete(f"{prefixes[side]}text"),
            left=lambda: [k for s in ("new", "old") for k in world.client.keys(f"sandbox:{s}:*")],
        )


@contextmanager
def qdrant_copied(server: Any) -> Iterator[Copied]:
    place = Place(server)
    many = plain_points(2000)
    points = [{**p, "id": 1000 + p["id"], "vector": {"text": p["vector"]}} for p in many]
    place.make(FULL, odd_points() + points)
    names = {"production": place.production, "playground": place.playground}
    for name, schema in INDEXES.items():
        path = f"/collections/{place.production}/index?wait=true"
        place.call("PUT", path, {"field_name": name, "field_schema": schema})
    place.admin().isolate()

    def moved(access: Any, endpoint: Endpoint | None) -> Any:
        return replace(access, endpoint=endpoint or place.endpoint)

    def shape(side: str) -> Any:
        found = place.call("GET", f"/collections/{names[side]}")
        return found["config"], found["payload_schema"]

    def spoil(side: str) -> None:
        path = f"/collections/{names[side]}/points/delete?wait=true"
        place.call("POST", path, {"points": [1007]})

    yield Copied(
        kind="qdrant",
        project="demo",
        endpoint=place.endpoint,
        source=lambda to: qdrant.Source(moved(place.access("reader", place.production), to)),
        store=lambda to: qdrant.Store(
            moved(place.access("keeper", place.playground), to),
            owner=place.store()._name and _nobody(),
            production=qdrant.store.QdrantSpace(collection=place.production),
        ),
        content=lambda side: place.points(names[side]),
        shape=shape,
        spoil=spoil,
        left=lambda: [n for n in place.names() if n not in ("__sandbox", place.alias())],
        shared=lambda: qdrant.Store(
            place.access("keeper", place.production),
            owner=_nobody(),
            production=qdrant.store.QdrantSpace(collection=place.production),
        ),
        alter={
            "is made otherwise": lambda: place.call(
                "DELETE", f"/collections/{place.production}/index/{next(iter(INDEXES))}?wait=true"
            ),
            "is gone": lambda: place.call("DELETE", f"/collections/{place.production}"),
        },
    )
    for one in place.call("GET", "/collections")["collections"]:
        if one["name"].startswith(place.production.removesuffix("_rule1")):
            place.call("DELETE", f"/collections/{one['name']}")
    place.http.close()


@contextmanager
def files_copied(root: Path) -> Iterator[Copied]:
    place = test_files_store.Place(root)
    for name in ("ünï 深い.json", "plain.txt"):
        (root / "output" / name).write_text("{}")
    (root / "output" / "link").symlink_to("plain.txt")
    (root / "output" / "film.mp4").write_bytes(os.urandom(3 << 20))
    (root / "output" / "plain.txt").chmod(0o640)
    place.admin().isolate()
    sides = {"production": place.production, "playground": place.playground}

    def content(side: str) -> Any:
        found = {}
        for purpose, directory in sides[side].directories.items():
            listed = test_files_stream.listing(directory)
            found[purpose] = {k: v for k, v in listed.items() if k != files.marks.NAME}
        return found

    yield Copied(
        kind="files",
        project="demo",
        source=lambda to: place.source(),
        store=lambda to: place.store(),
        content=content,
        shape=lambda side: None,
        spoil=lambda side: (sides[side].directories["output"] / "plain.txt").unlink(),
        left=lambda: [p.name for p in root.iterdir() if p.name.endswith(".beside")],
    )


def _nobody() -> Any:
    return test_files_store.NOBODY


@contextmanager
def copied(kind: str, request: Any, root: Path) -> Iterator[Copied]:
    """The world of one kind, on the run's own server of that kind."""
    server = None if kind == "files" else request.getfixturevalue(f"{kind}_server")
    with copied_on(server, kind, root) as made:
        yield made


@contextmanager
def copied_on(server: Any, kind: str, root: Path) -> Iterator[Copied]:
    if kind == "files":
        with files_copied(root) as made:
            yield made
        return
    makers = {
        "postgres": postgres_world,
        "mongo": mongo_copied,
        "redis": redis_copied,
        "qdrant": qdrant_copied,
    }
    with makers[kind](server) as made:
        yield made


def dedicated(here: Copied, there: Copied) -> Copied:
    """Layout `dedicated`: production on one server, the playground on a server of its own."""

    def either(name: str) -> Callable[[str], Any]:
        sides = {"production": getattr(here, name), "playground": getattr(there, name)}
        return lambda side: sides[side](side)

    return replace(
        here,
        project=there.project,
        store=there.store,
        left=there.left,
        content=either("content"),
        shape=either("shape"),
        spoil=either("spoil"),
    )
