"""One suite for every store and layout: through an artifact into the playground and back, the same
content and the same catalog; and twins that lose or change something, which it must reject."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandbox import artifact as artifacts
from sandbox import transfer
from sandbox.artifact import Artifact
from sandbox.contract import Cut, Source
from sandbox.errors import Refused
from sandbox.masking.keep import KEEP, Keep
from sandbox.model import KINDS, Dataset, Entry, FileEntry, Kind, Marker, Point
from sandbox.report import silent
from tests.contract.copy_worlds import Copied, copied, copied_on, dedicated
from tests.contract.decoded import Decoded


@pytest.fixture(scope="module", params=KINDS)
def world(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copied]:
    with copied(request.param, request, tmp_path_factory.mktemp("copied")) as made:
        yield made


def take(world: Copied, source: Source, root: Path, mask: Any = KEEP) -> Artifact:
    """What `snapshot` does."""
    writer = artifacts.create(root, facts={})
    try:
        cuts = transfer.take(
            {world.kind: source},
            mask,
            writer,
            check=lambda held: None,
            after=lambda held: None,
            report=silent,
        )
        made = writer.commit({"cuts": cuts})
    except BaseException:
        writer.leave()
        raise
    made.verify()
    return made


def marker(world: Copied, artifact: Artifact) -> Callable[[Kind], Marker]:
    counts = {dataset.name: dataset.rows for dataset in artifact.datasets(world.kind)}
    made = Marker(
        project=world.project, environment="playground", snapshot=artifact.id, counts=counts
    )
    return lambda kind: made


def put(world: Copied, artifact: Artifact) -> None:
    """What `load` does."""
    store = world.store(None)
    stores = {world.kind: store}
    try:
        transfer.load(artifact, stores, marker(world, artifact), report=silent)
        transfer.swap(stores, begin=lambda kinds: None, end=lambda: None)
    finally:
        store.close()


def check_copy(
    world: Copied,
    root: Path,
    *,
    mask: Any = KEEP,
    twin: Callable[[Source], Source] = lambda source: source,
    harm: Callable[[], None] = lambda: None,
) -> None:
    """Raises AssertionError unless the playground is production's equal, out and back."""
    before = world.content("production"), world.shape("production")
    source = world.source(None)
    made = take(world, twin(source), root, mask)
    source.close()
    put(world, made)
    harm()
    equal(world.content("playground"), before[0], "the playground's content")
    equal(world.shape("playground"), before[1], "the playground's shape")
    equal((world.content("production"), world.shape("production")), before, "production")
    there = world.store(None)
    back = take(world, there, root, mask)
    there.close()
    rows = [{d.name: d.rows for d in one.datasets(world.kind)} for one in (made, back)]
    assert rows[0] == rows[1]
    world.spoil("playground")
    assert world.content("playground") != before[0]
    put(world, back)
    equal((world.content("playground"), world.shape("playground")), before, "what came back")
    assert world.left() == []


def equal(found: object, wanted: object, what: str) -> None:
    """Compared first and told in a word: pytest would show what differs in minutes of difflib."""
    same = found == wanted
    assert same, f"{what} is another than before"


@pytest.mark.parametrize("mask", [KEEP, Decoded()], ids=["kept", "decoded"])
def test_a_copy_is_the_same_out_and_back(world: Copied, tmp_path: Path, mask: Any) -> None:
    check_copy(world, tmp_path, mask=mask)


# --- the other layouts ---------------------------------------------------------------------------


def test_a_copy_on_a_server_of_its_own(world: Copied, run: Any, tmp_path: Path) -> None:
    """Layout `dedicated`: other numbers of types, other defaults, nothing of production's near.
    Directories are the same in every layout."""
    if world.kind == "files":
        return
    with copied_on(run.start(world.kind), world.kind, tmp_path) as there:
        check_copy(dedicated(world, there), tmp_path)


