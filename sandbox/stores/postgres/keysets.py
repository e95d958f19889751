"""Sets of row keys as sorted 64-bit integers, 8 bytes each, and how they travel: read from a binary
COPY, and given back to the server as a setting of the transaction, which every query can read."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from psycopg import sql

from sandbox.errors import Refused
from sandbox.stores.postgres.session import Connection

Keys = npt.NDArray[np.int64]
NONE: Keys = np.empty(0, dtype=np.int64)
MOST = 40_000_000  # keys in one set: a setting holds at most 1 GB of text
HEAD = 19  # bytes before the first row of a binary COPY
ROW = np.dtype([("fields", ">i2"), ("size", ">i4"), ("key", ">i8")])  # one int8 column, never null
PART = 1_000_000  # rows that are converted at once
SETTING = "sandbox.keys_{}"


def fetch(connection: Connection, query: str, what: str) -> Keys:
    """The distinct keys that a query with one bigint column, never null, returns."""
    parts: list[Keys] = []
    held = bytearray()
    copy_query = sql.SQL(f"COPY ({query}) TO STDOUT (FORMAT binary)")
    with connection.cursor() as cursor, cursor.copy(copy_query) as copy:
        skip = HEAD
        while data := copy.read():
            held += data
            if skip and len(held) >= skip:
                del held[:skip]
                skip = 0
            if not skip and len(held) >= PART * ROW.itemsize:
                parts.append(_taken(held))
    parts.append(_taken(held))
    found = np.unique(np.concatenate(parts))
    if len(found) > MOST:
        raise Refused(
            f"{what} are more than {MOST:,}", hint="a smaller percentage, or no rule at all"
        )
    return found


def _taken(held: bytearray) -> Keys:
    """Whole rows from the front; the trailer is shorter than a row and stays."""
    whole = len(held) // ROW.itemsize * ROW.itemsize
    rows = np.frombuffer(bytes(held[:whole]), dtype=ROW)
    del held[:whole]
    return rows["key"].astype(np.int64)


def without(keys: Keys, known: Keys) -> Keys:
    return np.setdiff1d(keys, known, assume_unique=True)


def together(keys: Keys, more: Keys) -> Keys:
    return np.union1d(keys, more) if len(keys) else more


def member(expression: str, slot: int) -> str:
    """SQL: whether a key is in the set that was given in this slot."""
    held = f"pg_catalog.current_setting('{SETTING.format(slot)}')::pg_catalog.int8[]"
    return f"{expression} IN (SELECT pg_catalog.unnest({held}))"


def give(connection: Connection, sets: Sequence[Keys]) -> None:
    """Set i goes to slot i, for this transaction. Keys are in no query's text."""
    for slot, keys in enumerate(sets):
        connection.execute(
            "SELECT set_config(%s, %s, true) IS NULL", [SETTING.format(slot), text(keys)]
        )


def text(keys: Keys) -> str:
    """PostgreSQL's array text."""
    out = io.StringIO()
    out.write("{")
    for start in range(0, len(keys), PART):
        out.write("," if start else "")
        out.write(",".join(map(str, keys[start : start + PART].tolist())))
    out.write("}")
    return out.getvalue()
