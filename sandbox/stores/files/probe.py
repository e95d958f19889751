"""Tries to get from the playground's directories into production's.

Two programs of one user can reach each other's files, whatever their paths: without a separate
user, what is proved is that no path of the playground leads into production (symlinks, hard links,
mounts, `..` in its names), and the attempts say so.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.contract import Access
from sandbox.model import Attempt, FilesSpace, Identity
from sandbox.stores.files import marks, users
from sandbox.stores.files.source import MOUNTS
from sandbox.trying import Found, message, timed

CANARY = ".sandbox-canary-"
FEW = 1_000  # files of production that are looked at for the most open one
NO_USER = "no user of its own is configured: kept apart by path, not by rights"


@dataclass(frozen=True, kw_only=True)
class _Probe:
    who: str
    tried: str
    expected: str
    run: Callable[[Path, Path], Found]  # of the playground's and production's directory


class Prober:
    """One row of the matrix for each purpose."""

    def __init__(self, *, playground: Access, production: Access, reader: Access) -> None:
        assert isinstance(playground.space, FilesSpace)
        assert isinstance(production.space, FilesSpace)
        self._ours, self._theirs = playground.space.directories, production.space.directories
        self._playground, self._reader = playground.identity, reader.identity

    def attempts(self) -> Iterator[Attempt]:
        for purpose, own in self._ours.items():
            theirs = self._theirs.get(purpose)
            if theirs is None:
                continue
            # Every directory of production counts, whichever purpose it has.
            for probe in self._probes():
                yield _attempt(purpose, probe, own, theirs)

    def close(self) -> None:
        """Nothing is held open."""

    def _probes(self) -> tuple[_Probe, ...]:
        everything = tuple(self._theirs.values())
        ours = _user(self._playground)
        return (
            _Probe(who=ours, tried="write, read and delete a file at home",
                   expected="allowed", run=self._home),
            _Probe(who=_user(self._reader), tried="list production",
                   expected="allowed", run=lambda _, theirs: _list(self._reader, theirs)),
            _Probe(who="path", tried="the directory itself, symlinks and .. followed",
                   expected="apart from all of production",
                   run=lambda own, _: _apart(own, everything)),
            _Probe(who="path", tried="symlinks in the playground",
                   expected="none leads into production",
                   run=lambda own, _: symlinks(own, everything)),
            _Probe(who="path", tried="hard links and bind mounts of one file or directory",
                   expected="nothing is in both", run=lambda own, _: shared(own, everything)),
            _Probe(who="path", tried="mounts inside the playground",
                   expected="none of production's file system",
                   run=lambda own, _: mounted(own, everything)),
            _Probe(who="path", tried="the markers", expected="one of each environment",
                   run=_markers),
            _Probe(who="other users", tried="write production by its mode",
                   expected="denied", run=lambda _, theirs: _mode(theirs)),
            _Probe(who=ours, tried="write production",
                   expected="denied", run=lambda _, theirs: _write(self._playground, theirs)),
            *self._of_separate_user(ours),
            _Probe(who=_user(self._reader), tried="write production",
                   expected="denied", run=lambda _, theirs: _write(self._reader, theirs)),
            _Probe(who=ours, tried="find the playground's canary in production",
                   expected="not there", run=lambda own, theirs: _canary(own, theirs)),
            _Probe(who="production", tried="find production's canary in the playground",
                   expected="not there", run=lambda own, theirs: _canary(theirs, own)),
        )  # fmt: skip

    def _of_separate_user(self, ours: str) -> tuple[_Probe, ...]:
        """Without one there are no rights to try."""
        if not self._playground.name:
            return ()

        def probe(tried: str, script: str, what: Callable[[Path], Path | None]) -> _Probe:
            def run(_: Path, theirs: Path) -> Found:
                return _denied(self._playground, script, what(theirs))

            return _Probe(who=ours, tried=tried, expected="denied", run=run)

        return (
            probe("list production's directory", _TRY_LIST, lambda theirs: theirs),
            probe("read a file of production", _TRY_READ,
                  lambda theirs: _some_file(theirs, stat.S_IROTH)),
            probe("open a file of production for writing", _TRY_OPEN,
                  lambda theirs: _some_file(theirs, stat.S_IWOTH)),
        )  # fmt: skip

    def _home(self, own: Path, _: Path) -> Found:
        user = users.of(self._playground)
        if user is not None:
            done = users.may(user, _TRY_HOME, own / f"{CANARY}{secrets.token_hex(6)}")
            return ("allowed", True) if done else ("denied at home", False)
        with _planted(own) as (name, _):
            found = (own / name).read_text() == name
        return ("allowed", True) if found else ("what was written is not there", False)


def symlinks(own: Path, production: tuple[Path, ...]) -> Found:
    """Symlinks below `own` that lead to production, into it or above it."""
    count = 0
    for entry in _entries(own):
        if not entry.is_symlink():
            continue
        count += 1
        for theirs in production:
            if marks.overlap(Path(entry.path), theirs):
                return f"{os.path.relpath(entry.path, own)} leads into production", False
    return f"{count} symlinks, none leads there", True


def shared(own: Path, production: tuple[Path, ...]) -> Found:
    """One inode below both: a hard link, or a directory that is mounted twice."""
    theirs = {key for root in production for key, _ in _inodes(root)}
    for key, path in _inodes(own):
        if key in theirs:
            return f"{os.path.relpath(path, own)} is production's own", False
    return "nothing is in both", True


def mounted(own: Path, production: tuple[Path, ...], table: str | None = None) -> Found:
    """Mount points at or below `own` of a file system that a directory of production is on.

    A file that is mounted alone has no second link: its mount is what shows it.
    """
    if table is None:
        try:
            table = MOUNTS.read_text(errors="surrogateescape")
        except OSError:
            return "this system has no table of mounts; inodes were compared", True
    home = os.path.realpath(own)
    devices = {f"{os.major(d)}:{os.minor(d)}" for d in (p.stat().st_dev for p in production)}
    for line in table.splitlines():
        fields = line.split(" ")
        point = fields[4].encode("latin-1", "surrogateescape").decode("unicode_escape")
        if point.startswith(home + os.sep) and fields[2] in devices:
            return f"{os.path.relpath(point, home)} is a mount of it", False
    return "none", True


# --- what is tried -------------------------------------------------------------------------------

_TRY_HOME = 'echo canary > "$1" && cat "$1" > /dev/null && rm "$1"'
_TRY_WRITE = ': > "$1" && rm "$1"'
_TRY_LIST = 'ls "$1" > /dev/null'
_TRY_READ = 'head -c 1 "$1" > /dev/null'
_TRY_OPEN = ': >> "$1"'  # nothing is written, and no time of the file changes


def _attempt(purpose: str, probe: _Probe, own: Path, theirs: Path) -> Attempt:
    row = f"{purpose.capitalize()} files"
    return timed(
        row, probe.who, probe.tried, probe.expected, lambda: probe.run(own, theirs), words=_words
    )


def _words(error: Exception) -> str | None:
    told = error.strerror or str(error) if isinstance(error, OSError) else message(error)
    return f"failed: {told}" if told else None


def _apart(own: Path, production: tuple[Path, ...]) -> Found:
    for path in (own, *production):
        path.stat()  # a missing directory is no isolation
    for theirs in production:
        how = marks.overlap(own, theirs)
        if how:
            return f"it {how} {theirs}", False
    return "apart", True


def _markers(own: Path, theirs: Path) -> Found:
    ours, other = marks.read(own), marks.read(theirs)
    if ours is None or ours.environment != "playground":
        return "the playground's directory is not marked as a playground's", False
    if other is not None and other.environment != "production":
        return "production's directory is marked as a playground's", False
    return "playground here, production there" if other else "playground here, none there", True


def _mode(theirs: Path) -> Found:
    mode = stat.S_IMODE(theirs.stat().st_mode)
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        return f"mode {mode:04o}: every user may write there", False
    return f"mode {mode:04o}", True


def _list(who: Identity, theirs: Path) -> Found:
    user = users.of(who)
    if user is not None:
        return ("allowed", True) if users.may(user, _TRY_LIST, theirs) else ("denied", False)
    with os.scandir(theirs):
        return "allowed", True


def _denied(who: Identity, script: str, path: Path | None) -> Found:
    """Whether the separate user may not do it."""
    user = users.of(who)
    if user is None:
        return NO_USER, True
    if path is None:
        return "production has no file to try it on", True
    return ("it worked", False) if users.may(user, script, path) else ("denied", True)


def _write(who: Identity, theirs: Path) -> Found:
    path = theirs / f"{CANARY}{secrets.token_hex(6)}"
    try:
        return _denied(who, _TRY_WRITE, path)
    finally:
        path.unlink(missing_ok=True)


def _some_file(theirs: Path, bit: int) -> Path | None:
    """One of production's files: of the first few, one that everybody has this right to."""
    files = [Path(e.path) for e in _entries(theirs) if e.is_file(follow_symlinks=False)][:FEW]
    return max(files, key=lambda path: path.stat().st_mode & bit, default=None)


