"""Directories, for reading: files are opened read-only, and no time of theirs is changed."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from sandbox.contract import Access, Cut, Mask, Tool
from sandbox.errors import SandboxError, Unreachable
from sandbox.model import Dataset, FileEntry, FilesSpace, Kind, Marker
from sandbox.stores.files import marks, stream, tree

AGAIN = "try again when nothing is being moved there"
MOUNTS = Path("/proc/self/mountinfo")


class Source:
    """The directories of one space: one dataset for each purpose."""

    kind: Kind = "files"

    def __init__(self, access: Access, *, tool: Tool | None = None) -> None:
        assert isinstance(access.space, FilesSpace)
        self._space = access.space

    def ready(self) -> str:
        """Lists every directory; returns their file systems."""
        for directory in self._space.directories.values():
            try:
                with os.scandir(directory):
                    pass
            except OSError as error:
                raise Unreachable(
                    f"the directory cannot be listed: {error.strerror}",
                    where=str(directory),
                    hint="./inv isolate makes the playground's",
                ) from None
        kinds = sorted({file_system(path) for path in self._space.directories.values()})
        return f"directories on {', '.join(kinds)}"

    def marker(self) -> Marker | None:
        return marks.of_space(self._space)

    def can_write(self) -> str:
        """Directories have no login: this user's rights are kept from them by path, and by the
        modes that `verify` looks at."""
        return ""

    @contextlib.contextmanager
    def cut(self) -> Iterator[Cut]:
        """Files have no common moment: the facts say when reading began."""
        yield Cut(facts={"began": datetime.now(UTC).isoformat(timespec="milliseconds")})

    def datasets(self, cut: Cut) -> Sequence[Dataset]:
        """One for each purpose; `rows` are its entries."""
        found = []
        for purpose, directory in self._space.directories.items():
            entries, size = tree.count(directory)
            found.append(Dataset(store="files", name=purpose, rows=entries, bytes=size))
        return found

    def catalog(self, cut: Cut) -> bytes:
        return b""

    def read(self, cut: Cut, dataset: Dataset, mask: Mask) -> Iterator[tuple[int, bytes]]:
        """A pax tar of what the mask lets through, in pieces of about 1 MiB."""
        root = self._space.directories[dataset.name]
        keeps = mask.keeps(dataset)
        held = bytearray()
        rows = 0
        for entry in tree.walk(root):
            for first, piece in _masked(root, dataset.name, entry, mask, keeps=keeps):
                rows += first
                held += piece
                if len(held) >= stream.PIECE:
                    yield rows, bytes(held)
                    rows = 0
                    held.clear()
        yield rows, bytes(held + stream.END)

    def originals(self, cut: Cut, dataset: Dataset, fields: Sequence[str]) -> Iterator[str]:
        """None: `read` shows every value to the mask."""
        return iter(())

    def count(self) -> Mapping[str, int]:
        return {p: tree.count(directory)[0] for p, directory in self._space.directories.items()}

    def close(self) -> None:
        """Nothing is held open."""


def file_system(path: Path) -> str:
    """The type of the file system that holds `path`; "unknown" where the kernel does not tell."""
    real = os.path.realpath(path)
    best, kind = "", "unknown"
    with contextlib.suppress(OSError):
        for line in MOUNTS.read_text(errors="surrogateescape").splitlines():
            left, _, right = line.partition(" - ")
            point = left.split(" ")[4]
            if (real + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best):
                best, kind = point, right.split(" ")[0]
    return kind


def open_quietly(path: Path) -> IO[bytes]:
    """For reading, without following a symlink and, where allowed, without a new access time.

    Raises SandboxError when it is no file any more; a pipe, which may never answer, is not waited
    for.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        try:
            descriptor = os.open(path, flags | getattr(os, "O_NOATIME", 0))
        except PermissionError:
            descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):  # a symlink, a socket now
            raise altered(path) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise altered(path)
    return os.fdopen(descriptor, "rb", buffering=0)


def altered(path: Path) -> SandboxError:
    return SandboxError("it became something else while it was read", where=str(path), hint=AGAIN)


class _Limited(io.RawIOBase):
    """The first `size` bytes of a file that may still be growing."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)


def _masked(
    root: Path, purpose: str, entry: FileEntry, mask: Mask, *, keeps: bool
) -> Iterator[tuple[int, bytes]]:
    """One entry's part of the tar stream; the first piece counts as one row."""
    original = replace(entry)  # rules for the content go by the name that it has in production
    made = mask.file(purpose, entry)
    if made is None:
        return
    if made.type == "symlink":
        assert original.source is not None
        made.target = tree.contained_target(root, original.source, made.target)
    if made.type != "file":
        yield 1, stream.header(made, 0)
        return
    assert original.source is not None
    try:
        file = open_quietly(original.source)
    except FileNotFoundError:  # gone since it was listed
        return
    except PermissionError:
        raise Unreachable("the file cannot be read", where=str(original.source)) from None
    with file:
        facts = os.fstat(file.fileno())
        sparse = facts.st_blocks * 512 < facts.st_size
        limited = io.BufferedReader(_Limited(file, facts.st_size), 1 << 20)
        content = mask.content(purpose, original, limited)
        size = facts.st_size if keeps else None
        first = 1
        for piece in stream.body(made, content, size=size, sparse=sparse):
            yield first, piece
            first = 0
