"""A large table's columns masked over many rows of binary COPY at once.

Pseudonyms: the third way to the same result. The server needs 1.5 to 2 us for a value, Python about
one and holds the interpreter's lock; the compiled loops of `kernels.py` need 0.4 us and hold
nothing. They take values in ASCII. All others are given to the Python route, one by one.

Other columns are given to their rules as texts or vectors, all of a piece at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sandbox.contract import BINARY_COPY
from sandbox.errors import SandboxError
from sandbox.masking.loops import PREFIXES, VECTOR, kernels
from sandbox.masking.loops.latest import Latest, plain
from sandbox.masking.loops.spans import InLoops
from sandbox.masking.pseudonyms import (
    FROM_LISTS,
    HOST,
    HOUSES,
    PHONE,
    REMOVED,
    UPPER,
    Limits,
    Pseudonyms,
)
from sandbox.masking.words import words

Array = NDArray[Any]
WINDOW = 1 << 17  # bytes
HEAD = len(BINARY_COPY) + 8  # flags and the length of an extension, which no server writes


class Form(NamedTuple):
    """How a digest becomes a pseudonym: steps for `kernels.written`, the texts that they take their
    words from, and the longest result, in bytes."""

    steps: Array
    texts: Array
    words: Array
    longest: int


class Column(NamedTuple):
    """One column's rule: its domain, what the column demands, and where it stands in a row."""

    domain: str
    limits: Limits
    place: int


class Other(NamedTuple):
    """A column that no form is for: where it stands in a row, its type, and a function over the
    texts of many rows, or over vectors as the rows of a matrix; `loops`: the same over bytes."""

    place: int
    type: str
    function: Callable[[Any], Any]
    loops: InLoops | None = None


