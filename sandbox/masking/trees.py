"""Rules by path, compiled to walk documents, payloads and JSON: fast, and closed to the unnamed.

A scalar needs a rule of its own path, an array one for its elements (`tags[]`), and only `**`
covers what is below it, whatever that is. A field without a rule is told to `uncovered` and its
value does not pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from sandbox.contract import Batches, Codec
from sandbox.masking.loops import worth
from sandbox.masking.rules import ANY, DEEP, ITEMS, Rule, Tree
from sandbox.masking.strategies import STRATEGIES, Function, Tools, make, many, of_text
from sandbox.masking.strategies.fixed import redacted

if TYPE_CHECKING:
    from sandbox.masking.loops.spans import InLoops

Uncovered = Callable[[str, Any], None]  # (path, a value that was met: to suggest a rule by)
NO_JSON = object()


class Node:
    """One path's rule, ready to run."""

    __slots__ = ("any", "children", "count", "deep", "drops", "function", "inside", "items", "keep",
                 "late", "of_text", "rule", "subject", "vector")  # fmt: skip

    def __init__(self, tree: Tree, tools: Tools, nodes: list[Node]) -> None:
        rule = tree.rule
        self.rule: Rule | None = rule
        self.count = 0
        self.keep = rule is not None and rule.keeps
        self.function: Function | None = None
        self.late = False
        self.subject: tuple[str, ...] | None = None
        self.of_text: Callable[[str], Any] | None = None
        self.vector = self.drops = False
        if rule is not None and not rule.keeps:
            self.function = make(rule, tools)
            known = STRATEGIES.get(rule.strategy)
            self.late = known is not None and known.late
            subject = rule.option("subject")
            self.subject = tuple(subject.split(".")) if subject else None
            self.vector = rule.strategy == "vector"
            self.drops = rule.strategy in ("null", "redact")
            if not self.late and not self.subject:
                self.of_text = of_text(self.function)
        nodes.append(self)
        made = {part: Node(child, tools, nodes) for part, child in tree.children.items()}
        self.items: Node | None = made.pop(ITEMS, None)
        self.deep: Node | None = made.pop(DEEP, None)
        self.any: Node | None = made.pop(ANY, None)
        self.children: dict[str, Node] = made
        whole = self.deep is not None and not made  # what is below is kept or dropped unread
        self.inside = self.function is None and not self.keep and self.inner and not whole

    @property
    def inner(self) -> bool:
        return bool(self.children or self.items or self.deep or self.any)


class Later:
    """What waits until all of a batch was seen: free text, so that the values beside it are known
    by then, and the JSON that it stands in."""

    def __init__(self) -> None:
        self.texts: list[tuple[Any, Any, Node, Any]] = []  # (holder, place in it, rule, text)
        self.jsons: list[tuple[Any, Any, Any, bool]] = []  # (holder, place, value, as bytes)

    def finish(self) -> None:
        """Every text of one rule at once."""
        groups: dict[Function, list[tuple[Any, Any, Node, Any]]] = {}
        for one in self.texts:
            node = one[2]
            node.count += 1
            assert node.function is not None
            groups.setdefault(node.function, []).append(one)
        for function, group in groups.items():
            made = many(function, [text for _, _, _, text in group])
            for (holder, place, _, _), text in zip(group, made, strict=True):
                holder[place] = text
        for holder, place, value, as_bytes in reversed(self.jsons):  # the innermost came last
            text = write_json(value)
            holder[place] = text.encode() if as_bytes else text


