"""One database, for reading: at one cluster time where the server keeps one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import OperationFailure

from sandbox.contract import Access, Batches, Cut, Mask, Tool
from sandbox.model import Dataset, Kind, Marker
from sandbox.stores.mongo import design
from sandbox.stores.mongo.reading import Open, Options, ranges
from sandbox.stores.mongo.roles import SHAPE, WRITE
from sandbox.stores.mongo.session import (
    CODEC,
    Client,
    Document,
    connect,
    database,
    doing,
    is_own_name,
    read_marker,
    space_of,
)
from sandbox.stores.streams import side_by_side

BATCH_BYTES = 2 << 20  # what one answer of a cursor should come to
DECODED_BYTES = 1 << 19  # the same where documents are decoded: they are ten times as large
NOTHING = b""  # a batch without documents: changing it loads what changes the others
BATCH_ROWS = 10_000
PIECE = 1 << 20
CHANGES = frozenset(
    (
        *WRITE, *SHAPE, "anyAction", "bypassDocumentValidation",
        "convertToCapped", "createRole", "createUser", "dropDatabase", "dropRole", "dropUser",
        "enableSharding", "grantRole", "internal", "renameCollection", "restore", "revokeRole",
        "shutdown",
    )
)  # fmt: skip
NO_SNAPSHOT = (20, 72, 115, 246, 263)  # this server or this collection cannot be read at a time


class Source:
    """The named collections of one database, each a dataset in BSON as mongorestore reads it."""

    kind: Kind = "mongo"

    def __init__(self, access: Access, *, tool: Tool | None = None) -> None:
        self._access = access
        self._space = space_of(access)
        self._kept: Client | None = None
        self._uuids: Mapping[str, Any] = {}  # of the collections that were listed last

    @property
    def _client(self) -> Client:
        if self._kept is None:
            self._kept = connect(self._access)
        return self._kept

    @property
    def _base(self) -> Database[Document]:
        return database(self._client, self._space.database)

    def ready(self) -> str:
        with doing("asking the version"):
            facts = self._client.admin.command("buildInfo")
            self._base.list_collection_names()
        if "secantusVersion" in facts:
            return f"SecantusDB {facts['secantusVersion']} (as MongoDB {facts['version']})"
        return f"MongoDB {facts['version']}"

    def marker(self) -> Marker | None:
        return read_marker(self._base)

    def can_write(self) -> str:
        """By the privileges that the server says this login holds."""
        with doing("asking for this login's rights"):
            told = self._client.admin.command("connectionStatus", showPrivileges=True)["authInfo"]
        if not told.get("authenticatedUsers"):
            return "the server asks for no login"
        for one in told["authenticatedUserPrivileges"]:
            where = one["resource"]
            here = where.get("db") in ("", self._space.database) or where.get("anyResource")
            held = sorted(set(one["actions"]) & CHANGES)
            if held and (here or where.get("cluster")):
                return f"it may {held[0]}"
        return ""

    @contextlib.contextmanager
    def cut(self) -> Iterator[Cut]:
        """One cluster time on a replica set; a standalone server has none, and the facts say so."""
        with doing("asking for a cluster time"):
            hello = self._client.admin.command("hello")
            at = self._snapshot_time() if "setName" in hello or "msg" in hello else None
        facts: dict[str, Any] = {"consistent": at is not None, "server": self.ready()}
        if at is None:
            facts["why"] = "not a replica set: each collection is of its own moment"
        else:
            facts["cluster_time"] = [at.time, at.inc]
        yield Cut(facts=facts, token=at)

    def datasets(self, cut: Cut) -> Sequence[Dataset]:
        now = cut.token.time * 1000 if cut.token else int(time.time() * 1000)
        with doing("listing collections"):
            found = design.look(self._base, self._space)
            self._uuids = found.uuids
            return [
                design.describe(self._base, name, options, self._space, now)
                for name, options in sorted(found.collections.items())
            ]

    def altered(self, cut: Cut, datasets: Sequence[Dataset]) -> Sequence[str]:
        """Collections dropped, made anew, or with other options or indexes: a cursor over one that
        was dropped before it began would have seen an empty one."""
        uuids = self._uuids
        now = {dataset.name: dataset for dataset in self.datasets(cut)}
        before = {dataset.name: dataset for dataset in datasets}
        words = dict.fromkeys(before.keys() - now.keys(), "is gone")
        words |= dict.fromkeys(now.keys() - before.keys(), "is new")
        for name in before.keys() & now.keys():
            if _shape(now[name]) != _shape(before[name]) or uuids[name] != self._uuids[name]:
                words[name] = "is made otherwise"
        return [f"collection {name} {what}" for name, what in sorted(words.items())]

    def catalog(self, cut: Cut) -> bytes:
        """The views that the space names."""
        with doing("listing views"):
            return design.views_to_text(design.look(self._base, self._space).views)

    def read(self, cut: Cut, dataset: Dataset, mask: Mask) -> Iterator[tuple[int, bytes]]:
        """BSON documents one after the other, raw where nothing is masked."""
        change = changer(dataset, mask)
        with doing(f"reading {dataset.name}"), contextlib.ExitStack() as stack:
            wanted = ranges(self._base[dataset.name], dataset)
            parts: list[bytes] = []
            rows = size = 0
            cursor = self._open(stack, cut, dataset, change.answer)
            cursors = [cursor(one) for one in wanted]
            for batch in side_by_side(cursors, meanwhile=lambda: change.batch(NOTHING)):
                got, data = change.batch(batch)
                parts.append(data)
                rows += got
                size += len(data)
                if size >= PIECE:
                    yield rows, b"".join(parts)
                    parts, rows, size = [], 0, 0
            if parts:
                yield rows, b"".join(parts)

    def originals(self, cut: Cut, dataset: Dataset, fields: Sequence[str]) -> Iterator[str]:
        yield from ()

    def count(self) -> Mapping[str, int]:
        with doing("counting"):
            return {
                found["name"]: self._base[found["name"]].estimated_document_count()
                for found in self._base.list_collections()
                if found["type"] == "collection" and not is_own_name(found["name"])
            }

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    # --- one time ----------------------------------------------------------------------------

    def _snapshot_time(self) -> Any:
        """The cluster time of a snapshot session, None where the server cannot."""
        with self._client.start_session(snapshot=True) as session:
            names = self._base.list_collection_names()
            name = next((n for n in names if not is_own_name(n)), "sandbox_none")
            try:
                self._base[name].find_one({}, {"_id": 1}, session=session)
            except OperationFailure as error:
                if error.code in NO_SNAPSHOT:
                    return None
                raise
            return session._snapshot_time

    def _open(self, stack: contextlib.ExitStack, cut: Cut, dataset: Dataset, answer: int) -> Open:
        """Opens cursors whose batches come to about `answer` bytes, all at the cut's time."""
        average = dataset.bytes // max(dataset.rows, 1) or 1024
        size = max(1, min(BATCH_ROWS, answer // average))
        collection = self._base[dataset.name]

        def cursor(options: Options) -> Iterator[bytes]:
            session = self._session(stack, cut)
            found: Iterator[Any]
            found = iter(collection.find_raw_batches(batch_size=size, session=session, **options))
            try:
                first = next(found, None)
            except OperationFailure as error:  # a capped collection has no history
                if session is None or error.code not in NO_SNAPSHOT:
                    raise
                _note(cut, dataset.name)
                found = iter(collection.find_raw_batches(batch_size=size, **options))
                first = next(found, None)
            if first is not None:
                yield bytes(first)
                yield from (bytes(batch) for batch in found)

        return cursor

    def _session(self, stack: contextlib.ExitStack, cut: Cut) -> ClientSession | None:
        """A session at the cut's time: pymongo has no public way to share one among threads."""
        if cut.token is None:
            return None
        session = stack.enter_context(self._client.start_session(snapshot=True))
        session._snapshot_time = cut.token
        return session


def _shape(dataset: Dataset) -> dict[str, Any]:
    return {key: value for key, value in dataset.options.items() if key != "cut_ms"}


def _note(cut: Cut, name: str) -> None:
    assert isinstance(cut.facts, dict)
    cut.facts["without_cluster_time"] = [*cut.facts.get("without_cluster_time", ()), name]


def count(batch: bytes) -> int:
    """Documents in a batch; each begins with its own length."""
    at = rows = 0
    size = len(batch)
    while at < size:
        at += int.from_bytes(batch[at : at + 4], "little")
        rows += 1
    return rows


class Change(NamedTuple):
    """What is done to each answer of a cursor, and how many bytes one should have."""

    batch: Batches
    answer: int


def changer(dataset: Dataset, mask: Mask) -> Change:
    """Nothing where all is kept; else documents are masked as they are stored, or decoded."""
    if mask.keeps(dataset):
        return Change(lambda batch: (count(batch), batch), BATCH_BYTES)
    encoded = mask.encoded(dataset, CODEC)
    if encoded is not None:
        return Change(encoded, BATCH_BYTES)

    def decoded(batch: bytes) -> tuple[int, bytes]:
        kept = mask.documents(dataset.name, CODEC.decode(batch))
        return len(kept), b"".join(map(CODEC.encode, kept))

    return Change(decoded, DECODED_BYTES)
