"""Loads keys under a staging prefix and renames all of them in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sandbox.contract import Access, Tool
from sandbox.model import Dataset, Identity, Marker, Space
from sandbox.stores.redis.session import (
    BATCH,
    MARKERS,
    OLD,
    STAGED,
    frames,
    keys,
    need_own,
    write_marker,
)
from sandbox.stores.redis.source import RedisSource

WRITES = {"list": "RPUSH", "set": "SADD", "zset": "ZADD", "hash": "HSET"}
CHUNK = 2000  # values in one command: a large one must not hold up the server


class RedisStore(RedisSource):
    """The playground's prefix, as keeper."""

    def __init__(
        self, access: Access, *, owner: Identity, production: Space, tool: Tool | None = None
    ) -> None:
        super().__init__(access, tool=tool)
        self._production = production.name
        self._staged = STAGED + self._prefix
        self._old = OLD + self._prefix

    def stage(self, datasets: Sequence[Dataset], catalog: bytes) -> None:
        self._need_own()
        self._delete(self._staged)
        self._delete(self._old)

    def write(self, dataset: Dataset, pieces: Iterable[bytes]) -> int:
        rows = waiting = 0
        pipeline = self.client.pipeline(transaction=False)
        for key, kind, value, expires, groups in frames(iter(pieces)):
            _put(pipeline, self._staged + key, kind, value, expires, groups)
            rows += 1
            waiting += 1
            if waiting == BATCH:
                pipeline.execute()
                waiting = 0
        pipeline.execute()
        return rows

    def finish(self, marker: Marker) -> Sequence[str]:
        write_marker(self.client, self._staged.decode(), marker)
        return ()

    def swap(self) -> None:
        """Present keys aside, staged ones in place, in one MULTI: never half of each."""
        if self.client.get(MARKERS + self._staged) is None:
            return
        self._need_own()
        present = [key for found in keys(self.client, self._prefix) for key in found]
        staged = [key for found in keys(self.client, self._staged) for key in found]
        pipeline = self.client.pipeline(transaction=True)
        _move(pipeline, present, self._prefix, self._old)
        _move(pipeline, staged, self._staged, self._prefix)
        pipeline.rename(MARKERS + self._prefix, MARKERS + self._old)
        pipeline.rename(MARKERS + self._staged, MARKERS + self._prefix)
        pipeline.execute()

    def undo(self) -> None:
        if self.client.get(MARKERS + self._old) is None:
            return
        self._need_own()
        present = [key for found in keys(self.client, self._prefix) for key in found]
        old = [key for found in keys(self.client, self._old) for key in found]
        pipeline = self.client.pipeline(transaction=True)
        for key in present:
            pipeline.unlink(key)
        _move(pipeline, old, self._old, self._prefix)
        pipeline.rename(MARKERS + self._old, MARKERS + self._prefix)
        pipeline.execute()

    def settle(self) -> None:
        self.client.delete(MARKERS + self._staged, MARKERS + self._old)
        self._delete(self._staged)
        self._delete(self._old)

    def search(self, needles: Sequence[str]) -> Sequence[str]:
        wanted = [needle.encode() for needle in needles]
        found = []
        for batch in keys(self.client, self._prefix):
            for entry in self._entries(batch):
                text = repr(entry.value).encode() if entry.type != "string" else entry.value
                if any(needle in entry.key or needle in text for needle in wanted):
                    found.append(f"a {entry.type} key")
        return sorted(set(found))

    def _need_own(self) -> None:
        need_own(self.client, self._prefix.decode(), self._production)

    def _delete(self, prefix: bytes) -> None:
        """Only ever staged or old keys of ours."""
        assert prefix in (self._staged, self._old)
        for found in keys(self.client, prefix):
            self.client.unlink(*found)


def _move(pipeline: Any, found: Sequence[bytes], old: bytes, new: bytes) -> None:
    for key in found:
        pipeline.rename(key, new + key[len(old) :])


def _put(
    pipeline: Any, key: bytes, kind: str, value: Any, expires: int | None, groups: Any
) -> None:
    if kind == "string":
        pipeline.set(key, value)
    elif kind == "stream":
        for identifier, fields in value:
            flat = [part for pair in fields for part in pair]
            pipeline.execute_command("XADD", key, identifier, *flat)
        for group, last in groups:
            pipeline.execute_command("XGROUP", "CREATE", key, group, last, "MKSTREAM")
    else:
        for start in range(0, len(value), CHUNK):
            part = value[start : start + CHUNK]
            if kind == "zset":
                part = [item for member, score in part for item in (score, member)]
            elif kind == "hash":
                part = [item for pair in part for item in pair]
            pipeline.execute_command(WRITES[kind], key, *part)
    if expires is not None:
        pipeline.execute_command("PEXPIREAT", key, expires)
