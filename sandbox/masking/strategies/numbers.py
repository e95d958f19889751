"""integer and bigint (a keyed permutation), noise, round, geo."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import cache
from typing import Any

from sandbox.errors import ConfigError, Refused
from sandbox.masking.pseudonyms import Limits, number
from sandbox.masking.rules import Rule
from sandbox.masking.strategies.base import Function, Strategy, Tools
from sandbox.masking.strategies.fixed import REDACTED

ROUNDS = 6
HIGHEST = {"integer": 2**31 - 1, "bigint": 2**63 - 1}
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


def permuted(tools: Tools, value: int, low: int, high: int) -> int:
    """A Feistel network over the bits of the range; walked on until the result is inside it."""
    size = high - low + 1
    half = max(((size - 1).bit_length() + 1) // 2, 1)
    mask = (1 << half) - 1
    name = b"%d %d " % (low, high)
    current = value - low
    while True:
        left, right = current >> half, current & mask
        for turn in range(ROUNDS):
            pad = tools.pseudonyms.digest("integer", name + b"%d %d" % (turn, right))
            left, right = right, left ^ (number(pad, 0, 8) & mask)
        current = left << half | right
        if current < size:
            return current + low


def _permutation(kind: str) -> Strategy:
    def made(rule: Rule, tools: Tools, limits: Limits) -> Function:
        low, high = rule.option("min", 1), rule.option("max", HIGHEST[kind])
        if low > high:
            raise ConfigError("min is above max", where=rule.where)

        def one(value: int) -> int:
            if not low <= value <= high:
                raise Refused(
                    f"a value is outside {low} to {high}, the range of the permutation",
                    where=rule.where,
                    hint="set min and max to what the column can hold",
                )
            return permuted(tools, value, low, high)

        return _over_numbers(one, whole=True)

    return Strategy(make=made, options={"min": (int,), "max": (int,)})


def _over_numbers(change: Callable[[Any], Any], *, whole: bool = False) -> Function:
    """`change` for numbers, and for their texts the text of the same result."""

    def masked(value: Any) -> Any:
        if isinstance(value, bool):
            return value
        if isinstance(value, int) and whole:
            return type(value)(change(int(value)))
        if isinstance(value, bytes):
            return masked(value.decode("utf-8", "replace")).encode()
        try:
            if whole:
                return str(change(int(value)))
            made = change(Decimal(str(value)))
        except (ValueError, InvalidOperation, OverflowError):
            return REDACTED if isinstance(value, str) else type(value)(0)
        if isinstance(value, str):
            return f"{made:f}"
        return type(value)(int(made)) if isinstance(value, int) else type(value)(str(made))

    return masked


@cache
def _unit(digits: int) -> Decimal:
    return Decimal(1).scaleb(-digits)


def rounded(value: Decimal, digits: int) -> Decimal:
    """As PostgreSQL rounds numeric: half away from zero."""
    if not value.is_finite():
        return value
    made = value.quantize(_unit(digits), rounding=ROUND_HALF_UP)
    return abs(made) if made == 0 else made


def _round(rule: Rule, tools: Tools, limits: Limits) -> Function:
    digits = rule.option("digits", 0)
    return _over_numbers(lambda value: rounded(value, digits))


def _noise(rule: Rule, tools: Tools, limits: Limits) -> Function:
    percent = Decimal(str(rule.option("percent", 10)))

    def change(value: Decimal) -> Decimal:
        if not value.is_finite():
            return value
        digest = tools.pseudonyms.digest("noise", f"{value.normalize():f}")
        share = Decimal(number(digest, 0, 4)) / Decimal(2**31 - Decimal("0.5")) - 1
        exponent = value.as_tuple().exponent
        digits = -exponent if isinstance(exponent, int) else 0
        return rounded(value * (1 + share * percent / 100), max(digits, 0))

    return _over_numbers(change)


def _geo(rule: Rule, tools: Tools, limits: Limits) -> Function:
    move = rule.option("move")
    if move is None:
        digits = rule.option("digits", 1)
        return _over_numbers(lambda value: rounded(value, digits))
    reach = Decimal(str(move))

    def change(value: Decimal) -> Decimal:
        digest = tools.pseudonyms.digest("geo", f"{value.normalize():f}")
        share = Decimal(number(digest, 0, 4)) / Decimal(2**31 - Decimal("0.5")) - 1
        edge = 90 if abs(value) <= 90 else 180
        return min(max(rounded(value + share * reach, 6), Decimal(-edge)), Decimal(edge))

    return _over_numbers(change)


STRATEGIES = {
    "integer": _permutation("integer"),
    "bigint": _permutation("bigint"),
    "round": Strategy(make=_round, options={"digits": (int,)}),
    "noise": Strategy(make=_noise, options={"percent": (int, float)}),
    "geo": Strategy(make=_geo, options={"digits": (int,), "move": (int, float)}),
}
