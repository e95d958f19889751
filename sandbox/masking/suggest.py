"""A first guess at the rule that a place without one needs, by its name and one value."""

from __future__ import annotations

import re
from typing import Any

from sandbox.masking.strategies.texts import shape_of

_BY_NAME = (
    ("email", r"e?mail"),
    ("phone", r"phone|mobile|tel\b"),
    ("username", r"user_?name|login|account|nick"),
    ("person", r"(^|[._])(full_?|first_?|last_?|owner_?|speaker_?|display_?)?name$|author|person"),
    (
        "token",
        r"token|secret|passw|api_?key|hash|passport|license|iban|card|account_?n|ssn|tax_?id",
    ),
    ("ip", r"(^|[._])ip(_|$)|ip_?addr"),
    ("street", r"street|address"),
    ("city", r"city|town"),
    ("date", r"birth"),
    ("geo", r"lat(itude)?$|lon(gitude)?$|geo|coord"),
    ("vector", r"embedding|vector|centroid"),
    ("url", r"url|link|homepage"),
    ("path", r"path|file"),
    ("text", r"text|title|desc|note|comment|message|content|summary|remark|reason|label"),
)


def suggest(name: str, value: Any = None) -> str:
    """A strategy's name."""
    if isinstance(value, str):
        shape = shape_of(value.strip())
        if shape:
            return shape
    for strategy, pattern in _BY_NAME:
        if re.search(pattern, name.removesuffix("[]"), re.IGNORECASE):
            return strategy
    if not isinstance(value, str):
        return "keep"
    return "text" if " " in value.strip() else "redact"


def shown(part: str) -> str:
    """A part of a key or path without what may be personal: plain words as they are, other names
    as `{strategy}` where their shape tells one, else `*`; a file's ending stays."""
    if part.isascii() and part.isalpha() and part.islower():
        return part
    stem, dot, ending = part.rpartition(".")
    if dot and stem and ending.isalnum() and len(ending) <= 5 and not shape_of(part):
        return f"{shown(stem)}.{ending}"
    kind = suggest("", part)
    return "*" if kind in ("keep", "text", "redact") else f"{{{kind}}}"
