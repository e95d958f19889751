"""Redis: keys by template, and what is in them by type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sandbox.masking.patterns import masker
from sandbox.masking.policy import RedisRule
from sandbox.masking.rules import Rule, Tree
from sandbox.masking.strategies import Tools, make
from sandbox.masking.strategies.fixed import REDACTED
from sandbox.masking.suggest import shown, suggest
from sandbox.masking.trees import Node, Walker
from sandbox.model import Entry

Told = Callable[[str, str], None]  # (name, where and what is suggested)
Bytes = Callable[[bytes], bytes | None]


class Keys:
    """All rules for keys, ready to run. Shared by threads."""

    def __init__(
        self, rules: tuple[RedisRule, ...], tools: Tools, told: Told, *, redact: bool
    ) -> None:
        self._told, self._redact = told, redact
        self.rules = [_Key(rule, tools, told, redact=redact) for rule in rules]

    def entry(self, entry: Entry) -> Entry | None:
        name = entry.key.decode("utf-8", "surrogateescape")
        other = ""
        for rule in self.rules:
            masked = rule.name(name)
            if masked is None:
                continue
            if rule.rule.type != entry.type:
                other = rule.rule.type
                continue
            return rule.entry(entry, masked.encode("utf-8", "surrogateescape"))
        return self._unknown(name, entry, other)

    def _unknown(self, name: str, entry: Entry, other: str) -> Entry | None:
        if self._redact:
            return None
        place = f"redis.{self._shown(name)}"
        note = f"seen as a {entry.type}"
        if other:
            note += f", the policy has a rule for a {other}"
        wanted = "fields" if entry.type in ("hash", "stream") else "value"
        self._told(place, f'{note}; suggested: a table with type = "{entry.type}" and {wanted}')
        return None

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

    def entry(self, entry: Entry, key: bytes) -> Entry:
        self.count += 1
        value = entry.value
        if entry.type == "string":
            made: Any = self._member(value)
        elif entry.type == "hash":
            made = self._fields(value)
        elif entry.type == "stream":
            made = [(number, self._fields(fields)) for number, fields in value]
        elif entry.type == "zset":
            made = self._scored(value)
        else:
            made = [self._member(member) for member in value]
            if entry.type == "set":
                made = list(dict.fromkeys(made))
        return replace(entry, key=key, value=made)

    def _scored(self, value: Any) -> list[tuple[bytes, float]]:
        """Members that share a pseudonym become one, with the highest score."""
        best: dict[bytes, float] = {}
        for member, score in value:
            masked = self._member(member)
            best[masked] = max(score, best.get(masked, score))
        return list(best.items())

    def _member(self, value: bytes) -> bytes:
        root = self.walker.root
        if self.rule.json is not None:
            made = self.walker.json(root, _text(value), "")
            if made is None:
                if not self._redact:
                    self._uncovered("", "not JSON")
                return REDACTED.encode()
            return made.encode("utf-8", "surrogateescape")
        return value if root.keep else self._bytes(root, value, "")

    def _bytes(self, node: Node, value: bytes, path: str) -> bytes:
        made = self.walker.value(node, _text(value), path)
        return b"" if made is None else str(made).encode("utf-8", "surrogateescape")

    def _fields(self, pairs: Any) -> list[tuple[bytes, bytes]]:
        text = {_text(name): _text(value) for name, value in pairs}
        if len(text) != len(pairs):  # a stream entry may repeat a field
            return [pair for one in pairs for pair in self._fields([one])]
        made = self.walker.document(text)
        return [
            (self._field_name(name), str(value).encode("utf-8", "surrogateescape"))
            for name, value in made.items()
            if value is not None
        ]

    def _field_name(self, name: str) -> bytes:
        masked = name if self._names is None else self._names(name)
        return str(masked).encode("utf-8", "surrogateescape")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
