"""Whole copies of the playground's directories, kept outside of them, to put back later.

A copy is there when its folder is: it is written beside and renamed last. Where the file system can
share blocks (reflinks) a copy costs next to nothing; elsewhere its bytes are written. Hard links
would be cheaper and wrong: a program that writes into a file in place would write into the copy.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.model import FileEntry, FilesSpace, Marker
from sandbox.stores.files import marks, tree
from sandbox.stores.files.store import beside, remove_tree

PARTIAL = ".partial"
FICLONE = 0x40049409  # linux/fs.h: share another file's blocks
UNABLE = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM)


def keep(space: FilesSpace, folder: Path) -> None:
    """Copy every directory of `space` to `folder`/<purpose>, whole or not at all."""
    partial = folder.with_name(folder.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, mode=0o700)
    for purpose, directory in space.directories.items():
        (partial / purpose).mkdir(mode=0o700)
        copy(directory, partial / purpose)
    os.sync()
    partial.rename(folder)


def stage(space: FilesSpace, folder: Path, marker: Marker) -> None:
    """Put copies of what `keep` kept beside the present directories, as a finished load does:
    `Store.swap` exchanges them. Raises SandboxError where a purpose was not kept."""
    for purpose, directory in space.directories.items():
        if not (folder / purpose).is_dir():
            raise SandboxError(
                f"the baseline has no files for {purpose}", where=str(folder), hint="./inv load"
            )
        staged, facts = beside(directory), directory.stat()
        remove_tree(staged)
        staged.mkdir(mode=0o700)
        marks.write(marks.inside(staged), marker)  # ours, should we be interrupted
        entries = copy(folder / purpose, staged)
        own = replace(marker, counts={purpose: entries})
        marks.write(marks.inside(staged), own, staged=True)
        if os.geteuid() == 0:
            os.chown(staged, facts.st_uid, facts.st_gid)
        staged.chmod(stat.S_IMODE(facts.st_mode))


def size(folder: Path) -> int:
    """Bytes that a copy takes on disk, those of shared blocks included."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if not path.is_dir())


def copy(source: Path, target: Path) -> int:
    """Copy what is below `source` into the empty directory `target`, with modes, times and, where
    we may, owners; returns how many entries. The marker is left out."""
    is_root = os.geteuid() == 0
    directories: list[tuple[Path, FileEntry]] = []
    entries, shares = 0, {"able": True}
    for entry in tree.walk(source):
        entries += 1
        made, origin = target / entry.path, source / entry.path
        if entry.type == "directory":
            made.mkdir(mode=0o700)
            directories.append((made, entry))
        elif entry.type == "symlink":
            made.symlink_to(entry.target)
            os.utime(made, ns=(entry.mtime, entry.mtime), follow_symlinks=False)
        else:
            _copy_file(origin, made, shares)
            made.chmod(entry.mode)
            os.utime(made, ns=(entry.mtime, entry.mtime))
        if is_root:
            facts = origin.lstat()
            os.chown(made, facts.st_uid, facts.st_gid, follow_symlinks=False)
    for made, entry in reversed(directories):  # a directory's time changes while it is filled
        made.chmod(entry.mode)
        os.utime(made, ns=(entry.mtime, entry.mtime))
    return entries


def _copy_file(source: Path, target: Path, shares: dict[str, bool]) -> None:
    """`shares["able"]` becomes False when the file system cannot share blocks."""
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(reading, "rb") as old, target.open("xb") as new:
        if shares["able"]:
            try:
                fcntl.ioctl(new.fileno(), FICLONE, old.fileno())
                return
            except OSError as error:
                if error.errno not in UNABLE:
                    raise
                shares["able"] = False
        left = os.fstat(old.fileno()).st_size
        while left:
            sent = os.sendfile(new.fileno(), old.fileno(), None, left)
            if not sent:
                break  # it became shorter meanwhile
            left -= sent


def generations(root: Path) -> Mapping[str, Path]:
    """The whole copies below `root` by name."""
    if not root.is_dir():
        return {}
    return {one.name: one for one in root.iterdir() if one.is_dir() and one.suffix != PARTIAL}
