"""Keeps a pristine copy of each directory, and tells by inode, size and times what changed.

The way back is a directory beside: unchanged files are linked into it, the others copied from the
pristine tree. So it costs what changed, plus a look at every entry, and the swap stays what it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sandbox.errors import NoBaseline
from sandbox.model import Change, Marker
from sandbox.stores.files import marks

TREE, INDEX = "tree", "index.json"
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}
FICLONE = 0x40049409  # ioctl_ficlone(2): one file's blocks for two, where the file system can


@dataclass(frozen=True, kw_only=True)
class Seen:
    """An entry when it was in place. `changed` is the inode's own time, which nobody can set."""

    type: str
    mode: int
    mtime: int
    size: int
    inode: int
    changed: int
    owner: tuple[int, int]
    target: str

    def same_but_linked(self, other: Seen) -> bool:
        """A link made or taken away sets the inode's time and nothing else."""
        ours = (self.type, self.mode, self.mtime, self.size, self.inode, self.owner)
        return ours == (
            other.type, other.mode, other.mtime, other.size, other.inode, other.owner,
        )  # fmt: skip


Index = dict[str, Seen]


def base(directory: Path) -> Path:
    """Where the pristine copy is: the keeper's own."""
    return directory.with_name(f"{directory.name}.base")


def look(directory: Path) -> Index:
    """Every entry but the marker, of whatever kind; what cannot be listed counts as empty."""
    found: Index = {}
    folders = [""]
    while folders:
        prefix = folders.pop()
        try:
            entries = os.scandir(directory / prefix)  # a Path for each would take half of the time
        except PermissionError:
            continue
        with entries:
            for entry in entries:
                path = f"{prefix}{entry.name}"
                if path in (marks.NAME, f"{marks.NAME}.new"):
                    continue
                found[path] = _seen(entry)
                if found[path].type == "directory":
                    folders.append(f"{path}/")
    return dict(sorted(found.items()))


def keep(directory: Path, kept: Path, marker: Marker) -> None:
    """Copy a directory that nobody writes now. The marker with the baseline's name goes last."""
    kept.mkdir(mode=0o700)
    marks.write(marks.inside(kept), _unnamed(marker))
    copy = kept / TREE
    copy.mkdir()
    index = look(directory)
    for path, seen in index.items():
        _copied(directory / path, copy / path, seen)
    _finish(copy, index)
    write_index(kept, index)
    marks.write(marks.inside(kept), marker)


def write_index(kept: Path, index: Index) -> None:
    text = json.dumps({path: list(vars(seen).values()) for path, seen in index.items()})
    beside = kept / f"{INDEX}.new"
    beside.write_text(text)
    beside.replace(kept / INDEX)


def read_index(directory: Path) -> Index:
    """What stood there when it was loaded. Raises NoBaseline where it is another load's."""
    kept = base(directory)
    where = str(directory)
    own, found = marks.read(directory), marks.read(kept) if kept.is_dir() else None
    if own is None or found is None or not own.baseline or found.baseline != own.baseline:
        raise NoBaseline("no pristine copy of this load is kept", where=where, hint="./inv load")
    raw = json.loads((kept / INDEX).read_text())
    names = Seen.__dataclass_fields__
    return {
        path: Seen(**{**dict(zip(names, values, strict=True)), "owner": tuple(values[6])})
        for path, values in raw.items()
    }


def changed(directory: Path, index: Index) -> tuple[set[str], Mapping[str, int]]:
    """Paths that are not as they were, and how many are new, gone and different."""
    now = look(directory)
    pristine = base(directory) / TREE
    other = {
        path
        for path in now.keys() & index.keys()
        if now[path] != index[path]
        and not _equal(directory / path, now[path], pristine / path, index[path])
    }
    counts = {
        "new": len(now.keys() - index.keys()),
        "gone": len(index.keys() - now.keys()),
        "different": len(other),
    }
    return other | (now.keys() ^ index.keys()), counts


