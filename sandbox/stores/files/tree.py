"""Walks a directory without following a symlink, and keeps every link inside it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sandbox.errors import Refused, Unreachable
from sandbox.model import FileEntry
from sandbox.stores.files import marks

PERMISSIONS = 0o777  # set-user-id and the like do not travel


def walk(root: Path) -> Iterator[FileEntry]:
    """Every entry below `root`, directories before what they hold, sorted by name.

    The marker is left out. Raises Refused for a socket, a pipe or a device: it cannot be copied.
    """
    yield from _walk(str(root), "")


def _walk(folder: str, prefix: str) -> Iterator[FileEntry]:
    try:
        with os.scandir(folder) as scan:
            found = sorted(scan, key=lambda entry: entry.name)
    except FileNotFoundError:
        if not prefix:
            raise Unreachable("the directory does not exist", where=folder) from None
        return  # it went away while we walked
    except PermissionError:
        raise Unreachable("the directory cannot be read", where=folder) from None
    for entry in found:
        if not prefix and entry.name in (marks.NAME, f"{marks.NAME}.new"):
            continue
        path = f"{prefix}{entry.name}"
        try:
            one = _entry(entry, path)
        except FileNotFoundError:
            continue
        yield one
        if one.type == "directory":
            yield from _walk(entry.path, f"{path}/")


def _entry(entry: os.DirEntry[str], path: str) -> FileEntry:
    facts = entry.stat(follow_symlinks=False)
    if stat.S_ISDIR(facts.st_mode):
        return _facts(path, "directory", facts)
    if stat.S_ISREG(facts.st_mode):
        made = _facts(path, "file", facts)
        made.source, made.size = Path(entry.path), facts.st_size
        return made
    if stat.S_ISLNK(facts.st_mode):
        made = _facts(path, "symlink", facts)
        made.source, made.target = Path(entry.path), os.readlink(entry.path)  # noqa: PTH115
        return made
    raise Refused(
        "it is neither a file, a directory nor a symlink, and cannot be copied",
        where=entry.path,
        hint="remove it, or keep it elsewhere",
    )


def _facts(path: str, kind: str, facts: os.stat_result) -> FileEntry:
    return FileEntry(
        path=path,
        type=kind,  # type: ignore[arg-type]
        mode=stat.S_IMODE(facts.st_mode) & PERMISSIONS,
        mtime=facts.st_mtime_ns,
        size=0,
    )


def contained_target(root: Path, link: Path, target: str) -> str:
    """A symlink's target as it may stand in a copy. Raises Refused when it leads out of `root`.

    The real path counts, since a link to a link may leave by way of the second. One that comes
    back in (`/data/output/x`, `../output/x`) would lead a copy to the original: it is rewritten.
    """
    real_root, folder = os.path.realpath(root), os.path.realpath(link.parent)
    real = os.path.realpath(os.path.join(folder, target))  # noqa: PTH118
    if not _is_within(real, real_root):
        raise Refused(
            "the symlink leads out of its directory",
            where=str(link),
            hint="remove it, or skip it in the policy",
        )
    below = os.path.relpath(folder, real_root)
    written = os.path.normpath(os.path.join(below, target))  # noqa: PTH118
    if target.startswith(os.sep) or Path(written).parts[:1] == ("..",):
        return os.path.relpath(real, folder)
    return target


def _is_within(path: str, root: str) -> bool:
    return path == root or path.startswith(root + os.sep)


def count(root: Path) -> tuple[int, int]:
    """Entries and bytes below `root`."""
    entries = size = 0
    for entry in walk(root):
        entries += 1
        size += entry.size
    return entries, size