def test_what_is_shared_is_never_written(world: Copied, tmp_path: Path) -> None:
    """Layout `partial`: three stores are production's own. Keys and directories are apart there as
    they are in `namespaced`."""
    if world.shared is None:
        assert world.kind in ("redis", "files")
        return
    source = world.source(None)
    made = take(world, source, tmp_path)
    source.close()
    before = world.content("production"), world.shape("production")
    with contextlib.ExitStack() as stack:
        try:
            store = stack.enter_context(contextlib.closing(world.shared()))
        except Refused:  # Qdrant's is not even opened
            return
        with pytest.raises(Refused):
            store.stage(made.datasets(world.kind), made.catalog(world.kind))
        with pytest.raises(Refused):
            store.rewind()
        for call in (store.swap, store.undo, store.settle):
            with contextlib.suppress(Refused):  # PostgreSQL finds nothing to do
                call()
    equal((world.content("production"), world.shape("production")), before, "production")


# --- twins that must be seen ---------------------------------------------------------------------


class Forgetful(Decoded):
    """One record of each dataset never arrives."""

    def __init__(self) -> None:
        self._dropped = False

    def _one(self, value: Any) -> Any:
        dropped, self._dropped = self._dropped, True
        return value if dropped else None

    def document(self, collection: str, document: dict[str, Any]) -> dict[str, Any] | None:
        return self._one(document) if collection == "many" else document  # type: ignore[no-any-return]

    def point(self, collection: str, point: Point) -> Point | None:
        return self._one(point)  # type: ignore[no-any-return]

    def entry(self, entry: Entry) -> Entry | None:
        return None if entry.key == b"text" else entry

    def file(self, directory: str, file: FileEntry) -> FileEntry | None:
        return self._one(file) if file.type == "file" else file  # type: ignore[no-any-return]

    def where(self, table: Dataset) -> str:
        return "id <> 8" if table.name == "items" else ""


class Careless(Decoded):
    """One value is another afterwards."""

    def document(self, collection: str, document: dict[str, Any]) -> dict[str, Any] | None:
        if document["_id"] == 8:
            return {**document, "x": "z"}
        return document

    def point(self, collection: str, point: Point) -> Point | None:
        if point.id == 1008:
            point.payload["n"] = -1
        return point

    def entry(self, entry: Entry) -> Entry | None:
        return replace(entry, expires_at=None) if entry.type == "hash" else entry

    def file(self, directory: str, file: FileEntry) -> FileEntry | None:
        file.mtime += 1
        return file

    def columns(self, table: Dataset) -> Mapping[str, str]:
        return {"price": "price + 1"} if table.name == "items" else {}


class Shapeless:
    """A source that forgets what a collection is made like."""

    def __init__(self, real: Source) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def datasets(self, cut: Cut) -> Sequence[Dataset]:
        empty: dict[str, Any] = {"indexes": [], "payload_schema": {}}
        return [
            replace(one, options={k: empty.get(k, v) for k, v in one.options.items()})
            for one in self._real.datasets(cut)
        ]

    def altered(self, cut: Cut, datasets: Sequence[Dataset]) -> Sequence[str]:
        return ()

    def catalog(self, cut: Cut) -> bytes:
        return re.sub(rb"CREATE INDEX items_data [^;]*;", b"", self._real.catalog(cut))


@pytest.mark.parametrize("twin", [Forgetful, Careless])
def test_a_lossy_twin_is_rejected(world: Copied, tmp_path: Path, twin: type[Keep]) -> None:
    with pytest.raises(AssertionError):
        check_copy(world, tmp_path, mask=twin())


def test_a_twin_that_forgets_indexes_is_rejected(world: Copied, tmp_path: Path) -> None:
    if world.shape("production") is None:
        return  # keys and files have none
    with pytest.raises(AssertionError):
        check_copy(world, tmp_path, twin=Shapeless)  # type: ignore[arg-type]


def test_a_twin_that_touches_production_is_rejected(world: Copied, tmp_path: Path) -> None:
    """Last of all: production is another afterwards."""
    with pytest.raises(AssertionError):
        check_copy(world, tmp_path, harm=lambda: world.spoil("production"))