class Walker:
    """Masks documents by one tree. Shared by threads."""

    def __init__(
        self, tree: Tree, tools: Tools, uncovered: Uncovered, *, redact: bool = False
    ) -> None:
        self.nodes: list[Node] = []
        self.root = Node(tree, tools, self.nodes)
        self._uncovered, self._redact = uncovered, redact
        self._tools, self._seen = tools, 0
        self._loops: InLoops | None = None

    @property
    def keeps(self) -> bool:
        """Whether everything is kept, named or not."""
        deep = self.root.deep
        return deep is not None and deep.keep and not self.root.children

    def document(self, document: Mapping[str, Any]) -> dict[str, Any]:
        return self.documents([document])[0]

    def documents(self, documents: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        later = Later()
        made = [self.begin(one, later) for one in documents]
        later.finish()
        return made

    def begin(self, document: Mapping[str, Any], later: Later) -> dict[str, Any]:
        """A document whose free text stands open until `later` is finished."""
        return self._fields(self.root, document, "", document, later)

    def value(self, node: Node, value: Any, path: str) -> Any:
        """One value below `node`, of whatever type."""
        later = Later()
        made = self._any(node, value, path, value, later)
        later.finish()
        return made

    def _fields(
        self, node: Node, document: Mapping[str, Any], path: str, root: Any, later: Later
    ) -> dict[str, Any]:
        out: dict[str, Any] = {}
        get, deep = node.children.get, node.deep
        other = node.any or deep
        for key, value in document.items():
            child = get(key) or other
            if child is None:
                made = self._unknown(_below(path, key), value)
                if made is not None:
                    out[key] = made
            elif value is None:
                out[key] = None
            elif child.keep and (child is deep or not isinstance(value, (dict, list))):
                out[key] = value
            elif child.of_text is not None and type(value) is str:
                child.count += 1
                out[key] = child.of_text(value)
            elif child.late and _waits(value):
                out[key] = None  # holds the place
                later.texts.append((out, key, child, value))
            elif child.inside and isinstance(value, (str, bytes)):
                self._inside(child, value, _below(path, key), out, key, later)
            else:
                out[key] = self._any(child, value, _below(path, key), root, later)
        return out

    def _any(self, node: Node, value: Any, path: str, root: Any, later: Later) -> Any:
        if node.deep is not None and not node.children:
            return self._deep(node.deep, value)
        if isinstance(value, dict) and not node.vector:
            if node.drops:
                return self._deep(node, value)
            return self._fields(node, value, path, root, later)
        if isinstance(value, list) and not node.vector:
            return self._elements(node, value, path, root, later)
        if node.keep or value is None:
            return value
        if node.function is None:
            return self._unknown(path, value)
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
            if node.drops:
                return self._deep(node, values)
            return self._unknown(f"{path}[]", values[0]) or [] if values else values
        return self._listed(child, values, f"{path}[]", root, later)

    def _listed(
        self, child: Node, values: Iterable[Any], below: str, root: Any, later: Later
    ) -> list[Any]:
        out: list[Any] = []
        for value in values:
            if child.keep and not isinstance(value, (dict, list)):
                out.append(value)
            elif child.of_text is not None and type(value) is str:
                child.count += 1
                out.append(child.of_text(value))
            elif child.late and _waits(value):
                later.texts.append((out, len(out), child, value))
                out.append(None)
            elif child.inside and isinstance(value, (str, bytes)):
                out.append(None)
                self._inside(child, value, below, out, len(out) - 1, later)
            else:
                out.append(self._any(child, value, below, root, later))
        return out

    def _inside(
        self, node: Node, value: str | bytes, path: str, holder: Any, place: Any, later: Later
    ) -> None:
        """Rules below a text are rules for the JSON in it."""
        made = self.begin_json(node, value, path, later)
        if made is NO_JSON:
            holder[place] = self._unknown(path, value)
        else:
            holder[place] = None
            later.jsons.append((holder, place, made, isinstance(value, bytes)))

    def begin_all(self, node: Node, values: Iterable[Any], later: Later) -> list[Any]:
        """Values of one place, as elements of an array are."""
        return self._listed(node, values, "", None, later)

    def json(self, node: Node, text: str | bytes, path: str) -> str | None:
        """A JSON text masked below `node`; None when it is no JSON."""
        return self.jsons(node, [text], path)[0]

    def jsons(self, node: Node, texts: Iterable[str | bytes], path: str) -> list[str | None]:
        """The same of many texts."""
        later = Later()
        made = [self.begin_json(node, text, path, later) for text in texts]
        later.finish()
        return [None if one is NO_JSON else write_json(one) for one in made]

    def texts(self, texts: Sequence[str]) -> Sequence[str | None]:
        """The same of JSON by the whole tree, in compiled loops once there were many."""
        self._seen += len(texts)
        return self.in_loops().texts(texts) if worth(self._seen) else self._some(texts)

    def _some(self, texts: Sequence[str]) -> list[str | None]:
        made = self.jsons(self.root, texts, "")
        if None in made:
            self._uncovered("", "not JSON")
        return made

    def in_loops(self) -> InLoops:
        """Where they are available."""
        if self._loops is None:
            from sandbox.masking.loops import jsons, latest, spans

            remembered = latest.of(self._tools.made)
            finder = jsons.JsonFinder(self.root, remembered)
            self._loops = spans.InLoops(finder, remembered, self._some)
        return self._loops

    def encoded(self, codec: Codec) -> Batches:
        """`documents` as they are stored, in compiled loops, where they are available."""
        from sandbox.masking.loops import documents, latest

        remembered = latest.of(self._tools.made)
        return documents.Documents(self.root, remembered, codec, self.documents).masked

    def begin_json(self, node: Node, text: str | bytes, path: str, later: Later) -> Any:
        """What the text says, masked but for its free text; NO_JSON when it is none."""
        try:
            parsed = parse_json(text)
        except ValueError:
            return NO_JSON
        if isinstance(parsed, dict):
            return self._fields(node, parsed, path, parsed, later)
        return self._any(node, parsed, path, parsed, later)

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


def _waits(value: Any) -> bool:
    """Whether a rule for free text takes it as one: a number may be a known value, too."""
    return value is not None and not isinstance(value, (dict, list, bytes))


def _below(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _lookup(root: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        root = root.get(part) if isinstance(root, Mapping) else None
    return root


# --- JSON that comes out with the numbers that went in -------------------------------------------

# Numbers that may be written otherwise when they come back: of 16 and more digits, with an exponent
# or zeros at the end, minus zero. (Matches inside strings cost time, and nothing else.)
# One set of characters begins them all, so that the rest of a text is passed over quickly.
_ODD = re.compile(
    r"[0-9.\-](?:(?<=[0-9.])[0-9.]{15}|(?<=[0-9])[eE]|(?<=\.)[0-9]+0(?![0-9])"
    r"|(?<=-)0(?!\.?[0-9])|(?<=0)\.000)"
)
LONGEST = 4000  # digits of an integer that Python reads without being told to


class Spelled(float):
    """A number as it was written; a rule sees a float."""

    def __init__(self, text: str) -> None:
        self.text = text


def _integer(text: str) -> int | float:
    return int(text) if len(text) < LONGEST and text != "-0" else Spelled(text)


def parse_json(text: str | bytes) -> Any:
    """Raises ValueError."""
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text), "surrogatepass")
    if not _ODD.search(text):
        with suppress(ValueError):  # a lone surrogate, or no JSON
            return orjson.loads(text)
    return json.loads(text, parse_float=Spelled, parse_int=_integer, parse_constant=Spelled)


def write_json(value: Any) -> str:
    try:
        return orjson.dumps(value, default=_spelled).decode()
    except orjson.JSONEncodeError:  # a lone surrogate, or an integer of more than 64 bits
        return "".join(_pieces(value))


def _spelled(value: Any) -> Any:
    if isinstance(value, Spelled):
        return orjson.Fragment(value.text)
    raise TypeError


def _pieces(value: Any) -> Iterator[str]:
    if isinstance(value, Spelled):
        yield value.text
    elif isinstance(value, dict):
        for at, (key, one) in enumerate(value.items()):
            yield ("," if at else "{") + json.dumps(key, ensure_ascii=False) + ":"
            yield from _pieces(one)
        yield "}" if value else "{}"
    elif isinstance(value, list):
        for at, one in enumerate(value):
            yield "," if at else "["
            yield from _pieces(one)
        yield "]" if value else "[]"
    else:
        yield json.dumps(value, ensure_ascii=False)
