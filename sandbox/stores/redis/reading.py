"""Keys of one prefix -> the artifact's stream, a batch of keys per round trip, large values window
by window: memory does not grow with a key's size, but for a string, which a mask must see whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from sandbox.contract import Mask
from sandbox.model import Entry
from sandbox.stores.redis import stream
from sandbox.stores.redis.encoding import fields, paired, renamed_ttls, values
from sandbox.stores.redis.session import OWN, Args, Wire, check, glob

PIECE = 1 << 20  # bytes: what `read` hands on at once
BATCH_KEYS = 500
BATCH_BYTES = 4 << 20  # what the answers to one batch should come to
WINDOW = 1000  # elements of a collection
W = b"%d" % WINDOW
HEAD = 1 << 16  # bytes of a string that are asked for at first
REMEMBERED = 64 << 20  # bytes of names: SCAN's duplicates are known for as long as these fit
# Commands of the raw way as they are sent: packing a list of arguments costs as much as the rest.
USAGE = b"*5\r\n$6\r\nMEMORY\r\n$5\r\nUSAGE\r\n$%d\r\n%b\r\n$7\r\nSAMPLES\r\n$1\r\n1\r\n"
EXPIRY_AND_DUMP = b"*2\r\n$11\r\nPEXPIRETIME\r\n$%d\r\n%b\r\n*2\r\n$4\r\nDUMP\r\n$%d\r\n%b\r\n"
RAW_AT_MOST = 8 << 20  # bytes of memory of a key that is dumped as a whole
WITH_FIELD_TTLS = (b"hashtable", b"listpackex")  # encodings of a hash whose fields may expire

FIRST: Mapping[str, Sequence[Sequence[bytes]]] = {
    "string": [(b"GETRANGE", b"", b"0", b"%d" % (HEAD - 1))],
    "list": [(b"LRANGE", b"", b"0", b"%d" % (WINDOW - 1))],
    "set": [(b"SSCAN", b"", b"0", b"COUNT", W)],
    "zset": [(b"ZSCAN", b"", b"0", b"COUNT", W)],
    "hash": [(b"HSCAN", b"", b"0", b"COUNT", W), (b"OBJECT", b"ENCODING", b"")],
    "stream": [
        (b"XRANGE", b"", b"-", b"+", b"COUNT", W),
        (b"XINFO", b"STREAM", b""),
        (b"XINFO", b"GROUPS", b""),
    ],
}


@dataclass(frozen=True, kw_only=True)
class Found:
    """A key as it was met, its name with the prefix."""

    key: bytes
    type: str
    expires_at: int | None


@dataclass(frozen=True, kw_only=True)
class Part:
    """One window of a key's value; `extra` are records that a mask never sees."""

    entry: Entry
    extra: bytes = b""

    @property
    def elements(self) -> int:
        return 1 if self.entry.type == "string" else len(self.entry.value)


class Frames:
    """Where each key begins and ends in the stream, as its windows come by. A key with a window
    that does not come along is `dropped`: it ends there."""

    def __init__(self) -> None:
        self._found: Found | None = None
        self._begun = self.dropped = False

    def begin(self, found: Found, masked: Entry | None) -> tuple[int, bytes]:
        """What stands before this window, and how many keys are complete with that."""
        rows, data = 0, b""
        if found is not self._found:
            rows, data = self.end()
            self._found, self.dropped = found, False
        self.dropped |= masked is None
        if masked is not None and not self.dropped and not self._begun:
            data += stream.begin(masked.key, masked.type, masked.expires_at)
            self._begun = True
        return rows, data

    def end(self) -> tuple[int, bytes]:
        begun, self._begun = self._begun, False
        return (1, stream.end()) if begun else (0, b"")


