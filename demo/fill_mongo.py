"""MongoDB: `chunks` and `cache`, with their indexes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from bson import Int64, ObjectId
from pymongo import ASCENDING, IndexModel, MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from demo.world import BEGINNING, CHUNKS, FOREVER, World
from sandbox.errors import Unreachable

Document = dict[str, Any]
BATCH = 1_000  # documents
COLLECTIONS = ("chunks", "cache")
INDEXES = {
    "chunks": [
        IndexModel([("video_id", ASCENDING), ("position", ASCENDING)], unique=True),
        IndexModel([("owner.email", ASCENDING)]),
        IndexModel([("flagged", ASCENDING)], partialFilterExpression={"flagged": True}),
    ],
    "cache": [IndexModel([("expires_at", ASCENDING)], expireAfterSeconds=0)],
}


@contextmanager
def connected(url: str, database: str) -> Iterator[Database[Document]]:
    client: MongoClient[Document] = MongoClient(
        url, serverSelectionTimeoutMS=10_000, directConnection=True
    )
    try:
        client.admin.command("ping")
        yield client[database]
    except PyMongoError as error:
        raise Unreachable(
            f"MongoDB failed: {type(error).__name__}: {str(error)[:200]}",
            hint="./inv up starts it",
        ) from None
    finally:
        client.close()


def present(database: Database[Document]) -> list[str]:
    """Which of the demo's collections hold a document."""
    return [name for name in COLLECTIONS if database[name].find_one({}, {"_id": 1}) is not None]


def clear(database: Database[Document]) -> None:
    for name in COLLECTIONS:
        database.drop_collection(name)


def fill(
    database: Database[Document], world: World, moved: Callable[[int], None]
) -> dict[str, int]:
    """Indexes after the documents: faster, and the collections are new."""
    counts, done = {}, 0
    for name, documents in (("chunks", chunks(world)), ("cache", cache(world))):
        counts[name] = 0
        for batch in batched(documents, BATCH):
            database[name].insert_many(batch, ordered=False)
            counts[name] += len(batch)
            moved(done + counts[name])
        done += counts[name]
        database[name].create_indexes(INDEXES[name])
    return counts


def total(world: World) -> int:
    return world.video_count * CHUNKS + world.size(1000)


def batched(items: Iterable[Document], size: int) -> Iterator[list[Document]]:
    batch: list[Document] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def chunks(world: World) -> Iterator[Document]:
    for v in world.videos():
        owner = v.owner
        created = v.recorded_at + timedelta(hours=3)
        for c in world.chunks(v):
            document: Document = {
                "_id": ObjectId(f"{c.id:024x}"),
                "chunk_id": Int64(c.id),
                "video_id": Int64(v.id),
                "video_uuid": v.uuid,
                "position": c.position,
                "text": c.text,
                "summary": c.summary,
                "language": c.speaker.language,
                "owner": {
                    "name": owner.name,
                    "email": owner.email,
                    "username": owner.username,
                    "phone": owner.phone,
                },
                "speakers": [
                    {"name": p.name, "email": p.email, "identity_id": Int64(p.number)}
                    for p in (c.speaker, *c.mentioned)
                ],
                "source": {"path": f"output/{v.path}", "url": v.url, "ip": owner.ip},
                "location": {"type": "Point", "coordinates": [owner.longitude, owner.latitude]},
                "keywords": list(c.keywords),
                "start": c.start,
                "end": c.end,
                "created_at": created,
            }
            if c.id % 50 == 0:
                document["flagged"] = True
            yield document


def cache(world: World) -> Iterator[Document]:
    draw = random.Random(f"mongo cache {world.random_seed}")
    for number in range(1, world.size(1000) + 1):
        p, other = world.person(number), draw.choice(world.people)
        v = world.video(draw.randrange(world.video_count) + 1)
        first = (v.id - 1) * CHUNKS * 2
        yield {
            "_id": f"search:{p.email}:{number}",
            "user": {"name": p.name, "email": p.email, "ip": p.ip},
            "query": f"{other.name} {v.tags[0]}",
            "results": [
                {
                    "chunk_id": Int64(first + 2 * k),
                    "title": v.title,
                    "score": draw.randrange(1000) / 1000,
                }
                for k in range(1, 4)
            ],
            "token": f"{draw.getrandbits(128):032x}",
            "body": draw.randbytes(64),
            "created_at": BEGINNING + timedelta(minutes=number),
            "expires_at": FOREVER + timedelta(minutes=number),
        }
