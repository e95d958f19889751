"""Memory that is freed goes back to the system: a copy's is flat, whatever it copies."""

from __future__ import annotations

import ctypes
import gc

# glibc's numbers of `mallopt`(3). Left alone, its threshold for giving a large block back grows to
# 32 MB with the blocks that come by, and each thread keeps a heap of its own: arrays of a few MB,
# made and freed all the time by several threads, then hold a quarter more than they need.
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
SETTINGS = ((TRIM_THRESHOLD, 8 << 20), (MMAP_THRESHOLD, 2 << 20), (ARENA_MAX, 2))


def give_back() -> bool:
    """Give back what is free by now, and from now on what becomes so; whether the C library knows
    how (glibc does)."""
    gc.collect()  # what was imported, or compiled loops that were loaded, leave cycles behind
    try:
        library = ctypes.CDLL(None)
        set_all = [library.mallopt(number, value) for number, value in SETTINGS]
        library.malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    return all(set_all)
