"""Qdrant: one collection with a point for each chunk, and its payload indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import orjson

from demo.world import CHUNKS, DIMENSIONS, World
from sandbox.errors import SandboxError, Unreachable

BATCH = 25  # videos, of 20 points each
PAYLOAD_INDEXES = {
    "video_id": "integer",
    "language": "keyword",
    "owner.email": "keyword",
    "recorded_at": "datetime",
    "start": "float",
}


@contextmanager
def connected(url: str, key: str) -> Iterator[httpx.Client]:
    headers = {"api-key": key} if key else {}
    with httpx.Client(base_url=url, headers=headers, timeout=120) as client:
        try:
            yield client
        except httpx.TransportError as error:
            raise Unreachable(
                f"Qdrant does not answer: {type(error).__name__}", hint="./inv up starts it"
            ) from None


def present(client: httpx.Client, collection: str) -> int:
    """How many points the collection has; 0 when there is none."""
    response = client.get(f"/collections/{collection}")
    if response.status_code == 404:
        return 0
    return int(result(response)["points_count"] or 0)


def clear(client: httpx.Client, collection: str) -> None:
    result(client.delete(f"/collections/{collection}"))


def fill(
    client: httpx.Client, collection: str, world: World, moved: Callable[[int], None]
) -> dict[str, int]:
    """One batch is on its way while the next one is made."""
    vectors = {"size": DIMENSIONS, "distance": "Cosine"}
    result(client.put(f"/collections/{collection}", json={"vectors": vectors}))
    count = 0
    waiting: Future[int] | None = None
    with ThreadPoolExecutor(max_workers=1) as pool:
        for body, points in _bodies(world):
            if waiting is not None:
                count += waiting.result()
                moved(count)
            waiting = pool.submit(_upload, client, collection, body, points)
        if waiting is not None:
            count += waiting.result()
            moved(count)
    for key, schema in PAYLOAD_INDEXES.items():
        wanted = {"field_name": key, "field_schema": schema}
        result(client.put(f"/collections/{collection}/index?wait=true", json=wanted))
    return {collection: count}


def total(world: World) -> int:
    return world.video_count * CHUNKS


def points(world: World, first: int, last: int) -> tuple[list[int], list[dict[str, Any]], Any]:
    """Ids, payloads and vectors of the chunks of the videos numbered `first` to `last`."""
    ids, payloads, vectors = [], [], []
    for number in range(first, last + 1):
        v = world.video(number)
        owner = v.owner
        vectors.append(world.embeddings(v))
        for c in world.chunks(v):
            ids.append(c.id)
            payloads.append(
                {
                    "chunk_id": c.id,
                    "video_id": v.id,
                    "video_uuid": v.uuid,
                    "position": c.position,
                    "text": c.text,
                    "speaker": {"name": c.speaker.name, "email": c.speaker.email},
                    "owner": {
                        "name": owner.name,
                        "email": owner.email,
                        "username": owner.username,
                    },
                    "mentions": [p.name for p in c.mentioned],
                    "path": f"output/{v.path}",
                    "location": {"lat": owner.latitude, "lon": owner.longitude},
                    "language": c.speaker.language,
                    "tags": list(v.tags),
                    "start": c.start,
                    "end": c.end,
                    "recorded_at": v.recorded_at.isoformat(),
                }
            )
    return ids, payloads, np.concatenate(vectors)


def _bodies(world: World) -> Iterator[tuple[bytes, int]]:
    for first in range(1, world.video_count + 1, BATCH):
        last = min(first + BATCH - 1, world.video_count)
        ids, payloads, vectors = points(world, first, last)
        batch = {"ids": ids, "payloads": payloads, "vectors": vectors}
        yield orjson.dumps({"batch": batch}, option=orjson.OPT_SERIALIZE_NUMPY), len(ids)


def _upload(client: httpx.Client, collection: str, body: bytes, points: int) -> int:
    headers = {"content-type": "application/json"}
    path = f"/collections/{collection}/points?wait=true"
    result(client.put(path, content=body, headers=headers))
    return points


def result(response: httpx.Response) -> Any:
    """What a response holds. Raises SandboxError on a refusal."""
    if response.status_code >= 400:
        raise SandboxError(
            f"Qdrant answered {response.status_code}: {response.text[:200]}", where="qdrant"
        )
    return response.json()["result"]
