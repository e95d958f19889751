"""Entries <-> a POSIX pax tar stream, in constant memory; `tar -tv` reads it.

Times are kept to the nanosecond (pax `mtime`), names as UTF-8 or as their bytes where they are
none (pax `hdrcharset=BINARY`). `SANDBOX.sparse=1` marks a file that had holes: zero blocks of
64 KiB become holes again.
"""

from __future__ import annotations

import errno
import io
import os
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from sandbox.errors import Refused, SandboxError, SnapshotBroken
from sandbox.model import FileEntry
from sandbox.stores.files.tree import PERMISSIONS, contained_target

PIECE = 1 << 20  # bytes
IN_MEMORY = 4 << 20  # bytes of one file whose masked length is not known before it is masked
HOLE = 1 << 16  # bytes
SPARSE = "SANDBOX.sparse"
TYPES = {"file": tarfile.REGTYPE, "directory": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE}
END = bytes(2 * tarfile.BLOCKSIZE)


def header(entry: FileEntry, size: int, *, sparse: bool = False) -> bytes:
    info = tarfile.TarInfo(entry.path)
    info.type, info.mode, info.size = TYPES[entry.type], entry.mode & PERMISSIONS, size
    info.linkname = entry.target
    info.mtime = entry.mtime // 1_000_000_000
    info.pax_headers = {"mtime": _seconds(entry.mtime)} | ({SPARSE: "1"} if sparse else {})
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def body(entry: FileEntry, pieces: Iterable[bytes], *, size: int | None, sparse: bool
         ) -> Iterator[bytes]:  # fmt: skip
    """A file's header and content. With `size` None the length is known when all is masked: until
    then it waits in memory, or masked on disk when it is large."""
    if size is not None:
        yield header(entry, size, sparse=sparse)
        sent = 0
        for piece in pieces:
            sent += len(piece)
            yield piece
        if sent != size:
            raise SandboxError(
                "it became shorter while it was read", where=str(entry.source), hint="try again"
            )
        yield padding(size)
        return
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as held:
        for piece in pieces:
            held.write(piece)
        size = held.tell()
        held.seek(0)
        yield header(entry, size, sparse=sparse)
        while piece := held.read(PIECE):
            yield piece
    yield padding(size)


class Joined(io.RawIOBase):
    """Pieces as one readable stream."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """`size` bytes, fewer only at the end."""
        parts: list[bytes | memoryview] = []
        wanted = size if size >= 0 else 1 << 62
        while wanted:
            if not self._left:
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._left = memoryview(piece)
                continue
            part = self._left[:wanted]
            parts.append(part)
            self._left = self._left[len(part) :]
            wanted -= len(part)
        return b"".join(parts)


def unpack(root: Path, pieces: Iterable[bytes], *, owner: tuple[int, int] | None = None) -> int:
    """Write a stream's entries below `root`, which is empty; returns how many.

    Whatever the stream says, nothing outside `root` is touched: symlinks are made last and may not
    lead out. Raises SnapshotBroken for a stream that tries, or is cut off.
    """
    links: list[tuple[Path, str, int]] = []
    folders: list[tuple[Path, int, int]] = []
    rows = 0
    stream = Joined(pieces)
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=PIECE) as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # else it grows with the stream
                rows += 1
                path = _target(root, member)
                mtime = _nanoseconds(member.pax_headers.get("mtime", str(member.mtime)))
                if member.issym():
                    links.append((path, member.linkname, mtime))
                elif member.isdir():
                    path.mkdir(parents=True, exist_ok=True)
                    folders.append((path, member.mode & PERMISSIONS, mtime))
                elif member.isreg():
                    _write_file(tar, member, path, mtime, owner)
                else:
                    raise SnapshotBroken(f"{member.name!r} has an unknown type", where=root.name)
    except (NotADirectoryError, FileExistsError) as error:
        raise SnapshotBroken(
            f"an entry is there twice: {error.filename}", where=root.name
        ) from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise SandboxError("the disk is full", where=str(root)) from None
        raise
    except tarfile.TarError as error:
        raise SnapshotBroken(f"the stream of files is damaged: {error}", where=root.name) from None
    while stream.read(PIECE):  # to the end, where its checksum is verified
        pass
    _finish(root, links, folders, owner)
    return rows


def _target(root: Path, member: tarfile.TarInfo) -> Path:
    parts = member.name.split("/")
    if member.name.startswith("/") or not all(p not in ("", ".", "..") for p in parts):
        raise SnapshotBroken(f"{member.name!r} leads out of its directory", where=root.name)
    return root.joinpath(*parts)


def _write_file(
    tar: tarfile.TarFile,
    member: tarfile.TarInfo,
    path: Path,
    mtime: int,
    owner: tuple[int, int] | None,
) -> None:
    content = tar.extractfile(member)
    assert content is not None
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileNotFoundError:  # its directory was not copied
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, flags, 0o600)
    try:
        _copy(content, descriptor, member.size, holes=SPARSE in member.pax_headers)
        if owner:
            os.fchown(descriptor, *owner)
        os.fchmod(descriptor, member.mode & PERMISSIONS)
        os.utime(descriptor, ns=(mtime, mtime))
    finally:
        os.close(descriptor)


def _copy(content: IO[bytes], descriptor: int, size: int, *, holes: bool) -> None:
    left = size
    step = HOLE if holes else PIECE
    zeros = bytes(step) if holes else b""
    while left:
        data = content.read(min(step, left))
        if not data:
            raise SnapshotBroken("the stream of files is cut off")
        left -= len(data)
        if holes and data == zeros[: len(data)]:
            os.lseek(descriptor, len(data), os.SEEK_CUR)
        else:
            while data:
                data = data[os.write(descriptor, data) :]
    if holes:
        os.ftruncate(descriptor, size)


def _finish(
    root: Path,
    links: list[tuple[Path, str, int]],
    folders: list[tuple[Path, int, int]],
    owner: tuple[int, int] | None,
) -> None:
    for path, target, mtime in links:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.symlink_to(target)
        except FileExistsError:
            raise SnapshotBroken(f"{path.name!r} is there twice", where=root.name) from None
        os.utime(path, ns=(mtime, mtime), follow_symlinks=False)
    for path, target, _ in links:
        try:
            if contained_target(root, path, target) != target:
                raise SnapshotBroken(f"the symlink {path.name!r} leads out", where=root.name)
        except Refused as error:
            raise SnapshotBroken(error.message, where=error.where) from None
    for path, mode, mtime in reversed(folders):  # children first: they change their parent's time
        if owner:
            os.chown(path, *owner)
        path.chmod(mode)
        os.utime(path, ns=(mtime, mtime))


def _seconds(nanoseconds: int) -> str:
    whole, part = divmod(nanoseconds, 1_000_000_000)
    if whole < 0 and part:  # -0.5 s is -1 s + 0.5 s
        whole, part = whole + 1, 1_000_000_000 - part
        return f"-{-whole}.{part:09d}"
    return f"{whole}.{part:09d}"


def _nanoseconds(text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    whole, _, part = text.lstrip("-").partition(".")
    return sign * (int(whole) * 1_000_000_000 + int(part.ljust(9, "0")[:9] or "0"))
