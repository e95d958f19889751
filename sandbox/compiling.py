"""What compiles a loop: numba, when it is first used; its machine code is kept beside its file.

Importing this takes a third of a second, so nothing does before there is much to do in loops. No
loop holds the interpreter's lock: workers run side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.cpu import CPUTargetOptions

F = TypeVar("F", bound=Callable[..., Any])

# A switch of numba's own that it does not document; without it the same loops are slower.
UNCOUNTED: dict[str, Any] = {"_nrt": False} if hasattr(CPUTargetOptions, "_nrt") else {}


def compiled(function: F) -> F:
    """Without reference counts: they are atomic, and threads that share an array wait for each
    other at every call inside a loop. Such a loop cannot make arrays."""
    return _compiled(function, **UNCOUNTED)


def allocating(function: F) -> F:
    """One that makes arrays, for the others to work in."""
    return _compiled(function)


def _compiled(function: F, **options: Any) -> F:
    try:
        return cast(F, njit(nogil=True, cache=True, **options)(function))
    except RuntimeError:  # nowhere to keep it: compiled anew by each process, some seconds
        return cast(F, njit(nogil=True, **options)(function))
