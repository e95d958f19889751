"""Names with personal parts, by templates, in compiled loops: the second way to what
`patterns.masker` makes. A name of no template's form is hard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sandbox.compiling import allocating, compiled
from sandbox.masking.loops.kernels import Array
from sandbox.masking.loops.latest import Latest, plain
from sandbox.masking.patterns import MASKED, Template, parts

FIXED, PART, DEEP = range(3)  # pieces: characters; some of a class; any at all
KEPT = -1  # instead of a number: the piece stays


class Pieces(NamedTuple):
    """Templates as arrays. By template: its first piece, and the end of the last. By piece: what it
    is, how few characters it may have, whether it takes all that it can or nothing matches, its
    class, its number, and where its characters begin."""

    firsts: Array
    kinds: Array
    least: Array
    greedy: Array
    classes: Array
    numbers: Array
    cuts: Array
    texts: Array
    allowed: Array  # by class and byte


class TemplateFinder:
    """Templates are tried in their order; `functions`: by strategy."""

    def __init__(
        self,
        templates: Sequence[Template],
        functions: Mapping[str, Callable[[Any], Any]],
        latest: Latest,
    ) -> None:
        numbers = {
            name: latest.number(("template", id(function)), plain(function))
            for name, function in functions.items()
        }
        self._pieces = pieces(templates, numbers)

    def find(self, data: Array, starts: Array, ends: Array, hard: Array) -> Array:
        """See `spans.Finder`."""
        most = int(np.diff(self._pieces.firsts).max(initial=0)) * len(starts)
        found = np.empty((max(most, 1), 4), dtype=np.int64)
        return found[: matched(data, starts, ends, *self._pieces, hard, found)]


def pieces(templates: Sequence[Template], numbers: Mapping[str, int]) -> Pieces:
    firsts, kinds, least, classes, made, cuts = [0], [], [], [], [], [0]
    texts = b""
    greedy: list[bool] = []
    allowed: list[Array] = []
    for template in templates:
        former: Array | None = None  # the class of the part before
        for (match, fixed), (kind, strategy) in zip(parts(template), template.groups, strict=True):
            kinds.append(FIXED if fixed else DEEP if match[2] else PART)
            least.append(int(match[1] is not None))
            made.append(numbers[strategy] if kind == MASKED else KEPT)
            text = (match[4] or match[5] or "").encode()
            if former is not None:
                greedy[-1] = text != b"" and not former[text[0]]
            class_ = _class(template.separators, strategy == "ip" and kind == MASKED)
            former = class_ if kinds[-1] == PART else None
            greedy.append(former is not None)  # as the last one
            texts += text
            cuts.append(len(texts))
            classes.append(len(allowed))
            allowed.append(class_)
        firsts.append(len(kinds))
    listed: list[Sequence[int]] = [firsts, kinds, least, greedy, classes, made, cuts]
    ints = (np.array(one, dtype=np.int64) for one in listed)
    characters = np.frombuffer(texts + b"\0", dtype=np.uint8)
    return Pieces._make((*ints, characters, np.array(allowed, dtype=bool).reshape(-1, 256)))


def _class(separators: str, ip: bool) -> Array:
    """The bytes that a part may have; see `patterns.template`."""
    if ip:
        made = np.zeros(256, dtype=bool)
        made[[*b"0123456789ABCDEFabcdef:."]] = True
        return made
    made = np.ones(256, dtype=bool)
    made[[*separators.encode()]] = False
    return made


@compiled
def _reach(
    data: Array, at: int, end: int, piece: int, kinds: Array, classes: Array, allowed: Array
) -> int:
    """How far a piece of any length may go at most."""
    if kinds[piece] == DEEP:
        return end
    row = classes[piece]
    while at < end and allowed[row, data[at]]:
        at += 1
    return at


@compiled
def _fixed(data: Array, at: int, end: int, cut: int, stop: int, texts: Array) -> int:
    """Where the fixed characters end that stand here, or -1."""
    if end - at < stop - cut:
        return -1
    for k in range(stop - cut):
        if data[at + k] != texts[cut + k]:
            return -1
    return at + stop - cut


@compiled
def _matches(
    data: Array, start: int, end: int, first: int, last: int, kinds: Array, least: Array,
    greedy: Array, classes: Array, cuts: Array, texts: Array, allowed: Array, stops: Array
) -> bool:  # fmt: skip
    """Whether the whole name is of a template's form; where each piece ends into `stops`. Pieces
    take as much as they can, then less, as a regular expression does."""
    if last > first and kinds[last - 1] == FIXED:
        tail = end - (cuts[last] - cuts[last - 1])
        if tail < start or _fixed(data, tail, end, cuts[last - 1], cuts[last], texts) < 0:
            return False
    piece, at = first, start
    forward = True
    while True:
        if forward:
            if piece == last:
                if at == end:
                    return True
                forward = False
                piece -= 1
                continue
            if kinds[piece] == FIXED:
                at = _fixed(data, at, end, cuts[piece], cuts[piece + 1], texts)
                forward = at >= 0
            else:
                begin = at
                at = _reach(data, at, end, piece, kinds, classes, allowed)
                forward = at - begin >= least[piece]
            if forward:
                stops[piece - first] = at
                piece += 1
            else:
                piece -= 1
        else:
            if piece < first:
                return False
            begin = start if piece == first else stops[piece - first - 1]
            at = stops[piece - first] - 1
            if kinds[piece] == FIXED or greedy[piece] or at - begin < least[piece]:
                piece -= 1
                continue
            stops[piece - first] = at
            piece += 1
            forward = True


@allocating
def matched(
    data: Array, starts: Array, ends: Array, firsts: Array, kinds: Array, least: Array,
    greedy: Array, classes: Array, numbers: Array, cuts: Array, texts: Array, allowed: Array,
    hard: Array, found: Array
) -> int:  # fmt: skip
    """The masked parts of each name by the first template that it has the form of, as (text, start,
    end, number); how many. `hard`: names of no form; the others as in `Pieces`."""
    stops = np.empty(len(kinds) + 1, np.int64)
    held = 0
    for text in range(len(starts)):
        hard[text] = True
        for template in range(len(firsts) - 1):
            first, last = firsts[template], firsts[template + 1]
            if not _matches(
                data, starts[text], ends[text], first, last, kinds, least, greedy, classes, cuts,
                texts, allowed, stops
            ):  # fmt: skip
                continue
            hard[text] = False
            for piece in range(first, last):
                if numbers[piece] != KEPT:
                    found[held, 0], found[held, 3] = text, numbers[piece]
                    found[held, 1] = starts[text] if piece == first else stops[piece - first - 1]
                    found[held, 2] = stops[piece - first]
                    held += 1
            break
    return held
