"""Compose's variables: $X, ${X}, ${X:-default}, ${X:?message}, ${X:+other}, $$. Pure.

https://docs.docker.com/reference/compose-file/interpolation/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sandbox.errors import ConfigError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
OPERATORS = (":-", ":?", ":+", "-", "?", "+")


def interpolate(value: Any, variables: Mapping[str, str], file: str, path: str) -> Any:
    """Every string inside `value`, with its path in errors. An undefined variable is an error."""
    if isinstance(value, str):
        return expand(value, variables, where=f"{file}: {path}")
    if isinstance(value, dict):
        return {
            key: interpolate(item, variables, file, f"{path}.{key}") for key, item in value.items()
        }
    if isinstance(value, list):
        return [interpolate(one, variables, file, f"{path}[{i}]") for i, one in enumerate(value)]
    return value


def expand(text: str, variables: Mapping[str, str], *, where: str) -> str:
    """One string. Raises ConfigError naming the variable that is missing."""
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
            end = _closing(text, dollar + 1, where)
            out.append(_braced(text[dollar + 2 : end], variables, where))
            position = end + 1
        else:
            match = NAME.match(text, dollar + 1)
            if not match:
                raise ConfigError("a lone $ ", where=where, hint="write $$ for a dollar sign")
            out.append(_required(match[0], variables, where))
            position = match.end()
    return "".join(out)


def _closing(text: str, opening: int, where: str) -> int:
    depth = 0
    for index in range(opening, len(text)):
        if text[index] == "{":
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return index
    raise ConfigError("${ is never closed", where=where)


def _braced(inside: str, variables: Mapping[str, str], where: str) -> str:
    match = NAME.match(inside)
    if not match:
        raise ConfigError(f"${{{inside}}} names no variable", where=where)
    name, rest = match[0], inside[match.end() :]
    if not rest:
        return _required(name, variables, where)
    operator = next((one for one in OPERATORS if rest.startswith(one)), "")
    if not operator:
        raise ConfigError(f"${{{inside}}} is not understood", where=where)
    word = rest[len(operator) :]
    value = variables.get(name)
    # With a colon an empty value counts as missing.
    missing = value is None or (operator.startswith(":") and value == "")
    if operator.endswith("+"):
        return "" if missing else expand(word, variables, where=where)
    if not missing:
        return str(value)
    if operator.endswith("-"):
        return expand(word, variables, where=where)
    message = expand(word, variables, where=where) or "it is required"
    raise ConfigError(f"{name} is not set: {message}", where=where, hint="./inv env writes it")


def _required(name: str, variables: Mapping[str, str], where: str) -> str:
    if name not in variables:
        raise ConfigError(
            f"{name} is not set",
            where=where,
            hint=f"put it into the env file, or give a default: ${{{name}:-...}}",
        )
    return variables[name]
