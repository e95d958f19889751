"""Whether the compiled loops can be used, for what, and from which amount on they are."""

from __future__ import annotations

import importlib
import sys
from functools import cache

LOOPS = "sandbox.masking.loops.kernels"  # what all of them need
MANY = 20_000  # values of one rule: until then, loading the loops takes longer than they save
SOME = 500  # the same where they were loaded for another rule
# Columns that are read in binary and given to their rules as texts, or as vectors.
PREFIXES = {"jsonb": b"\1"}  # what stands before the text in the binary form of a type
TEXTUAL = ("text", "character varying", "character", "citext", "json", *PREFIXES)
VECTOR = "vector"


@cache
def available() -> bool:
    """Whether there is a compiler, and it fits numpy. Else Python or the server makes the same."""
    try:
        importlib.import_module(LOOPS)
    except ImportError:
        return False
    return True


def worth(values: int) -> bool:
    """Whether so many values of one rule go through the loops."""
    return values >= (SOME if LOOPS in sys.modules else MANY) and available()
