"""Redis: keys by template, and what is in them by type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sandbox.masking.patterns import masker
from sandbox.masking.policy import RedisRule
from sandbox.masking.rules import Rule, Tree
from sandbox.masking.strategies import Tools, make
from sandbox.masking.strategies.fixed import REDACTED
from sandbox.masking.suggest import shown, suggest
from sandbox.masking.trees import NO_JSON, Later, Node, Walker, write_json
from sandbox.model import Entry

Told = Callable[[str, str], None]  # (name, where and what is suggested)


class Keys:
    """All rules for keys, ready to run. Shared by threads."""

    def __init__(
        self, rules: tuple[RedisRule, ...], tools: Tools, told: Told, *, redact: bool
    ) -> None:
        self._told, self._redact = told, redact
        self.rules = [_Key(rule, tools, told, redact=redact) for rule in rules]

    def entries(self, entries: Sequence[Entry]) -> list[Entry | None]:
        later = Later()
        made = [self._begin(entry, later) for entry in entries]
        later.finish()
        return [None if end is None else end() for end in made]

    def _begin(self, entry: Entry, later: Later) -> Callable[[], Entry] | None:
        name = entry.key.decode("utf-8", "surrogateescape")
        other = ""
        for rule in self.rules:
            masked = rule.name(name)
            if masked is None:
                continue
            if rule.rule.type != entry.type:
                other = rule.rule.type
                continue
            return rule.begin(entry, masked.encode("utf-8", "surrogateescape"), later)
        self._unknown(name, entry, other)
        return None

    def _unknown(self, name: str, entry: Entry, other: str) -> None:
        if self._redact:
            return
        place = f"redis.{self._shown(name)}"
        note = f"seen as a {entry.type}"
        if other:
            note += f", the policy has a rule for a {other}"
        wanted = "fields" if entry.type in ("hash", "stream") else "value"
        self._told(place, f'{note}; suggested: a table with type = "{entry.type}" and {wanted}')

    def _shown(self, name: str) -> str:
        """A key's name without what may be personal in it."""
        return ":".join(map(shown, name.split(":")))


class _Key:
    def __init__(self, rule: RedisRule, tools: Tools, told: Told, *, redact: bool) -> None:
        self.rule, self.count, self._told = rule, 0, told
        functions = {name: make(Rule(strategy=name), tools) for name in rule.template.strategies}
        self.name = masker(rule.template, functions)
        place = f"redis.{rule.name}"

        def uncovered(path: str, value: Any) -> None:
            told(f"{place}.{path}" if path else place, f"suggested: {suggest(path, value)}")

        tree = rule.fields or rule.json or Tree(rule=rule.value)
        self.walker = Walker(tree, tools, uncovered, redact=redact)
        self._names = None if rule.names is None else make(rule.names, tools)
        self._uncovered, self._redact = uncovered, redact

    @property
    def nodes(self) -> list[Node]:
        return self.walker.nodes

    def begin(self, entry: Entry, key: bytes, later: Later) -> Callable[[], Entry]:
        """What makes the masked entry once `later` is finished."""
        self.count += 1
        value = self._value(entry, later)
        return lambda: replace(entry, key=key, value=value())

    def _value(self, entry: Entry, later: Later) -> Callable[[], Any]:
        value = entry.value
        if entry.type == "hash":
            return self._fields(value, later)
        if entry.type == "stream":
            listed = [(number, self._fields(fields, later)) for number, fields in value]
            return lambda: [(number, made()) for number, made in listed]
        if entry.type == "zset":
            members = self._members([member for member, _ in value], later)
            return lambda: _scored(members(), [score for _, score in value])
        members = self._members([value] if entry.type == "string" else value, later)
        if entry.type == "string":
            return lambda: members()[0]
        return lambda: list(dict.fromkeys(members())) if entry.type == "set" else members()

    def _members(self, values: Sequence[bytes], later: Later) -> Callable[[], list[bytes]]:
        root, walker = self.walker.root, self.walker
        if self.rule.json is not None:
            trees = [walker.begin_json(root, _text(value), "", later) for value in values]
            return lambda: list(map(self._json, trees))
        if root.keep:
            return lambda: list(values)
        made = walker.begin_all(root, map(_text, values), later)
        return lambda: list(map(_bytes, made))

    def _json(self, tree: Any) -> bytes:
        if tree is not NO_JSON:
            return write_json(tree).encode("utf-8", "surrogateescape")
        if not self._redact:
            self._uncovered("", "not JSON")
        return REDACTED.encode()

    def _fields(self, pairs: Any, later: Later) -> Callable[[], list[tuple[bytes, bytes]]]:
        text = {_text(name): _text(value) for name, value in pairs}
        if len(text) != len(pairs):  # a stream entry may repeat a field
            each = [self._fields([one], later) for one in pairs]
            return lambda: [pair for made in each for pair in made()]
        document = self.walker.begin(text, later)
        return lambda: [
            (self._field_name(name), _bytes(value))
            for name, value in document.items()
            if value is not None
        ]

    def _field_name(self, name: str) -> bytes:
        masked = name if self._names is None else self._names(name)
        return str(masked).encode("utf-8", "surrogateescape")


def _scored(members: list[bytes], scores: list[float]) -> list[tuple[bytes, float]]:
    """Members that share a pseudonym become one, with the highest score."""
    best: dict[bytes, float] = {}
    for member, score in zip(members, scores, strict=True):
        best[member] = max(score, best.get(member, score))
    return list(best.items())


def _bytes(made: Any) -> bytes:
    return b"" if made is None else str(made).encode("utf-8", "surrogateescape")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
