"""Memory that is freed goes back to the system: a copy's is flat, whatever it copies."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

# glibc's numbers of `mallopt`(3). Left alone, its threshold for giving a large block back grows to
# 32 MB with the blocks that come by, and each thread keeps a heap of its own: arrays of a few MB,
# made and freed all the time by several threads, then hold a quarter more than they need.
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
DONTNEED = 4  # of `madvise`(2): the pages of a file that are needed again are read again
COMPILER = "llvmlite"  # in its library's path
_code: list[tuple[int, int]] = []  # see `_code_of_compiler`; a library stays where it is
SETTINGS = ((TRIM_THRESHOLD, 8 << 20), (MMAP_THRESHOLD, 2 << 20), (ARENA_MAX, 2))


def give_back() -> bool:
    """Set it for the rest of this process; whether the C library knows how (glibc does)."""
    return _asked(lambda library: all(library.mallopt(*setting) for setting in SETTINGS))


def let_go() -> bool:
    """Give back what earlier work has left: compiled loops that were loaded leave much in cycles,
    which are seldom looked for while rows are copied. Takes some hundredths of a second."""
    gc.collect()
    return trim()


def trim() -> bool:
    """Give back what is free already, between what is not. Takes some milliseconds."""
    return _asked(lambda library: bool(library.malloc_trim(0)))


def without_compiler() -> bool:
    """Give back the compiler's own code, some 60 MB of it, when loops are loaded and run without
    it. Only what is mapped as code: no page of it was ever written to. Asked often: once it is
    known where that is, it takes some microseconds."""
    if COMPILER in sys.modules and not _code:
        _code.extend(_code_of_compiler())
    return bool(_code) and _asked(lambda library: all(_unmapped(library, *one) for one in _code))


def _code_of_compiler() -> list[tuple[int, int]]:
    """From where to where it is."""
    found = []
    with suppress(OSError):
        for line in Path("/proc/self/maps").read_text().splitlines():
            edges, rights, *_ = line.split()
            if rights == "r-xp" and COMPILER in line:
                start, _, end = edges.partition("-")
                found.append((int(start, 16), int(end, 16)))
    return found


def _unmapped(library: ctypes.CDLL, start: int, end: int) -> bool:
    size = ctypes.c_size_t(end - start)
    return bool(library.madvise(ctypes.c_void_p(start), size, DONTNEED) == 0)


def _asked(what: Callable[[ctypes.CDLL], bool]) -> bool:
    try:
        return what(ctypes.CDLL(None))
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
