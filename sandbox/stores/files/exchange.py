"""Puts one directory in another's place, in one step where the kernel can."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from sandbox.stores.files import marks

AT_FDCWD = -100
RENAME_EXCHANGE = 2
UNABLE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


def exchange(one: Path, other: Path) -> None:
    """Both must exist, on one file system: afterwards each is where the other was.

    Linux's renameat2(2) does it at once. Elsewhere it is three renames, and `mend` repairs them.
    """
    if not _renameat2(one, other):
        aside = _aside(one)
        one.rename(aside)
        other.rename(one)
        aside.rename(other)


def mend(one: Path, other: Path) -> None:
    """Finish or take back three renames that were interrupted: only of a marked directory."""
    aside = _aside(one)
    if aside.is_symlink() or not marks.inside(aside).exists():
        return
    if one.exists() and other.exists():
        return
    if one.exists():
        aside.rename(other)
    else:
        aside.rename(one)


def _aside(one: Path) -> Path:
    return one.with_name(f"{one.name}.aside")


def _renameat2(one: Path, other: Path) -> bool:
    """Whether the kernel and the file system could do it."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    paths = os.fsencode(one), os.fsencode(other)
    if call(AT_FDCWD, paths[0], AT_FDCWD, paths[1], RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in UNABLE:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))
