"""A bad afternoon: what a developer may break in the playground, in every store, with the
playground's own login. `./inv reset` puts it right.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from demo import fill_mongo, fill_qdrant, fill_redis
from demo.seed import Connections
from sandbox.errors import Refused, SandboxError, Unreachable
from sandbox.stores.postgres.session import read_marker


def spoil(connections: Connections) -> Mapping[str, str]:
    """Break things; returns one line for each store. Raises Refused when the PostgreSQL schema is
    not marked as a playground's: then nothing has been touched anywhere."""
    return {
        "postgres": _postgres(connections),  # first: it looks at the marker
        "mongo": _mongo(connections),
        "qdrant": _qdrant(connections),
        "redis": _redis(connections),
        "files": _files(connections.directories),
    }


def _postgres(c: Connections) -> str:
    try:
        connection = psycopg.connect(c.postgres, connect_timeout=10)
    except psycopg.OperationalError:
        raise Unreachable("PostgreSQL does not answer", hint="./inv up starts it") from None
    try:
        with connection:
            marker = read_marker(connection, c.schema)
            if marker is None or marker.environment != "playground":
                raise Refused(
                    f"schema {c.schema} is not marked as a playground; nothing was spoiled",
                    hint="./inv isolate makes one",
                )
            return _break_tables(connection, c.schema)
    except psycopg.Error as error:
        raise SandboxError(
            f"could not be spoiled: {error.diag.message_primary}", where="postgres"
        ) from None


def _break_tables(connection: psycopg.Connection[Any], schema: str) -> str:
    def table(name: str) -> sql.Identifier:
        return sql.Identifier(schema, name)

    connection.execute(sql.SQL("DROP TABLE {} CASCADE").format(table("chunk_vectors")))
    gone = connection.execute(
        sql.SQL("DELETE FROM {} WHERE similarity < 0.9").format(table("face_recognition_results"))
    ).rowcount
    wrong = connection.execute(
        sql.SQL("UPDATE {} SET title = 'oops', tags = '{{}}', status = 'failed'").format(
            table("videos")
        )
    ).rowcount
    connection.execute(
        sql.SQL("ALTER TABLE {} DROP COLUMN brightness, ADD COLUMN junk text").format(
            table("frames")
        )
    )
    connection.execute(sql.SQL("CREATE TABLE {} (junk text)").format(table("tmp_try_2")))
    return (
        f"dropped chunk_vectors and a column of frames, deleted {gone:,} recognitions, "
        f"wrote 'oops' over {wrong:,} titles, left tmp_try_2 behind"
    )


def _mongo(c: Connections) -> str:
    try:
        with fill_mongo.connected(c.mongo, c.mongo_database) as database:
            database.drop_collection("cache")
            chunks = database["chunks"]
            gone = chunks.delete_many({"position": {"$lt": 5}}).deleted_count
            wrong = chunks.update_many({"language": "en"}, {"$set": {"text": ""}}).modified_count
            chunks.insert_one({"junk": True, "video_id": -1, "position": -1})
    except PyMongoError as error:
        raise SandboxError(f"could not be spoiled: {error}", where="mongo") from None
    return f"dropped cache, deleted {gone:,} chunks, emptied {wrong:,} texts, inserted junk"


def _qdrant(c: Connections) -> str:
    """The playground's token is for points only."""
    path = f"/collections/{c.qdrant_collection}/points"
    with fill_qdrant.connected(c.qdrant, c.qdrant_key) as client:
        before = _count(client, path)
        first = {"filter": {"must": [{"key": "position", "range": {"lt": 3}}]}}
        fill_qdrant.result(client.post(f"{path}/delete?wait=true", json=first))
        after = _count(client, path)
        some = fill_qdrant.result(
            client.post(f"{path}/scroll", json={"limit": 20, "with_payload": False})
        )["points"]
        junk = {"payload": {"junk": True}, "points": [point["id"] for point in some]}
        fill_qdrant.result(client.put(f"{path}/payload?wait=true", json=junk))
    return f"deleted {before - after:,} points, wrote junk over the payload of {len(some)}"


def _count(client: Any, path: str) -> int:
    counted = fill_qdrant.result(client.post(f"{path}/count", json={"exact": True}))
    return int(counted["count"])


def _redis(c: Connections) -> str:
    """Without SCAN, which its login may not run: from the keys whose names it knows to others."""
    try:
        with fill_redis.connected(c.redis) as client:
            users: Any = client.zrange(f"{c.redis_prefix}leaderboard:uploads", 0, -1)
            online: Any = client.smembers(f"{c.redis_prefix}online")
            names = itertools.chain(
                (f"user:{_text(user)}" for user in users),
                (f"session:{_text(email)}" for email in online),
                ("jobs", "queue:processing", "leaderboard:uploads", "online", "stats:daily"),
            )
            pipe: Any = client.pipeline(transaction=False)
            for name in names:
                pipe.unlink(f"{c.redis_prefix}{name}")
            gone = sum(pipe.execute())
            client.set(f"{c.redis_prefix}config:features", b"not JSON")
            client.lpush(f"{c.redis_prefix}junk", *range(100))
    except RedisError as error:
        raise SandboxError(f"could not be spoiled: {error}", where="redis") from None
    return f"unlinked {gone:,} keys, wrote nonsense into config:features, pushed junk"


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")


def _files(directories: Mapping[str, Path]) -> str:
    removed, emptied = 0, 0
    for folder in directories.values():
        entries = sorted(e for e in folder.iterdir() if not e.name.startswith("."))
        for number, entry in enumerate(entries):
            if entry.is_dir() and not entry.is_symlink() and number % 2 == 0:
                shutil.rmtree(entry)
                removed += 1
            elif entry.is_file() and not entry.is_symlink():
                entry.write_bytes(b"")
                emptied += 1
        (folder / "junk.tmp").write_text("left behind\n")
    return f"removed {removed:,} folders, emptied {emptied:,} files, left junk.tmp behind"
