"""A rule, and the paths that rules stand on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

ITEMS = "[]"  # every element of an array
ANY = "*"  # every scalar field at this level
DEEP = "**"  # everything from here down, whatever it is


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What happens to one place. `where` is its line in the policy, for errors."""

    strategy: str
    options: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""

    def option(self, name: str, otherwise: Any = None) -> Any:
        return self.options.get(name, otherwise)

    @property
    def keeps(self) -> bool:
        return self.strategy == "keep"


@dataclass(kw_only=True)
class Tree:
    """Rules by path: what stands below one document, column, payload or JSON text."""

    rule: Rule | None = None
    children: dict[str, Tree] = field(default_factory=dict)

    def at(self, path: tuple[str, ...]) -> Tree:
        node = self
        for part in path:
            node = node.children.setdefault(part, Tree())
        return node

    def get(self, part: str) -> Tree | None:
        """The node for a field: its own, or `*` where it has none."""
        return self.children.get(part) or self.children.get(ANY)

    def rules(self) -> Iterator[Rule]:
        if self.rule is not None:
            yield self.rule
        for child in self.children.values():
            yield from child.rules()


def split(path: str) -> tuple[str, ...]:
    r"""`reviewers[].name` -> reviewers, [], name. A dot inside a name is written `\.`."""
    parts: list[str] = []
    for piece in re.split(r"(?<!\\)\.", path):
        name, items = piece, 0
        while name.endswith(ITEMS):
            name, items = name[:-2], items + 1
        if name:
            parts.append(name.replace("\\.", "."))
        parts.extend([ITEMS] * items)
    return tuple(parts)


def joined(path: tuple[str, ...]) -> str:
    text = ""
    for part in path:
        text += part if part == ITEMS or not text else f".{part}"
    return text
