"""Directories change places whole, whatever interrupts, and only marked ones are touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.contract import Access
from sandbox.errors import ConfigError, Refused, SnapshotBroken, Unreachable
from sandbox.masking.keep import KEEP
from sandbox.model import Dataset, Endpoint, FilesSpace, Identity, Marker
from sandbox.stores.files import Admin, Source, Store, marks
from sandbox.stores.files import exchange as exchanging
from sandbox.stores.files.store import beside

PURPOSES = ("output", "backup")
OURS = Marker(project="demo", environment="playground", snapshot="s1")
NOBODY = Identity(role="playground", name="")


class Place:
    """Production with files, and an empty playground, as `isolate` leaves them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.production = FilesSpace(directories={p: root / p for p in PURPOSES})
        self.playground = FilesSpace(directories={p: root / f"{p}_dev" for p in PURPOSES})
        for purpose, directory in self.production.directories.items():
            directory.mkdir(parents=True)
            (directory / "file").write_text(f"production's {purpose}")
            (directory / "sub").mkdir()
            (directory / "sub" / "other").write_bytes(os.urandom(1000))

    def admin(self, **changes: object) -> Admin:
        values: dict[str, object] = {
            "production": self.production,
            "playground": self.playground,
            "identities": {},
            "project": "demo",
            **changes,
        }
        access = self.access(self.production)
        return Admin(access, **values)  # type: ignore[arg-type]

    def access(self, space: FilesSpace) -> Access:
        return Access(endpoint=Endpoint(), identity=Identity(role="keeper", name=""), space=space)

    def source(self) -> Source:
        return Source(self.access(self.production))

    def store(self, space: FilesSpace | None = None) -> Store:
        return Store(
            self.access(space or self.playground), owner=NOBODY, production=self.production
        )

    def load(self, *, swap: bool = True, settle: bool = True) -> Store:
        source, store = self.source(), self.store()
        with source.cut() as cut:
            datasets = source.datasets(cut)
            store.stage(datasets, b"")
            for dataset in datasets:
                rows = store.write(dataset, (p for _, p in source.read(cut, dataset, KEEP)))
                assert rows == dataset.rows
        assert store.finish(OURS) == []
        if swap:
            store.swap()
        if settle:
            store.settle()
        return store

    def seen(self) -> dict[str, str]:
        """What the playground's application finds."""
        return {
            purpose: (directory / "file").read_text() if (directory / "file").exists() else ""
            for purpose, directory in self.playground.directories.items()
        }

    def left(self) -> list[str]:
        return sorted(p.name for p in self.root.iterdir())


