"""Fills a stand-in production with the demo's data: the same seed and scale make the same data.

Nothing that was there before is written over: a store that holds something is refused by name,
unless `replace` is given. PostgreSQL is committed last, so that a seed that was stopped leaves no
table; its rest in the other stores is swept by the next one, which knows it by a key in Redis.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from demo import fill_files, fill_mongo, fill_postgres, fill_qdrant, fill_redis
from demo.world import World
from sandbox.errors import ConfigError, Refused
from sandbox.report import Progress, Report, Step

Counts = Mapping[str, Mapping[str, int]]
FILLS = {
    "postgres": fill_postgres,
    "qdrant": fill_qdrant,
    "mongo": fill_mongo,
    "redis": fill_redis,
    "files": fill_files,
}
LARGEST = 300.0  # phone numbers and addresses are enough for up to 60,000 people


@dataclass(frozen=True, kw_only=True)
class Connections:
    """Where the stores are and which space in each. The URLs hold a login."""

    postgres: str = field(repr=False)
    schema: str
    mongo: str = field(repr=False)
    mongo_database: str
    qdrant: str
    qdrant_key: str = field(repr=False, default="")
    qdrant_collection: str
    redis: str = field(repr=False)
    redis_prefix: str
    directories: Mapping[str, Path]  # by purpose: output, backup

    def places(self) -> str:
        """A fingerprint of all the places, without a login."""
        addresses = (_address(url) for url in (self.postgres, self.mongo, self.qdrant, self.redis))
        spaces = (self.schema, self.mongo_database, self.qdrant_collection, self.redis_prefix)
        folders = sorted(f"{k}={v.absolute()}" for k, v in self.directories.items())
        return hashlib.sha256("\n".join((*addresses, *spaces, *folders)).encode()).hexdigest()


def _address(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}{parts.path}"


class _Stopped(Exception):
    """Another store failed, or a person pressed Ctrl-C."""


class Filled(Refused):
    """Production holds data already; `everywhere` tells whether in each of the five stores."""

    def __init__(self, there: Sequence[str]) -> None:
        super().__init__(
            f"production holds data already: {'; '.join(there)}",
            hint="./inv seed --replace throws it away first",
        )
        self.everywhere = len(there) == len(FILLS)


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """The five stores, connected."""

    postgres: Any
    mongo: Any
    qdrant: Any
    redis: Any


def seed(
    connections: Connections,
    *,
    scale: float,
    random_seed: int,
    report: Report,
    replace: bool = False,
) -> Counts:
    """Rows by store and dataset. Scale 1 is about 100,000 rows and 10,000 vectors.

    Raises Filled, naming what is there, ConfigError and Unreachable; nothing is half written."""
    check_scale(scale)
    unknown = sorted(set(connections.directories) - {"output", "backup"})
    if unknown:
        raise ConfigError(f"the demo has no files for {', '.join(unknown)}", where="files")
    world = World(scale=scale, random_seed=random_seed)
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        opened = _open(connections, stack)
        sign = f"{connections.redis_prefix}{fill_redis.UNFINISHED}"
        stopped = opened.redis.get(sign) == connections.places().encode()
        there = present(connections, opened)
        if there and not (replace or stopped):
            raise Filled(there)
        opened.redis.set(sign, connections.places())
        _clear(connections, opened, there)
        counts = _fill(connections, opened, world, report)
        opened.postgres.commit()
        opened.redis.delete(sign)
    rows = sum(counts["postgres"].values())
    report(
        Step(
            name=f"seeded {len(world.people):,} people, {rows:,} rows",
            detail=f"scale {scale:g}, seed {random_seed}",
            seconds=time.monotonic() - began,
        )
    )
    return counts


def check_scale(scale: float) -> None:
    if not 0 < scale <= LARGEST:
        raise ConfigError(f"{scale} is no scale", where="--scale", hint=f"above 0, to {LARGEST:g}")


def expected(*, scale: float, random_seed: int) -> dict[str, int]:
    """About how many rows each store would get."""
    world = World(scale=scale, random_seed=random_seed)
    return {store: module.total(world) for store, module in FILLS.items()}


def present(connections: Connections, opened: _Opened) -> list[str]:
    """What stands in the places already, one line for each store that is not empty."""
    c, found = connections, []
    if tables := fill_postgres.present(opened.postgres, c.schema):
        found.append(f"PostgreSQL schema {c.schema} has {', '.join(tables[:3])} ...")
    if collections := fill_mongo.present(opened.mongo):
        found.append(f"MongoDB database {c.mongo_database} has {', '.join(collections)}")
    if points := fill_qdrant.present(opened.qdrant, c.qdrant_collection):
        found.append(f"Qdrant collection {c.qdrant_collection} has {points:,} points")
    if keys := fill_redis.present(opened.redis, c.redis_prefix):
        found.append(f"Redis has {keys:,} keys under {c.redis_prefix}")
    if folders := fill_files.present(c.directories):
        found.append(f"there are files for {' and '.join(folders)}")
    return found


def _open(c: Connections, stack: contextlib.ExitStack) -> _Opened:
    return _Opened(
        postgres=stack.enter_context(fill_postgres.connected(c.postgres, c.schema)),
        mongo=stack.enter_context(fill_mongo.connected(c.mongo, c.mongo_database)),
        qdrant=stack.enter_context(fill_qdrant.connected(c.qdrant, c.qdrant_key)),
        redis=stack.enter_context(fill_redis.connected(c.redis)),
    )


def _clear(c: Connections, opened: _Opened, there: list[str]) -> None:
    """PostgreSQL's tables are emptied inside the transaction that fills them."""
    fill_qdrant.clear(opened.qdrant, c.qdrant_collection)  # an empty one may have other vectors
    if there:
        fill_mongo.clear(opened.mongo)
        fill_redis.clear(opened.redis, c.redis_prefix)
        fill_files.clear(c.directories)


def _fill(c: Connections, opened: _Opened, world: World, report: Report) -> Counts:
    """All stores side by side. When one fails, or Ctrl-C comes, the others stop at their next
    batch, and the first failure is raised when all have ended."""
    lock, stop = threading.Lock(), threading.Event()

    def begin(store: str, *arguments: Any) -> Future[dict[str, int]]:
        module = FILLS[store]
        total = module.total(world)

        def moved(rows: int) -> None:
            if stop.is_set():
                raise _Stopped
            with lock:
                report(Progress(task="seed", store=store, rows=rows, total_rows=total))

        return pool.submit(partial(module.fill, *arguments, world, moved))

    with ThreadPoolExecutor(max_workers=5) as pool:
        filling = {
            "postgres": begin("postgres", opened.postgres, c.schema),
            "qdrant": begin("qdrant", opened.qdrant, c.qdrant_collection),
            "mongo": begin("mongo", opened.mongo),
            "redis": begin("redis", opened.redis, c.redis_prefix),
            "files": begin("files", c.directories),
        }
        try:
            ended = wait(filling.values(), return_when=FIRST_EXCEPTION).done
        finally:
            stop.set()
        for filled in ended:
            filled.result()
    counts = {store: filled.result() for store, filled in filling.items()}
    for store, rows in counts.items():
        number = sum(rows.values())
        report(Progress(task="seed", store=store, rows=number, total_rows=number, done=True))
    return counts