class Reader:
    """One pass over a prefix. `raw`: hand on DUMP's payloads where a mask keeps everything."""

    def __init__(self, wire: Wire, prefix: bytes, mask: Mask | None, *, raw: bool = False) -> None:
        self._wire, self._prefix, self._mask, self._raw = wire, prefix, mask, raw
        self._size = 100  # keys in the next batch

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        yield 0, stream.HEADER
        batch = self._raw_batch if self._raw else self._batch
        parts: list[bytes] = []
        rows = size = 0
        for keys in self._batches():
            got = 0
            for rows_more, data in batch(keys):
                parts.append(data)
                rows += rows_more
                size += len(data)
                got += len(data)
                if size >= PIECE:
                    yield rows, b"".join(parts)
                    parts, rows, size = [], 0, 0
            fits = len(keys) * BATCH_BYTES // max(got, 1)
            self._size = max(1, min(BATCH_KEYS, fits, 2 * len(keys)))
        if parts:
            yield rows, b"".join(parts)

    def entries(self) -> Iterator[Entry]:
        """Every window of every key, as the server has it: nothing is masked."""
        for keys in self._batches():
            for found, answers in self._first(keys):
                for part in self._parts(found, answers):
                    yield part.entry

    # --- names -----------------------------------------------------------------------------------

    def _batches(self) -> Iterator[list[bytes]]:
        batch: list[bytes] = []
        for name in unique(scan(self._wire, self._prefix)):
            batch.append(name)
            if len(batch) >= self._size:
                yield batch
                batch = []
        if batch:
            yield batch

    # --- raw -------------------------------------------------------------------------------------

    def _raw_batch(self, keys: list[bytes]) -> Iterator[tuple[int, bytes]]:
        """DUMP says nothing of the expiry; a key too big for one answer goes typed."""
        self._wire.send(b"".join([USAGE % (len(key), key) for key in keys]))
        sizes = self._wire.take(len(keys))
        small = [
            k for k, s in zip(keys, sizes, strict=True) if isinstance(s, int) and s < RAW_AT_MOST
        ]
        large = [
            k for k, s in zip(keys, sizes, strict=True) if isinstance(s, int) and s >= RAW_AT_MOST
        ]
        asked = [EXPIRY_AND_DUMP % (len(key), key, len(key), key) for key in small]
        self._wire.send(b"".join(asked))
        answers = self._wire.take(2 * len(small))
        cut = len(self._prefix)
        for key, expiry, payload in zip(small, answers[::2], answers[1::2], strict=True):
            if payload is None:
                continue  # it expired on the way
            if not isinstance(payload, bytes):
                check(payload, "DUMP")
            head = stream.begin(key[cut:], "dump", expiry if expiry >= 0 else None)
            yield 1, b"".join((head, stream.raw(stream.DUMP, payload), stream.end()))
        for key in large:
            yield from self._batch([key])

    # --- typed -----------------------------------------------------------------------------------

    def _batch(self, keys: list[bytes]) -> Iterator[tuple[int, bytes]]:
        """The mask sees windows of many keys at once."""
        frames, held, elements = Frames(), list[tuple[Found, Part]](), 0
        for found, answers in self._first(keys):
            for part in self._parts(found, answers):
                held.append((found, part))
                elements += part.elements
                if elements >= WINDOW:
                    yield self._masked(frames, held)
                    held, elements = [], 0
                    if frames.dropped:
                        break
        yield self._masked(frames, held)
        yield frames.end()

    def _masked(self, frames: Frames, held: list[tuple[Found, Part]]) -> tuple[int, bytes]:
        assert self._mask is not None
        rows, data = 0, []
        made = self._mask.entries([part.entry for _, part in held])
        for (found, part), masked in zip(held, made, strict=True):
            got, head = frames.begin(found, masked)
            rows += got
            data.append(head)
            if masked is not None and not frames.dropped:
                data += [values(masked), self._rest(found, part, masked)]
        return rows, b"".join(data)

    def _first(self, keys: list[bytes]) -> Iterator[tuple[Found, list[Any]]]:
        """The first window of each key that is there, all in two round trips."""
        asked = [args for key in keys for args in ((b"TYPE", key), (b"PEXPIRETIME", key))]
        facts = self._wire.many(asked)
        present = []
        for key, kind, expiry in zip(keys, facts[::2], facts[1::2], strict=True):
            check(kind, "TYPE")
            known = stream.CODES_BY_BYTES.get(kind)
            if known is not None:
                expires_at = expiry if expiry >= 0 else None
                present.append(Found(key=key, type=known, expires_at=expires_at))
            elif kind != b"none":
                raise stream.unknown_type(key[len(self._prefix) :], kind)
        answers = iter(self._wire.many([args for found in present for args in first(found)]))
        for found in present:
            yield found, [next(answers) for _ in FIRST[found.type]]

    def _parts(self, found: Found, answers: list[Any]) -> Iterator[Part]:
        """Windows; none for a key that expired or became something else on the way."""
        if isinstance(answers[0], ResponseError) and "WRONGTYPE" not in str(answers[0]):
            check(answers[0], f"reading a {found.type}")
        if any(isinstance(answer, Exception) for answer in answers) or None in answers:
            return
        if found.type == "string":
            yield from self._string(found, answers[0])
        elif found.type == "list":
            yield from self._list(found, answers[0])
        elif found.type == "stream":
            yield from self._stream(found, answers)
        else:
            yield from self._scanned(found, answers)

    def _entry(self, found: Found, value: Any, groups: tuple[Mapping[str, Any], ...] = ()) -> Entry:
        return Entry(
            key=found.key[len(self._prefix) :],
            type=found.type,
            value=value,
            expires_at=found.expires_at,
            groups=groups,
        )

    def _string(self, found: Found, head: bytes) -> Iterator[Part]:
        value: bytes | None = head
        if len(head) == HEAD or not head:  # no answer tells "empty" from "gone" but GET's
            value = self._wire.many([(b"GET", found.key)])[0]
        if isinstance(value, bytes):
            yield Part(entry=self._entry(found, value))

    def _list(self, found: Found, window: list[bytes]) -> Iterator[Part]:
        at = 0
        while window:
            yield Part(entry=self._entry(found, window))
            at += len(window)
            if len(window) < WINDOW:
                return
            stop = b"%d" % (at + WINDOW - 1)
            window = self._more(b"LRANGE", found.key, b"%d" % at, stop)

    def _scanned(self, found: Found, answers: list[Any]) -> Iterator[Part]:
        """Sets, sorted sets, hashes. A cursor may give an element twice, which is harmless."""
        cursor, flat = answers[0]
        may_expire = found.type == "hash" and answers[1] in WITH_FIELD_TTLS
        while True:
            if flat:
                value = flat if found.type == "set" else paired(found.type, flat)
                extra = self._field_ttls(found.key, flat[::2]) if may_expire else b""
                yield Part(entry=self._entry(found, value), extra=extra)
            if cursor == b"0":
                return
            command = FIRST[found.type][0][0]
            answer = self._more(command, found.key, cursor, b"COUNT", W)
            if not answer:
                return
            cursor, flat = answer

    def _stream(self, found: Found, answers: list[Any]) -> Iterator[Part]:
        window, facts, groups = answers
        named = tuple(self._group(found.key, fields(group)) for group in groups)
        about = fields(facts)
        extra = stream.items(
            stream.STREAM,
            (
                about[b"last-generated-id"],
                b"%d" % about.get(b"entries-added", 0),
                about.get(b"max-deleted-entry-id", b"0-0"),
            ),
        )
        while True:
            value = [(i, list(zip(flat[::2], flat[1::2], strict=True))) for i, flat in window]
            yield Part(entry=self._entry(found, value, named), extra=extra)
            if len(window) < WINDOW:
                return
            extra, named = b"", ()
            window = self._more(b"XRANGE", found.key, b"(" + window[-1][0], b"+", b"COUNT", W)
            if not window:
                return

    def _more(self, *args: bytes) -> Any:
        """A further window; nothing when the key is gone or something else by now."""
        answer = self._wire.many([args])[0]
        return [] if isinstance(answer, ResponseError) else answer

    # --- what goes beside the values -------------------------------------------------------------

    def _rest(self, found: Found, part: Part, masked: Entry) -> bytes:
        if found.type == "hash" and part.extra:
            return renamed_ttls(part.extra, part.entry.value, masked.value)
        if found.type == "stream" and part.extra:
            was = part.entry.groups
            pending = [
                self._group_records(found.key, g, m)
                for g, m in zip(was, masked.groups, strict=True)
            ]
            return part.extra + b"".join(pending)
        return part.extra

    def _field_ttls(self, key: bytes, names: list[bytes]) -> bytes:
        count = b"%d" % len(names)
        answer = self._wire.many([(b"HPEXPIRETIME", key, b"FIELDS", count, *names)])[0]
        if not isinstance(answer, list):
            return b""  # gone, or a server older than 7.4
        expiring = [
            item
            for name, ms in zip(names, answer, strict=True)
            if ms >= 0
            for item in (name, b"%d" % ms)
        ]
        return stream.items(stream.FIELD_TTLS, expiring) if expiring else b""

    def _group(self, key: bytes, facts: Mapping[bytes, Any]) -> Mapping[str, Any]:
        consumers = self._more(b"XINFO", b"CONSUMERS", key, facts[b"name"])
        return {
            "name": facts[b"name"],
            "last_id": facts[b"last-delivered-id"],
            "entries_read": facts.get(b"entries-read"),
            "consumers": tuple(fields(consumer)[b"name"] for consumer in consumers),
        }

    def _group_records(
        self, key: bytes, group: Mapping[str, Any], masked: Mapping[str, Any]
    ) -> bytes:
        """The group, its consumers, and what each of them has read and not acknowledged."""
        read = masked["entries_read"]
        name: bytes = masked["name"]
        records = [
            stream.items(
                stream.GROUP, (name, masked["last_id"], b"" if read is None else b"%d" % read)
            )
        ]
        records += [stream.items(stream.CONSUMER, (name, c)) for c in masked["consumers"]]
        names = dict(zip(group["consumers"], masked["consumers"], strict=True))
        for window in self._pending(key, group["name"]):
            flat = [x for i, who, ms, n in window for x in (i, names.get(who, who), ms, n)]
            records.append(stream.items(stream.PENDING, (name, *flat)))
        return b"".join(records)

    def _pending(
        self, key: bytes, group: bytes
    ) -> Iterator[list[tuple[bytes, bytes, bytes, bytes]]]:
        """(id, consumer, when delivered in ms, how often), window by window."""
        start = b"-"
        while True:
            clock, window = self._wire.many([(b"TIME",), (b"XPENDING", key, group, start, b"+", W)])
            if isinstance(window, Exception) or not window:
                return
            now = int(clock[0]) * 1000 + int(clock[1]) // 1000
            yield [(i, who, b"%d" % (now - idle), b"%d" % n) for i, who, idle, n in window]
            if len(window) < WINDOW:
                return
            start = b"(" + window[-1][0]


def scan(wire: Wire, prefix: bytes) -> Iterator[bytes]:
    """Names under a prefix, some of them twice; never this tool's own."""
    for page in wire.scan(glob(prefix)):
        yield from (page if prefix else [name for name in page if not name.startswith(OWN)])


def unique(names: Iterator[bytes]) -> Iterator[bytes]:
    """Without SCAN's duplicates, for as long as the names fit in memory; what is written twice
    after that replaces itself."""
    seen: set[bytes] = set()
    room = REMEMBERED
    for name in names:
        if name in seen:
            continue
        if room > 0:
            seen.add(name)
            room -= len(name) + 80
        yield name


def first(found: Found) -> Iterator[Args]:
    for args in FIRST[found.type]:
        yield [arg or found.key for arg in args]