NEW = {purpose: f"production's {purpose}" for purpose in PURPOSES}
OLD = {purpose: f"a developer's {purpose}" for purpose in PURPOSES}
CLEAN = [".backup.sandbox.json", ".output.sandbox.json"]
CLEAN += ["backup", "backup_dev", "output", "output_dev"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.admin().isolate()
    for purpose, directory in made.playground.directories.items():
        (directory / "file").write_text(OLD[purpose])
    return made


def test_isolate_plants_markers_and_says_so(tmp_path: Path) -> None:
    place = Place(tmp_path)
    planned = place.admin().statements()
    assert not (tmp_path / "output_dev").exists()
    assert place.admin().isolate() == planned
    assert [s.text.split()[0] for s in planned] == ["write"] * 2 + ["mkdir", "write"] * 2
    assert place.admin().isolate() == place.admin().statements() == []
    assert place.source().marker() == Marker(project="demo", environment="production")
    assert place.store().marker() == Marker(project="demo", environment="playground")
    assert sorted(p.name for p in (tmp_path / "output").iterdir()) == ["file", "sub"]
    assert (tmp_path / "output_dev").stat().st_mode & 0o777 == 0o750
    assert "ext4" in place.store().ready() or "directories on " in place.store().ready()


def test_load(place: Place) -> None:
    store = place.load()
    assert place.seen() == NEW
    assert place.left() == CLEAN
    marker = store.marker()
    assert marker == replace(OURS, counts={"output": 3, "backup": 3})
    assert store.count() == marker.counts
    assert "staged" not in (place.root / "output_dev" / ".sandbox.json").read_text()
    assert (place.root / "output_dev").stat().st_mode & 0o777 == 0o750


def test_nothing_is_seen_before_the_swap(place: Place) -> None:
    store = place.load(swap=False, settle=False)
    assert place.seen() == OLD
    store.settle()
    assert place.seen() == OLD
    assert place.left() == CLEAN


def test_undo_after_swap(place: Place) -> None:
    store = place.load(settle=False)
    assert place.seen() == NEW
    for _ in range(2):
        store.undo()
        assert place.seen() == OLD
    store.settle()
    store.undo()
    assert place.seen() == OLD
    assert place.left() == CLEAN


def test_swap_and_settle_again(place: Place) -> None:
    store = place.load(settle=False)
    store.swap()
    assert place.seen() == NEW
    for _ in range(2):
        store.settle()
        store.undo()
        assert place.seen() == NEW
    with pytest.raises(SnapshotBroken):
        store.swap()


def test_an_unfinished_load_is_never_swapped_in(place: Place) -> None:
    store = place.store()
    store.stage([Dataset(store="files", name="output")], b"")
    with pytest.raises(SnapshotBroken, match="no finished load"):
        store.swap()
    assert place.seen() == OLD


def test_stage_drops_an_unfinished_one(place: Place) -> None:
    place.load(swap=False, settle=False)
    (beside(place.root / "output_dev") / "stale").touch()
    place.load()
    assert not (place.root / "output_dev" / "stale").exists()


def test_stage_refuses_while_a_swap_is_not_settled(place: Place) -> None:
    place.load(settle=False)
    with pytest.raises(Refused, match="not settled"):
        place.store().stage([], b"")


class Killed(BaseException):
    pass


@pytest.mark.parametrize("with_renameat2", [True, False])
@pytest.mark.parametrize("after", range(12))
def test_killed_anywhere_in_swap_the_playground_is_whole(
    place: Place, monkeypatch: pytest.MonkeyPatch, after: int, with_renameat2: bool
) -> None:
    """Die at the n-th rename; then undo brings back the old, or swap and settle finish it."""
    if not with_renameat2:
        monkeypatch.setattr(exchanging, "_renameat2", lambda one, other: False)
    store = place.load(swap=False, settle=False)
    left = [after]

    def dying(original: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return original(*arguments)

        return call

    with monkeypatch.context() as patch:
        for name in ("rename", "replace"):
            patch.setattr(Path, name, dying(getattr(Path, name)))
        patch.setattr(exchanging, "_renameat2", dying(exchanging._renameat2))
        died = settling = False
        try:
            store.swap()
            settling = True
            store.settle()
        except Killed:
            died = True
    fresh = place.store()
    if died and after % 2:
        fresh.undo()
        fresh.settle()
        assert all(text in (OLD[p], NEW[p]) for p, text in place.seen().items())
        if not settling:
            assert place.seen() == OLD
    else:
        try:
            fresh.swap()
        except SnapshotBroken:
            assert place.seen() == NEW  # settled already
        fresh.settle()
        assert place.seen() == NEW
    assert place.left() == CLEAN


# --- guards, each seen to refuse -----------------------------------------------------------------


def unmark(place: Place) -> None:
    (place.root / "output_dev" / ".sandbox.json").unlink()


def mark_as_production(place: Place) -> None:
    marks.write(
        place.root / "output_dev" / ".sandbox.json",
        Marker(project="demo", environment="production"),
    )


def garble(place: Place) -> None:
    (place.root / "output_dev" / ".sandbox.json").write_text("{")


def mark_as_anothers(place: Place) -> None:
    marks.write(
        place.root / "output_dev" / ".sandbox.json",
        Marker(project="other", environment="playground"),
    )


def link_marker(place: Place) -> None:
    path = place.root / "output_dev" / ".sandbox.json"
    path.rename(place.root / "elsewhere")
    path.symlink_to("../elsewhere")


def link_to_production(place: Place) -> None:
    (place.root / "output_dev").rename(place.root / "aside")
    (place.root / "output_dev").symlink_to("output")


def name_production(place: Place) -> None:
    place.playground = place.production


def name_inside_production(place: Place) -> None:
    inner = place.root / "output" / "dev"
    inner.mkdir()
    marks.write(inner / ".sandbox.json", OURS)
    place.playground = FilesSpace(directories={"output": inner})


def name_around_production(place: Place) -> None:
    marks.write(place.root / ".sandbox.json", OURS)
    place.playground = FilesSpace(directories={"output": place.root})


CALLS: dict[str, Callable[[Store], object]] = {
    "stage": lambda s: s.stage([], b""),
    "write": lambda s: s.write(Dataset(store="files", name="output"), iter(())),
    "finish": lambda s: s.finish(OURS),
    "swap": lambda s: s.swap(),
    "undo": lambda s: s.undo(),
    "settle": lambda s: s.settle(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "harm",
    [
        unmark,
        mark_as_production,
        garble,
        mark_as_anothers,
        link_marker,
        link_to_production,
        name_production,
        name_inside_production,
        name_around_production,
    ],
)
def test_every_write_refuses(place: Place, harm: Callable[[Place], None], call: str) -> None:
    place.load(swap=False, settle=False)
    harm(place)
    before = {p: (place.root / p / "file").read_text() for p in PURPOSES}
    with pytest.raises(Refused):
        CALLS[call](place.store())
    assert {p: (place.root / p / "file").read_text() for p in PURPOSES} == before
    assert beside(place.root / "output_dev").is_dir()


def test_finish_refuses_another_playgrounds_marker(place: Place) -> None:
    store = place.load(swap=False, settle=False)
    for other in (
        replace(OURS, project="other"),
        replace(OURS, environment="production"),
        replace(OURS, playground="ann"),
    ):
        with pytest.raises(Refused):
            store.finish(other)


def test_a_snapshot_with_an_unknown_purpose(place: Place) -> None:
    with pytest.raises(ConfigError, match="media"):
        place.store().stage([Dataset(store="files", name="media")], b"")


@pytest.mark.parametrize("suffix", ["beside", "aside"])
def test_a_persons_own_directory_of_that_name_stays(place: Place, suffix: str) -> None:
    own = place.root / f"output_dev.{suffix}"
    own.mkdir()
    (own / "thesis.doc").touch()
    if suffix == "aside":
        place.load()
    else:
        for call in (lambda: place.store().stage([], b""), place.store().settle):
            with pytest.raises(Refused, match="no marker"):
                call()
    assert (own / "thesis.doc").exists()


def test_a_removal_that_was_interrupted_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = place.load(settle=False)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rmdir", lambda path: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            store.settle()
    store.settle()
    assert place.left() == CLEAN


def test_settle_does_not_follow_a_symlink(place: Place) -> None:
    store = place.load(settle=False)
    other = beside(place.root / "output_dev")
    other.rename(place.root / "kept")
    other.symlink_to("output")
    with pytest.raises(Refused, match="symlink"):
        store.settle()
    assert (place.root / "output" / "file").exists()


def test_who_is_not_root_removes_whatever_a_developer_left_there(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = place.load(settle=False)
    other, away = beside(place.root / "output_dev"), place.root / "output" / "sub"
    os.mkfifo(other / "pipe")
    (other / "link").symlink_to(away)
    closed = other / "sub" / "closed"
    closed.mkdir(parents=True)
    (closed / "file").touch()
    closed.chmod(0)
    mode = away.stat().st_mode
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    store.settle()
    assert (place.left(), away.stat().st_mode) == (CLEAN, mode)


# --- isolate -------------------------------------------------------------------------------------


def test_isolate_refuses_a_directory_with_files_and_no_marker(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (tmp_path / "output_dev").mkdir()
    (tmp_path / "output_dev" / "thesis.doc").touch()
    with pytest.raises(Refused, match="no marker") as caught:
        place.admin().isolate()
    assert "touch" in caught.value.hint
    (tmp_path / "output_dev" / ".sandbox.json").touch()  # what the hint says
    place.admin().isolate()
    assert (tmp_path / "output_dev" / "thesis.doc").exists()
    assert place.store().marker() is not None


@pytest.mark.parametrize("inner", ["output", "output/dev", "."])
def test_isolate_refuses_directories_that_touch_production(tmp_path: Path, inner: str) -> None:
    place = Place(tmp_path)
    place.playground = FilesSpace(directories={"output": tmp_path / inner})
    for call in (place.admin().isolate, place.admin().statements, place.admin().remove):
        with pytest.raises(Refused, match="production's"):
            call()


def test_isolate_refuses_anothers_directory(place: Place) -> None:
    for changes in ({"project": "other"}, {"playground_name": "ann"}):
        with pytest.raises(Refused, match="marked as"):
            place.admin(**changes).isolate()


def test_a_load_does_not_unmark_an_adopted_directory(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (tmp_path / "output_dev").mkdir()
    (tmp_path / "output_dev" / ".sandbox.json").touch()
    with pytest.raises(Refused, match="no marker"):
        place.store().stage([], b"")


def test_remove(place: Place) -> None:
    place.load(settle=False)
    assert len(place.admin().remove()) == 4
    assert place.left() == [".backup.sandbox.json", ".output.sandbox.json", "backup", "output"]
    assert place.admin().remove() == []


@pytest.mark.parametrize("harm", [unmark, mark_as_production, mark_as_anothers])
def test_remove_refuses(place: Place, harm: Callable[[Place], None]) -> None:
    harm(place)
    with pytest.raises(Refused):
        place.admin().remove()
    assert place.seen() == OLD


# --- marker, search ------------------------------------------------------------------------------


def test_production_wins_among_markers(place: Place) -> None:
    mark_as_production(place)
    marker = place.store().marker()
    assert marker is not None and marker.environment == "production"


def test_directories_of_two_playgrounds(place: Place) -> None:
    mark_as_anothers(place)
    with pytest.raises(Refused, match="2 playgrounds"):
        place.store().marker()


def test_ready_names_what_is_missing(place: Place) -> None:
    place.admin().remove()
    with pytest.raises(Unreachable, match="_dev"):
        place.store().ready()


@pytest.mark.parametrize("at", [0, (1 << 20) - 3, 2_000_000])
def test_search_finds_a_value_across_pieces(place: Place, at: int) -> None:
    directory = place.root / "output_dev"
    (directory / "x.json").write_bytes(bytes(at) + "änn@example.com".encode() + bytes(9))
    (directory / "bob@example.com.txt").touch()
    (directory / "link").symlink_to("carol@example.com")
    store = place.store()
    assert store.search(["änn@example.com"]) == ["output.x.json"]
    assert store.search(["bob@", "carol@"]) == ["output.bob@example.com.txt", "output.link"]
    assert store.search(["nowhere"]) == store.search([]) == store.search([""]) == []