def change(purpose: str, counts: Mapping[str, int]) -> list[Change]:
    rows = sum(counts.values())
    detail = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return [Change(store="files", dataset=purpose, what="rows", rows=rows, detail=detail)] * (
        rows > 0
    )


def build(directory: Path, staged: Path, index: Index, other: set[str]) -> None:
    """Fill an empty directory with what was there. Raises NoBaseline where links cannot be made."""
    pristine = base(directory) / TREE
    for path, seen in index.items():
        target = staged / path
        if seen.type == "file" and path not in other:
            try:
                os.link(directory / path, target, follow_symlinks=False)
            except OSError as error:
                raise NoBaseline(f"{error.strerror}: {path}", where=str(directory)) from None
        else:
            _copied(pristine / path, target, seen)
    _finish(staged, index)


def settled(directory: Path) -> None:
    """Links were made and taken away: note the inodes' times as they are now."""
    with contextlib.suppress(NoBaseline, OSError):
        index = read_index(directory)
        now = look(directory)
        for path, seen in now.items():
            was = index.get(path)
            if was is not None and was != seen and _kept_on(was, seen):
                index[path] = seen
        write_index(base(directory), index)


def _kept_on(was: Seen, now: Seen) -> bool:
    """A file that was linked or copied back just now, or a directory that was made again."""
    if now.type == "file" and was.inode == now.inode:
        return was.same_but_linked(now)
    facts = ("type", "mode", "mtime", "size", "owner", "target")
    return all(getattr(was, fact) == getattr(now, fact) for fact in facts)


def _equal(one: Path, now: Seen, other: Path, was: Seen) -> bool:
    """Whether an entry whose inode or times differ holds the same all the same."""
    facts = ("type", "mode", "mtime", "size", "owner", "target")
    if any(getattr(now, fact) != getattr(was, fact) for fact in facts):
        return False
    if now.type != "file":
        return True
    with one.open("rb") as a, other.open("rb") as b:
        while True:
            left, right = a.read(1 << 20), b.read(1 << 20)
            if left != right:
                return False
            if not left:
                return True


def _seen(entry: os.DirEntry[str]) -> Seen:
    facts = entry.stat(follow_symlinks=False)
    kind = stat.S_IFMT(facts.st_mode)
    link = kind == stat.S_IFLNK
    return Seen(
        type=KINDS.get(kind, "other"),
        mode=stat.S_IMODE(facts.st_mode),
        mtime=0 if link else facts.st_mtime_ns,
        size=facts.st_size if kind == stat.S_IFREG else 0,
        inode=facts.st_ino,
        changed=facts.st_ctime_ns,
        owner=(facts.st_uid, facts.st_gid),
        target=os.readlink(entry.path) if link else "",  # noqa: PTH115
    )


def _copied(source: Path, target: Path, seen: Seen) -> None:
    """Without times and modes of directories, which what is put into them would change."""
    if seen.type == "directory":
        target.mkdir(mode=0o700)
    elif seen.type == "symlink":
        target.symlink_to(seen.target)
    else:
        with source.open("rb") as read, target.open("xb") as written:
            try:
                fcntl.ioctl(written.fileno(), FICLONE, read.fileno())
            except OSError:
                shutil.copyfileobj(read, written, 1 << 20)
        _owned(target, seen)
        target.chmod(seen.mode)
        os.utime(target, ns=(seen.mtime, seen.mtime))


def _finish(root: Path, index: Index) -> None:
    """Directories' owners, modes and times, from the leaves up."""
    for path, seen in sorted(index.items(), reverse=True):
        if seen.type == "symlink":
            _owned(root / path, seen)
        elif seen.type == "directory":
            _owned(root / path, seen)
            (root / path).chmod(seen.mode)
            os.utime(root / path, ns=(seen.mtime, seen.mtime))


def _owned(path: Path, seen: Seen) -> None:
    if os.geteuid() == 0:
        os.chown(path, *seen.owner, follow_symlinks=False)


def _unnamed(marker: Marker) -> Marker:
    return replace(marker, baseline="")
