"""Templates for names that carry personal parts: `user:{username}:*`, `{username}/video_*.mp4`.

`{strategy}` is one part, masked by that strategy; `*` is part of a name, kept; `**` is anything.
A part does not reach over a separator (`:` in keys, `/` in paths).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

PIECE = re.compile(r"\{([^{}]*)\}|(\*\*)|(\*)|\\(.)|([^{}*\\]+)", re.DOTALL)
MASKED, KEPT = "masked", "kept"


@dataclass(frozen=True, kw_only=True)
class Template:
    """`strategies`: of the masked parts, by group. `literal`: how many characters are fixed."""

    text: str
    separators: str
    regex: re.Pattern[str]
    groups: tuple[tuple[str, str], ...]  # (MASKED or KEPT, strategy) by regex group
    literal: int

    @property
    def strategies(self) -> tuple[str, ...]:
        return tuple(strategy for kind, strategy in self.groups if kind == MASKED)


def template(text: str, separators: str) -> Template:
    """Raises ValueError saying what is wrong."""
    parts: list[str] = []
    groups: list[tuple[str, str]] = []
    literal = end = 0
    inside = f"[^{re.escape(separators)}]"
    for match in PIECE.finditer(text):
        if match.start() != end:
            break
        end = match.end()
        capture, deep, star, escaped, plain = match.groups()
        if capture is not None:
            if not capture:
                raise ValueError("an empty {}")
            groups.append((MASKED, capture))
            parts.append("([0-9A-Fa-f:.]+)" if capture == "ip" else f"({inside}+)")
        elif deep or star:
            groups.append((KEPT, ""))
            parts.append("(.*)" if deep else f"({inside}*)")
        else:
            groups.append((KEPT, ""))
            fixed = escaped or plain
            literal += len(fixed)
            parts.append(f"({re.escape(fixed)})")
    if end != len(text):
        raise ValueError(f"a brace or backslash that stands alone, after {text[:end]!r}")
    regex = re.compile("".join(parts), re.DOTALL)
    return Template(
        text=text, separators=separators, regex=regex, groups=tuple(groups), literal=literal
    )


def masker(
    one: Template, functions: Mapping[str, Callable[[str], str]]
) -> Callable[[str], str | None]:
    """A function over a whole name; None when the name is not of this form."""
    match = one.regex.fullmatch
    places = [functions[strategy] if kind == MASKED else None for kind, strategy in one.groups]

    def masked(name: str) -> str | None:
        found = match(name)
        if found is None:
            return None
        return "".join(
            [
                part if function is None else function(part)
                for part, function in zip(found.groups(), places, strict=True)
            ]
        )

    return masked


def parts(one: Template) -> list[tuple[re.Match[str], bool]]:
    """A template's pieces, and whether each is fixed."""
    return [(piece, bool(piece[4] or piece[5])) for piece in PIECE.finditer(one.text)]


def bytewise(one: Template) -> bool:
    """Whether bytes of UTF-8 match where characters do: between two pieces of any length must be a
    fixed one, or one could end inside a character. A plugin may make something else each time."""
    plugin = any(name.startswith("python:") for name in one.strategies)
    pieces = pairwise(parts(one))
    return not plugin and all(fixed or other for (_, fixed), (_, other) in pieces)
