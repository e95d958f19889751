"""Loads keys beside the playground's own and renames both in one transaction, as keeper."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from redis.exceptions import RedisError

from sandbox.contract import Access, Mask, Tool
from sandbox.errors import Refused, SandboxError
from sandbox.model import Change, Dataset, Entry, Identity, Marker, RedisSpace, Space
from sandbox.stores.redis import rewind
from sandbox.stores.redis.listing import refresh
from sandbox.stores.redis.reading import Reader, scan
from sandbox.stores.redis.session import (
    Wire,
    check,
    check_all,
    check_apart,
    marker_text,
    need_own,
    pack,
)
from sandbox.stores.redis.source import DATASET, Source
from sandbox.stores.redis.writing import NO_ENTRY, Writer

CHUNK = 50_000  # names in one script call: the protocol takes a million at most
UNLINKED = 1000  # keys in one UNLINK
# A key that expired since it was listed is no error. Rights count inside a script as outside.
RENAME = b"""
for i = 3, #ARGV do
  local done = redis.pcall('RENAME', ARGV[1]..ARGV[i], ARGV[2]..ARGV[i])
  if done['err'] and not string.find(done['err'], 'no such key') then return done end
end
return #ARGV - 2
"""


class Store(Source):
    """The playground's prefix. What is staged and what was swapped out lie under prefixes of this
    tool that no application may touch; whether a swap happened is told by which marker is there."""

    def __init__(
        self, access: Access, *, owner: Identity, production: Space, tool: Tool | None = None
    ) -> None:
        super().__init__(access, tool=tool)
        assert isinstance(production, RedisSpace)
        self._production = production
        self._lost = 0

    def stage(self, datasets: Sequence[Dataset], catalog: bytes) -> None:
        self.settle()
        for prefix in (self._names.old, self._names.new):
            self._drop(prefix)  # whatever it is: what stands there would be put in place
        self._lost = 0

    def write(self, dataset: Dataset, pieces: Iterable[bytes]) -> int:
        with Wire(self._access) as wire:
            need_own(wire, self._names)
            done = Writer(
                wire,
                target=self._names.new,
                prefix=self._prefix,
                index=self._names.keys(b"-new"),
            ).write(pieces)
        self._lost += done.lost
        return done.keys

    def finish(self, marker: Marker) -> Sequence[str]:
        self._same(self._own(), marker)
        if marker.baseline:
            rewind.keep(self._wire, self._names, self._names.new, marker.baseline)
        self._wire.ask(b"SET", self._names.marker(b"-new"), marker_text(marker))
        return [f"{self._lost} pending deliveries: {NO_ENTRY}"] if self._lost else []

    def swap(self) -> None:
        """All keys at once, by one transaction that a changed marker stops."""
        names = self._names
        self._watch()
        staged, old = names.marker(b"-new"), names.marker(b"-old")
        if not self._wire.ask(b"EXISTS", staged):
            done = self._wire.ask(b"EXISTS", old)
            self._wire.ask(b"UNWATCH")
            if done:
                return
            raise SandboxError("nothing is staged", where="redis", hint="./inv load")
        part = rewind.part(self._wire, names.keys(b"-new"))
        if part is not None:
            self._together(
                [
                    *_renames(self._prefix, names.old, part),
                    *_renames(names.new, self._prefix, part),
                    (b"COPY", names.marker(), old, b"REPLACE"),
                    (b"RENAME", staged, names.marker()),
                    (b"RENAME", names.keys(b"-new"), names.keys(b"-old")),
                ]
            )
            return
        self._together(
            [
                *self._moves(self._prefix, names.old),
                *self._moves(names.new, self._prefix),
                *self._turn(b"", b"-old"),
                *self._turn(b"-new", b""),
            ]
        )

    def undo(self) -> None:
        names = self._names
        self._watch()
        if not self._wire.ask(b"EXISTS", names.marker(b"-old")):
            self._wire.ask(b"UNWATCH")
            return
        part = rewind.part(self._wire, names.keys(b"-old"))
        if part is not None:
            self._together(
                [
                    *_renames(self._prefix, names.new, part),
                    *_renames(names.old, self._prefix, part),
                    (b"RENAME", names.marker(b"-old"), names.marker()),
                    (b"RENAME", names.keys(b"-old"), names.keys(b"-new")),
                ]
            )
            return
        self._together(
            [
                *self._moves(self._prefix, names.new),
                *self._moves(names.old, self._prefix),
                (b"DEL", names.marker(b"-new")),  # what was in place is no staged load any more
                *self._turn(b"-old", b""),
                (b"ZADD", names.keys(b"-new"), b"0", rewind.NOTHING),  # but a leftover
            ]
        )

    def settle(self) -> None:
        """The markers go first: from then on the leftovers count as nothing. The lists of names go
        last, since they tell that there are leftovers; without them nobody looks for any."""
        self._own()
        names = self._names
        markers = [names.marker(b"-old"), names.marker(b"-new")]
        lists = [names.keys(b"-old"), names.keys(b"-new")]
        if not self._wire.ask(b"EXISTS", *markers, *lists):
            return
        parts = [rewind.part(self._wire, one) for one in lists]
        found = int(self._wire.ask(b"EXISTS", *lists))
        if not found:
            self._wire.ask(b"ZADD", lists[0], b"0", rewind.NOTHING)
        self._wire.ask(b"DEL", *markers)
        if not found or found > sum(part is not None for part in parts):  # of a whole load
            for prefix in (names.old, names.new):
                self._drop(prefix)
        for part in parts:
            rewind.drop(self._wire, names, part or ())
        self._wire.ask(b"UNLINK", *lists)

    def changes(self) -> Sequence[Change]:
        keys = rewind.changed(self._wire, self._names, self._own().baseline)
        return [Change(store="redis", dataset=DATASET, what="rows", rows=len(keys))][: len(keys)]

    def rewind(self) -> Sequence[Change]:
        """A part of a load: the keys that changed, and nothing else, change places."""
        marker = self._own()
        keys = rewind.changed(self._wire, self._names, marker.baseline)
        self.settle()
        rewind.stage(self._wire, self._names, keys)
        self._wire.ask(b"SET", self._names.marker(b"-new"), marker_text(marker))
        return [Change(store="redis", dataset=DATASET, what="rows", rows=len(keys))][: len(keys)]

    def swapped(self) -> bool:
        return bool(self._wire.ask(b"EXISTS", self._names.marker(b"-old")))

    def search(self, needles: Sequence[str]) -> Sequence[str]:
        wanted = [needle.encode() for needle in needles if needle]
        with Wire(self._access) as wire:
            found = {
                place
                for entry in Reader(wire, self._prefix, None).entries()
                for place in places(entry, wanted)
            }
        return sorted(found)

    def names(self) -> list[bytes]:
        """Live names under the playground's prefix, sorted; its application's list of them is
        brought up to date with the same look."""
        return refresh(self._wire, self._names, scan(self._wire, self._prefix))

    # --- the parts ---------------------------------------------------------------------------

    def _raw(self, mask: Mask, dataset: Dataset) -> bool:
        """Never: in a dump's compressed payload no original would be found by the leak search."""
        return False

    def _own(self) -> Marker:
        check_apart(self._space, self._production)
        return need_own(self._wire, self._names)

    def _same(self, present: Marker, coming: Marker) -> None:
        whose = (coming.project, coming.environment, coming.playground)
        if (present.project, present.environment, present.playground) != whose:
            raise Refused(
                f"the prefix is marked as {present.environment} of {present.project}, "
                f"not of {coming.project}; nothing was changed",
                where=f"redis {self._space.prefix}",
            )

    def _watch(self) -> None:
        self._wire.ask(b"WATCH", self._names.marker())
        try:
            self._own()
        except Refused:
            self._wire.ask(b"UNWATCH")
            raise

    def _moves(self, source: bytes, target: bytes) -> Iterator[tuple[bytes, ...]]:
        cut = len(source)
        yield from _renames(source, target, list({name[cut:] for name in scan(self._wire, source)}))

    def _turn(self, source: bytes, target: bytes) -> Iterator[tuple[bytes, ...]]:
        """The marker and the list of names follow their keys."""
        names = self._names
        yield b"RENAME", names.marker(source), names.marker(target)
        if self._wire.ask(b"EXISTS", names.keys(source)):
            yield b"RENAME", names.keys(source), names.keys(target)
        else:
            yield b"DEL", names.keys(target)

    def _together(self, commands: Sequence[tuple[bytes, ...]]) -> None:
        """MULTI ... EXEC in one message; nothing of it happened when the marker has changed."""
        self._wire.send(b"".join(map(pack, [(b"MULTI",), *commands, (b"EXEC",)])))
        *queued, answers = self._wire.take(len(commands) + 2)
        check_all(queued, "swapping")
        check(answers, "swapping")
        if answers is None:
            raise Refused("the marker changed just now; nothing was changed", where="redis")
        for answer in answers:
            if isinstance(answer, RedisError):
                check(answer, "swapping")

    def _drop(self, prefix: bytes) -> None:
        batch: list[bytes] = []
        for name in scan(self._wire, prefix):
            batch.append(name)
            if len(batch) == UNLINKED:
                self._wire.ask(b"UNLINK", *batch)
                batch = []
        if batch:
            self._wire.ask(b"UNLINK", *batch)


def _renames(source: bytes, target: bytes, names: Sequence[bytes]) -> Iterator[tuple[bytes, ...]]:
    for at in range(0, len(names), CHUNK):
        yield (b"EVAL", RENAME, b"0", source, target, *names[at : at + CHUNK])


def places(entry: Entry, wanted: Sequence[bytes]) -> Iterator[str]:
    """`keys.<name>`, with the field or the member's position, where one of `wanted` stands."""
    name = f"{DATASET}.{entry.key.decode(errors='replace')}"
    for where, text in texts(entry):
        if any(needle in text for needle in wanted):
            yield f"{name}.{where}" if where else name


def texts(entry: Entry) -> Iterator[tuple[str, bytes]]:
    yield "", entry.key
    if entry.type == "string":
        yield "", entry.value
    elif entry.type in ("list", "set"):
        yield from (("", value) for value in entry.value)
    elif entry.type == "zset":
        yield from (("", member) for member, _ in entry.value)
    elif entry.type == "hash":
        for field, value in entry.value:
            shown = field.decode(errors="replace")
            yield shown, field
            yield shown, value
    else:
        for _, pairs in entry.value:
            for field, value in pairs:
                yield field.decode(errors="replace"), field + b"\n" + value
