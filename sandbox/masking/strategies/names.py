"""Keyed pseudonyms of texts: people, addresses, accounts, tokens (forms in `pseudonyms.py`)."""

from __future__ import annotations

from typing import Any

from sandbox.errors import ConfigError
from sandbox.masking.pseudonyms import FORMS, FROM_LISTS, SHORTEST, Limits
from sandbox.masking.rules import Rule
from sandbox.masking.strategies.base import Function, OverText, Strategy, Tools

LONGEST = 80  # characters: no pseudonym has more
SHARED = FROM_LISTS | {"phone"}  # two values may get one pseudonym, as in life


def fitting(domain: str, rule: Rule, limits: Limits) -> Limits:
    """The limits that matter to a domain. Raises ConfigError where its pseudonyms do not fit."""
    shortest = SHORTEST.get(domain, 0) + (3 if limits.unique and domain == "phone" else 0)
    if limits.length is not None and limits.length < shortest:
        raise ConfigError(
            f"{domain} needs {shortest} characters, the column has {limits.length}",
            where=rule.where,
            hint="use hash, redact or null",
        )
    length = limits.length
    if length is not None and length >= LONGEST:
        length = None  # nothing is longer, and the memory is shared
    unique = limits.unique and domain in SHARED  # the others are injective as they are
    number = limits.number and domain == "phone"
    exact = bool(rule.option("exact", False))
    return Limits(length=length, unique=unique, exact=exact, number=number)


def domain_function(domain: str, rule: Rule, tools: Tools, limits: Limits) -> Function:
    wanted = fitting(domain, rule, limits)
    place = ("function", domain, wanted)
    function = tools.made.get(place)
    if function is None:
        function = tools.made[place] = tools.pseudonyms.function(domain, wanted)
    return Phone(function) if domain == "phone" else OverText(function)


class Phone(OverText):
    """A number and its text agree."""

    def __call__(self, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return type(value)(self.text(str(value)).lstrip("+"))
        return super().__call__(value)


def _strategy(domain: str) -> Strategy:
    def made(rule: Rule, tools: Tools, limits: Limits) -> Function:
        return domain_function(domain, rule, tools, limits)

    return Strategy(make=made, options={"exact": (bool,)})


STRATEGIES = {domain: _strategy(domain) for domain in FORMS}
