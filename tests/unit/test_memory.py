"""Freed memory goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

HELD = """
def held() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
"""

PROGRAM = """
import sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from sandbox.memory import give_back

def work(turn: int) -> None:
    arrays = [np.ones((turn * 7 + n) % 24 * 100_000 + 1) for n in range(8)]
    del arrays

if sys.argv[1] == "give":
    assert give_back()
before = held()
with ThreadPoolExecutor(6) as pool:
    list(pool.map(work, range(200)))
    print(held() - before)
"""


def printed(program: str, *words: str) -> int:
    argv = [sys.executable, "-c", HELD + program, *words]
    return int(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_threads_hold_less_of_what_they_freed() -> None:
    kept, given = (printed(PROGRAM, how) for how in ("keep", "give"))
    assert given < kept / 2, f"{given} kB instead of {kept}"


LEFT = """
from sandbox.memory import let_go

import gc
gc.disable()
class Link: pass
for n in range(200):
    one = Link()
    one.self, one.data = one, bytearray(100_000)  # too small for the C library to give back alone
del one
before = held()
assert let_go()
print(before - held())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc_trim is glibc's")
def test_what_earlier_work_left_in_cycles_is_let_go() -> None:
    assert printed(LEFT) > 15_000


COMPILED = """
from sandbox.memory import without_compiler
from sandbox.masking.loops.numbers import without

data = b"[" + b"1.5," * 20
assert without(data) == b" "
before = held()
assert without_compiler()
print(before - held())
assert without(data) == b" "
from sandbox.masking.loops import elements  # one more that has to be loaded, by what is read again
import numpy as np
assert elements.counted(np.frombuffer(b"\\5\\0\\0\\0\\0" * 7, dtype=np.uint8)) == 7
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")
def test_loops_run_and_are_loaded_when_the_compiler_was_let_go() -> None:
    assert printed(COMPILED) > 20_000
