"""Compiled loops over rows of PostgreSQL's binary COPY: HMAC-SHA256, pseudonyms, rows put together.

Compiled by numba when they are first used and kept beside this file, so nothing imports this module
before a large table is read. No loop holds the interpreter's lock: workers run side by side. All
arrays are of bytes (uint8) or 64-bit numbers; texts are UTF-8, and those that are not ASCII are
told as SLOW and left to Python.

https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format"; FIPS 180-4; RFC 2104.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.compiling import allocating, compiled
from sandbox.masking.pseudonyms import GMAIL

Array = NDArray[Any]
LANES = 16  # messages that are hashed side by side: the compiler makes vector instructions of them
LONGEST = 1024  # bytes of a value; longer ones are left to Python
DROPPED, OTHER = 0, 255  # in a table of bytes: removed from the message; makes the value SLOW
# Instead of a size: the field stays, as it is NULL or empty; Python makes it; it becomes NULL.
KEPT, SLOW, NULLED = -1, -2, -3
# Steps of a form, as (step, first, count, modulus, least, width); see `bulk.py`.
LITERAL, HEX, NUMBER, WORD, CUT = range(5)
DOTLESS = tuple(np.frombuffer(end, dtype=np.uint8) for end in GMAIL)


# --- SHA-256 -------------------------------------------------------------------------------------


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


def _cube_root(number: int) -> int:
    root = 0
    for bit in reversed(range(number.bit_length() // 3 + 1)):
        if (root | 1 << bit) ** 3 <= number:
            root |= 1 << bit
    return root


# The first 32 bits of the fractions of square and cube roots of the first primes.
START = np.array([isqrt(p << 64) & 0xFFFFFFFF for p in _primes(8)], dtype=np.uint32)
ROUNDS = np.array([_cube_root(p << 96) & 0xFFFFFFFF for p in _primes(64)], dtype=np.uint32)
# As numbers of one type: of literals the compiler would make a function each.
R2, R3, R6, R7, R10, R11 = (np.uint32(count) for count in (2, 3, 6, 7, 10, 11))
R13, R17, R18, R19, R22, R25 = (np.uint32(count) for count in (13, 17, 18, 19, 22, 25))


@compiled
def _turned(word: Any, count: Any) -> Any:
    return (word >> count) | (word << (np.uint32(32) - count))


@compiled
def compress(state: Array, block: Array, work: Array) -> None:
    """One block of each lane into its state. `state`, `work`: 8 words by lane; `block`: 64 words by
    lane, the first 16 given."""
    for i in range(16, 64):
        for lane in range(LANES):
            x, y = block[i - 15, lane], block[i - 2, lane]
            low = _turned(x, R7) ^ _turned(x, R18) ^ (x >> R3)
            high = _turned(y, R17) ^ _turned(y, R19) ^ (y >> R10)
            block[i, lane] = block[i - 16, lane] + low + block[i - 7, lane] + high
    for row in range(8):
        for lane in range(LANES):
            work[row, lane] = state[row, lane]
    for i in range(64):
        # a to h of the standard; instead of moving them all, their rows turn.
        a, b, c, d = -i % 8, (1 - i) % 8, (2 - i) % 8, (3 - i) % 8
        e, f, g, h = (4 - i) % 8, (5 - i) % 8, (6 - i) % 8, (7 - i) % 8
        key = ROUNDS[i]
        for lane in range(LANES):
            x, y = work[a, lane], work[e, lane]
            chosen = (y & work[f, lane]) ^ (~y & work[g, lane])
            most = (x & work[b, lane]) ^ (x & work[c, lane]) ^ (work[b, lane] & work[c, lane])
            one = _turned(y, R6) ^ _turned(y, R11) ^ _turned(y, R25)
            one = work[h, lane] + one + chosen + key + block[i, lane]
            two = (_turned(x, R2) ^ _turned(x, R13) ^ _turned(x, R22)) + most
            work[d, lane] += one
            work[h, lane] = one + two
    for row in range(8):
        for lane in range(LANES):
            state[row, lane] += work[row, lane]


@allocating
def hmacs(
    messages: Array, sizes: Array, key: Array, block: Array, work: Array, made: Array
) -> None:
    """HMAC-SHA256 of each lane's message, 32 bytes into `made`. `key`: the states after the two
    padded keys, inner first; `messages`: bytes by lane, overwritten behind the message; `block` and
    `work` as `compress` wants them."""
    state = np.empty((8, LANES), np.uint32)
    inner = np.empty((8, LANES), np.uint32)
    for row in range(8):
        state[row, :] = key[0, row]
    most = 0
    for lane in range(LANES):
        size = sizes[lane]
        blocks = (size + 9 + 63) // 64
        messages[lane, size] = 0x80
        for at in range(size + 1, blocks * 64 - 8):
            messages[lane, at] = 0
        bits = (size + 64) * 8
        for at in range(8):
            messages[lane, blocks * 64 - 1 - at] = (bits >> (8 * at)) & 0xFF
        most = max(most, blocks)
    for number in range(most + 1):  # the last block is the outer hash's
        if number < most:
            for lane in range(LANES):
                for i in range(16):
                    at = number * 64 + i * 4
                    block[i, lane] = (
                        (np.uint32(messages[lane, at]) << np.uint32(24))
                        | (np.uint32(messages[lane, at + 1]) << np.uint32(16))
                        | (np.uint32(messages[lane, at + 2]) << np.uint32(8))
                        | np.uint32(messages[lane, at + 3])
                    )
        else:
            block[:8] = inner
            block[8, :] = np.uint32(0x80000000)
            block[9:15] = np.uint32(0)
            block[15, :] = np.uint32((64 + 32) * 8)
            for row in range(8):
                state[row, :] = key[1, row]
        compress(state, block, work)
        for lane in range(LANES):
            if number == (sizes[lane] + 9 + 63) // 64 - 1:  # a longer lane goes on
                inner[:, lane] = state[:, lane]
    for lane in range(LANES):
        for row in range(8):
            word = state[row, lane]
            for at in range(4):
                made[lane, row * 4 + at] = (word >> np.uint32(24 - 8 * at)) & np.uint32(0xFF)


# --- pseudonyms ----------------------------------------------------------------------------------


@compiled
def message(data: Array, start: int, size: int, meant: Array, into: Array) -> int:
    """The normalised value's bytes into `into`; how many, or SLOW."""
    if size > LONGEST:
        return SLOW
    count = 0
    for at in range(start, start + size):
        byte = meant[data[at]]
        if byte == OTHER:
            return SLOW
        if byte != DROPPED:
            into[count] = byte
            count += 1
    return count


