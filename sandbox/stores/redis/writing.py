"""The artifact's stream -> commands under a staged prefix, a few hundred in flight at any time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sandbox.errors import SandboxError
from sandbox.stores.redis import stream
from sandbox.stores.redis.session import Args, Wire, check, pack

BATCH = 500  # commands sent before the answers to the batch before them are read
BATCH_BYTES = 1 << 20
ARGUMENTS = 1000  # values in one command
# Commands as they are sent: packing a list of arguments costs as much as the rest.
RESTORE = (
    b"*6\r\n$7\r\nRESTORE\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n"
    b"$7\r\nREPLACE\r\n$6\r\nABSTTL\r\n"
)
ZADD = b"*%d\r\n$4\r\nZADD\r\n$%d\r\n%b\r\n"
SCORED = b"$1\r\n0\r\n$%d\r\n%b\r\n"
NO_ENTRY = "the entry of a pending delivery is deleted"


@dataclass(frozen=True, kw_only=True)
class Written:
    keys: int
    lost: int  # pending deliveries whose entries production had deleted


class Writer:
    """Writes keys under `target` and their names, as the playground will see them, into `index`."""

    def __init__(self, wire: Wire, *, target: bytes, prefix: bytes, index: bytes) -> None:
        self._wire, self._target, self._prefix, self._index = wire, target, prefix, index
        self._packed: list[bytes] = []
        self._kinds: list[bytes] = []
        self._flying: list[bytes] = []
        self._size = 0
        self._names: list[bytes] = []
        self._lost = 0

    def write(self, pieces: Iterable[bytes]) -> Written:
        keys = 0
        key = _Key(self._target)
        for tag, payload in stream.records(pieces):
            if tag == stream.KEY:
                key.start(stream.begun(payload))
                self._names.append(self._prefix + key.begun.key)
            elif tag == stream.DUMP:
                self._put(b"RESTORE", key.restored(payload))
            else:
                for args in key.commands(tag, payload):
                    self._put(args[0], pack(args))
            if tag == stream.END:
                keys += 1
        self._flush()
        self._flush()
        return Written(keys=keys, lost=self._lost)

    def _put(self, kind: bytes, data: bytes) -> None:
        self._packed.append(data)
        self._kinds.append(kind)
        self._size += len(data)
        if len(self._packed) >= BATCH or self._size >= BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        """Send what is gathered, then read the answers to what was sent before."""
        if self._names:
            head = ZADD % (2 + 2 * len(self._names), len(self._index), self._index)
            self._packed.append(head + b"".join([SCORED % (len(n), n) for n in self._names]))
            self._kinds.append(b"ZADD")
            self._names = []
        if self._packed:
            self._wire.send(b"".join(self._packed))
        flying, self._flying = self._flying, self._kinds
        self._packed, self._kinds, self._size = [], [], 0
        for kind, answer in zip(flying, self._wire.take(len(flying)), strict=True):
            self._check(kind, answer)

    def _check(self, kind: bytes, answer: object) -> None:
        if kind == b"XCLAIM" and not answer:
            self._lost += 1
        if kind == b"RESTORE" and isinstance(answer, Exception) and "version" in str(answer):
            raise SandboxError(
                "the snapshot holds values in the form of a newer Redis than this server",
                where="redis",
                hint="load it into the version it was taken from, or a newer one",
            )
        check(answer, kind.decode())


class _Key:
    """Turns one key's records into commands."""

    def __init__(self, target: bytes) -> None:
        self._target = target
        self.begun = stream.Begin(key=b"", type="", expires_at=None)
        self._name = b""
        self._started = False
        self._last: list[bytes] = []
        self._groups: list[tuple[int, list[bytes]]] = []

    def start(self, begun: stream.Begin) -> None:
        self.begun, self._started = begun, False
        self._name = self._target + begun.key

    def restored(self, payload: bytes) -> bytes:
        """The command, packed."""
        name, expiry = self._name, b"%d" % (self.begun.expires_at or 0)
        return RESTORE % (len(name), name, len(expiry), expiry, len(payload), payload)

    def commands(self, tag: int, payload: bytes) -> Iterator[Args]:
        name = self._name
        if tag == stream.VALUES:
            yield from self._values(stream.listed(payload))
        elif tag == stream.FIELD_TTLS:
            flat = stream.listed(payload)
            for field, ms in zip(flat[::2], flat[1::2], strict=True):
                yield b"HPEXPIREAT", name, ms, b"FIELDS", b"1", field
        elif tag == stream.STREAM:
            self._last = stream.listed(payload)
        elif tag in (stream.GROUP, stream.CONSUMER, stream.PENDING):
            self._groups.append((tag, stream.listed(payload)))
        elif tag == stream.END:
            yield from self._end()

    def _values(self, flat: list[bytes]) -> Iterator[Args]:
        kind, name = self.begun.type, self._name
        if not self._started:
            self._started = True
            self._last, self._groups = [], []
            if kind != "string":
                yield b"DEL", name  # SCAN may have shown the key twice
        if kind == "string":
            yield b"SET", name, flat[0]
        elif kind == "list":
            yield from _split(b"RPUSH", name, flat)
        elif kind == "set":
            yield from _split(b"SADD", name, flat)
        elif kind == "zset":
            yield from _split(b"ZADD", name, [x for p in _pairs(flat) for x in reversed(p)])
        elif kind == "hash":
            yield from _split(b"HSET", name, flat)
        else:
            yield from _entries(name, flat)

    def _end(self) -> Iterator[Args]:
        name = self._name
        if self.begun.type == "dump":
            return
        if self.begun.type == "stream" and self._last:
            yield from _positions(name, self._last)
            for tag, flat in self._groups:
                yield from _group(name, tag, flat)
        if self.begun.expires_at is not None:
            yield b"PEXPIREAT", name, b"%d" % self.begun.expires_at


