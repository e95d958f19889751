"""One value of a file, read as what it must be; an error names file, line and path."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping
from typing import Any

from sandbox.compose.document import Document
from sandbox.errors import ConfigError

DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)")
UNITS = {"us": 1e3, "ms": 1e6, "s": 1e9, "m": 6e10, "h": 3.6e12}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")
SIZES = {
    "": 1,
    "b": 1,
    "k": 1 << 10,
    "kb": 1 << 10,
    "m": 1 << 20,
    "mb": 1 << 20,
    "g": 1 << 30,
    "gb": 1 << 30,
}
EXPLAINED = {
    "container_name": "a fixed name would make two playgrounds collide",
    "build": "images are named, not built here; see images/",
    "extends": "write the service out, or use a YAML anchor",
    "include": "name one file",
    "links": "services find one another by name on their network",
    "secrets": "passwords come from the env file",
    "version": "obsolete in Compose: delete the line",
    "privileged": "no store needs it",
}


class Reader:
    """Reads values of one document. Every method raises ConfigError at the value's path."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def bad(self, path: str, message: str, hint: str = "") -> ConfigError:
        return self._document.error(path, message, hint)

    def line(self, path: str) -> int:
        return self._document.line(path)

    def only(self, value: Mapping[str, Any], allowed: Collection[str], path: str) -> None:
        for key in value:
            if key not in allowed and not key.startswith("x-"):
                hint = EXPLAINED.get(key, "")
                raise self.bad(f"{path}.{key}" if path else key, "this key is not supported", hint)

    def mapping(self, value: Any, path: str) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.bad(path, "must be a mapping")
        return value

    def table(self, value: Any, allowed: Collection[str], path: str) -> dict[str, Any]:
        """A mapping with these keys only."""
        found = self.mapping(value, path)
        self.only(found, allowed, path)
        return found

    def items(self, value: Any, path: str) -> list[Any]:
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.bad(path, "must be a list")
        return value

    def text(self, value: Any, path: str) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if not isinstance(value, str):
            raise self.bad(path, "must be a text")
        return value

    def optional_text(self, body: Mapping[str, Any], key: str, path: str) -> str:
        return self.text(body[key], f"{path}.{key}") if body.get(key) is not None else ""

    def strings(self, value: Any, path: str) -> tuple[str, ...]:
        """A text or a list of texts."""
        if isinstance(value, str):
            return (value,)
        found = enumerate(self.items(value, path))
        return tuple(self.text(item, f"{path}[{i}]") for i, item in found)

    def words(self, value: Any, path: str) -> tuple[str, ...] | None:
        """A command: a list as it is, a string split as a shell would."""
        if value is None:
            return None
        if isinstance(value, str):
            try:
                return tuple(shlex.split(value))
            except ValueError as error:
                raise self.bad(path, f"cannot be split into words: {error}") from None
        return self.strings(value, path)

    def optional_pairs(self, value: Any, path: str) -> dict[str, str | None]:
        """A mapping, or a list of NAME=value; None for a name alone."""
        found: dict[str, str | None] = {}
        if isinstance(value, list):
            for index, item in enumerate(self.strings(value, path)):
                name, equals, text = item.partition("=")
                if not name:
                    raise self.bad(f"{path}[{index}]", f"{item!r} has no name")
                found[name] = text if equals else None
            return found
        for key, item in self.mapping(value, path).items():
            found[key] = None if item is None else self.text(item, f"{path}.{key}")
        return found

    def pairs(self, value: Any, path: str) -> dict[str, str]:
        return {name: text or "" for name, text in self.optional_pairs(value, path).items()}

    def integer(self, value: Any, path: str, *, low: int, high: int) -> int:
        text = self.text(value, path)
        if not re.fullmatch(r"-?[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise self.bad(path, f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    def number(self, value: Any, path: str) -> float:
        text = self.text(value, path)
        if not re.fullmatch(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", text):
            raise self.bad(path, f"{text!r} is not a number")
        return float(text)

    def truth(self, value: Any, path: str) -> bool:
        if isinstance(value, bool) or value in ("true", "false"):
            return value in (True, "true")
        raise self.bad(path, "must be true or false")

    def duration(self, value: Any, path: str) -> int:
        """`1m30s` -> nanoseconds."""
        text = self.text(value, path)
        parts = DURATION.findall(text)
        if not parts or "".join(a + b for a, b in parts) != text:
            raise self.bad(path, f"{text!r} is not a duration", "for example 10s or 1m30s")
        return round(sum(float(number) * UNITS[unit] for number, unit in parts))

    def size(self, value: Any, path: str) -> int:
        """`256m` -> bytes."""
        text = self.text(value, path)
        match = SIZE.fullmatch(text.lower())
        if not match or match[2] not in SIZES:
            raise self.bad(path, f"{text!r} is not a size", "for example 256m or 1g")
        return int(float(match[1]) * SIZES[match[2]])
