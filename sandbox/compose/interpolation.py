"""Compose's variables: $X, ${X}, ${X:-default}, ${X:?message}, ${X:+other}, $$. Pure.

https://docs.docker.com/reference/compose-file/interpolation/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sandbox.compose.document import Document

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
OPERATORS = (":-", ":?", ":+", "-", "?", "+")


def interpolate(value: Any, variables: Mapping[str, str], document: Document, path: str) -> Any:
    """Every string inside `value`. Raises ConfigError with the path of what is not defined."""
    if isinstance(value, str):
        if "$" not in value:
            return value
        try:
            return expand(value, variables)
        except Unset as error:
            raise document.error(path, str(error), error.hint) from None
    if isinstance(value, dict):
        return {
            key: interpolate(item, variables, document, f"{path}.{key}")
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [
            interpolate(one, variables, document, f"{path}[{i}]") for i, one in enumerate(value)
        ]
    return value


class Unset(Exception):
    """A variable that is missing, or a `$` that is not understood."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def expand(text: str, variables: Mapping[str, str]) -> str:
    """One string. Raises Unset naming the variable that is missing."""
    out: list[str] = []
    position = 0
    while position < len(text):
        dollar = text.find("$", position)
        if dollar < 0:
            out.append(text[position:])
            break
        out.append(text[position:dollar])
        following = text[dollar + 1 : dollar + 2]
        if following == "$":
            out.append("$")
            position = dollar + 2
        elif following == "{":
            end = _closing(text, dollar + 1)
            out.append(_braced(text[dollar + 2 : end], variables))
            position = end + 1
        else:
            match = NAME.match(text, dollar + 1)
            if not match:
                raise Unset("a $ that begins no variable", "write $$ for a dollar sign")
            out.append(_required(match[0], variables))
            position = match.end()
    return "".join(out)


def _closing(text: str, opening: int) -> int:
    depth = 0
    for index in range(opening, len(text)):
        if text[index] == "{":
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return index
    raise Unset("${ is never closed")


def _braced(inside: str, variables: Mapping[str, str]) -> str:
    match = NAME.match(inside)
    if not match:
        raise Unset("${...} names no variable", "write $$ for a dollar sign")
    name, rest = match[0], inside[match.end() :]
    if not rest:
        return _required(name, variables)
    operator = next((one for one in OPERATORS if rest.startswith(one)), "")
    if not operator:
        raise Unset(f"${{{name}...}} is not understood", "one of :- - :? ? :+ +")
    word = rest[len(operator) :]
    value = variables.get(name)
    # With a colon an empty value counts as missing.
    missing = value is None or (operator.startswith(":") and value == "")
    if operator.endswith("+"):
        return "" if missing else expand(word, variables)
    if not missing:
        return str(value)
    if operator.endswith("-"):
        return expand(word, variables)
    message = expand(word, variables) or "it is required"
    raise Unset(f"{name} is not set: {message}")


def _required(name: str, variables: Mapping[str, str]) -> str:
    if name not in variables:
        hint = f"put it into the env file, or give a default: ${{{name}:-...}}"
        raise Unset(f"{name} is not set", hint)
    return variables[name]
