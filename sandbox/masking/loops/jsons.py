"""JSON masked in compiled loops: the second way to what `trees.Walker.jsons` makes.

Values that rules mask are found in the bytes and replaced there; all others stay as they are
written, spaces and duplicate names, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from sandbox.masking.loops import leaves
from sandbox.masking.loops.kernels import Array
from sandbox.masking.loops.latest import ERRORS, Latest, Make
from sandbox.masking.loops.spans import Finder
from sandbox.masking.strategies import Looped

if TYPE_CHECKING:
    from sandbox.masking.trees import Node

ROOM = 1 << 13  # masked values in a window, at first
MARK = 34  # begins a string


class TreeFinder:
    """What the finders of JSON and BSON share: the rules below one node, and whose turn is when."""

    def __init__(self, root: Node, latest: Latest, written: Callable[[Any], Make]) -> None:
        """`written`: a function over values, over how they are written."""
        self._nodes: list[Node] = []
        self._rules = rules(root, self._nodes)
        self._latest, self._written = latest, written
        self._numbers = np.array([self._number(node) for node in self._nodes], dtype=np.int64)
        self._texts = {
            number: text_finder(node) for number, node in enumerate(self._nodes) if node.late
        }

    def _number(self, node: Node) -> int:
        if node.late or _kind(node) not in (leaves.MASKED, leaves.DROPPED):
            return -1
        return self.number_of(node.function)

    def number_of(self, function: Any) -> int:
        """The number of spans that a function is over."""
        return self._latest.number((self._written, id(function)), self._written(function))

    def _spans(self, data: Array, found: Array, hard: Array) -> Array:
        """Of values, as (text, start, end, node). Free text comes last: what is beside it is known
        by then."""
        text, node = found[:, 0].copy(), found[:, 3].copy()
        found[:, 3] = self._numbers[node]
        late = {
            int(one): finder for one in np.unique(node) if (finder := self._texts.get(int(one)))
        }
        if late:
            beside = found[found[:, 3] >= 0]
            self._latest.take(data, beside)
            parts = [self._inside(data, found[node == one], late[one], hard) for one in late]
            found = np.concatenate((beside, *parts))
            found = found[np.argsort(found[:, 1], kind="stable")]
        for number, count in enumerate(np.bincount(node[~hard[text]]).tolist()):
            self._nodes[number].count += count
        return found

    def _inside(self, data: Array, found: Array, finder: Finder, hard: Array) -> Array:
        """What a rule for free text finds inside these values."""
        raise NotImplementedError


class JsonFinder(TreeFinder):
    """JSON by the rules below one node."""

    def __init__(self, root: Node, latest: Latest) -> None:
        super().__init__(root, latest, _written)

    def find(self, data: Array, starts: Array, ends: Array, hard: Array) -> Array:
        """See `spans.Finder`."""
        return self._spans(data, self._leaves(data, starts, ends, hard), hard)

    def _leaves(self, data: Array, starts: Array, ends: Array, hard: Array) -> Array:
        """As (text, start, end, node)."""
        room = ROOM
        while True:
            found = np.empty((room, 4), dtype=np.int64)
            held = leaves.leaves(data, starts, ends, *self._rules, leaves.ESCAPES, hard, found)
            if held >= 0:
                return found[:held]
            room *= 2

    def _inside(self, data: Array, found: Array, finder: Finder, hard: Array) -> Array:
        """What is no string, or escaped, makes its text hard."""
        starts, ends = found[:, 1] + 1, found[:, 2] - 1
        odd = np.empty(len(found), dtype=bool)
        leaves.escaped(data, starts, ends, odd)
        odd |= data[found[:, 1]] != MARK
        inner = np.flatnonzero(~odd)
        parts, unsure = found_in(finder, data, starts[inner], ends[inner])
        odd[inner] |= unsure
        hard[found[odd, 0]] = True
        parts[:, 0] = found[inner[parts[:, 0]], 0]
        return parts


def found_in(finder: Finder, data: Array, starts: Array, ends: Array) -> tuple[Array, Array]:
    """Spans of these texts, and which of them are hard."""
    unsure = np.zeros(len(starts), dtype=bool)
    return finder.find(data, starts, ends, unsure), unsure


def _written(function: Any) -> Make:
    """A function over values, over how JSON writes them."""
    from sandbox.masking.trees import parse_json, write_json

    def make(value: bytes) -> bytes:
        return write_json(function(parse_json(value))).encode("utf-8", ERRORS)

    return make


def text_finder(node: Node) -> Finder | None:
    """Of a rule for free text that has one: where the rest is redacted there is none."""
    rule = node.function
    return rule.in_loops().finder if isinstance(rule, Looped) and rule.loopable else None


def rules(root: Node, nodes: list[Node]) -> leaves.Rules:
    """The tree below `root` as arrays; `nodes` is filled by number."""
    numbers: dict[int, int] = {}

    def number(node: Node | None) -> int:
        if node is None:
            return leaves.NONE
        if id(node) not in numbers:
            numbers[id(node)] = len(nodes)
            nodes.append(node)
        return numbers[id(node)]

    number(root)
    firsts, counts, others, items = [], [], [], []
    inner: list[int] = []
    names, cuts = b"", [0]
    at = 0
    while at < len(nodes):
        node = nodes[at]
        firsts.append(len(inner))
        counts.append(len(node.children))
        for name, child in node.children.items():
            inner.append(number(child))
            names += name.encode("utf-8", ERRORS)
            cuts.append(len(names))
        others.append(number(node.any or node.deep))
        items.append(number(node.items))
        at += 1
    kinds = [_kind(node) for node in nodes]
    for node in nodes:
        if node.deep is not None and node.deep.keep:
            kinds[numbers[id(node.deep)]] = leaves.WHOLE
    ints = (np.array(one, dtype=np.int64) for one in (kinds, firsts, counts, others, items))
    characters = np.frombuffer(names + b"\0", dtype=np.uint8)
    ends, numbers_ = np.array(cuts, dtype=np.int64), np.array(inner or [0], dtype=np.int64)
    return leaves.Rules._make((*ints, characters, ends, numbers_))


def _kind(node: Node) -> int:
    """See `trees.Walker._any`: what is not said here in one word is left to it."""
    whole = node.deep is not None and not node.children
    rule: Any = node.rule
    if node.vector or node.subject or (rule is not None and rule.strategy.startswith("python:")):
        return leaves.HARD
    if node.function is not None:
        if whole or (node.late and text_finder(node) is None):
            return leaves.HARD
        return leaves.DROPPED if node.drops else leaves.MASKED
    if whole:
        assert node.deep is not None
        return leaves.WHOLE if node.deep.keep else leaves.HARD
    return leaves.KEPT if node.keep else leaves.INNER