@compiled
def dotless(text: Array, size: int) -> bool:
    """Whether dots in this address mean nothing."""
    for end in DOTLESS:
        same = 0
        while same < min(len(end), size) and text[size - 1 - same] == end[len(end) - 1 - same]:
            same += 1
        if same == len(end):
            return True
    return False


@compiled
def number(digest: Array, first: int, count: int) -> Any:
    """Big-endian, unsigned, at most seven bytes."""
    found = np.int64(0)
    for at in range(first, first + count):
        found = found * 256 + np.int64(digest[at])
    return found


@compiled
def written(digest: Array, steps: Array, texts: Array, words: Array, into: Array, at: int) -> int:
    """A form's steps for one digest, from `at` on; where it ends. `texts`: all literals and words;
    `words`: where each word begins in it."""
    begin = at
    for i in range(len(steps)):
        step, first, count, modulus, least, width = steps[i]
        if step == LITERAL:
            for k in range(count):
                into[at + k] = texts[first + k]
            at += count
        elif step == HEX:
            for k in range(count):
                half = (digest[first + k // 2] >> (4 if k % 2 == 0 else 0)) & 0xF
                into[at + k] = half + (48 if half < 10 else 87)
            at += count
        elif step == NUMBER:
            value = number(digest, first, count) % modulus + least
            size, rest = 1, value // 10
            while rest:
                size, rest = size + 1, rest // 10
            size = max(size, width)
            for k in range(size):
                into[at + size - 1 - k] = 48 + value % 10
                value //= 10
            at += size
        elif step == WORD:
            word = least + number(digest, first, count) % modulus
            for k in range(words[word], words[word + 1]):
                into[at] = texts[k]
                at += 1
        elif at - begin > count:  # CUT
            at = begin + count
    return at


@allocating
def pseudonyms(
    data: Array, starts: Array, sizes: Array, meant: Array, address: bool, key: Array, steps: Array,
    texts: Array, words: Array, into: Array, places: Array, lengths: Array
) -> int:  # fmt: skip
    """Each value's pseudonym into `into`, one behind the other: where (`places`) and how long
    (`lengths`, or KEPT or SLOW). Returns where the last one ends.

    `meant`: what each byte becomes in the message; `address`: those without dots are SLOW.
    """
    lanes = np.empty((LANES, LONGEST + 72), np.uint8)
    count, row_of = np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    block, work = np.empty((64, LANES), np.uint32), np.empty((8, LANES), np.uint32)
    digests = np.empty((LANES, 32), np.uint8)
    filled, end = 0, 0
    for row in range(len(starts) + 1):
        if row < len(starts):
            lengths[row] = KEPT
            if sizes[row] <= 0:
                continue
            size = message(data, starts[row], sizes[row], meant, lanes[filled])
            if size == SLOW or (address and dotless(lanes[filled], size)):
                lengths[row] = SLOW
                continue
            count[filled], row_of[filled] = size, row
            filled += 1
        if filled == LANES or (row == len(starts) and filled):
            hmacs(lanes, count, key, block, work, digests)
            for lane in range(filled):
                one = row_of[lane]
                places[one] = end
                end = written(digests[lane], steps, texts, words, into, end)
                lengths[one] = end - places[one]
            filled = 0
    return end


# --- rows ----------------------------------------------------------------------------------------


@compiled
def fields(data: Array, at: int, starts: Array, sizes: Array) -> tuple[int, int]:
    """Where the fields of each row stand and how long they are (-1: NULL). Returns how many rows
    there are, -1 for what is no binary COPY, and where the last one ends: at the trailer or the end
    of the data."""
    columns, row = starts.shape[1], 0
    while at != len(data):
        if at + 2 > len(data):
            return -1, at
        held = np.int64(data[at]) << 8 | np.int64(data[at + 1])
        if held == 0xFFFF and at + 2 == len(data):
            break
        if held != columns or row == len(starts):
            return -1, at
        at += 2
        for column in range(columns):
            if at + 4 > len(data):
                return -1, at
            size: Any = 0
            for k in range(4):
                size = size << 8 | np.int64(data[at + k])
            if size == 0xFFFFFFFF:
                size = -1
            at += 4
            starts[row, column], sizes[row, column] = at, size
            if size > 0:
                at += size
            if at > len(data):
                return -1, at
        row += 1
    return row, at


@compiled
def copied(data: Array, start: int, end: int, into: Array, at: int) -> int:
    """These bytes into `into`, from `at` on; where they end."""
    for k in range(end - start):
        into[at + k] = data[start + k]
    return at + end - start


@compiled
def picked(made: Array, places: Array, sizes: Array, into: Array) -> int:
    """Texts that stand there, one behind the other; how many bytes."""
    at = 0
    for one in range(len(places)):
        at = copied(made, places[one], places[one] + sizes[one], into, at)
    return at


@compiled
def assembled(
    data: Array, begin: int, end: int, starts: Array, sizes: Array, slots: Array, made: Array,
    places: Array, lengths: Array, into: Array
) -> int:  # fmt: skip
    """The rows anew, with what stands before and behind them; returns how many bytes, -1 where a
    value has no pseudonym. `slots`: by column, the row of `places` and `lengths` that has its
    pseudonyms (in `made`), or -1."""
    at = copied(data, 0, begin, into, 0)
    for row in range(len(starts)):
        kept = starts[row, 0] - 6  # the row's head, and the first field's
        for column in range(starts.shape[1]):
            slot = slots[column]
            if slot < 0 or lengths[slot, row] == KEPT:
                if slot >= 0 and sizes[row, column] > 0:
                    return -1
                continue
            length = lengths[slot, row]
            if length == SLOW:
                return -1
            start = starts[row, column]
            at = copied(data, kept, start - 4, into, at)
            kept = start + max(sizes[row, column], 0)
            size = -1 if length == NULLED else length
            for k in range(4):
                into[at + k] = (size >> (24 - 8 * k)) & 0xFF
            at = copied(made, places[slot, row], places[slot, row] + max(size, 0), into, at + 4)
        last = starts.shape[1] - 1
        at = copied(data, kept, starts[row, last] + max(sizes[row, last], 0), into, at)
    return copied(data, end, len(data), into, at)


@compiled
def vectors(data: Array, places: Array, into: Array) -> bool:
    """pgvector's binary form, into the rows of a matrix of float32 as its bytes: how many numbers
    and nothing, two bytes each; then float4, big-endian. Whether it is that."""
    size = into.shape[1]
    for row in range(len(places)):
        at = places[row]
        if (np.int64(data[at]) << 8 | np.int64(data[at + 1])) * 4 != size:
            return False
        for k in range(0, size, 4):
            for byte in range(4):
                into[row, k + byte] = data[at + 4 + k + 3 - byte]
    return True


@compiled
def written_vectors(data: Array, places: Array, made: Array, into: Array) -> None:
    """The reverse: each with the head of the vector whose place it takes."""
    size = made.shape[1]
    for row in range(len(places)):
        for k in range(4):
            into[row, k] = data[places[row] + k]
        for k in range(0, size, 4):
            for byte in range(4):
                into[row, 4 + k + 3 - byte] = made[row, k + byte]


@allocating
def prefixed(data: Array, sizes: Array, mark: Array) -> Array:
    """Texts of these sizes, one behind the other, each with the mark before it."""
    if len(mark) == 0:
        return data
    into = np.empty(len(data) + len(sizes) * len(mark), np.uint8)
    at = place = 0
    for row in range(len(sizes)):
        at = copied(mark, 0, len(mark), into, at)
        at = copied(data, place, place + sizes[row], into, at)
        place += sizes[row]
    return into


@compiled
def gathered(data: Array, starts: Array, sizes: Array, columns: Array, into: Array) -> int:
    """These columns as lines, fields apart by tabs, for their words; what COPY text would escape is
    a space. Returns how many bytes."""
    at = 0
    for row in range(len(starts)):
        for i in range(len(columns)):
            start = starts[row, columns[i]]
            for k in range(start, start + max(sizes[row, columns[i]], 0)):
                byte = data[k]
                into[at] = 32 if byte < 32 or byte == 92 else byte
                at += 1
            into[at] = 9
            at += 1
        into[at - 1] = 10
    return at
