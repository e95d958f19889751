"""Rules by path, compiled to walk documents, payloads and JSON: fast, and closed to the unnamed.

A scalar needs a rule of its own path, an array one for its elements (`tags[]`), and only `**`
covers what is below it, whatever that is. A field without a rule is told to `uncovered` and its
value does not pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from sandbox.masking.rules import ANY, DEEP, ITEMS, Rule, Tree
from sandbox.masking.strategies import STRATEGIES, Function, Tools, make
from sandbox.masking.strategies.fixed import redacted

Uncovered = Callable[[str, Any], None]  # (path, a value that was met: to suggest a rule by)
Later = list[tuple[Any, Any, "Node", Any]]


class Node:
    """One path's rule, ready to run."""

    __slots__ = ("any", "children", "count", "deep", "function", "items", "keep", "late", "rule",
                 "subject")  # fmt: skip

    def __init__(self, tree: Tree, tools: Tools, nodes: list[Node]) -> None:
        rule = tree.rule
        self.rule: Rule | None = rule
        self.count = 0
        self.keep = rule is not None and rule.keeps
        self.function: Function | None = None
        self.late = False
        self.subject: tuple[str, ...] | None = None
        if rule is not None and not rule.keeps:
            self.function = make(rule, tools)
            known = STRATEGIES.get(rule.strategy)
            self.late = known is not None and known.late
            subject = rule.option("subject")
            self.subject = tuple(subject.split(".")) if subject else None
        nodes.append(self)
        made = {part: Node(child, tools, nodes) for part, child in tree.children.items()}
        self.items: Node | None = made.pop(ITEMS, None)
        self.deep: Node | None = made.pop(DEEP, None)
        self.any: Node | None = made.pop(ANY, None)
        self.children: dict[str, Node] = made

    @property
    def inner(self) -> bool:
        return bool(self.children or self.items or self.deep or self.any)


class Walker:
    """Masks documents by one tree. Shared by threads."""

    def __init__(
        self, tree: Tree, tools: Tools, uncovered: Uncovered, *, redact: bool = False
    ) -> None:
        self.nodes: list[Node] = []
        self.root = Node(tree, tools, self.nodes)
        self._uncovered, self._redact = uncovered, redact

    @property
    def keeps(self) -> bool:
        """Whether everything is kept, named or not."""
        deep = self.root.deep
        return deep is not None and deep.keep and not self.root.children

    def document(self, document: Mapping[str, Any]) -> dict[str, Any]:
        later: Later = []
        made = self._fields(self.root, document, "", document, later)
        self._finish(later)
        return made

    def value(self, node: Node, value: Any, path: str) -> Any:
        """One value below `node`, of whatever type."""
        later: Later = []
        made = self._any(node, value, path, value, later)
        self._finish(later)
        return made

    def _finish(self, later: Later) -> None:
        """Free text comes last: the values beside it are known by then."""
        for holder, place, node, value in later:
            node.count += 1
            assert node.function is not None
            holder[place] = node.function(value)

    def _fields(
        self, node: Node, document: Mapping[str, Any], path: str, root: Any, later: Later
    ) -> dict[str, Any]:
        out: dict[str, Any] = {}
        get = node.children.get
        for key, value in document.items():
            child = get(key) or node.any or node.deep
            if child is None:
                made = self._unknown(f"{path}.{key}" if path else str(key), value)
                if made is not None:
                    out[key] = made
            elif value is None:
                out[key] = None
            elif child.keep and (child is node.deep or not isinstance(value, (dict, list))):
                out[key] = value
            elif child.late and isinstance(value, str):
                out[key] = None  # holds the place
                later.append((out, key, child, value))
            elif child.function is not None and type(value) is str and child.subject is None:
                child.count += 1
                out[key] = child.function(value)
            else:
                below = f"{path}.{key}" if path else str(key)
                out[key] = self._any(child, value, below, root, later)
        return out

    def _any(self, node: Node, value: Any, path: str, root: Any, later: Later) -> Any:
        if node.deep is not None and not node.children:
            return self._deep(node.deep, value)
        if isinstance(value, dict) and not (node.rule and node.rule.strategy == "vector"):
            if node.function is not None and node.rule and node.rule.strategy in ("null", "redact"):
                return self._deep(node, value)
            return self._fields(node, value, path, root, later)
        if isinstance(value, list) and not (node.rule and node.rule.strategy == "vector"):
            return self._elements(node, value, path, root, later)
        if node.keep or value is None:
            return value
        if node.function is None:
            return self._inside_text(node, value, path)
        node.count += 1
        if node.subject is not None:
            return node.function(value, _lookup(root, node.subject))  # type: ignore[call-arg]
        return node.function(value)

    def _deep(self, node: Node, value: Any) -> Any:
        if node.keep:
            return value
        node.count += 1
        return redacted(value) if node.rule and node.rule.strategy == "redact" else None

    def _elements(self, node: Node, values: list[Any], path: str, root: Any, later: Later) -> Any:
        child = node.items
        if child is None:
            if node.function is not None and node.rule and node.rule.strategy in ("null", "redact"):
                return self._deep(node, values)
            return self._unknown(f"{path}[]", values[0]) or [] if values else values
        out: list[Any] = []
        below = f"{path}[]"
        for value in values:
            if child.keep and not isinstance(value, (dict, list)):
                out.append(value)
            elif child.late and isinstance(value, str):
                later.append((out, len(out), child, value))
                out.append(None)
            else:
                out.append(self._any(child, value, below, root, later))
        return out

    def _inside_text(self, node: Node, value: Any, path: str) -> Any:
        """Rules below a text are rules for the JSON in it."""
        if node.inner and isinstance(value, (str, bytes)):
            made = self.json(node, value, path)
            if made is not None:
                return made if isinstance(value, str) else made.encode()
        return self._unknown(path, value)

    def json(self, node: Node, text: str | bytes, path: str) -> str | None:
        """A JSON text masked below `node`; None when it is no JSON."""
        try:
            parsed = parse_json(text)
        except ValueError:
            return None
        later: Later = []
        if isinstance(parsed, dict):
            made: Any = self._fields(node, parsed, path, parsed, later)
        else:
            made = self.value(node, parsed, path)
        self._finish(later)
        return write_json(made)

    def _unknown(self, path: str, value: Any) -> Any:
        """Told, and gone; with `unknown = "redact"` only its type stays."""
        if self._redact:
            return redacted(value)
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                self._unknown(f"{path}.{key}", inner)
        elif isinstance(value, list) and value:
            self._unknown(f"{path}[]", value[0])
        else:
            self._uncovered(path, value)
        return None


def _lookup(root: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        root = root.get(part) if isinstance(root, Mapping) else None
    return root


# --- JSON that comes out with the numbers that went in -------------------------------------------

MARK = "\ue000number "  # a private character: stands for a number that a float cannot hold
_MARKED = re.compile(f'"{MARK}([^"]*)"')


def _number(text: str) -> float | str:
    value = float(text)
    return value if repr(value) == text else MARK + text


def _integer(text: str) -> int | str:
    return int(text) if len(text) < 4000 else MARK + text


def parse_json(text: str | bytes) -> Any:
    """Raises ValueError."""
    return json.loads(text, parse_float=_number, parse_int=_integer)


def write_json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _MARKED.sub(r"\1", text) if MARK in text else text
