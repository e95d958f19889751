"""What documents refer to, in compiled loops: the second way to `subset.Link.in_document`.

A reference that leads nowhere is found where a rule would find a value to mask. An element is given
to Python once; what was said of it is remembered. No document is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sandbox.contract import Codec
from sandbox.masking.loops.documents import BsonFinder, named, parted
from sandbox.masking.loops.kernels import Array
from sandbox.masking.loops.latest import Latest, Make
from sandbox.masking.loops.spans import windows
from sandbox.masking.rules import ITEMS
from sandbox.masking.trees import Node

LEADS, LOOSE = b"", b"\1"  # what is remembered of an element
Test = Callable[[Any], bool]
Slow = Callable[[Sequence[dict[str, Any]]], Sequence[int]]


class Step(Node):
    """A step of a path to references; all that is beside it stays. What it does not say, as a value
    where a path goes on, makes a document hard."""

    def __init__(self) -> None:
        self.rule = self.function = self.items = self.deep = self.any = None
        self.subject = self.of_text = None
        self.late = self.vector = self.keep = self.inside = False
        self.drops = True
        self.children: dict[str, Node] = {}
        self.count = 0

    def step(self, part: str) -> Node:
        if part == ITEMS:
            self.items = self.items or Step()
            return self.items
        self.deep = self.deep or _kept()
        return self.children.setdefault(part, Step())


def _kept() -> Step:
    made = Step()
    made.keep = True
    return made


class References:
    """One collection's links, as (path, whether a value leads somewhere). `slow`: of documents that
    only Python can judge, how many of them by link. Shared by threads."""

    def __init__(
        self, links: Sequence[tuple[Sequence[str], Test]], codec: Codec, slow: Slow
    ) -> None:
        root, latest = Step(), Latest()
        for path, test in links:
            node: Any = root
            for part in path:
                node = node.step(part)
            node.function = test

        def written(test: Test) -> Make:
            return lambda element: LEADS if test(named(codec, element)[1]) else LOOSE

        self._finder = BsonFinder(root, latest, written)
        self._numbers = [self._finder.number_of(test) for _, test in links]
        self._latest, self._codec, self._slow = latest, codec, slow

    def loose(self, batch: bytes) -> list[int]:
        """How many documents of a batch have a reference that leads nowhere, by link."""
        data, begins = parted(batch)
        total = np.zeros(len(self._numbers), dtype=np.int64)
        for a, b in windows(begins[1:]):
            total += self._window(data, begins[a : b + 1])
        counts: list[int] = total.tolist()
        return counts

    def _window(self, data: Array, begins: Array) -> Array:
        starts, ends = begins[:-1], begins[1:]
        hard = np.zeros(len(starts), dtype=bool)
        found, _ = self._finder.find(data, starts, ends, hard)
        found = found[~hard[found[:, 0]]]
        _, _, sizes = self._latest.take(data, found)
        found = found[sizes > 0]
        counts = np.array(
            [len(np.unique(found[found[:, 3] == number, 0])) for number in self._numbers]
        )
        if hard.any():
            places = zip(starts[hard].tolist(), ends[hard].tolist(), strict=True)
            whole = b"".join(data[start:end].tobytes() for start, end in places)
            counts += self._slow(self._codec.decode(whole))
        return counts
