"""The playground's directories: a load fills `<name>.beside`, then the two change places.

Only the marker of a directory says which of the two it is, so every step may be interrupted and
called again: a directory made by a load is marked `staged` until the load is settled.
"""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from sandbox.contract import Access, Tool
from sandbox.errors import ConfigError, NoBaseline, Refused, SnapshotBroken
from sandbox.model import Change, Dataset, FilesSpace, Identity, Marker, Space
from sandbox.stores.files import marks, rewind, stream, tree, users
from sandbox.stores.files.exchange import exchange, mend
from sandbox.stores.files.source import Source, open_quietly

UNLINKS = 8  # at a time


class Store(Source):
    """The playground's space, as keeper."""

    def __init__(
        self, access: Access, *, owner: Identity, production: Space, tool: Tool | None = None
    ) -> None:
        super().__init__(access, tool=tool)
        assert isinstance(production, FilesSpace)
        self._production = production
        user = users.of(owner)
        self._owner = (user.pw_uid, user.pw_gid) if user else None
        self._lock = threading.Lock()
        self._rows: dict[str, int] = {}

    def stage(self, datasets: Sequence[Dataset], catalog: bytes) -> None:
        present = self._guard()
        unknown = {d.name for d in datasets} - set(self._space.directories)
        if unknown:
            raise ConfigError(
                f"the snapshot has files for {', '.join(sorted(unknown))}, sandbox.toml has not",
                where="files.directories",
            )
        self._rows = {}
        for directory in self._space.directories.values():
            if marks.is_staged(directory):
                raise Refused(
                    "an earlier load is not settled", where=str(directory), hint="./inv load again"
                )
            staged = beside(directory)
            remove_tree(staged)
            staged.mkdir(mode=0o700)
            marks.write(marks.inside(staged), present)

    def write(self, dataset: Dataset, pieces: Iterable[bytes]) -> int:
        self._guard()
        target = beside(self._space.directories[dataset.name])
        rows = stream.unpack(target, pieces, owner=self._owner)
        with self._lock:
            self._rows[dataset.name] = rows
        return rows

    def finish(self, marker: Marker) -> Sequence[str]:
        """Marks the staged directories, with the mode and owner of those that they replace."""
        present = self._guard()
        if (marker.environment, marker.project, marker.playground) != (
            "playground",
            present.project,
            present.playground,
        ):
            raise Refused("the new marker is not this playground's", where=self._space.name)
        for purpose, directory in self._space.directories.items():
            staged, facts = beside(directory), directory.stat()
            own = replace(marker, counts={purpose: self._rows.get(purpose, 0)})
            marks.write(marks.inside(staged), own, staged=True)
            if os.geteuid() == 0:
                os.chown(staged, facts.st_uid, facts.st_gid)
            staged.chmod(stat.S_IMODE(facts.st_mode))
            _sync(staged)
            kept = rewind.base(directory)
            remove_tree(kept)
            if marker.baseline:
                rewind.keep(staged, kept, own)
        return []

    def swap(self) -> None:
        self._guard()
        pairs = [(d, beside(d)) for d in self._space.directories.values()]
        for directory, staged in pairs:
            if not marks.is_staged(directory) and not _is_finished(staged):
                raise SnapshotBroken(
                    "there is no finished load to put in place", where=str(directory)
                )
        for directory, staged in pairs:
            if not marks.is_staged(directory):
                exchange(directory, staged)
                _sync(directory.parent)

    def undo(self) -> None:
        self._guard()
        for directory in self._space.directories.values():
            if marks.is_staged(directory):
                if not beside(directory).is_dir():
                    raise Refused("the old directory is gone", where=str(directory))
                exchange(directory, beside(directory))
                _sync(directory.parent)

    def settle(self) -> None:
        self._guard()
        for directory in self._space.directories.values():
            # The flag goes first: from here on `undo` does not look at the old one.
            if marks.is_staged(directory):
                marker = marks.read(directory)
                assert marker is not None
                marks.write(marks.inside(directory), marker)
            linked = beside(directory).exists()
            remove_tree(beside(directory))
            if linked:
                rewind.settled(directory)

    def changes(self) -> Sequence[Change]:
        self._guard()
        found: list[Change] = []
        for purpose, directory in self._space.directories.items():
            _, counts = rewind.changed(directory, rewind.read_index(directory))
            found += rewind.change(purpose, counts)
        return found

    def rewind(self) -> Sequence[Change]:
        """A directory beside, of links to what did not change and of copies of what did."""
        self._guard()
        found: list[Change] = []
        try:
            for purpose, directory in self._space.directories.items():
                index, facts = rewind.read_index(directory), directory.stat()
                other, counts = rewind.changed(directory, index)
                found += rewind.change(purpose, counts)
                staged, marker = beside(directory), marks.read(directory)
                assert marker is not None
                if marks.is_staged(directory):
                    raise Refused("an earlier load is not settled", where=str(directory))
                remove_tree(staged)
                staged.mkdir(mode=0o700)
                marks.write(marks.inside(staged), marker)
                rewind.build(directory, staged, index, other)
                marks.write(marks.inside(staged), marker, staged=True)
                if os.geteuid() == 0:
                    os.chown(staged, facts.st_uid, facts.st_gid)
                staged.chmod(stat.S_IMODE(facts.st_mode))
                _sync(staged)
        except NoBaseline:
            self.settle()
            raise
        return found

    def swapped(self) -> bool:
        return all(marks.is_staged(d) for d in self._space.directories.values())

    def search(self, needles: Sequence[str]) -> Sequence[str]:
        """`purpose.path` of every file that holds one, in its name, link or content."""
        wanted = [needle.encode() for needle in needles if needle]
        found = []
        for purpose, root in self._space.directories.items():
            for entry in tree.walk(root):
                named = os.fsencode(f"{entry.path}\n{entry.target}")
                if any(needle in named for needle in wanted) or (
                    entry.type == "file" and entry.source and _holds(entry.source, wanted)
                ):
                    found.append(f"{purpose}.{entry.path}")
        return found

    def _guard(self) -> Marker:
        """The playground's marker. Raises Refused unless every directory is this playground's."""
        for directory in self._space.directories.values():
            mend(directory, beside(directory))
        marks.check_apart(self._space, self._production)
        marker = self.marker()
        if marker is None:
            raise Refused(
                "a directory has no marker; it may not be ours",
                where=self._space.name,
                hint="./inv isolate makes the directories and their markers",
            )
        if marker.environment != "playground":
            raise Refused(
                f"it is marked as production of {marker.project}; nothing was changed",
                where=self._space.name,
            )
        return marker


