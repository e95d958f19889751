"""BSON documents masked in compiled loops, as a cursor's batch gives them: the second way to what
`trees.Walker.documents` makes.

An element that a rule masks is given to Python once, as a document of its own; what it became is
remembered. All others stay as they are: no document is decoded, and every type comes through.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from sandbox.contract import Codec
from sandbox.errors import SandboxError
from sandbox.masking.loops import elements, leaves
from sandbox.masking.loops.jsons import ROOM, TreeFinder, found_in
from sandbox.masking.loops.kernels import Array
from sandbox.masking.loops.latest import Latest, Make
from sandbox.masking.loops.spans import Finder, replaced, windows

if TYPE_CHECKING:
    from sandbox.masking.trees import Node

SMALLEST = 5  # bytes of a document
Slow = Callable[[Sequence[dict[str, Any]]], Sequence[dict[str, Any]]]


class BsonFinder(TreeFinder):
    """Documents by the rules below one node."""

    def __init__(self, root: Node, latest: Latest, written: Callable[[Any], Make]) -> None:
        super().__init__(root, latest, written)
        looked_into = np.array([one.late for one in self._nodes])
        masked = self._rules.kinds == leaves.MASKED
        kinds = np.where(looked_into & masked, elements.TEXT, self._rules.kinds)
        self._rules = self._rules._replace(kinds=kinds)

    def find(self, data: Array, starts: Array, ends: Array, hard: Array) -> tuple[Array, Array]:
        """Spans as of `spans.Finder`, and the lengths that change with them: see `elements`."""
        room = ROOM
        while True:
            found = np.empty((room, 4), dtype=np.int64)
            fields = np.empty((room, 3), dtype=np.int64)
            held, noted = elements.elements(
                data, starts, ends, *self._rules, elements.SIZES, hard, found, fields
            )
            if held >= 0:
                break
            room *= 2
        return self._spans(data, found[:held], hard), fields[:noted]

    def _inside(self, data: Array, found: Array, finder: Finder, hard: Array) -> Array:
        parts, unsure = found_in(finder, data, found[:, 1].copy(), found[:, 2].copy())
        hard[found[unsure, 0]] = True
        parts[:, 0] = found[parts[:, 0], 0]
        return parts


class Documents:
    """One collection. `slow`: the same rules in Python. Shared by threads."""

    def __init__(self, root: Node, latest: Latest, codec: Codec, slow: Slow) -> None:
        self._finder = BsonFinder(root, latest, partial(_written, codec))
        self._latest, self._codec, self._slow = latest, codec, slow

    def masked(self, batch: bytes) -> tuple[int, bytes]:
        """How many documents a batch has, and the batch masked."""
        data, begins = parted(batch)
        parts = [self._window(data, begins[a : b + 1]) for a, b in windows(begins[1:])]
        return len(begins) - 1, b"".join(parts)

    def _window(self, data: Array, begins: Array) -> bytes:
        starts, ends = begins[:-1], begins[1:]
        hard = np.zeros(len(starts), dtype=bool)
        found, fields = self._finder.find(data, starts, ends, hard)
        if hard.any():
            found, fields = found[~hard[found[:, 0]]], fields[~hard[fields[:, 0]]]
        made = replaced(self._latest, data, starts, ends, found)
        behind = np.cumsum(made.bytes)
        elements.relengthed(made.data, behind - made.bytes, starts, found, made.sizes, fields)
        whole = made.data.tobytes()
        return whole if not hard.any() else self._with_hard(whole, behind, np.flatnonzero(hard))

    def _with_hard(self, whole: bytes, behind: Array, hard: Array) -> bytes:
        """Those that only Python can judge in their places; they stand there as they were."""
        edges = [0, *behind.tolist()]
        places = [(edges[one], edges[one + 1]) for one in hard.tolist()]
        read = [self._codec.decode(whole[start:end])[0] for start, end in places]
        parts, at = [], 0
        for (start, end), document in zip(places, self._slow(read), strict=True):
            parts += [whole[at:start], self._codec.encode(document)]
            at = end
        return b"".join([*parts, whole[at:]])


def parted(batch: bytes) -> tuple[Array, Array]:
    """A batch as an array, and where its documents begin, and the last one ends."""
    data = np.frombuffer(bytearray(batch), dtype=np.uint8)
    count = elements.counted(data)
    if count < 0:
        raise SandboxError("the server sent what is no batch of documents")
    begins = np.empty(count + 1, dtype=np.int64)
    elements.parted(data, begins)
    return data, begins


def named(codec: Codec, element: bytes) -> tuple[str, Any]:
    """An element's name and value."""
    whole = (len(element) + SMALLEST).to_bytes(4, "little") + element + b"\0"
    ((name, value),) = codec.decode(whole)[0].items()
    return name, value


def _written(codec: Codec, function: Callable[[Any], Any]) -> Make:
    """A function over values, over the elements that hold them."""

    def make(element: bytes) -> bytes:
        name, value = named(codec, element)
        return codec.encode({name: function(value)})[4:-1]

    return make
