"""Servers of the benchmarks' own, filled with the demo's data, gone afterwards."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import docker
import httpx
import numpy as np
import orjson
import pymongo
import redis

from benchmarks.servers import COLLECTION, DATABASE, PREFIX, Server
from demo import fill_mongo, fill_qdrant, fill_redis
from demo.world import World
from sandbox.images import ensure
from sandbox.report import silent

LABEL = "sandbox.benchmark"
DIMENSIONS = 128  # of Qdrant's vectors: 200,000 of the demo's 1,024 would measure JSON only
POINTS_AT_ONCE = 25  # videos of 20 points


@dataclass(frozen=True, kw_only=True)
class Recipe:
    reference: str
    port: int
    environment: Callable[[str], Mapping[str, str]]
    command: Callable[[str], list[str] | None]


RECIPES = {
    "mongo": Recipe(
        reference="mongo:8",
        port=27017,
        environment=lambda secret: {
            "MONGO_INITDB_ROOT_USERNAME": "root",
            "MONGO_INITDB_ROOT_PASSWORD": secret,
        },
        command=lambda secret: None,
    ),
    "qdrant": Recipe(
        reference="qdrant/qdrant:v1.15.5",
        port=6333,
        environment=lambda secret: {
            "QDRANT__SERVICE__API_KEY": secret,
            "QDRANT__SERVICE__JWT_RBAC": "true",
        },
        command=lambda secret: None,
    ),
    "redis": Recipe(
        reference="redis:8",
        port=6379,
        environment=lambda secret: {},
        command=lambda secret: ["redis-server", "--requirepass", secret, "--save", ""],
    ),
}


@contextmanager
def started(kind: str) -> Iterator[Server]:
    client = docker.from_env()
    recipe = RECIPES[kind]
    secret = secrets.token_hex(16)
    name = f"sandbox-benchmark-{kind}-{os.getpid()}-{secrets.token_hex(3)}"
    container = client.containers.run(
        ensure(client, recipe.reference, report=silent).tag,
        recipe.command(secret),
        detach=True,
        name=name,
        environment=dict(recipe.environment(secret)),
        ports={f"{recipe.port}/tcp": ("127.0.0.1", None)},
        labels={LABEL: name},
    )
    try:
        container.reload()
        port = int(container.ports[f"{recipe.port}/tcp"][0]["HostPort"])
        made = Server(kind=kind, port=port, secret=secret, container=container.id)
        _wait(made)
        yield made
    finally:
        container.remove(force=True, v=True)


def used(servers: Sequence[Server]) -> float:
    """The processor time of these servers since they were started, in seconds."""
    client = docker.from_env()
    told = [client.api.stats(one.container, stream=False, one_shot=True) for one in servers]
    return sum(one["cpu_stats"]["cpu_usage"]["total_usage"] for one in told) / 1e9


def _wait(server: Server) -> None:
    errors = (pymongo.errors.PyMongoError, httpx.HTTPError, redis.RedisError)
    for attempt in range(600):
        try:
            if server.kind == "mongo":
                server.mongo(serverSelectionTimeoutMS=500).list_database_names()
            elif server.kind == "redis":
                server.redis().ping()
            else:
                server.qdrant().get("/collections").raise_for_status()
            return
        except errors:
            if attempt == 599:
                raise
            time.sleep(0.1)


def seed(server: Server, scale: float) -> int:
    """The demo's production, anew; returns its rows."""
    world = World(scale=scale, random_seed=1)
    if server.kind == "mongo":
        with server.mongo() as client:
            client.drop_database(DATABASE)
            return sum(fill_mongo.fill(client[DATABASE], world, lambda n: None).values())
    if server.kind == "redis":
        with server.redis() as client:
            client.flushall()
            return fill_redis.fill(client, PREFIX, world, lambda n: None)[PREFIX]
    with server.qdrant() as http:
        return _points(http, world)


def _points(http: httpx.Client, world: World) -> int:
    path = f"/collections/{COLLECTION}"
    http.delete(path)
    vectors = {"size": DIMENSIONS, "distance": "Cosine"}
    http.put(path, json={"vectors": vectors}).raise_for_status()
    count = 0
    for first in range(1, world.video_count + 1, POINTS_AT_ONCE):
        last = min(first + POINTS_AT_ONCE - 1, world.video_count)
        ids, payloads, vectors_ = fill_qdrant.points(world, first, last)
        cut = np.ascontiguousarray(vectors_[:, :DIMENSIONS])
        batch = {"ids": ids, "payloads": payloads, "vectors": cut}
        body = orjson.dumps({"batch": batch}, option=orjson.OPT_SERIALIZE_NUMPY)
        headers = {"content-type": "application/json"}
        http.put(f"{path}/points?wait=true", content=body, headers=headers).raise_for_status()
        count += len(ids)
    return count
