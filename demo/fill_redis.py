"""Redis: keys of every type under one prefix, some of which expire in 2099."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import orjson
import redis
from redis.exceptions import RedisError

from demo.people import Person
from demo.world import BEGINNING, FOREVER, TAGS, Video, World
from sandbox.errors import Unreachable

BATCH = 1_000  # commands
UNFINISHED = "seeding"  # a key that is there only while a seed runs
Command = tuple[Any, ...]
FOREVER_MS = int(FOREVER.timestamp()) * 1000
GROUP, CONSUMER = "workers", "worker-1"


@contextmanager
def connected(url: str) -> Iterator[redis.Redis]:
    client: redis.Redis = redis.Redis.from_url(url, socket_connect_timeout=10)
    try:
        client.ping()
        yield client
    except RedisError as error:
        raise Unreachable(
            f"Redis failed: {type(error).__name__}: {error}", hint="./inv up starts it"
        ) from None
    finally:
        client.close()


def names(client: redis.Redis, prefix: str) -> Iterator[bytes]:
    """Every key under the prefix but this tool's own (a marker's name begins with two `_`)."""
    escaped = "".join(f"\\{c}" if c in "*?[]^\\" else c for c in prefix)
    for name in client.scan_iter(match=f"{escaped}*", count=1000):
        rest = name[len(prefix.encode()) :]
        if not rest.startswith(b"__") and rest != UNFINISHED.encode():
            yield name


def present(client: redis.Redis, prefix: str) -> int:
    return sum(1 for _ in names(client, prefix))


def clear(client: redis.Redis, prefix: str) -> None:
    batch: list[bytes] = []
    for name in names(client, prefix):
        batch.append(name)
        if len(batch) == BATCH:
            client.unlink(*batch)
            batch = []
    if batch:
        client.unlink(*batch)


def fill(
    client: redis.Redis, prefix: str, world: World, moved: Callable[[int], None]
) -> dict[str, int]:
    pipe: Any = client.pipeline(transaction=False)
    waiting = done = 0
    for command, key, *rest in commands(world):
        pipe.execute_command(command, f"{prefix}{key}", *rest)
        waiting += 1
        if waiting == BATCH:
            pipe.execute()
            done, waiting = done + waiting, 0
            moved(done)
    pipe.execute()
    _read_as_a_worker(client, f"{prefix}jobs")
    moved(done + waiting)
    return {prefix: present(client, prefix)}


def total(world: World) -> int:
    """Commands, roughly: for the progress bar."""
    return len(world.people) * 13 + world.video_count * 5 + world.size(300) * 3


def commands(world: World) -> Iterator[Command]:
    """(command, key without prefix, arguments ...)."""
    for p in world.people:
        yield from _person(world, p)
    for v in world.videos():
        yield from _video(v)
    yield from _cache(world)
    yield from _streams(world)
    for day in range(90):
        yield "HSET", "stats:daily", f"{BEGINNING + timedelta(days=day):%Y-%m-%d}", day * 37 % 101
    yield "SET", "config:features", orjson.dumps({"faces": True, "languages": ["zh", "ja", "en"]})


def _flat(fields: dict[str, Any]) -> Iterator[Any]:
    for name, value in fields.items():
        yield name
        yield value


def _person(world: World, p: Person) -> Iterator[Command]:
    draw = random.Random(f"redis {world.random_seed} {p.number}")
    fields = {
        "name": p.name,
        "email": p.email,
        "phone": p.phone,
        "birthday": p.birthday.isoformat(),
        "city": p.city,
        "street": p.street,
        "ip": p.ip,
        "videos": draw.randrange(40),
    }
    yield "HSET", f"user:{p.username}", *_flat(fields)
    seen = sorted(draw.sample(range(1, world.video_count + 1), 4))
    yield "SADD", f"user:{p.username}:videos", *seen
    recent = [
        orjson.dumps(
            {
                "video_id": v.id,
                "title": v.title,
                "owner": {"name": v.owner.name, "email": v.owner.email},
            }
        )
        for v in map(world.video, seen[:2])
    ]
    yield "RPUSH", f"user:{p.username}:recent", *recent
    yield "SET", f"phone:{p.phone}", p.username
    yield "SET", f"rate:{p.ip}", draw.randrange(500), "PXAT", FOREVER_MS
    yield "ZADD", "leaderboard:uploads", draw.randrange(1000), p.username
    yield "ZADD", "leaderboard:mentions", draw.randrange(1000) / 4, p.name
    if p.number % 2 == 0:
        return
    session = {
        "username": p.username,
        "name": p.name,
        "ip": p.ip,
        "token": f"{draw.getrandbits(160):040x}",
        "last_seen": int(BEGINNING.timestamp()) + p.number,
    }
    yield "HSET", f"session:{p.email}", *_flat(session)
    if p.number % 4 == 1:
        yield "PEXPIREAT", f"session:{p.email}", FOREVER_MS + p.number
    yield "SADD", "online", p.email


def _video(v: Video) -> Iterator[Command]:
    fields = {
        "title": v.title,
        "owner_email": v.owner.email,
        "path": f"output/{v.path}",
        "status": v.status,
        "duration": v.duration,
    }
    yield "HSET", f"video:{v.id}", *_flat(fields)
    picture = b"\xff\xd8\xff\xe0" + v.rng("thumbnail").randbytes(96) + b"\xff\xd9"
    yield "SET", f"thumbnail:{v.id}", picture, "PXAT", FOREVER_MS
    if v.status in ("processing", "registered"):
        job = {"video_id": v.id, "processor": "asr"} | _job(v)
        yield "RPUSH", "queue:processing", orjson.dumps(job)


def _job(v: Video) -> dict[str, str]:
    return {"owner_email": v.owner.email, "path": f"output/{v.path}"}


def _cache(world: World) -> Iterator[Command]:
    for number in range(1, world.size(300) + 1):
        p, other = world.person(number), world.person(number * 3)
        value = {
            "query": f"{other.name} {TAGS[number % len(TAGS)]}",
            "user": {"name": p.name, "email": p.email},
            "hits": [number * 2, number * 4],
        }
        digest = hashlib.sha256(f"{world.random_seed} {number}".encode()).hexdigest()[:24]
        expiry = FOREVER_MS + number
        yield "SET", f"cache:search:{digest}", orjson.dumps(value), "PXAT", expiry


def _streams(world: World) -> Iterator[Command]:
    """Ids are in the order of time, as the server demands."""
    began = int(BEGINNING.timestamp()) * 1000
    for number in range(1, world.size(300) + 1):
        v = world.video((number - 1) % world.video_count + 1)
        job = {"video_id": v.id, "processor": ("asr", "ocr", "face")[number % 3]} | _job(v)
        yield "XADD", "jobs", f"{began + number * 1000}-0", *_flat(job)
    for number in range(1, world.size(300) + 1):
        p = world.person(number)
        detail = {"name": p.name, "message": f"{p.name} <{p.email}> signed in from {p.ip}"}
        event = {"user": p.username, "ip": p.ip, "action": "sign-in"}
        fields = event | {"detail": orjson.dumps(detail)}
        yield "XADD", "events", f"{began + number * 1000}-1", *_flat(fields)


def _read_as_a_worker(client: redis.Redis, key: str) -> None:
    """A group that has read three jobs and finished two: one is pending."""
    client.xgroup_create(key, GROUP, id="0")
    client.xreadgroup(GROUP, CONSUMER, {key: ">"}, count=3)
    entries: Any = client.xrange(key, count=2)
    client.xack(key, GROUP, *[entry[0] for entry in entries])
