"""masking.toml -> rules. What it does not name is uncovered, and stops a snapshot (P2)."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.errors import ConfigError

STRATEGIES = (
    "keep",
    "null",
    "redact",
    "token",
    "email",
    "username",
    "person",
    "phone",
    "ip",
    "city",
    "street",
    "birthday",
    "url",
    "path",
    "filename",
    "text",
    "json",
    "geo",
    "vector",
    "drop",
    "placeholder",
    "csv",
    "copy",
    "persons",
    "lines",
)
STORES = ("postgres", "mongo", "qdrant", "redis", "files")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """`tables`: store -> dataset or pattern -> field or path -> strategy. `hash`: of its text."""

    tables: Mapping[str, Mapping[str, Mapping[str, str]]] = field(repr=False)
    hash: str
    file: str

    def rules(self, store: str, dataset: str) -> Mapping[str, str]:
        return self.tables.get(store, {}).get(dataset, {})

    def rule(self, store: str, dataset: str, name: str) -> str | None:
        """The strategy for one field; `"*"` covers what has no rule of its own."""
        found = self.rules(store, dataset)
        return found.get(name) or found.get("*")


def parse(text: str, *, file: str) -> Policy:
    """Read a policy. Raises ConfigError with file, line and key."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}", where=file) from None
    tables: dict[str, dict[str, dict[str, str]]] = {}
    for store, datasets in raw.items():
        if store not in STORES:
            raise _bad(text, file, store, "there is no such store")
        for dataset, rules in _table(text, file, store, datasets).items():
            checked: dict[str, str] = {}
            for name, strategy in _table(text, file, dataset, rules).items():
                if strategy not in STRATEGIES:
                    raise _bad(text, file, name, f"there is no strategy {strategy!r}")
                checked[name] = strategy
            tables.setdefault(store, {})[dataset] = checked
    digest = hashlib.sha256(repr(sorted(_flat(tables))).encode()).hexdigest()[:16]
    return Policy(tables=tables, hash=digest, file=file)


def _flat(tables: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    return [
        (store, dataset, name, strategy)
        for store, datasets in tables.items()
        for dataset, rules in datasets.items()
        for name, strategy in rules.items()
    ]


def _table(text: str, file: str, key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _bad(text, file, key, "must be a table of rules")
    return value


def _bad(text: str, file: str, key: str, message: str) -> ConfigError:
    lines = text.splitlines()
    line = next((i for i, one in enumerate(lines, 1) if key in one.split("#")[0]), 0)
    return ConfigError(
        message,
        where=f"{file}:{line}: {key}",
        hint=f"one of {' '.join(STRATEGIES)}"
        if "strategy" in message
        else "docs/masking.md lists every key",
    )
