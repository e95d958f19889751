"""Where a benchmark's server is, and a client of each kind.

A run imports the driver of the store that it measures and no other: its peak memory is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

COLLECTION, PREFIX, DATABASE = "bench_rule1", "bench:", "bench"
NEAR = "_near"  # what a peer copies to


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server of one kind and its administrator."""

    kind: str
    port: int
    secret: str = field(repr=False)
    container: str  # its id

    @property
    def qdrant_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def mongo(self, **options: Any) -> Any:
        import pymongo

        login = {"username": "root", "password": self.secret}
        return pymongo.MongoClient(
            "127.0.0.1", self.port, directConnection=True, **login, **options
        )

    def redis(self) -> Any:
        import redis

        return redis.Redis(host="127.0.0.1", port=self.port, password=self.secret)

    def qdrant(self) -> Any:
        import httpx

        headers = {"api-key": self.secret}
        return httpx.Client(base_url=self.qdrant_url, headers=headers, timeout=300)
