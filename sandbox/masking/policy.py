"""masking.toml as rules: read strictly, every error with its line and key.

The file itself is the manual; docs/masking.md says what each strategy does.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.errors import ConfigError
from sandbox.masking.lines import Lines
from sandbox.masking.patterns import Template, template
from sandbox.masking.rules import ANY, DEEP, ITEMS, Rule, Tree, split
from sandbox.masking.strategies import STRATEGIES

Place = tuple[str, ...]
UNKNOWN = ("stop", "redact")
SECTIONS = ("version", "unknown", "postgres", "mongo", "qdrant", "redis", "files", "rows", "links")
SIZE = re.compile(r"(\d+) ?(B|kB|MB|GB)")
BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
TYPES = ("string", "list", "set", "zset", "hash", "stream")
CONTENTS = ("copy", "skip", "placeholder", "json", "jsonl", "csv", "text", "link")


@dataclass(frozen=True, kw_only=True)
class RedisRule:
    """Keys of one form. `value`: a string, or the members of a list, set or sorted set; or `json`
    inside them; `fields`: of a hash or stream, by name; `names`: the fields' own names."""

    name: str
    template: Template
    type: str
    value: Rule | None = None
    json: Tree | None = None
    fields: Tree | None = None
    names: Rule | None = None
    because: str = ""  # why parts of the name that look personal are kept
    where: str = ""


@dataclass(frozen=True, kw_only=True)
class FileRule:
    """Files of one form: what of them is copied, and rules for what is inside. `up_to`: bytes; a
    larger one becomes a placeholder."""

    name: str
    template: Template
    content: str
    up_to: int | None = None
    tree: Tree = field(default_factory=Tree)
    because: str = ""  # why a copy, or a part of the name that looks personal, is no mistake
    where: str = ""


@dataclass(frozen=True, kw_only=True)
class RowRule:
    """Which rows of a table come along; what they refer to always does (docs/subset.md)."""

    where: str = ""  # SQL
    percent: float = 100.0
    by: str = ""  # the column whose value decides
    children: bool | tuple[str, ...] = False  # and what refers to them: all, or these tables' rows
    line: str = ""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Every rule. `hash` identifies the file's text."""

    file: str
    hash: str
    unknown: str
    postgres: Mapping[str, Tree]
    mongo: Mapping[str, Tree]
    payload: Tree | None
    point_id: Rule | None
    vectors: Mapping[str, Rule]
    redis: tuple[RedisRule, ...]
    files: Mapping[str, tuple[FileRule, ...]]
    rows: Mapping[str, RowRule]
    links: Mapping[str, str]


