"""One attempt to cross, timed: the form that every store's probes report in."""

from __future__ import annotations

import time
from collections.abc import Callable

from sandbox.errors import SandboxError
from sandbox.model import Attempt

Found = tuple[str, bool]  # what happened, and whether isolation demands that


def message(error: Exception) -> str | None:
    """An error of this project's in words; None for any other, which is not for a matrix."""
    return error.message if isinstance(error, SandboxError) else None


def timed(
    row: str,
    identity: str,
    tried: str,
    expected: str,
    run: Callable[[], Found],
    *,
    words: Callable[[Exception], str | None] = message,
) -> Attempt:
    """Run it. An error that `words` has words for is what happened, and no isolation; any other is
    raised."""
    began = time.perf_counter()
    try:
        happened, ok = run()
    except Exception as error:
        told = words(error)
        if told is None:
            raise
        happened, ok = told, False
    return Attempt(
        row=row,
        identity=identity,
        tried=tried,
        expected=expected,
        happened=happened,
        ok=ok,
        seconds=time.perf_counter() - began,
    )
