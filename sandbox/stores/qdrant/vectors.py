"""Dense vectors read out of the server's JSON, in a compiled loop without the interpreter's lock.

A JSON parser makes an object of each number, which for a vector of 1,024 takes longer than all that
is done to it. Not imported before there are many.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.compiling import compiled

Array = NDArray[Any]
LEAST = 8  # numbers of a vector: a shorter text might be no longer than what stands in its place
EXACT = np.int64(1 << 53)  # whole numbers up to here, and powers of ten up to 10^22, are exact
LONGEST = 18  # digits that make no larger number than there are
POWERS = 10.0 ** np.arange(23)
KEY = np.frombuffer(b'"vector"', dtype=np.uint8)
ZERO = np.int64(0)
VALUE, NAMED = 2, 3  # how deep a point's only vector stands in a list of points, and one of several


def apart(points: bytes) -> tuple[bytes, list[Array]]:
    """A JSON array of points with a number in the place of each dense vector, and the vectors by
    that number, as float32 and the same as a parser's. What is not exact stays where it is."""
    data = np.frombuffer(points, dtype=np.uint8)
    made = np.empty(len(data), dtype=np.uint8)
    values = np.empty(len(data) // 2 + 1, dtype=np.float32)
    ends = np.zeros(points.count(b"[") + 1, dtype=np.int64)
    size, count = _apart(data, KEY, POWERS, made, values, ends)
    return made[:size].tobytes(), np.split(values[: ends[count]], ends[1:count])


@compiled
def _blank(data: Array, at: int) -> int:
    while at < len(data) and (data[at] == 32 or data[at] == 10 or data[at] == 13 or data[at] == 9):
        at += 1
    return at


@compiled
def _string(data: Array, at: int) -> int:
    """Behind the string that begins here."""
    at += 1
    while at < len(data) and data[at] != 34:
        at += 2 if data[at] == 92 else 1
    return at + 1


@compiled
def _digits(data: Array, at: int, total: Any) -> tuple[int, Any]:
    """Behind the digits from here on, and the number that they make with those before."""
    while at < len(data):
        digit = np.int64(data[at]) - 48
        if digit < 0 or digit > 9:
            break
        total = total * 10 + digit
        at += 1
    return at, total


@compiled
def _number(data: Array, at: int, powers: Array) -> tuple[int, float]:
    """Behind the number that begins here, and the number; 0 for one that is not exact."""
    minus = at < len(data) and data[at] == 45
    first = begin = at + minus
    at, total = _digits(data, begin, ZERO)
    if at == begin:
        return 0, 0.0
    power: Any = ZERO
    whole = at
    if at < len(data) and data[at] == 46:
        begin = at + 1
        at, total = _digits(data, begin, total)
        if at == begin:
            return 0, 0.0
        power = begin - at
    if at - first > LONGEST or total > EXACT:
        return 0, 0.0
    if at < len(data) and (data[at] == 101 or data[at] == 69):
        below = at + 1 < len(data) and data[at + 1] == 45
        begin = at + 1 + (below or (at + 1 < len(data) and data[at + 1] == 43))
        at, step = _digits(data, begin, ZERO)
        if at == begin or at - begin > LONGEST:
            return 0, 0.0
        power += -step if below else step
    if not -len(powers) < power < len(powers):
        return 0, 0.0
    value = np.float64(total)
    if power < 0:
        value /= powers[-power]
    else:
        value *= powers[power]
    negative = minus and (total != 0 or at > whole)  # -0 is 0, and -0.0 is not
    return at, -value if negative else value


@compiled
def _vector(data: Array, at: int, powers: Array, values: Array, held: int) -> tuple[int, int]:
    """Behind the list of numbers that begins here, and how many values are held then; 0 for a list
    of something else or of numbers that are not exact."""
    at += 1
    while True:
        at, value = _number(data, _blank(data, at), powers)
        if at == 0:
            return 0, held
        values[held] = value
        held += 1
        at = _blank(data, at)
        if at == len(data) or (data[at] != 44 and data[at] != 93):
            return 0, held
        at += 1
        if data[at - 1] == 93:
            return at, held


@compiled
def _written(number: int, made: Array, size: int) -> int:
    """Behind a number that is written from there on."""
    stop, rest = size + 1, number // 10
    while rest:
        stop, rest = stop + 1, rest // 10
    for at in range(stop - 1, size - 1, -1):
        made[at] = 48 + number % 10
        number //= 10
    return stop


@compiled
def _apart(
    data: Array, key: Array, powers: Array, made: Array, values: Array, ends: Array
) -> tuple[int, int]:
    """How long the text is now, and how many vectors there are. `ends`: of each in `values`, from 1
    on."""
    at = size = count = depth = 0
    held = 0
    vector = False  # whether the value here is a point's vector, or inside it
    while at < len(data):
        byte = data[at]
        stop = at + 1
        if byte == 34:
            stop = _string(data, at)
            if stop > len(data):  # a string without an end, which the parser tells
                stop = len(data)
            if depth == VALUE:
                vector = stop - at == len(key) and _blank(data, stop) < len(data)
                for k in range(len(key)):
                    vector = vector and data[at + k] == key[k]
                vector = vector and data[_blank(data, stop)] == 58
        elif byte == 123 or byte == 91:
            if vector and byte == 91 and VALUE <= depth <= NAMED:
                behind, more = _vector(data, at, powers, values, held)
                if behind and more - held >= LEAST:
                    held, at = more, behind
                    count += 1
                    ends[count] = held
                    size = _written(count - 1, made, size)
                    continue
                vector = depth == NAMED  # else a list of vectors, which stays as it is
            depth += 1
        elif byte == 125 or byte == 93:
            depth -= 1
        for k in range(at, stop):
            made[size] = data[k]
            size += 1
        at = stop
    return size, count
