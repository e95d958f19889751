"""keep, null, redact, constant: what does not depend on the value."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sandbox.masking.pseudonyms import Limits
from sandbox.masking.rules import Rule
from sandbox.masking.strategies.base import Function, Strategy, Tools

REDACTED = "[redacted]"


def redacted(value: Any) -> Any:
    """The same for all values of one type."""
    if isinstance(value, str):
        return REDACTED
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return type(value)(0)
    if isinstance(value, float):
        return 0.0  # not of its type: `trees.Spelled` is made of a text
    if isinstance(value, bytes):
        return REDACTED.encode()
    if isinstance(value, datetime):
        return datetime(1970, 1, 1, tzinfo=value.tzinfo)
    if isinstance(value, date):
        return date(1970, 1, 1)
    if isinstance(value, list):
        return []
    return {} if isinstance(value, dict) else None


def _keep(rule: Rule, tools: Tools, limits: Limits) -> Function:
    return lambda value: value


def _null(rule: Rule, tools: Tools, limits: Limits) -> Function:
    return lambda value: None


def _redact(rule: Rule, tools: Tools, limits: Limits) -> Function:
    if limits.length is None:
        return redacted
    short = REDACTED[: limits.length]
    return lambda value: short if isinstance(value, str) else redacted(value)


def _constant(rule: Rule, tools: Tools, limits: Limits) -> Function:
    constant = rule.option("value")
    return lambda value: constant.encode() if isinstance(value, bytes) else constant


STRATEGIES = {
    "keep": Strategy(make=_keep, options={"because": (str,)}),
    "null": Strategy(make=_null),
    "redact": Strategy(make=_redact),
    "constant": Strategy(make=_constant, options={"value": (str, int, float, bool)}),
}
