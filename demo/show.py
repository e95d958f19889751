"""A few records of the playground beside one another: the same people in every store, masked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from demo import fill_mongo, fill_qdrant, fill_redis
from demo.seed import Connections
from sandbox.errors import SandboxError, Unreachable

Record = Mapping[str, str]
WIDTH = 48  # characters of a value


def masked_examples(connections: Connections, n: int = 2) -> Mapping[str, list[Record]]:
    """`n` videos and their owners as each store of the playground has them; a record that is not
    there is left out. Reads the playground alone."""
    owners = _postgres(connections, n)
    return {
        "postgres": [_shown(owner, "video", "name", "email", "title") for owner in owners],
        "mongo": _mongo(connections, owners),
        "qdrant": _qdrant(connections, owners),
        "redis": _redis(connections, owners),
        "files": _files(connections.directories, owners),
    }


def _shown(record: Mapping[str, Any], *names: str) -> Record:
    return {name: _short(record[name]) for name in names or record if record.get(name) is not None}


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"


def _postgres(c: Connections, n: int) -> list[dict[str, Any]]:
    query = sql.SQL(
        "SELECT id AS video, owner_name AS name, owner_email AS email, owner_username AS username, "
        "title FROM {} ORDER BY id LIMIT %s"
    ).format(sql.Identifier(c.schema, "videos"))
    try:
        connection = psycopg.connect(c.postgres, connect_timeout=10, row_factory=dict_row)
    except psycopg.OperationalError:
        raise Unreachable("PostgreSQL does not answer", hint="./inv up starts it") from None
    with connection:
        try:
            return connection.execute(query, [n]).fetchall()
        except psycopg.Error as error:
            raise SandboxError(
                f"{c.schema}.videos cannot be read: {error.diag.message_primary}",
                hint="./inv load fills the playground",
            ) from None


def _mongo(c: Connections, owners: list[dict[str, Any]]) -> list[Record]:
    found = []
    with fill_mongo.connected(c.mongo, c.mongo_database) as database:
        for owner in owners:
            try:
                chunk = database["chunks"].find_one({"video_id": owner["video"], "position": 0})
            except PyMongoError as error:
                raise SandboxError(f"chunks cannot be read: {error}", where="mongo") from None
            if chunk is not None:
                fields = chunk.get("owner", {}) | {"video": owner["video"], "text": chunk["text"]}
                found.append(_shown(fields, "video", "name", "email", "text"))
    return found


def _qdrant(c: Connections, owners: list[dict[str, Any]]) -> list[Record]:
    found = []
    path = f"/collections/{c.qdrant_collection}/points/scroll"
    with fill_qdrant.connected(c.qdrant, c.qdrant_key) as client:
        for owner in owners:
            of_video = {"must": [{"key": "video_id", "match": {"value": owner["video"]}}]}
            response = client.post(path, json={"limit": 1, "filter": of_video})
            for point in fill_qdrant.result(response)["points"]:
                payload = point["payload"]
                fields = payload.get("owner", {}) | {"text": payload.get("text")}
                found.append(
                    _shown(fields | {"video": owner["video"]}, "video", "name", "email", "text")
                )
    return found


def _redis(c: Connections, owners: list[dict[str, Any]]) -> list[Record]:
    found = []
    with fill_redis.connected(c.redis) as client:
        for owner in owners:
            key = f"user:{owner['username']}"
            try:
                fields: Any = client.hgetall(f"{c.redis_prefix}{key}")
            except RedisError as error:
                raise SandboxError(f"{key} cannot be read: {error}", where="redis") from None
            text = {k.decode(): v.decode(errors="replace") for k, v in fields.items()}
            if text:
                found.append(_shown({"key": key} | text, "key", "name", "email", "phone"))
    return found


def _files(directories: Mapping[str, Path], owners: list[dict[str, Any]]) -> list[Record]:
    found = []
    for owner in owners:
        folder = directories["output"] / str(owner["username"])
        for path in sorted(folder.glob("interview_*.json")):
            try:
                speaker = json.loads(path.read_bytes())["speaker"]
            except (ValueError, KeyError, TypeError):
                continue
            place = str(path.relative_to(directories["output"]))
            found.append(_shown({"file": place} | speaker, "file", "name", "email", "phone"))
            break
    return found