class Bulk:
    """The columns of one table. Shared by threads."""

    def __init__(
        self,
        columns: Mapping[str, Column],
        pseudonyms: Pseudonyms,
        width: int,
        others: Sequence[Other] = (),
        latest: Latest | None = None,
    ) -> None:
        """`width`: fields in a row; `others`: in their order, after the pseudonyms; `latest`: that
        of the mask."""
        self._others = tuple(others)
        self.columns = tuple(columns)
        self._columns, self._width = tuple(columns.values()), width
        self._latest = latest or Latest()
        self._slow = [
            self._latest.number(
                (one.domain, one.limits), plain(pseudonyms.maker(one.domain, one.limits))
            )
            for one in self._columns
        ]
        self._forms = [form(one.domain, one.limits) for one in self._columns]
        self._keys = [padded_key(pseudonyms.domain_key(one.domain)) for one in self._columns]
        self._meant = [meant(one.domain, one.limits) for one in self._columns]
        self._places = np.array([one.place for one in self._columns], dtype=np.int64)
        self._all: tuple[Column | Other, ...] = (*self._columns, *self._others)
        self._slots = np.full(width, -1, dtype=np.int64)
        for slot, one in enumerate(self._all):
            self._slots[one.place] = slot

    def change(
        self, messages: Any, count: int, seen: Callable[[bytes], None] | None = None
    ) -> bytes:
        """So many messages, one behind the other in a buffer, with these columns masked; `seen` is
        given the originals, as lines with a field for each of the columns."""
        data = np.frombuffer(messages, dtype=np.uint8)
        begin = HEAD if data[: len(BINARY_COPY)].tobytes() == BINARY_COPY else 0
        starts = np.empty((count, self._width), dtype=np.int64)
        sizes = np.empty_like(starts)
        rows, end = kernels.fields(data, begin, starts, sizes)
        if rows < 0:
            raise SandboxError("the server sent what are not the rows that were asked for")
        starts, sizes = starts[:rows], sizes[:rows]
        if seen is not None:
            for part in self._windows(starts, end - begin):
                seen(self._lines(data, starts[part], sizes[part]))
        made, places, lengths = self._made(data, starts, sizes)
        into = np.empty(len(data) + len(made), dtype=np.uint8)
        size = kernels.assembled(
            data, begin, end, starts, sizes, self._slots, made, places, lengths, into
        )
        if size < 0:
            raise SandboxError(
                "a value was left without a pseudonym; nothing of these rows is kept"
            )
        return into[:size].tobytes()

    def _windows(self, starts: Array, size: int) -> Iterator[slice]:
        """So many rows at once that what is made of them stays in the processor's cache."""
        rows = max(len(starts) * WINDOW // max(size, 1), 1)
        return (slice(at, at + rows) for at in range(0, len(starts), rows))

    def _lines(self, data: Array, starts: Array, sizes: Array) -> bytes:
        size = int(sizes[:, self._places].clip(0).sum()) + sizes.size
        into = np.empty(size, dtype=np.uint8)
        return into[: kernels.gathered(data, starts, sizes, self._places, into)].tobytes()

    def _made(self, data: Array, starts: Array, sizes: Array) -> tuple[Array, Array, Array]:
        """What all columns become, one behind the other; where, and how long, by column."""
        places = np.zeros((len(self._all), len(starts)), dtype=np.int64)
        lengths = np.full_like(places, kernels.KEPT)
        made: list[Array] = []
        behind = 0
        # Of columns of a wider array the compiler would make each loop once more.
        for slot, one in enumerate(self._all):
            at, size = (np.ascontiguousarray(grid[:, one.place]) for grid in (starts, sizes))
            if isinstance(one, Column):
                parts = self._pseudonyms(slot, data, at, size, places[slot], lengths[slot])
            elif one.type == VECTOR:
                parts = _vectors(one, data, at, size, places[slot], lengths[slot])
            else:
                parts = _texts(one, data, at, size, places[slot], lengths[slot])
            places[slot] += behind
            behind += sum(map(len, parts))
            made += parts
        return np.concatenate(made), places, lengths

    def _pseudonyms(
        self, slot: int, data: Array, at: Array, size: Array, places: Array, lengths: Array
    ) -> list[Array]:
        one, column = self._forms[slot], self._columns[slot]
        dotless = column.domain == "email" and not column.limits.exact
        into = np.empty(len(at) * one.longest, dtype=np.uint8)
        end = kernels.pseudonyms(
            data, at, size, self._meant[slot], dotless, self._keys[slot], one.steps,
            one.texts, one.words, into, places, lengths
        )  # fmt: skip
        rows = np.flatnonzero(lengths == kernels.SLOW)
        if not len(rows):
            return [into[:end]]
        number = np.full(len(rows), self._slow[slot])
        found = np.stack((rows, at[rows], at[rows] + size[rows], number), axis=1)
        held, where, lengths[rows] = self._latest.take(data, found)
        slow = np.empty(int(lengths[rows].sum()), dtype=np.uint8)
        kernels.picked(held, where, lengths[rows], slow)
        places[rows] = end + np.cumsum(lengths[rows]) - lengths[rows]
        return [into[:end], slow]


def _texts(
    one: Other, data: Array, at: Array, size: Array, places: Array, lengths: Array
) -> list[Array]:
    mark = PREFIXES.get(one.type, b"")
    rows = np.flatnonzero(size >= len(mark))
    if mark and (data[at[rows]] != mark[0]).any():
        raise SandboxError(f"the server writes {one.type} in a form that is not known")
    starts, ends = at[rows] + len(mark), at[rows] + size[rows]
    if one.loops is None:
        hard, made, end = np.arange(len(rows)), [], 0
    else:
        masked = one.loops.masked(data, starts, ends)
        joined = kernels.prefixed(masked.data, masked.sizes, np.frombuffer(mark, dtype=np.uint8))
        made, end = [joined], len(joined)
        lengths[rows] = masked.sizes + len(mark)
        places[rows] = np.cumsum(lengths[rows]) - lengths[rows]
        hard = np.flatnonzero(masked.hard)
    if len(hard):
        slow = one.function if one.loops is None else one.loops.slow
        parts = zip(starts[hard].tolist(), ends[hard].tolist(), strict=True)
        values = [data[a:b].tobytes().decode() for a, b in parts]
        texts = [None if text is None else mark + text.encode() for text in slow(values)]
        found = b"".join([text for text in texts if text is not None])
        if b"\0" in found:
            raise SandboxError("a masked value holds a NUL, which no text in PostgreSQL can")
        sizes = np.array([-1 if text is None else len(text) for text in texts], dtype=np.int64)
        lengths[rows[hard]] = np.where(sizes < 0, kernels.NULLED, sizes)
        places[rows[hard]] = end + np.cumsum(sizes.clip(0)) - sizes.clip(0)
        made.append(np.frombuffer(found, dtype=np.uint8))
    return made


def _vectors(
    one: Other, data: Array, at: Array, size: Array, places: Array, lengths: Array
) -> list[Array]:
    made: list[Array] = []
    end = 0
    for length in np.unique(size[size >= 0]).tolist():
        rows = np.flatnonzero(size == length)
        numbers = np.empty((len(rows), max(length - 4, 0) // 4), dtype="<f4")
        whole = length >= 4 and length % 4 == 0
        if not whole or not kernels.vectors(data, at[rows], numbers.view(np.uint8)):
            raise SandboxError("the server writes vectors in a form that is not known")
        into = np.empty((len(rows), length), dtype=np.uint8)
        masked = np.ascontiguousarray(one.function(numbers), dtype="<f4").view(np.uint8)
        kernels.written_vectors(data, at[rows], masked, into)
        places[rows] = end + np.arange(len(rows)) * length
        lengths[rows] = length
        end += into.size
        made.append(into.ravel())
    return made


def meant(domain: str, limits: Limits) -> Array:
    """What each byte of a value becomes in the message that is hashed; see `pseudonyms`."""
    table = np.arange(256, dtype=np.uint8)
    table[128:] = kernels.OTHER
    removed = None if limits.exact else REMOVED.get(domain)
    if removed is not None:
        table[np.frombuffer(UPPER.encode(), np.uint8)] += 32
        table[np.frombuffer(removed.encode(), np.uint8)] = kernels.DROPPED
    return table


def padded_key(key: bytes) -> Array:
    """SHA-256's states after HMAC's two padded keys."""
    states = np.empty((2, 8), dtype=np.uint32)
    for state, pad in zip(states, (0x36, 0x5C), strict=True):
        block = np.zeros((64, kernels.LANES), dtype=np.uint32)
        padded = bytes(byte ^ pad for byte in key.ljust(64, b"\0"))
        block[:16] = np.frombuffer(padded, dtype=">u4")[:, None]
        lanes = np.repeat(kernels.START[:, None], kernels.LANES, axis=1)
        kernels.compress(lanes, block, np.empty_like(lanes))
        state[:] = lanes[:, 0]
    return states


def form(domain: str, limits: Limits) -> Form:
    """`pseudonyms.form` of values in ASCII, as steps."""
    made = _Steps()
    _FORMS[domain](made, limits)
    if limits.unique and domain in FROM_LISTS:
        if limits.length is not None:
            made.cut(max(limits.length - 17, 0))
        made.literal(" ")
        made.hex(8, 16)
    if limits.length is not None:
        made.cut(limits.length)
    return made.form()


class _Steps:
    """Writes a form's steps and gathers their texts."""

    def __init__(self) -> None:
        self._steps: list[tuple[int, int, int, int, int, int]] = []
        self._texts = b""
        self._words: list[int] = []
        self._longest = 0

    def literal(self, text: str) -> None:
        self._steps.append((kernels.LITERAL, len(self._texts), len(text), 0, 0, 0))
        self._texts += text.encode("ascii")
        self._longest += len(text)

    def hex(self, first: int, digits: int) -> None:
        self._steps.append((kernels.HEX, first, digits, 0, 0, 0))
        self._longest += digits

    def number(self, first: int, count: int, modulus: int, *, least: int = 0, width: int) -> None:
        """The digest's `count` bytes from `first` on, in decimal."""
        self._steps.append((kernels.NUMBER, first, count, modulus, least, width))
        self._longest += len(str(modulus + least))

    def word(self, kind: str, first: int) -> None:
        known = [word.encode("ascii") for word in words(kind, "latin")]
        self._steps.append((kernels.WORD, first, 2, len(known), len(self._words), 0))
        for word in known:
            self._words.append(len(self._texts))
            self._texts += word
        self._words.append(len(self._texts))
        self._longest += max(map(len, known))

    def cut(self, length: int) -> None:
        self._steps.append((kernels.CUT, 0, length, 0, 0, 0))

    def form(self) -> Form:
        return Form(
            steps=np.array(self._steps, dtype=np.int64),
            texts=np.frombuffer(self._texts, dtype=np.uint8),
            words=np.array(self._words, dtype=np.int64),
            longest=self._longest,
        )


def _email(made: _Steps, limits: Limits) -> None:
    local = 17 if limits.length is None else min(17, limits.length - len(HOST) - 1)
    made.literal("u")
    made.hex(0, local - 1)
    made.literal("@" + HOST)


def _username(made: _Steps, limits: Limits) -> None:
    made.literal("user_")
    made.hex(0, 16)


def _phone(made: _Steps, limits: Limits) -> None:
    made.literal(("" if limits.number else "+") + PHONE)
    made.number(0, 6, 10**12, width=12)
    if limits.unique:
        made.number(6, 2, 1000, width=3)


def _person(made: _Steps, limits: Limits) -> None:
    made.word("first", 0)
    made.literal(" ")
    made.word("last", 2)


def _street(made: _Steps, limits: Limits) -> None:
    made.number(2, 2, HOUSES, least=1, width=1)
    made.literal(" ")
    made.word("street", 0)


def _token(made: _Steps, limits: Limits) -> None:
    made.literal("masked_")
    made.hex(0, 32)


_FORMS: dict[str, Callable[[_Steps, Limits], None]] = {
    "email": _email,
    "username": _username,
    "phone": _phone,
    "person": _person,
    "street": _street,
    "city": lambda made, limits: made.word("city", 0),
    "company": lambda made, limits: made.word("company", 0),
    "token": _token,
    "hash": lambda made, limits: made.hex(0, 64),
}
DOMAINS = frozenset(_FORMS)