def _canary(home: Path, other: Path) -> Found:
    try:
        with _planted(home) as (name, _):
            if (other / name).exists():
                return "it is there", False
    except PermissionError:
        return "not planted: this user may not write there", True
    return "not there", True


@contextlib.contextmanager
def _planted(home: Path) -> Iterator[tuple[str, Path]]:
    """A small file of a name that nobody else has, for as long as the block lasts."""
    name = f"{CANARY}{secrets.token_hex(6)}"
    path = home / name
    with path.open("x") as file:
        file.write(name)
    try:
        yield name, path
    finally:
        path.unlink()


# --- looking through the trees -------------------------------------------------------------------


def _entries(root: Path) -> Iterator[os.DirEntry[str]]:
    folders = [str(root)]
    while folders:
        with contextlib.suppress(FileNotFoundError), os.scandir(folders.pop()) as scan:
            for entry in scan:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)


def _inodes(root: Path) -> Iterator[tuple[tuple[int, int], str]]:
    """Directories, and files that have more than one name."""
    facts = root.stat()
    yield (facts.st_dev, facts.st_ino), str(root)
    for entry in _entries(root):
        with contextlib.suppress(FileNotFoundError):
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode) or (found.st_nlink > 1 and stat.S_ISREG(found.st_mode)):
                yield (found.st_dev, found.st_ino), entry.path


# --- separate users ------------------------------------------------------------------------------


def _user(identity: Identity) -> str:
    return identity.name or f"{identity.role} (this user)"
