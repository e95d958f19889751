"""One prefix, for reading: nothing here sends a command that writes."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence

from redis.exceptions import NoPermissionError

from sandbox.contract import Access, Cut, Mask, Tool
from sandbox.errors import Unreachable
from sandbox.model import Dataset, Kind, Marker
from sandbox.stores.redis.encoding import fields
from sandbox.stores.redis.reading import Reader, scan
from sandbox.stores.redis.session import Names, Wire, read_marker, space_of

DATASET = "keys"


class Source:
    """The keys of one prefix are one dataset: Redis knows no part of a keyspace but its names."""

    kind: Kind = "redis"

    def __init__(self, access: Access, *, tool: Tool | None = None) -> None:
        self._access = access
        self._space = space_of(access)
        self._prefix = self._space.prefix.encode()
        self._names = Names(prefix=self._prefix)
        self._kept: Wire | None = None

    @property
    def _wire(self) -> Wire:
        if self._kept is None:
            self._kept = Wire(self._access)
        return self._kept

    def ready(self) -> str:
        facts = fields(self._wire.ask(b"HELLO"))
        answer = self._wire.many([(b"EXISTS", self._names.marker())])[0]
        if isinstance(answer, Exception) and "LOADING" in str(answer):
            raise Unreachable("Redis is still loading its data", where="redis")
        name = {b"redis": "Redis", b"valkey": "Valkey"}.get(facts[b"server"], "Redis")
        return f"{name} {facts[b'version'].decode()}"

    def marker(self) -> Marker | None:
        return read_marker(self._wire, self._names.marker())

    def can_write(self) -> str:
        """Commands on a name that is nowhere, which change nothing even when they are let in: Redis
        tells a login that may not manage logins in no other way what it may do."""
        if not isinstance(self._wire.many([(b"ACL", b"USERS")])[0], Exception):
            return "it may manage logins"
        absent = self._prefix + b"sandbox_absent_" + secrets.token_hex(8).encode()
        for command in ((b"UNLINK", absent), (b"SETRANGE", absent, b"0", b""),
                        (b"LPUSHX", absent, b""), (b"RESTORE", absent, b"0", b"")):  # fmt: skip
            if not isinstance(self._wire.many([command])[0], NoPermissionError):
                return f"it may {command[0].decode()}"
        return ""

    @contextlib.contextmanager
    def cut(self) -> Iterator[Cut]:
        """Redis has no snapshot to read from: each batch of keys is of its own moment."""
        seconds, micros = self._wire.ask(b"TIME")
        yield Cut(facts={"consistent": False, "began_ms": _milliseconds(seconds, micros)})

    def datasets(self, cut: Cut) -> Sequence[Dataset]:
        return (
            Dataset(
                store="redis",
                name=DATASET,
                rows=self.count()[DATASET],
                options={"server": self.ready(), "database": self._space.database},
            ),
        )

    def catalog(self, cut: Cut) -> bytes:
        return b""

    def read(self, cut: Cut, dataset: Dataset, mask: Mask) -> Iterator[tuple[int, bytes]]:
        with Wire(self._access) as wire:
            raw = self._raw(mask, dataset)
            yield from Reader(wire, self._prefix, mask, raw=raw).pieces()

    def originals(self, cut: Cut, dataset: Dataset, fields: Sequence[str]) -> Iterator[str]:
        yield from ()

    def count(self) -> Mapping[str, int]:
        return {DATASET: sum(1 for _ in scan(self._wire, self._prefix))}

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _raw(self, mask: Mask, dataset: Dataset) -> bool:
        """DUMP's payloads, which only a Redis can read, where nothing is masked."""
        return mask.keeps(dataset)


def _milliseconds(seconds: bytes, micros: bytes) -> int:
    return int(seconds) * 1000 + int(micros) // 1000
