"""Env files: what they should say, written without losing what a person changed. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

_LINE = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=")


@dataclass(frozen=True, kw_only=True)
class Written:
    """The new text, what changed in it, and the fingerprints of the values written by this tool."""

    text: str
    added: tuple[str, ...]
    updated: tuple[str, ...]
    kept: tuple[str, ...]  # a person changed these: they stay
    fingerprints: Mapping[str, str]


def fingerprint(value: str) -> str:
    """Tells whether a value is still the one written, without keeping the value itself."""
    return hashlib.sha256(value.encode()).hexdigest()[:16]


def merge(
    text: str,
    present: Mapping[str, str],
    wanted: Mapping[str, str],
    fingerprints: Mapping[str, str],
    *,
    header: str,
) -> Written:
    """Put `wanted` into an env file's `text`, whose parsed values are `present`.

    A value that this tool wrote (its fingerprint is known) follows `wanted`; any other stays.
    Comments, order and unknown variables stay.
    """
    added = tuple(name for name in wanted if name not in present)
    changed = [name for name in wanted if name in present and present[name] != wanted[name]]
    updated = tuple(n for n in changed if fingerprints.get(n) == fingerprint(present[n]))
    kept = tuple(name for name in changed if name not in updated)
    lines = [_replaced(line, wanted, updated) for line in text.splitlines()]
    if not lines:
        lines = [f"# {header}"]
    lines += [f"{name}={quoted(wanted[name])}" for name in added]
    known = {name: fingerprint(value) for name, value in wanted.items() if name not in kept}
    return Written(
        text="\n".join(lines) + "\n",
        added=added,
        updated=updated,
        kept=kept,
        fingerprints={**fingerprints, **known},
    )


def quoted(value: str) -> str:
    """`value` as one env file's right-hand side, for dotenv and Docker Compose alike."""
    if re.fullmatch(r"[A-Za-z0-9_./:@%+,=&?~-]*", value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _replaced(line: str, wanted: Mapping[str, str], updated: tuple[str, ...]) -> str:
    match = _LINE.match(line)
    if match and match[1] in updated:
        return f"{match[1]}={quoted(wanted[match[1]])}"
    return line
