"""vector: keep, noise, random (on the unit sphere) or rotate (keyed and orthogonal).

`rotate` keeps all distances and angles, so search works as before within the copy. Its weakness:
who holds as many original vectors with their rotated ones as there are dimensions can undo it.

Vectors of one length are masked together, as the rows of a matrix. What comes out are float32 in
their shortest form: what both servers hold.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from sandbox.errors import ConfigError
from sandbox.masking.pseudonyms import Limits
from sandbox.masking.rules import Rule
from sandbox.masking.strategies.base import Function, Strategy, Together, Tools

METHODS = ("keep", "noise", "random", "rotate")
TABLE = 1 << 16  # numbers drawn once, that noise is cut from
REFLECTIONS = 4
TOGETHER = 1 << 14  # numbers that are changed together: what is made of them stays in the cache
LARGEST = np.finfo(np.float32).max
Matrix = NDArray[np.float64]  # a vector a row
Change = Callable[[Matrix], Matrix]


def _random(tools: Tools, what: str | bytes) -> random.Random:
    return random.Random(tools.pseudonyms.digest("vector", what))


def _places(tools: Tools, vectors: Matrix) -> list[int]:
    """A keyed number of 32 bits for each."""
    digest = tools.pseudonyms.digester("vector")
    packed = vectors.astype("<f4")
    return [int.from_bytes(digest(row.tobytes())[:4], "big") for row in packed]


def _noise(tools: Tools, sigma: float) -> Change:
    draw = _random(tools, "noise").gauss
    table = np.array([draw(0, sigma) for _ in range(TABLE)])
    twice = np.concatenate((table, table))

    def change(vectors: Matrix) -> Matrix:
        """`sigma` is relative to the root mean square of a vector's numbers."""
        size = vectors.shape[1]
        scales = np.sqrt((vectors * vectors).sum(axis=1) / max(size, 1))
        starts = np.array(_places(tools, vectors)) % TABLE
        pads = twice[starts[:, None] + np.arange(size)]
        pads *= scales[:, None]
        pads += vectors
        return pads

    return change


def _on_the_sphere(tools: Tools) -> Change:
    def change(vectors: Matrix) -> Matrix:
        drawn = [random.Random(place).gauss for place in _places(tools, vectors)]
        made = np.array([[draw(0, 1) for _ in range(vectors.shape[1])] for draw in drawn])
        return _units(made.reshape(vectors.shape))

    return change


def _rotate(tools: Tools) -> Change:
    """Keyed signs and order, then reflections at keyed planes: orthogonal, and quick."""
    known: dict[int, tuple[NDArray[np.int64], NDArray[np.float64], Matrix]] = {}

    def parts(size: int) -> tuple[NDArray[np.int64], NDArray[np.float64], Matrix]:
        if size not in known:
            draw = _random(tools, f"rotate {size}")
            order = list(range(size))
            draw.shuffle(order)
            signs = np.array([draw.choice((-1.0, 1.0)) for _ in order])
            normals = np.array([[draw.gauss(0, 1) for _ in order] for _ in range(REFLECTIONS)])
            known[size] = np.array(order, dtype=np.int64), signs, _units(normals)
        return known[size]

    def change(vectors: Matrix) -> Matrix:
        order, signs, normals = parts(vectors.shape[1])
        made: Matrix = np.take(vectors, order, axis=1)
        made *= signs
        product = np.empty_like(made)
        for normal in normals:
            np.multiply(made, normal, out=product)
            np.multiply(2 * product.sum(axis=1)[:, None], normal, out=product)
            made -= product
        return made

    return change


def _units(vectors: Matrix) -> Matrix:
    lengths = np.sqrt((vectors * vectors).sum(axis=1))
    lengths[lengths == 0] = 1
    made: Matrix = vectors / lengths[:, None]
    return made


def is_named(vector: Any) -> bool:
    """An object of vectors by name, and not a sparse one."""
    return isinstance(vector, Mapping) and "indices" not in vector


class Vectors(Together):
    """Lists of numbers, pgvector's texts, sparse and multi vectors as Qdrant gives them."""

    def __init__(self, change: Change, rule: Rule, *, sparse: bool) -> None:
        self._change, self._rule, self._sparse = change, rule, sparse

    def __call__(self, value: Any) -> Any:
        return self.many([value])[0]

    def many(self, values: Sequence[Any]) -> list[Any]:
        if all(isinstance(value, str) for value in values):
            return self._texts(values)
        out: list[Any] = [None] * len(values)
        dense: dict[int, Any] = {}
        for at, value in enumerate(values):
            if isinstance(value, str):
                out[at] = self._texts([value])[0]
            elif isinstance(value, Mapping):
                out[at] = self._one_sparse(value)
            elif len(value) and isinstance(value[0], (list, tuple)):
                out[at] = self._lists(value)
            else:
                dense[at] = value
        for places, rows in self._by_length(dense):
            for at, made in zip(places, rows, strict=True):
                out[at] = made
        return out

    def _by_length(
        self, dense: Mapping[int, Any]
    ) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Vectors by place, those of one length masked together."""
        lengths: dict[int, list[int]] = {}
        for at, vector in dense.items():
            lengths.setdefault(len(vector), []).append(at)
        for places in lengths.values():
            yield places, self._rows([dense[at] for at in places])

    def _rows(self, vectors: Sequence[Any]) -> NDArray[np.float32]:
        """Vectors of one length."""
        return self.matrix(np.array(vectors, dtype=np.float64).clip(-LARGEST, LARGEST))

    def matrix(self, vectors: NDArray[Any]) -> NDArray[np.float32]:
        """The same of the rows of a matrix. Numbers are float32, however they were written: the
        same vector becomes the same one in every store."""
        made = np.empty(vectors.shape, dtype=np.float32)
        rows = max(TOGETHER // max(vectors.shape[1], 1), 1)
        for at in range(0, len(vectors), rows):
            numbers = vectors[at : at + rows].astype(np.float32).astype(np.float64)
            made[at : at + rows] = np.clip(self._change(numbers), -LARGEST, LARGEST)
        return made

    def _lists(self, vectors: Sequence[Any]) -> list[Any]:
        """Vectors of any length, each by itself."""
        return [self._rows([vector])[0] for vector in vectors]

    def _one_sparse(self, value: Mapping[str, Any]) -> dict[str, Any]:
        if not self._sparse:
            raise ConfigError("a sparse vector cannot be rotated", where=self._rule.where)
        return {**value, "values": self._rows([value["values"]])[0]}

    def _texts(self, texts: Sequence[str]) -> list[Any]:
        """As pgvector writes them."""
        if not all(text.startswith("[") for text in texts):
            raise ConfigError("only dense vectors can be masked", where=self._rule.where)
        out: list[Any] = [None] * len(texts)
        vectors = dict(enumerate(orjson.loads(f"[{','.join(texts)}]")))
        for places, rows in self._by_length(vectors):
            written = orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY).decode()
            for at, row in zip(places, written[2:-2].split("],["), strict=True):
                out[at] = f"[{row}]"
        return out


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
    return Vectors(change, rule, sparse=method != "rotate")


STRATEGIES = {
    "vector": Strategy(make=_vector, options={"method": (str,), "sigma": (int, float)}),
}
