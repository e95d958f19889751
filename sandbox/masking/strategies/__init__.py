"""What a rule can do to a value. One module a family; each strategy is a function that makes one.

A strategy is made once, from its rule, and then called with every value. It never sees None, it
never returns the original of something personal, and what it cannot read it refuses or redacts.
"""

from __future__ import annotations

from sandbox.masking.strategies import (
    fixed,
    names,
    network,
    numbers,
    texts,
    times,
    vectors,
)
from sandbox.masking.strategies.base import (
    Function,
    Looped,
    Strategy,
    Tools,
    make,
    many,
    of_text,
    plugin,
)

STRATEGIES: dict[str, Strategy] = {
    **fixed.STRATEGIES,
    **names.STRATEGIES,
    **network.STRATEGIES,
    **numbers.STRATEGIES,
    **texts.STRATEGIES,
    **times.STRATEGIES,
    **vectors.STRATEGIES,
}

__all__ = [
    "STRATEGIES",
    "Function",
    "Looped",
    "Strategy",
    "Tools",
    "make",
    "many",
    "of_text",
    "plugin",
]
