"""What strategies are made of, and what they are made with."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sandbox.errors import ConfigError
from sandbox.masking.known import Index
from sandbox.masking.loops import worth
from sandbox.masking.patterns import Template
from sandbox.masking.pseudonyms import FREE, Limits, Pseudonyms
from sandbox.masking.rules import Rule

if TYPE_CHECKING:
    from sandbox.masking.loops.spans import InLoops

Function = Callable[[Any], Any]


class Together(ABC):
    """A function that masks many values at a fraction of what each costs alone."""

    @abstractmethod
    def __call__(self, value: Any) -> Any: ...

    @abstractmethod
    def many(self, values: Sequence[Any]) -> list[Any]:
        """The same of each value, in their order."""


class Looped(Together):
    """One that compiled loops can do, too, and do for many texts."""

    def __init__(self) -> None:
        self._seen = 0
        self._loops: InLoops | None = None

    @property
    @abstractmethod
    def loopable(self) -> bool:
        """Whether they can do this one."""

    @abstractmethod
    def _finder(self) -> InLoops: ...

    @abstractmethod
    def some(self, values: Sequence[Any]) -> list[Any]:
        """`many` without them."""

    def in_loops(self) -> InLoops:
        """Where it is `loopable` and they are available: loading them takes a while."""
        if self._loops is None:
            self._loops = self._finder()
        return self._loops

    def many(self, values: Sequence[Any]) -> list[Any]:
        self._seen += len(values)
        if not self.loopable or not worth(self._seen) or not all(map(_is_text, values)):
            return self.some(values)
        return self.in_loops().texts(values)


def _is_text(value: Any) -> bool:
    return type(value) is str


def many(function: Function, values: Sequence[Any]) -> list[Any]:
    """Each value masked, at once where the function can."""
    return function.many(values) if isinstance(function, Together) else list(map(function, values))


@dataclass(frozen=True, kw_only=True)
class Tools:
    """`known`: values met so far, for free text. `paths`: templates of the files' whole paths."""

    pseudonyms: Pseudonyms
    known: Index
    paths: Sequence[Template] = ()
    made: dict[Any, Any] = field(default_factory=dict)  # functions and tables, by what they are of


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """`options`: names and types. `late`: runs after the other fields of a record (free text)."""

    make: Callable[[Rule, Tools, Limits], Function]
    options: Mapping[str, tuple[type, ...]] = field(default_factory=dict)
    late: bool = False


def make(rule: Rule, tools: Tools, limits: Limits = FREE) -> Function:
    """The function of a rule; the same one for equal rules, so that they share its memory."""
    from sandbox.masking.strategies import STRATEGIES

    name = rule.strategy
    shown = tuple(sorted((key, repr(value)) for key, value in rule.options.items()))
    place = (name, shown, limits)
    function: Function | None = tools.made.get(place)
    if function is None:
        if name.startswith("python:"):
            function = _guarded(plugin(rule), rule)
        else:
            function = STRATEGIES[name].make(rule, tools, limits)
        tools.made[place] = function
    return function


def plugin(rule: Rule) -> Function:
    """`python:module:function`: called with each value, returns what stands in its place."""
    _, _, place = rule.strategy.partition(":")
    module, _, name = place.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"cannot import {place}: {type(error).__name__}",
            where=rule.where,
            hint="write python:package.module:function, importable from here",
        ) from None
    if not callable(found):
        raise ConfigError(f"{place} is no function", where=rule.where)
    function: Function = found
    return function


def _guarded(function: Function, rule: Rule) -> Function:
    """A failing function must not put the value it failed on into a traceback."""

    def masked(value: Any) -> Any:
        try:
            return function(value)
        except Exception as error:
            kind = type(error).__name__
        raise ConfigError(f"{rule.strategy} failed: {kind}", where=rule.where)

    return masked


class OverText:
    """A function over `text`, for values that may be bytes or numbers, too."""

    def __init__(self, text: Callable[[str], str]) -> None:
        self.text = text

    def __call__(self, value: Any) -> Any:
        if isinstance(value, bytes):
            text = value.decode("utf-8", "surrogateescape")
            return self.text(text).encode("utf-8", "surrogateescape")
        return self.text(str(value))  # of a text itself; a driver's own kind of it may not hash


def of_text(function: Function) -> Function:
    """The same function where values are known to be texts: it need not ask."""
    return function.text if isinstance(function, OverText) else function
