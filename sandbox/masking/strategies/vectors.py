"""vector: keep, noise, random (on the unit sphere) or rotate (keyed and orthogonal).

`rotate` keeps all distances and angles, so search works as before within the copy. Its weakness:
who holds as many original vectors with their rotated ones as there are dimensions can undo it.
"""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Callable, Sequence
from operator import add, mul
from typing import Any

from sandbox.errors import ConfigError
from sandbox.masking.pseudonyms import Limits
from sandbox.masking.rules import Rule
from sandbox.masking.strategies.base import Function, Strategy, Tools

METHODS = ("keep", "noise", "random", "rotate")
TABLE = 1 << 16  # numbers drawn once, that noise is cut from
REFLECTIONS = 4
Numbers = list[float]
Change = Callable[[Numbers], Numbers]


def _random(tools: Tools, what: str | bytes) -> random.Random:
    return random.Random(tools.pseudonyms.digest("vector", what))


def _place(tools: Tools, vector: Numbers) -> int:
    packed = struct.pack(f"<{len(vector)}f", *vector)
    return int.from_bytes(tools.pseudonyms.digest("vector", packed)[:4], "big")


def _noise(tools: Tools, sigma: float) -> Change:
    draw = _random(tools, "noise").gauss
    table = [draw(0, sigma) for _ in range(TABLE)]
    twice = table + table

    def change(vector: Numbers) -> Numbers:
        """`sigma` is relative to the root mean square of the vector's numbers."""
        scale = math.sqrt(sum(map(mul, vector, vector)) / max(len(vector), 1))
        start = _place(tools, vector) % TABLE
        pad = twice[start : start + len(vector)]
        return list(map(add, vector, [one * scale for one in pad]))

    return change


def _on_the_sphere(tools: Tools) -> Change:
    def change(vector: Numbers) -> Numbers:
        draw = random.Random(_place(tools, vector)).gauss
        made = [draw(0, 1) for _ in vector]
        length = math.sqrt(sum(map(mul, made, made))) or 1
        return [one / length for one in made]

    return change


def _rotate(tools: Tools) -> Change:
    """Keyed signs and order, then reflections at keyed planes: orthogonal, and quick."""
    known: dict[int, tuple[list[int], Numbers, list[Numbers]]] = {}

    def parts(size: int) -> tuple[list[int], Numbers, list[Numbers]]:
        if size not in known:
            draw = _random(tools, f"rotate {size}")
            order = list(range(size))
            draw.shuffle(order)
            signs = [draw.choice((-1.0, 1.0)) for _ in order]
            normals = [[draw.gauss(0, 1) for _ in order] for _ in range(REFLECTIONS)]
            known[size] = order, signs, [_unit(normal) for normal in normals]
        return known[size]

    def change(vector: Numbers) -> Numbers:
        order, signs, normals = parts(len(vector))
        made = list(map(mul, signs, map(vector.__getitem__, order)))
        for normal in normals:
            twice = -2 * sum(map(mul, made, normal))
            made = [a + twice * b for a, b in zip(made, normal, strict=True)]
        return made

    return change


def _unit(vector: Numbers) -> Numbers:
    length = math.sqrt(sum(map(mul, vector, vector)))
    return [one / length for one in vector]


def _vector(rule: Rule, tools: Tools, limits: Limits) -> Function:
    method = rule.option("method", "rotate")
    if method not in METHODS:
        raise ConfigError(
            f"no such method: {method}", where=rule.where, hint=f"one of {', '.join(METHODS)}"
        )
    if method == "keep":
        return lambda value: value
    change = {
        "noise": lambda: _noise(tools, float(rule.option("sigma", 0.1))),
        "random": lambda: _on_the_sphere(tools),
        "rotate": lambda: _rotate(tools),
    }[method]()
    return _over_vectors(change, rule, method)


def _over_vectors(change: Change, rule: Rule, method: str) -> Function:
    def masked(value: Any) -> Any:
        if isinstance(value, str):  # pgvector's text
            if not value.startswith("["):
                raise ConfigError("only dense vectors can be masked", where=rule.where)
            made = change([float(one) for one in json.loads(value)])
            return "[" + ",".join(f"{one:.7g}" for one in made) + "]"
        if isinstance(value, dict) and "indices" in value:
            if method == "rotate":
                raise ConfigError("a sparse vector cannot be rotated", where=rule.where)
            return {**value, "values": change(_floats(value["values"]))}
        if len(value) and isinstance(value[0], (list, tuple)):
            return [change(_floats(row)) for row in value]
        return change(_floats(value))

    return masked


def _floats(values: Sequence[float]) -> Numbers:
    return list(map(float, values))


STRATEGIES = {
    "vector": Strategy(make=_vector, options={"method": (str,), "sigma": (int, float)}),
}
