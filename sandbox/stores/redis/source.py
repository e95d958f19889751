"""Reads all keys under a prefix: every type, streams with their groups, absolute expiry times."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sandbox.contract import Access, Cut, Mask, Tool
from sandbox.model import Dataset, Entry, Kind, Marker
from sandbox.stores.redis.session import BATCH, Client, connect, frame, keys, read_marker, space_of

PIECE = 1 << 20  # bytes
READS: dict[str, tuple[Any, ...]] = {
    "string": ("GET",),
    "list": ("LRANGE", 0, -1),
    "set": ("SMEMBERS",),
    "zset": ("ZRANGE", 0, -1, "WITHSCORES"),
    "hash": ("HGETALL",),
    "stream": ("XRANGE", "-", "+"),
}


class RedisSource:
    """A prefix that is read and never written."""

    kind: Kind = "redis"

    def __init__(self, access: Access, *, tool: Tool | None = None) -> None:
        self._access = access
        self._prefix = space_of(access).prefix.encode()
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = connect(self._access)
        return self._client

    def ready(self) -> str:
        info = self.client.info("server")
        return f"Redis {info['redis_version']}"

    def marker(self) -> Marker | None:
        return read_marker(self.client, self._prefix.decode())

    @contextmanager
    def cut(self) -> Iterator[Cut]:
        """Redis has no snapshot to read from: the time is recorded, keys may move meanwhile."""
        yield Cut(facts={"time": time.time(), "consistent": False})

    def datasets(self, cut: Cut) -> Sequence[Dataset]:
        return (Dataset(store="redis", name="keys", rows=sum(self.count().values())),)

    def catalog(self, cut: Cut) -> bytes:
        return b""

    def read(self, cut: Cut, dataset: Dataset, mask: Mask) -> Iterator[tuple[int, bytes]]:
        held: list[bytes] = []
        size = rows = 0
        for found in keys(self.client, self._prefix):
            for start in range(0, len(found), BATCH):
                for entry in self._entries(found[start : start + BATCH]):
                    masked = mask.entry(entry)
                    if masked is None:
                        continue
                    held.append(frame(_packed(masked)))
                    size += len(held[-1])
                    rows += 1
                if size >= PIECE:
                    yield rows, b"".join(held)
                    held, size, rows = [], 0, 0
        if held:
            yield rows, b"".join(held)

    def originals(self, cut: Cut, dataset: Dataset, fields: Sequence[str]) -> Iterator[str]:
        return iter(())

    def count(self) -> Mapping[str, int]:
        return {"keys": sum(len(found) for found in keys(self.client, self._prefix))}

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _entries(self, found: Sequence[bytes]) -> Iterator[Entry]:
        """Two round trips for many keys: their types and times, then their values."""
        facts = self.client.pipeline(transaction=False)
        for key in found:
            facts.execute_command("TYPE", key)
            facts.execute_command("PEXPIRETIME", key)
        answers = facts.execute()
        types = [answer.decode() for answer in answers[0::2]]
        values = self.client.pipeline(transaction=False)
        for key, kind in zip(found, types, strict=True):
            command = READS.get(kind, ("EXISTS",))
            # No decoding by the client: what the server says is what is kept.
            values.execute_command(command[0], key, *command[1:])
            if kind == "stream":
                values.xinfo_groups(key)
        raw = iter(values.execute())
        for key, kind, expires in zip(found, types, answers[1::2], strict=True):
            value = next(raw)
            groups = next(raw) if kind == "stream" else []
            if kind not in READS or expires == -2 or value is None:
                continue  # it expired on the way
            yield Entry(
                key=key[len(self._prefix) :],
                type=kind,
                value=_value(kind, value),
                expires_at=expires if expires > 0 else None,
                groups=tuple({"name": g["name"], "last": g["last-delivered-id"]} for g in groups),
            )


def _value(kind: str, raw: Any) -> Any:
    if kind == "hash":
        return list(raw.items())
    if kind == "set":
        return sorted(raw)
    if kind == "zset":
        return [(member, float(score)) for member, score in raw]
    if kind == "stream":
        return [(identifier, list((fields or {}).items())) for identifier, fields in raw]
    return raw


def _packed(entry: Entry) -> list[Any]:
    groups = [[group["name"], group["last"]] for group in entry.groups]
    return [entry.key, entry.type, entry.value, entry.expires_at, groups]
