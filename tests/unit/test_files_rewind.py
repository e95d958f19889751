"""Directories back to their baseline: links to what did not change, copies of what did."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandbox.errors import NoBaseline
from sandbox.stores.files import rewind
from sandbox.stores.files.store import beside
from tests.unit import test_files_store
from tests.unit.test_files_store import Place


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(test_files_store, "OURS", replace(test_files_store.OURS, baseline="b1"))
    made = Place(tmp_path)
    made.admin().isolate()
    root = made.production.directories["output"]
    (root / "link").symlink_to("file")
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / "big").write_bytes(os.urandom(3 << 20))
    (root / "deep").chmod(0o750)
    os.utime(root / "deep", ns=(1, 10**18 + 7))
    made.load()
    return made


def facts(place: Place) -> dict[str, Any]:
    """Everything that a program can see of the tree, but for numbers and access times."""
    found = {}
    for purpose, directory in place.playground.directories.items():
        for path, seen in rewind.look(directory).items():
            content = (directory / path).read_bytes() if seen.type == "file" else b""
            found[f"{purpose}/{path}"] = (seen.type, seen.mode, seen.mtime, seen.target, content)
    return found


def forge(root: Path) -> None:
    """Another content of the same length and times, as `cp -p` would leave it."""
    was = (root / "file").stat()
    (root / "file").write_bytes(b"X" * was.st_size)
    os.utime(root / "file", ns=(was.st_atime_ns, was.st_mtime_ns))


SPOILS: dict[str, Callable[[Path], Any]] = {
    "content": lambda root: (root / "file").write_text("other"),
    "content of the same size and time": forge,
    "a mode": lambda root: (root / "file").chmod(0o600),
    "a time": lambda root: os.utime(root / "file", ns=(5, 5)),
    "a directory's mode": lambda root: (root / "deep").chmod(0o700),
    "a directory's time": lambda root: os.utime(root / "deep", ns=(5, 5)),
    "a removed tree": lambda root: shutil.rmtree(root / "deep"),
    "a new tree": lambda root: (root / "new" / "er").mkdir(parents=True),
    "a link": lambda root: ((root / "link").unlink(), (root / "link").symlink_to("sub")),
    "another kind": lambda root: ((root / "file").unlink(), (root / "file").mkdir()),
    "a pipe": lambda root: os.mkfifo(root / "pipe"),
    "a rename": lambda root: (root / "deep").rename(root / "deeper"),
}


@pytest.mark.parametrize("what", SPOILS)
def test_what_changed_comes_back(place: Place, what: str) -> None:
    before = facts(place)
    assert place.store().changes() == []
    SPOILS[what](place.playground.directories["output"])
    assert [change.dataset for change in place.store().changes()] == ["output"]
    store = place.store()
    store.rewind()
    store.swap()
    assert place.store().swapped()
    place.store().settle()
    assert facts(place) == before
    assert place.store().changes() == []
    SPOILS[what](place.playground.directories["output"])  # and once more, after links were made
    assert place.store().changes()


@pytest.mark.parametrize("step", ["staged", "swapped"])
def test_an_interruption_leaves_the_old_or_the_new(place: Place, step: str) -> None:
    before = facts(place)
    (place.playground.directories["output"] / "file").write_text("mine")
    spoilt = facts(place)
    store = place.store()
    store.rewind()
    if step == "swapped":
        store.swap()
        assert facts(place) == before
    place.store().undo()
    place.store().settle()
    assert facts(place) == spoilt
    assert [change.rows for change in place.store().changes()] == [1]


def test_unchanged_files_are_not_copied(place: Place) -> None:
    big = place.playground.directories["output"] / "deep" / "er" / "big"
    inode = big.stat().st_ino
    (place.playground.directories["output"] / "file").write_text("mine")
    store = place.store()
    store.rewind()
    store.swap()
    store.settle()
    assert big.stat().st_ino == inode and big.stat().st_nlink == 1


def test_another_loads_copy_is_refused(place: Place) -> None:
    shutil.rmtree(rewind.base(place.playground.directories["backup"]))
    with pytest.raises(NoBaseline):
        place.store().rewind()
    assert not beside(place.playground.directories["output"]).exists()
