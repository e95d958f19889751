"""Files: names by template, content by rule; directories and links follow the files' names."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import IO, Any

from sandbox.masking import content
from sandbox.masking.patterns import masker, template
from sandbox.masking.policy import FileRule
from sandbox.masking.rules import Rule
from sandbox.masking.strategies import Tools, make
from sandbox.masking.suggest import shown, suggest
from sandbox.masking.trees import Walker
from sandbox.model import FileEntry

Told = Callable[[str, str], None]


class Directory:
    """All rules for the files of one directory, ready to run. Shared by threads."""

    def __init__(
        self, name: str, rules: tuple[FileRule, ...], tools: Tools, told: Told, *, redact: bool
    ) -> None:
        self._name, self._told, self._redact = name, told, redact
        self._text = make(Rule(strategy="text"), tools)
        self.rules = [_File(name, rule, tools, told, redact=redact) for rule in rules]
        self._folders = self._prefixes(rules, tools)

    def _prefixes(
        self, rules: tuple[FileRule, ...], tools: Tools
    ) -> list[Callable[[str], str | None]]:
        """Templates of the folders that the files' templates stand in."""
        found: dict[str, int] = {}
        for rule in rules:
            parts = rule.name.split("/")
            ends = range(1, len(parts) + ("**" in parts[-1]))
            found |= {text: template(text, "/").literal for text in map("/".join, (
                parts[:end] for end in ends))}  # fmt: skip
        made = [template(text, "/") for text in sorted(found, key=lambda text: -found[text])]
        return [
            masker(one, {name: make(Rule(strategy=name), tools) for name in one.strategies})
            for one in made
        ]

    def file(self, file: FileEntry) -> FileEntry | None:
        if file.type == "directory":
            for folder in self._folders:
                masked = folder(file.path)
                if masked is not None:
                    return replace(file, path=masked)
            return self._unknown(file)
        rule, masked = self._match(file)
        if rule is None:
            return self._unknown(file)
        if rule.rule.content == "skip":
            return None
        rule.count += 1
        if file.type == "file":
            return replace(file, path=masked)
        target = self._target(file, masked)
        return self._unknown(file) if target is None else replace(file, path=masked, target=target)

    def content(self, file: FileEntry, stream: IO[bytes]) -> Iterator[bytes]:
        rule, _ = self._match(file)
        if rule is not None:
            yield from rule.content(file, stream, self._text)

    def _match(self, file: FileEntry) -> tuple[_File | None, str]:
        link = file.type == "symlink"
        for rule in self.rules:
            if (rule.rule.content == "link") == link:
                masked = rule.path(file.path)
                if masked is not None:
                    return rule, masked
        return None, ""

    def _target(self, file: FileEntry, masked: str) -> str | None:
        """Where the link's target will be, relative to where the link will be."""
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(file.path), file.target))
        if file.target.startswith("/") or inside.startswith(".."):
            return None
        for name in [rule.path for rule in self.rules if rule.rule.content != "link"]:
            there = name(inside)
            if there is not None:
                return posixpath.relpath(there, posixpath.dirname(masked) or ".")
        for folder in self._folders:
            there = folder(inside)
            if there is not None:
                return posixpath.relpath(there, posixpath.dirname(masked) or ".")
        return None

    def _unknown(self, file: FileEntry) -> FileEntry | None:
        if self._redact:
            return None
        place = "/".join(map(shown, file.path.split("/")))
        wanted = "link" if file.type == "symlink" else "placeholder"
        self._told(
            f"files.{self._name}.{place}",
            f'seen as a {file.type}; suggested: a template with content = "{wanted}"',
        )
        return None


class _File:
    def __init__(
        self, directory: str, rule: FileRule, tools: Tools, told: Told, *, redact: bool
    ) -> None:
        self.rule, self.count = rule, 0
        functions = {name: make(Rule(strategy=name), tools) for name in rule.template.strategies}
        self.path = masker(rule.template, functions)
        self._place = f"files.{directory}.{rule.name}"

        def uncovered(path: str, value: Any = None) -> None:
            if redact:  # a column of a CSV: its cells are empty then
                return
            told(f"{self._place}: {path}", f"suggested: {suggest(path, value)}")

        self._uncovered = uncovered
        self.walker = Walker(rule.tree, tools, uncovered, redact=redact)

    def content(
        self, file: FileEntry, stream: IO[bytes], text: Callable[[Any], Any]
    ) -> Iterator[bytes]:
        kind, place = self.rule.content, self._place
        if self.rule.up_to is not None and file.size > self.rule.up_to:
            kind = "placeholder"
        if kind == "copy":
            return content.copied(stream)
        if kind == "json":
            return content.as_json(stream, self.walker, place)
        if kind == "jsonl":
            return content.as_json_lines(stream, self.walker, place)
        if kind == "csv":
            return content.as_csv(stream, self.walker.root, self.walker, self._uncovered)
        if kind == "text":
            return content.as_text(stream, text)
        return iter([content.placeholder(file.path)])
