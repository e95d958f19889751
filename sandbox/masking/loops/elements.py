"""Compiled loop over BSON documents: the elements that a rule masks, found without decoding any.

What it cannot judge is told as hard and left to `trees.Walker`, as with JSON (`leaves.py`). What it
passes over stays as it is, every type of it. https://bsonspec.org/spec.html
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sandbox.compiling import allocating, compiled
from sandbox.masking.loops.kernels import Array
from sandbox.masking.loops.leaves import (
    DEPTH,
    DROPPED,
    HARD,
    INNER,
    KEPT,
    NONE,
    WHOLE,
    child_of,
)

TEXT = 6  # what a rule does with a value, beside those of `leaves`: it looks inside a string
STRING, DOCUMENT, LIST, BINARY, NULL, REGEX, POINTER, SCOPED = (
    np.uint8(kind) for kind in (0x02, 0x03, 0x04, 0x05, 0x0A, 0x0B, 0x0C, 0x0F)
)
UNDEFINED = np.uint8(0x06)  # deprecated; a driver makes null of it
HALF = np.int64(1 << 31)  # from here on a number of 32 bits is negative
DOLLAR = 36  # begins names that a driver may make something else of


def _sizes() -> Array:
    """Bytes of a value by its type; -1: as its length says; -2: there is no such type."""
    made = np.full(256, -2, dtype=np.int64)
    for kind, size in (
        (0x01, 8), (0x06, 0), (0x07, 12), (0x08, 1), (0x09, 8), (0x0A, 0), (0x10, 4), (0x11, 8),
        (0x12, 8), (0x13, 16), (0x7F, 0), (0xFF, 0), (0x02, -1), (0x03, -1), (0x04, -1),
        (0x05, -1), (0x0B, -1), (0x0C, -1), (0x0D, -1), (0x0E, -1), (0x0F, -1),
    ):  # fmt: skip
        made[kind] = size
    return made


SIZES = _sizes()


@compiled
def _length(data: Array, at: int) -> Any:
    """A signed number of 32 bits."""
    found: Any = np.int64(0)
    for k in range(4):
        found |= np.int64(data[at + k]) << (8 * k)
    return found if found < HALF else found - 2 * HALF


@compiled
def _after_name(data: Array, at: int, end: int) -> int:
    """Behind the NUL of a name that begins here; 0 for none."""
    while at < end:
        if data[at] == 0:
            return at + 1
        at += 1
    return 0


@compiled
def _after(data: Array, kind: Any, at: int, end: int, sizes: Array) -> int:
    """Behind the value of this type that begins here; 0 for none that fits."""
    size = sizes[kind]
    if size >= 0:
        stop = at + size
    elif size == -2:
        return 0
    elif kind == REGEX:
        at = _after_name(data, at, end)
        stop = _after_name(data, at, end) if at else 0
    else:
        if at + 4 > end:
            return 0
        length = _length(data, at)
        whole = kind == DOCUMENT or kind == LIST or kind == SCOPED  # the length counts itself
        more = 0 if whole else 5 if kind == BINARY else 16 if kind == POINTER else 4
        if length < (5 if whole else 0 if kind == BINARY else 1):
            return 0
        stop = at + length + more
    return stop if stop <= end else 0


@compiled
def _is_utf8(data: Array, at: int, end: int) -> bool:
    while at < end:
        lead = data[at]
        size = 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        if (0x80 <= lead < 0xC2) or lead > 0xF4 or at + size > end:
            return False
        for k in range(at + 1, at + size):
            if data[k] & 0xC0 != 0x80:
                return False
        second = data[at + 1] if size > 1 else 0
        if (lead == 0xE0 and second < 0xA0) or (lead == 0xED and second >= 0xA0):
            return False
        if (lead == 0xF0 and second < 0x90) or (lead == 0xF4 and second >= 0x90):
            return False
        at += size
    return True


@compiled
def _elements(
    data: Array, text: int, at: int, end: int, kinds: Array, firsts: Array, counts: Array,
    others: Array, items: Array, names: Array, cuts: Array, nodes: Array, sizes: Array,
    stack: Array, listed: Array, ends: Array, opened: Array, begun: Array,
    found: Array, held: int, fields: Array, noted: int
) -> tuple[int, int]:  # fmt: skip
    """Of one document: how many of `found` and of `fields` are held then; -1 when it is hard, -2
    when either is full."""
    if end - at < 5 or _length(data, at) != end - at or data[end - 1] != 0:
        return -1, noted
    depth = 0
    node: Any = np.int64(0)
    stop = end
    array = False
    while True:
        # --- a document or a list begins
        if depth == DEPTH:
            return -1, noted
        if noted == len(fields):
            return -2, noted
        stack[depth], listed[depth], ends[depth] = node, array, stop - 1
        opened[depth], begun[depth] = noted, held
        fields[noted, 0], fields[noted, 1], fields[noted, 2] = text, at, stop
        noted += 1
        depth += 1
        at += 4
        # --- its elements
        while True:
            if at == ends[depth - 1]:
                if data[at] != 0:
                    return -1, noted
                depth -= 1
                if held == begun[depth]:
                    noted = opened[depth]  # nothing in it becomes longer
                at += 1
                if depth == 0:
                    return held, noted
                continue
            start, kind = at, data[at]
            name = at + 1
            at = _after_name(data, name, ends[depth - 1])
            if at == 0 or kind == UNDEFINED or (at > name + 1 and data[name] == DOLLAR):
                return -1, noted
            stop = _after(data, kind, at, ends[depth - 1], sizes)
            if stop == 0:
                return -1, noted
            if listed[depth - 1]:
                node = np.int64(items[stack[depth - 1]])
            else:
                node = child_of(
                    stack[depth - 1], data, name, at - 1, firsts, counts, others, names, cuts, nodes
                )
            if node == NONE:
                return -1, noted
            rule = kinds[node]
            if rule == WHOLE or kind == NULL:
                at = stop
                continue
            if kind in (DOCUMENT, LIST):
                if rule in (HARD, DROPPED):
                    return -1, noted
                if _length(data, at) == 5:
                    at = stop
                    continue
                array = kind == LIST
                if array and items[node] == NONE:
                    return -1, noted
                break
            if rule in (INNER, HARD):
                return -1, noted
            if rule != KEPT:
                if held == len(found) or noted == len(fields):
                    return -2, noted
                found[held, 0], found[held, 3] = text, node
                if rule == TEXT:
                    if kind != STRING or data[stop - 1] != 0:
                        return -1, noted
                    if not _is_utf8(data, at + 4, stop - 1):
                        return -1, noted
                    found[held, 1], found[held, 2] = at + 4, stop - 1
                    fields[noted, 0], fields[noted, 1], fields[noted, 2] = text, at, stop
                    noted += 1
                else:
                    found[held, 1], found[held, 2] = start, stop
                held += 1
            at = stop


@allocating
def elements(
    data: Array, starts: Array, ends: Array, kinds: Array, firsts: Array, counts: Array,
    others: Array, items: Array, names: Array, cuts: Array, nodes: Array, sizes: Array,
    hard: Array, found: Array, fields: Array
) -> tuple[int, int]:  # fmt: skip
    """What rules mask, document by document, as (document, start, end, node): whole elements, and
    of TEXT what is in the string. `fields`: the lengths that change with them, as (document, where
    it is, where what it counts ends). How many of both; -1 when either is full. `hard`: by
    document, told; the others as in `leaves.Rules`."""
    stack, listed = np.empty(DEPTH, np.int64), np.empty(DEPTH, np.bool_)
    stops, opened = np.empty(DEPTH, np.int64), np.empty(DEPTH, np.int64)
    begun = np.empty(DEPTH, np.int64)
    held: Any = np.int64(0)
    noted: Any = np.int64(0)
    for text in range(len(starts)):
        made, named = _elements(
            data, text, starts[text], ends[text], kinds, firsts, counts, others, items, names,
            cuts, nodes, sizes, stack, listed, stops, opened, begun, found, held, fields, noted
        )  # fmt: skip
        hard[text] = made == -1
        if made == -2:
            return -1, -1
        if made >= 0:
            held, noted = made, named
    return held, noted


@compiled
def counted(data: Array) -> int:
    """How many documents a batch has; -1 for what is none."""
    at = count = 0
    while at < len(data):
        length = _length(data, at) if at + 5 <= len(data) else 0
        if length < 5 or at + length > len(data):
            return -1
        at += length
        count += 1
    return count


@compiled
def parted(data: Array, begins: Array) -> None:
    """Where each document of a batch begins, and where the last one ends."""
    at: Any = np.int64(0)
    for count in range(len(begins)):
        begins[count] = at
        if at < len(data):
            at += _length(data, at)


@compiled
def relengthed(
    made: Array, begins: Array, starts: Array, found: Array, sizes: Array, fields: Array
) -> None:
    """Every length anew, in documents that are put together. `begins`, `starts`: where each is now
    and was before; `found`, `sizes`: the spans and how long each is now; `fields`: see `elements`.
    """
    first = 0
    for one in range(len(fields)):
        text = fields[one, 0]
        while first < len(found) and found[first, 0] < text:
            first += 1
        before = within = np.int64(0)
        span = first
        while span < len(found) and found[span, 0] == text and found[span, 1] < fields[one, 2]:
            longer = sizes[span] - (found[span, 2] - found[span, 1])
            if found[span, 1] < fields[one, 1]:
                before += longer
            else:
                within += longer
            span += 1
        place = begins[text] + fields[one, 1] - starts[text] + before
        length = _length(made, place) + within
        for k in range(4):
            made[place + k] = (length >> (8 * k)) & 0xFF
