"""Compiled loop that cuts lists of numbers out of text: the second way to `leaks.NUMBERS`."""

from __future__ import annotations

import numpy as np

from sandbox.compiling import compiled
from sandbox.masking.loops.kernels import Array
from sandbox.masking.loops.leaves import digits

LEAST = 16  # numbers that make a list
LONGEST = 3  # digits before a point: longer ones may be somebody's


def without(data: bytes) -> bytes:
    """The text with a space in the place of each list, but for its last number."""
    made = np.empty(len(data), dtype=np.uint8)
    return made[: _without(np.frombuffer(data, dtype=np.uint8), made)].tobytes()


@compiled
def _signed(data: Array, at: int, plus: bool) -> int:
    """Behind a sign, if there is one."""
    return at + 1 if at < len(data) and (data[at] == 45 or (plus and data[at] == 43)) else at


@compiled
def _number(data: Array, at: int) -> int:
    """Behind the number with a point, and perhaps an exponent, that begins here; 0 for none."""
    begin = _signed(data, at, False)
    at = digits(data, begin, len(data))
    if not 0 < at - begin <= LONGEST or at == len(data) or data[at] != 46:
        return 0
    begin = at + 1
    at = digits(data, begin, len(data))
    if at == begin:
        return 0
    if at < len(data) and (data[at] == 101 or data[at] == 69):
        begin = _signed(data, at + 1, True)
        stop = digits(data, begin, len(data))
        return stop if stop > begin else at
    return at


@compiled
def _after_list(data: Array, at: int) -> int:
    """Behind the last comma of the list whose first number begins here, or 0 for none."""
    numbers = 0
    while True:
        behind = _number(data, at)
        if behind == 0 or behind == len(data) or data[behind] != 44:
            return at if numbers >= LEAST else 0
        at = behind + 1
        if at < len(data) and data[at] == 32:
            at += 1
        numbers += 1


@compiled
def _without(data: Array, made: Array) -> int:
    at = count = 0
    while at < len(data):
        made[count] = data[at]
        at += 1
        stop = _after_list(data, at) if data[at - 1] == 91 else 0
        if stop:
            made[count] = 32
            at = stop
        count += 1
    return count