def beside(directory: Path) -> Path:
    """The one of the two that is not in place: being loaded, or the old one until `settle`."""
    return directory.with_name(f"{directory.name}.beside")


def remove_tree(path: Path) -> None:
    """Delete a directory that carries a marker, which goes last, so that an interrupted removal
    can go on. Raises Refused for a symlink, and for files that nobody marked."""
    if path.is_symlink():
        raise Refused("it is a symlink; nothing was removed", where=str(path))
    if not path.exists():
        return
    if os.geteuid() != 0:
        _open(path)
    children = [child for child in path.iterdir() if child.name != marks.NAME]
    if children and not marks.inside(path).exists():
        raise Refused("it holds files and no marker; nothing was removed", where=str(path))
    with ThreadPoolExecutor(UNLINKS) as pool:  # a file on the disk is waited for
        list(pool.map(_remove, children))
    marks.inside(path).unlink(missing_ok=True)
    path.rmdir()


def _open(path: Path) -> None:
    """A directory of a mode that does not let us in is still ours. Each is opened before it is
    looked into; pipes and sockets may lie in there, which `tree.walk` refuses."""
    path.chmod(0o700)
    for folder, directories, _ in os.walk(path):
        for name in directories:
            if not Path(folder, name).is_symlink():
                Path(folder, name).chmod(0o700)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _is_finished(staged: Path) -> bool:
    return staged.is_dir() and marks.is_staged(staged)


def _holds(path: Path, needles: Sequence[bytes]) -> bool:
    longest = max((len(needle) for needle in needles), default=1)
    before = b""
    with open_quietly(path) as file:
        while data := file.read(stream.PIECE):
            window = before + data
            if any(needle in window for needle in needles):
                return True
            before = window[-(longest - 1) :] if longest > 1 else b""
    return False


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
