"""Memory that is freed goes back to the system: a copy's is flat, whatever it copies."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable

# glibc's numbers of `mallopt`(3). Left alone, its threshold for giving a large block back grows to
# 32 MB with the blocks that come by, and each thread keeps a heap of its own: arrays of a few MB,
# made and freed all the time by several threads, then hold a quarter more than they need.
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
SETTINGS = ((TRIM_THRESHOLD, 8 << 20), (MMAP_THRESHOLD, 2 << 20), (ARENA_MAX, 2))


def give_back() -> bool:
    """Set it for the rest of this process; whether the C library knows how (glibc does)."""
    return _asked(lambda library: all(library.mallopt(*setting) for setting in SETTINGS))


def let_go() -> bool:
    """Give back what earlier work has left: compiled loops that were loaded leave much in cycles,
    which are seldom looked for while rows are copied. Takes some hundredths of a second."""
    gc.collect()
    return _asked(lambda library: bool(library.malloc_trim(0)))


def _asked(what: Callable[[ctypes.CDLL], bool]) -> bool:
    try:
        return what(ctypes.CDLL(None))
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