def _split(command: bytes, name: bytes, flat: list[bytes]) -> Iterator[Args]:
    """An even number of arguments each: pairs stay together."""
    for at in range(0, len(flat), ARGUMENTS):
        yield (command, name, *flat[at : at + ARGUMENTS])


def _pairs(flat: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _entries(name: bytes, flat: list[bytes]) -> Iterator[Args]:
    at = 0
    while at < len(flat):
        stop = at + 2 + 2 * int(flat[at + 1])
        yield (b"XADD", name, flat[at], *flat[at + 2 : stop])
        at = stop


def _positions(name: bytes, last: list[bytes]) -> Iterator[Args]:
    """What was added and deleted before: the next id, the lag of a group. XSETID needs a stream."""
    last_id, added, deleted = last
    temporary = b"sandbox"
    yield b"XGROUP", b"CREATE", name, temporary, b"0", b"MKSTREAM"
    yield b"XGROUP", b"DESTROY", name, temporary
    if last_id != b"0-0":
        yield b"XSETID", name, last_id, b"ENTRIESADDED", added, b"MAXDELETEDID", deleted


def _group(name: bytes, tag: int, flat: list[bytes]) -> Iterator[Args]:
    if tag == stream.GROUP:
        group, last_id, read = flat
        known = (b"ENTRIESREAD", read) if read else ()
        yield (b"XGROUP", b"CREATE", name, group, last_id, *known)
    elif tag == stream.CONSUMER:
        yield b"XGROUP", b"CREATECONSUMER", name, *flat
    else:
        group, *rest = flat
        for at in range(0, len(rest), 4):
            entry, who, ms, times = rest[at : at + 4]
            yield (
                b"XCLAIM", name, group, who, b"0", entry,
                b"TIME", ms, b"RETRYCOUNT", times, b"FORCE", b"JUSTID",
            )  # fmt: skip
