"""The application's connections, opened from its environment variables, and what it asks of them.

DATABASE_URL, DATABASE_SCHEMA; MONGODB_URL, MONGODB_DATABASE; QDRANT_URL, QDRANT_API_KEY,
QDRANT_COLLECTION; REDIS_URL, MOMENTRY_REDIS_PREFIX; MOMENTRY_OUTPUT_DIR, MOMENTRY_BACKUP_DIR.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import redis
from psycopg import sql
from psycopg.rows import dict_row
from pymongo import MongoClient

WITHIN = 3  # seconds, for any answer
NAMES = (
    "DATABASE_URL", "DATABASE_SCHEMA", "MONGODB_URL", "MONGODB_DATABASE", "QDRANT_URL",
    "QDRANT_COLLECTION", "REDIS_URL", "MOMENTRY_REDIS_PREFIX", "MOMENTRY_OUTPUT_DIR",
    "MOMENTRY_BACKUP_DIR",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Stores:
    """Asks each store one question at a time; every method raises the driver's own error."""

    environment: Mapping[str, str] = field(repr=False)

    def health(self) -> dict[str, str]:
        """Store -> `ok`, or the kind of error, which holds no address and no login."""
        questions: dict[str, Callable[[], object]] = {
            "postgres": lambda: self.videos(limit=1),
            "mongo": self.cached,
            "qdrant": self.points,
            "redis": lambda: self.redis().ping(),
            "files": self.files,
        }
        found = {}
        for store, question in questions.items():
            try:
                question()
                found[store] = "ok"
            except Exception as error:  # whatever it is, the others are asked as well
                found[store] = type(error).__name__
        return found

    def videos(self, *, limit: int) -> list[dict[str, Any]]:
        table = sql.Identifier(self.environment["DATABASE_SCHEMA"], "videos")
        query = sql.SQL(
            "SELECT id, title, status::text, owner_name, duration::float, tags "
            "FROM {} ORDER BY id LIMIT %s"
        ).format(table)
        with psycopg.connect(
            self.environment["DATABASE_URL"], connect_timeout=WITHIN, row_factory=dict_row
        ) as connection:
            return connection.execute(query, [limit]).fetchall()

    def set_status(self, video: int, status: str) -> bool:
        """Whether there is such a video."""
        table = sql.Identifier(self.environment["DATABASE_SCHEMA"], "videos")
        query = sql.SQL("UPDATE {} SET status = %s WHERE id = %s").format(table)
        with psycopg.connect(
            self.environment["DATABASE_URL"], connect_timeout=WITHIN
        ) as connection:
            return connection.execute(query, [status, video]).rowcount == 1

    def cached(self) -> int:
        """About how many searches are cached."""
        url, limit = self.environment["MONGODB_URL"], WITHIN * 1000
        with MongoClient[dict[str, Any]](
            url, serverSelectionTimeoutMS=limit, directConnection="replicaSet=" not in url
        ) as client:
            return client[self.environment["MONGODB_DATABASE"]]["cache"].estimated_document_count()

    def points(self) -> int:
        address, name = self.environment["QDRANT_URL"], self.environment["QDRANT_COLLECTION"]
        key = self.environment.get("QDRANT_API_KEY", "")
        response = httpx.post(
            f"{address}/collections/{name}/points/count",
            json={"exact": False},
            headers={"api-key": key} if key else {},
            timeout=WITHIN,
        )
        return int(response.raise_for_status().json()["result"]["count"])

    def redis(self) -> redis.Redis:
        url = self.environment["REDIS_URL"]
        return redis.Redis.from_url(url, socket_timeout=WITHIN, decode_responses=True, protocol=2)

    def key(self, name: str) -> str:
        return self.environment["MOMENTRY_REDIS_PREFIX"] + name

    def files(self) -> int:
        """How many names the output directory holds. In a container it may not be mounted."""
        return sum(1 for _ in Path(self.environment["MOMENTRY_OUTPUT_DIR"]).iterdir())


def from_environment() -> Stores:
    """Ends the process with one line when a variable is missing."""
    missing = [name for name in NAMES if not os.environ.get(name)]
    if missing:
        sys.exit(f"not set: {', '.join(missing)}; ./inv env writes them into .env")
    return Stores(environment=dict(os.environ))
