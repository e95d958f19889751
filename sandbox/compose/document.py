"""YAML -> plain values with the line of every path, so that an error can say where.

Scalars stay the text that was written, save true, false and null: in YAML 1.1 an unquoted
`22:22` would be a number in base 60 and `no` would be false.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from sandbox.errors import ConfigError

TRUTHS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
NULLS = ("", "~", "null", "Null", "NULL")
MERGE = "<<"


@dataclass(frozen=True, kw_only=True)
class Document:
    """`lines`: path (`services.redis.ports[0]`) -> line, from 1."""

    file: str
    tree: Any
    lines: Mapping[str, int] = field(default_factory=dict)

    def error(self, path: str, message: str, hint: str = "") -> ConfigError:
        """A ConfigError at `path`: `compose.yaml:12: services.redis.foo: message (hint)`."""
        line = self.line(path)
        where = f"{self.file}:{line}" if line else self.file
        return ConfigError(message, where=f"{where}: {path}" if path else where, hint=hint)

    def line(self, path: str) -> int:
        """The line of `path`, or of the nearest thing around it."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return 0


@functools.lru_cache(maxsize=8)  # `up` reads each file to check it, and again to plan
def load(text: str, *, file: str) -> Document:
    """Read YAML. Raises ConfigError with the line for what is not YAML or stands twice."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else file
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise ConfigError(f"not valid YAML: {problem}", where=where) from None
    except RecursionError:
        raise ConfigError("not valid YAML: nested too deeply", where=file) from None
    lines: dict[str, int] = {}
    tree = _Walk(file, lines).value(node, "", ()) if node is not None else None
    return Document(file=file, tree=tree, lines=lines)


class _Walk:
    """Nodes -> values; the lines are noted on the way."""

    LIMIT = 200_000  # values, so that anchors in anchors cannot fill the memory

    def __init__(self, file: str, lines: dict[str, int]) -> None:
        self._file = file
        self._lines = lines
        self._seen = 0

    def value(self, node: yaml.Node, path: str, above: tuple[int, ...]) -> Any:
        self._seen += 1
        if id(node) in above:
            raise self._bad(node, "an anchor holds itself")
        if self._seen > self.LIMIT:
            raise self._bad(node, "the file is too large")
        self._lines.setdefault(path, node.start_mark.line + 1)
        inner = (*above, id(node))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(one, f"{path}[{i}]", inner) for i, one in enumerate(node.value)]
        return self._mapping(node, path, inner)

    def _mapping(self, node: yaml.Node, path: str, above: tuple[int, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for key, body in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._bad(key, "a key must be a word")
            if key.value == MERGE and key.style is None:
                merged += body.value if isinstance(body, yaml.SequenceNode) else [body]
                continue
            if key.value in found:
                raise self._bad(key, f"{key.value!r} stands twice")
            inside = f"{path}.{key.value}" if path else key.value
            self._lines[inside] = key.start_mark.line + 1
            found[key.value] = self.value(body, inside, above)
        for one in merged:  # what stands in the mapping itself wins, then the first merged
            value = self.value(one, path, above)
            if not isinstance(value, dict):
                raise self._bad(one, "<< takes a mapping")
            found = {**value, **found}
        return found

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text = str(node.value)
        if node.style is None and text in NULLS:
            return None
        if node.style is None and text in TRUTHS:
            return TRUTHS[text]
        return text

    def _bad(self, node: yaml.Node, message: str) -> ConfigError:
        return ConfigError(
            f"not valid YAML: {message}", where=f"{self._file}:{node.start_mark.line + 1}"
        )