def parse(text: str, *, file: str) -> Policy:
    """Read a policy. Raises ConfigError with `file:line` and the key."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}", where=file) from None
    return _Reader(text, file).policy(raw)


class _Reader:
    def __init__(self, text: str, file: str) -> None:
        self._text, self._file, self._lines = text, file, Lines(text)

    def where(self, place: Place) -> str:
        return f"{self._file}:{self._lines.line(place)}: {'.'.join(place)}"

    def fail(self, place: Place, message: str, hint: str = "") -> ConfigError:
        return ConfigError(message, where=self.where(place), hint=hint)

    def policy(self, raw: dict[str, Any]) -> Policy:
        self._known((), raw, SECTIONS)
        if raw.get("version") != 1:
            raise self.fail(("version",), "the policy's version must be 1", "write version = 1")
        unknown = raw.get("unknown", "stop")
        if unknown not in UNKNOWN:
            raise self.fail(("unknown",), f"must be one of {', '.join(UNKNOWN)}")
        qdrant = self._table(("qdrant",), raw.get("qdrant", {}))
        self._known(("qdrant",), qdrant, ("id", "payload", "vector", "vectors"))
        return Policy(
            file=self._file,
            hash=hashlib.sha256(self._text.encode()).hexdigest(),
            unknown=unknown,
            postgres=self._trees("postgres", raw),
            mongo=self._trees("mongo", raw),
            payload=self._tree(("qdrant", "payload"), qdrant["payload"])
            if "payload" in qdrant
            else None,
            point_id=self.rule(("qdrant", "id"), qdrant["id"]) if "id" in qdrant else None,
            vectors=self._vectors(qdrant),
            redis=self._redis(self._table(("redis",), raw.get("redis", {}))),
            files=self._files(self._table(("files",), raw.get("files", {}))),
            rows=self._rows(self._table(("rows",), raw.get("rows", {}))),
            links=self._links(self._table(("links",), raw.get("links", {}))),
        )

    # --- rules ------------------------------------------------------------------------------

    def rule(self, place: Place, value: Any) -> Rule:
        """`"strategy"` or `{ strategy = "...", option = ... }`."""
        if isinstance(value, str):
            value = {"strategy": value}
        if not isinstance(value, dict) or not isinstance(value.get("strategy"), str):
            raise self.fail(place, "must name a strategy", 'write "keep", for one')
        options = {name: given for name, given in value.items() if name != "strategy"}
        strategy = value["strategy"]
        if not strategy.startswith("python:"):
            self._check_options(place, strategy, options)
        return Rule(strategy=strategy, options=options, where=self.where(place))

    def _check_options(self, place: Place, strategy: str, options: Mapping[str, Any]) -> None:
        known = STRATEGIES.get(strategy)
        if known is None:
            raise self.fail(
                place,
                f"no strategy is called {strategy}",
                f"one of {', '.join(sorted(STRATEGIES))}",
            )
        allowed = known.options
        for name, given in options.items():
            if name not in allowed:
                listed = ", ".join(sorted(allowed))
                raise self.fail(place, f"{strategy} has no option {name}", f"it has {listed}")
            if not isinstance(given, allowed[name]) or (
                isinstance(given, bool) and bool not in allowed[name]
            ):
                raise self.fail(place, f"{name} is of the wrong type")

    def _tree(self, place: Place, table: Any) -> Tree:
        tree = Tree()
        for path, rule in self._leaves(place, (), self._table(place, table)):
            node = tree.at(path)
            if node.rule is not None:
                raise ConfigError("a second rule for the same place", where=rule.where)
            if path[-1] == DEEP and rule.strategy not in ("keep", "redact", "null"):
                raise ConfigError("** takes keep, redact or null", where=rule.where)
            node.rule = rule
        return tree

    def _leaves(
        self, place: Place, prefix: Place, table: dict[str, Any]
    ) -> Iterator[tuple[Place, Rule]]:
        """`path = rule`, nested tables, and bulk rules: `strategy = ["path", ...]`."""
        for key, value in table.items():
            here = (*place, key)
            if isinstance(value, list):
                rule = self.rule(here, key)
                for name in value:
                    if not isinstance(name, str) or not name:
                        raise self.fail(here, "a bulk rule is a list of names")
                    yield (*prefix, *split(name)), rule
            elif isinstance(value, dict) and "strategy" not in value:
                yield from self._leaves(here, (*prefix, *split(key)), value)
            else:
                yield (*prefix, *split(key)), self.rule(here, value)

    def _trees(self, section: str, raw: dict[str, Any]) -> dict[str, Tree]:
        tables = self._table((section,), raw.get(section, {}))
        return {name: self._tree((section, name), table) for name, table in tables.items()}

    def _vectors(self, qdrant: dict[str, Any]) -> dict[str, Rule]:
        found: dict[str, Rule] = {}
        if "vector" in qdrant:
            found[""] = self.rule(("qdrant", "vector"), qdrant["vector"])
        named = self._table(("qdrant", "vectors"), qdrant.get("vectors", {}))
        for name, value in named.items():
            found[name] = self.rule(("qdrant", "vectors", name), value)
        for name, rule in found.items():
            if rule.strategy not in ("vector", "keep", "null") and ":" not in rule.strategy:
                place = ("qdrant", "vectors", name) if name else ("qdrant", "vector")
                raise self.fail(place, "a vector takes vector, keep or null")
        return found

    # --- Redis and files ----------------------------------------------------------------------

    def _redis(self, section: dict[str, Any]) -> tuple[RedisRule, ...]:
        found = [self._redis_rule(name, table) for name, table in section.items()]
        return tuple(sorted(found, key=lambda rule: -rule.template.literal))

    def _redis_rule(self, name: str, value: Any) -> RedisRule:
        place = ("redis", name)
        table = self._table(place, value)
        self._known(place, table, ("type", "value", "json", "fields", "names", "because"))
        kind = table.get("type")
        if kind not in TYPES:
            raise self.fail((*place, "type"), f"must be one of {', '.join(TYPES)}")
        named = kind in ("hash", "stream")
        if named != ("fields" in table) or named == ("value" in table or "json" in table):
            wanted = "fields" if named else "value or json"
            raise self.fail(place, f"a {kind} takes {wanted}")
        if "value" in table and "json" in table:
            raise self.fail(place, "either value or json")
        return RedisRule(
            name=name,
            template=self._template(place, name, ":"),
            type=kind,
            value=self.rule((*place, "value"), table["value"]) if "value" in table else None,
            json=self._tree((*place, "json"), table["json"]) if "json" in table else None,
            fields=self._tree((*place, "fields"), table["fields"]) if named else None,
            names=self.rule((*place, "names"), table["names"]) if "names" in table else None,
            because=str(table.get("because", "")),
            where=self.where(place),
        )

    def _files(self, section: dict[str, Any]) -> dict[str, tuple[FileRule, ...]]:
        return {
            directory: tuple(
                sorted(
                    (self._file_rule(directory, name, rule) for name, rule in self._table(
                        ("files", directory), rules
                    ).items()),
                    key=lambda rule: -rule.template.literal,
                )
            )
            for directory, rules in section.items()
        }  # fmt: skip

    def _file_rule(self, directory: str, name: str, value: Any) -> FileRule:
        place = ("files", directory, name)
        if isinstance(value, str):
            value = {"content": value}
        table = self._table(place, value)
        self._known(place, table, ("content", "json", "columns", "up_to", "because"))
        content = table.get("content")
        if content is None:
            content = "json" if "json" in table else "csv" if "columns" in table else None
        if content not in CONTENTS:
            raise self.fail(place, f"content must be one of {', '.join(CONTENTS)}")
        wanted = {"json": "json", "jsonl": "json", "csv": "columns"}.get(content)
        given = {"json", "columns"} & set(table)
        if given != ({wanted} if wanted else set()):
            raise self.fail(place, f"{content} takes {wanted or 'no rules'}")
        tree = self._tree((*place, wanted), table[wanted]) if wanted else Tree()
        return FileRule(
            name=name,
            template=self._template(place, name, "/"),
            content=content,
            up_to=self._size((*place, "up_to"), table["up_to"]) if "up_to" in table else None,
            tree=tree,
            because=str(table.get("because", "")),
            where=self.where(place),
        )

    def _size(self, place: Place, value: Any) -> int:
        found = SIZE.fullmatch(str(value))
        if not found:
            raise self.fail(place, f'{value!r} is no size; write "50 MB"')
        return int(found[1]) * BYTES[found[2]]

    def _template(self, place: Place, text: str, separators: str) -> Template:
        try:
            made = template(text, separators)
        except ValueError as error:
            raise self.fail(place, f"not a template: {error}") from None
        for strategy in made.strategies:
            self.rule(place, strategy)
        return made

    # --- rows and links -----------------------------------------------------------------------

    def _rows(self, section: dict[str, Any]) -> dict[str, RowRule]:
        return {name: self._row_rule(("rows", name), value) for name, value in section.items()}

    def _row_rule(self, place: Place, value: Any) -> RowRule:
        table = self._table(place, {"rows": value} if isinstance(value, str) else value)
        self._known(place, table, ("rows", "by", "where", "children"))
        percent = 100.0
        if "rows" in table:
            try:
                percent = float(str(table["rows"]).removesuffix("%"))
            except ValueError:
                percent = -1
            if not 0 <= percent <= 100 or not str(table["rows"]).endswith("%"):
                raise self.fail((*place, "rows"), 'write a percentage, "10%"')
            if not table.get("by"):
                raise self.fail(place, "a percentage needs `by`, the field that decides")
        children = table.get("children", False)
        if not isinstance(children, bool):
            if not isinstance(children, list) or not all(isinstance(one, str) for one in children):
                raise self.fail((*place, "children"), "true, or a list of tables")
            children = tuple(children)
        return RowRule(
            where=str(table.get("where", "")),
            percent=percent,
            by=str(table.get("by", "")),
            children=children,
            line=self.where(place),
        )

    def _links(self, section: dict[str, Any]) -> dict[str, str]:
        for name, target in section.items():
            if not isinstance(target, str) or not target.startswith("postgres."):
                raise self.fail(("links", name), 'write "postgres.table.column"')
        return dict(section)

    # --- shapes -------------------------------------------------------------------------------

    def _table(self, place: Place, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.fail(place, "must be a table")
        return value

    def _known(self, place: Place, table: dict[str, Any], allowed: tuple[str, ...]) -> None:
        for key in table:
            if key not in allowed:
                raise self.fail((*place, key), "unknown key", f"one of {', '.join(allowed)}")


__all__ = ["ANY", "DEEP", "ITEMS", "FileRule", "Policy", "RedisRule", "RowRule", "parse"]
