"""What anybody would write with each store's own driver: copies without a mask, straight across."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.servers import COLLECTION, DATABASE, NEAR, PREFIX, Server

ROWS = 1000
KEYS = 500
Peer = Callable[[Server, Server], int]


def mongo_loop(source: Server, target: Server) -> int:
    """A raw-BSON find and insert_many loop."""
    from bson.codec_options import CodecOptions
    from bson.raw_bson import RawBSONDocument

    options: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
    rows = 0
    with source.mongo() as client:
        there = client.get_database(DATABASE + NEAR, codec_options=options)
        for name in ("chunks", "cache"):
            documents = client.get_database(DATABASE, codec_options=options)[name].find()
            while batch := list(itertools.islice(documents, ROWS)):
                there[name].insert_many(batch, ordered=False)
                rows += len(batch)
    return rows


def forget(source: Server) -> None:
    """What an earlier run has left and the next would first have to drop, off its clock."""
    if source.kind == "mongo":
        with source.mongo() as client:
            client.drop_database(DATABASE + NEAR)


def qdrant_migrate(source: Server, target: Server, batch: int = 100) -> int:
    """The client's own `migrate`, with its own batch size."""
    from qdrant_client import QdrantClient  # 50 MB that the others' peak should not show

    clients = [
        QdrantClient(url=one.qdrant_url, api_key=one.secret, timeout=300, check_compatibility=False)
        for one in (source, target)
    ]
    clients[0].migrate(clients[1], [COLLECTION], batch_size=batch, recreate_on_collision=True)
    count = clients[1].count(COLLECTION).count
    for client in clients:
        client.close()
    return int(count)


def qdrant_migrate_large(source: Server, target: Server) -> int:
    """The same with batches of 1,000."""
    return qdrant_migrate(source, target, 1000)


def redis_pipelined(source: Server, target: Server) -> int:
    """DUMP and RESTORE, 500 keys in a pipeline."""
    rows = 0
    with source.redis() as client:
        for keys in _keys(client):
            pipe = client.pipeline(transaction=False)
            for key in keys:
                pipe.pttl(key)
                pipe.dump(key)
            answers = pipe.execute()
            pipe = client.pipeline(transaction=False)
            for key, ttl, value in zip(keys, answers[::2], answers[1::2], strict=True):
                if value is not None:
                    pipe.restore(_moved(key), max(ttl, 0), value, replace=True)
                    rows += 1
            pipe.execute()
    return rows


def redis_one_by_one(source: Server, target: Server) -> int:
    """DUMP and RESTORE, one key after the other."""
    rows = 0
    with source.redis() as client:
        for keys in _keys(client):
            for key in keys:
                value = client.dump(key)
                if value is not None:
                    client.restore(_moved(key), max(client.pttl(key), 0), value, replace=True)
                    rows += 1
    return rows


def _keys(client: Any) -> Iterator[list[bytes]]:
    names = client.scan_iter(match=f"{PREFIX}*", count=KEYS)
    while keys := list(itertools.islice(names, KEYS)):
        yield keys


def _moved(key: bytes) -> bytes:
    return b"bench_near:" + key[len(PREFIX) :]


PEERS: dict[str, dict[str, Peer]] = {
    "mongo": {"find, insert_many": mongo_loop},
    "qdrant": {"migrate": qdrant_migrate, "migrate by 1,000": qdrant_migrate_large},
    "redis": {"pipelined": redis_pipelined, "one by one": redis_one_by_one},
}
