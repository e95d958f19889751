"""Compiled loop over JSON texts: the values that a rule masks, found without building a tree.

What it cannot judge is told as hard and left to `trees.Walker`: a name without a rule, an escaped
name, a value of another shape than its rule's, what is no JSON. What it passes over stays as it is
written. https://www.rfc-editor.org/rfc/rfc8259
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sandbox.compiling import allocating, compiled
from sandbox.masking.loops.kernels import Array

# What a rule does with a value. WHOLE: all below stays; DROPPED: masked, and an object is hard.
INNER, KEPT, WHOLE, MASKED, DROPPED, HARD = range(6)
ALL = -2  # instead of a node: everything stays
NONE = -1
DEPTH = 64
VALUE, NAME, ENDED = range(3)  # what comes next: a value, a name, or what follows a value
ESCAPES = np.zeros(256, dtype=bool)
ESCAPES[[*b'"\\/bfnrtu']] = True


class Rules(NamedTuple):
    """A tree as arrays. By node: what it does, its first child and how many it has, the node of all
    other names, and of an array's elements. By child: its name (`names`, from `cuts` on) and node.
    """

    kinds: Array
    firsts: Array
    counts: Array
    others: Array
    items: Array
    names: Array
    cuts: Array
    nodes: Array


@compiled
def _blank(data: Array, at: int, end: int) -> int:
    while at < end and (data[at] == 32 or data[at] == 10 or data[at] == 13 or data[at] == 9):
        at += 1
    return at


@compiled
def _string(data: Array, at: int, end: int, escapes: Array) -> tuple[int, bool]:
    """Behind the closing mark of a string that opens at `at` (0: none), and whether there are
    escapes."""
    at += 1
    plain = True
    while at < end:
        byte = data[at]
        if byte == 34:
            return at + 1, plain
        if byte < 32:
            return 0, plain
        if byte == 92:
            plain = False
            at += 1
            if at >= end or not escapes[data[at]]:
                return 0, plain
            if data[at] == 117:
                for _ in range(4):
                    at += 1
                    if at >= end:
                        return 0, plain
                    code = data[at]
                    digit = 48 <= code <= 57
                    if not (digit or 65 <= code <= 70 or 97 <= code <= 102):
                        return 0, plain
        at += 1
    return 0, plain


@compiled
def digits(data: Array, at: int, end: int) -> int:
    while at < end and 48 <= data[at] <= 57:
        at += 1
    return at


@compiled
def _number(data: Array, at: int, end: int) -> int:
    """Behind the number that begins at `at`; 0 for none."""
    if at < end and data[at] == 45:
        at += 1
    stop = digits(data, at, end)
    if stop == at or (data[at] == 48 and stop > at + 1):
        return 0
    at = stop
    if at < end and data[at] == 46:
        stop = digits(data, at + 1, end)
        if stop == at + 1:
            return 0
        at = stop
    if at < end and (data[at] == 101 or data[at] == 69):
        at += 1
        if at < end and (data[at] == 43 or data[at] == 45):
            at += 1
        stop = digits(data, at, end)
        if stop == at:
            return 0
        at = stop
    return at


@compiled
def _word(data: Array, at: int, end: int) -> int:
    """Behind true, false or null; 0 for anything else."""
    if at + 4 <= end:
        a, b, c, d = data[at], data[at + 1], data[at + 2], data[at + 3]
        if a == 116 and b == 114 and c == 117 and d == 101:
            return at + 4
        if a == 110 and b == 117 and c == 108 and d == 108:
            return at + 4
        if a == 102 and b == 97 and c == 108 and d == 115 and at + 5 <= end:
            return at + 5 if data[at + 4] == 101 else 0
    return 0


@compiled
def child_of(
    node: int, data: Array, start: int, end: int, firsts: Array, counts: Array, others: Array,
    names: Array, cuts: Array, nodes: Array
) -> Any:  # fmt: skip
    if node == ALL:
        return ALL
    for child in range(firsts[node], firsts[node] + counts[node]):
        cut = cuts[child]
        size = cuts[child + 1] - cut
        if size != end - start:
            continue
        same = 0
        while same < size and names[cut + same] == data[start + same]:
            same += 1
        if same == size:
            return np.int64(nodes[child])
    return np.int64(others[node])


@compiled
def _leaves(
    data: Array, text: int, at: int, end: int, kinds: Array, firsts: Array, counts: Array,
    others: Array, items: Array, names: Array, cuts: Array, nodes: Array, escapes: Array,
    stack: Array, listed: Array, found: Array, held: int
) -> int:  # fmt: skip
    """Of one text, from `held` on: how many are held then; -1 when it is hard, -2 when `found` is
    full."""
    node: Any = np.int64(0)
    depth, state = 0, VALUE
    while True:
        at = _blank(data, at, end)
        if state == ENDED and depth == 0:
            return held if at == end else -1
        if at == end:
            return -1
        byte = data[at]
        inside = depth > 0 and listed[depth - 1]
        if state == ENDED:
            at += 1
            if byte == (93 if inside else 125):
                depth -= 1
            elif byte == 44:
                node = stack[depth - 1]
                if inside and node != ALL:
                    node = np.int64(items[node])
                state = VALUE if inside else NAME
            else:
                return -1
        elif state == NAME:
            stop, plain = (0, False) if byte != 34 else _string(data, at, end, escapes)
            colon = _blank(data, stop, end)
            if not plain or stop == 0 or colon == end or data[colon] != 58:
                return -1
            node = child_of(
                stack[depth - 1], data, at + 1, stop - 1, firsts, counts, others, names, cuts, nodes
            )
            if node == NONE:
                return -1
            at, state = colon + 1, VALUE
        elif byte == 123 or byte == 91:
            kind = WHOLE if node == ALL else kinds[node]
            if kind in (HARD, DROPPED) or depth == DEPTH:
                return -1
            if kind == WHOLE:
                node = np.int64(ALL)
            at = _blank(data, at + 1, end)
            if at < end and data[at] == (93 if byte == 91 else 125):
                at, state = at + 1, ENDED
                continue
            stack[depth], listed[depth] = node, byte == 91
            depth += 1
            state = VALUE if byte == 91 else NAME
            if byte == 91 and node != ALL:
                node = np.int64(items[node])
                if node == NONE:
                    return -1
        else:
            start = at
            if byte == 34:
                at, plain = _string(data, at, end, escapes)
            elif byte == 45 or 48 <= byte <= 57:
                at = _number(data, at, end)
            else:
                at = _word(data, at, end)
            kind = KEPT if node == ALL or byte == 110 else kinds[node]  # null stays
            if at == 0 or kind in (INNER, HARD):
                return -1
            if kind in (MASKED, DROPPED):
                if held == len(found):
                    return -2
                found[held, 0], found[held, 1] = text, start
                found[held, 2], found[held, 3] = at, node
                held += 1
            state = ENDED


@allocating
def leaves(
    data: Array, starts: Array, ends: Array, kinds: Array, firsts: Array, counts: Array,
    others: Array, items: Array, names: Array, cuts: Array, nodes: Array, escapes: Array,
    hard: Array, found: Array
) -> Any:  # fmt: skip
    """Masked values, text by text, as (text, start, end, node), strings with their marks; how many,
    or -1 when `found` is full. `hard`: by text, told; the others as in `Rules`."""
    stack, listed = np.empty(DEPTH, np.int64), np.empty(DEPTH, np.bool_)
    held: Any = np.int64(0)
    for text in range(len(starts)):
        made: Any = _leaves(
            data, text, starts[text], ends[text], kinds, firsts, counts, others, items,
            names, cuts, nodes, escapes, stack, listed, found, held
        )  # fmt: skip
        hard[text] = made == -1
        if made == -2:
            return -1
        if made >= 0:
            held = made
    return held


@compiled
def escaped(data: Array, starts: Array, ends: Array, found: Array) -> None:
    """Whether an escape stands in each part."""
    for one in range(len(starts)):
        found[one] = False
        for k in range(starts[one], ends[one]):
            found[one] |= data[k] == 92
