"""text, pattern, path, filename, url, truncate: values with personal parts inside."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from sandbox.errors import ConfigError
from sandbox.masking.known import Found, apart
from sandbox.masking.patterns import Template, masker, template
from sandbox.masking.pseudonyms import HOST, Limits
from sandbox.masking.rules import Rule
from sandbox.masking.strategies.base import Function, Strategy, Tools, make, over_text

Text = Callable[[str], str]
# What looks like a person's value wherever it stands, known or not.
SHAPES = re.compile(
    r"(?P<email>[A-Za-z0-9._%+'-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)"
    r"|(?P<ip>(?<![0-9A-Za-z.:])(?:\d{1,3}\.){3}\d{1,3}(?![0-9A-Za-z]|\.\d)"
    r"|(?<![0-9A-Za-z.:])(?:[0-9A-Fa-f]{1,4}:){2,7}:?(?:[0-9A-Fa-f]{1,4}:?)*[0-9A-Fa-f]{0,4}(?![0-9A-Za-z]))"
    r"|(?P<phone>\+\d[\d ().-]{6,17}\d|\(\d{2,4}\) ?\d[\d .-]{4,12}\d"
    r"|(?<![0-9A-Za-z.:-])0\d{1,4}[ -]\d[\d -]{4,12}\d)"
)
GAP = "…"  # stands for what was between known values where the rest is redacted


def find(text: str, tools: Tools) -> list[Found]:
    """Known values, and what is shaped like an e-mail address, IP address or phone number."""
    found = tools.known.find(text)
    for match in SHAPES.finditer(text):
        kind = match.lastgroup or "token"
        if kind == "ip" and not _is_address(match[0]):
            continue
        found.append(Found(start=match.start(), end=match.end(), domain=kind))
    return apart(found)


def _is_address(text: str) -> bool:
    if ":" in text:
        return text.count(":") >= 4 or "::" in text
    return all(int(part) < 256 for part in text.split("."))


def _text(rule: Rule, tools: Tools, limits: Limits) -> Function:
    """Known values inside the text become their own pseudonyms; the rest is kept or redacted."""
    redact = rule.option("rest", "keep") == "redact"
    functions: dict[str, Function] = {}

    def of(domain: str) -> Function:
        if domain not in functions:
            strategy = domain if domain != "a value" else "token"
            functions[domain] = make(Rule(strategy=strategy), tools)
        return functions[domain]

    def masked(value: str) -> str:
        parts: list[str] = []
        end = 0
        for one in find(value, tools):
            parts.append(GAP if redact and one.start > end else value[end : one.start])
            parts.append(of(one.domain)(value[one.start : one.end]))
            end = one.end
        if redact:
            parts.append(GAP if value[end:] else "")
        else:
            parts.append(value[end:])
        return "".join(parts)[: limits.length]

    return over_text(masked)


def templates(rule: Rule, separators: str, *names: str) -> list[Template]:
    """The rule's own templates. Raises ConfigError on one that cannot be read."""
    texts = [text for name in names for text in _listed(rule.option(name))]
    try:
        return [template(text, separators) for text in texts]
    except ValueError as error:
        raise ConfigError(f"not a template: {error}", where=rule.where) from None


def _listed(value: Any) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def maskers(found: list[Template], tools: Tools) -> list[Callable[[str], str | None]]:
    """Those with the most fixed characters are tried first."""
    ordered = sorted(found, key=lambda one: -one.literal)
    return [
        masker(one, {name: make(Rule(strategy=name), tools) for name in one.strategies})
        for one in ordered
    ]


def _first(tried: list[Callable[[str], str | None]], value: str) -> str | None:
    for one in tried:
        masked = one(value)
        if masked is not None:
            return masked
    return None


def _pattern(rule: Rule, tools: Tools, limits: Limits) -> Function:
    """`template` or `templates`, or `regex` with groups named by strategies; others: a token."""
    tried = maskers(templates(rule, ":/", "template", "templates"), tools)
    if rule.option("regex") is not None:
        tried.append(_regex(rule, tools))
    token = tools.pseudonyms.function("token", limits)

    def masked(value: str) -> str:
        made = _first(tried, value)
        return token(value) if made is None else made[: limits.length]

    return over_text(masked)


def _regex(rule: Rule, tools: Tools) -> Callable[[str], str | None]:
    try:
        regex = re.compile(rule.option("regex"), re.DOTALL)
    except re.error as error:
        raise ConfigError(f"not a regular expression: {error}", where=rule.where) from None
    groups = {
        index: make(Rule(strategy=re.sub(r"_\d+$", "", name), where=rule.where), tools)
        for name, index in regex.groupindex.items()
    }

    def masked(value: str) -> str | None:
        found = regex.fullmatch(value)
        if found is None:
            return None
        parts, end = [], 0
        for index in sorted(groups, key=found.start):
            start, stop = found.span(index)
            if start < end:
                continue
            parts += [value[end:start], groups[index](found[index])]
            end = stop
        return "".join([*parts, value[end:]])

    return masked


def _path(rule: Rule, tools: Tools, limits: Limits) -> Function:
    """The rule's `templates`, then those of the files; of other paths every part is hashed."""
    tried = maskers([*templates(rule, "/", "templates"), *tools.paths], tools)
    part = _hashed(tools)

    def by_part(value: str) -> str:
        return "/".join(part(name) for name in value.split("/"))

    other = tools.pseudonyms.remember("path", by_part)

    def masked(value: str) -> str:
        made = _first(tried, value)
        return (other(value) if made is None else made)[: limits.length]

    return over_text(masked)


def _hashed(tools: Tools) -> Callable[..., str]:
    """One part of a path: its stem as a token, its ending kept. A part alone (`output`, `0001`)
    says too little to be searched for, so it is not recorded."""
    token = tools.pseudonyms.function("token", recorded=False)

    def masked(name: str, longest: int = 64) -> str:
        if name in ("", ".", ".."):
            return name
        stem, dot, ending = name.rpartition(".")
        if not stem or not re.fullmatch(r"[A-Za-z0-9]{1,5}", ending):
            stem, dot, ending = name, "", ""
        return token(stem)[: longest - len(dot + ending)] + dot + ending

    return masked


def _filename(rule: Rule, tools: Tools, limits: Limits) -> Function:
    """The rule's `templates`; of other names the stem is hashed and the ending kept."""
    tried = maskers(templates(rule, "/", "templates"), tools)
    part = _hashed(tools)
    other = tools.pseudonyms.remember("path", lambda name: part(name, limits.length or 64))

    def masked(value: str) -> str:
        made = _first(tried, value)
        return (other(value) if made is None else made)[: limits.length]

    return over_text(masked)


def _url(rule: Rule, tools: Tools, limits: Limits) -> Function:
    """The rule's `templates`; of other URLs only the scheme stays: no host, login or query."""
    tried = maskers(templates(rule, "/?#&@", "templates"), tools)
    token = tools.pseudonyms.function("token")

    def masked(value: str) -> str:
        made = _first(tried, value)
        if made is None and value:
            try:
                scheme = urlsplit(value).scheme
            except ValueError:
                scheme = ""
            made = f"{scheme or 'https'}://{HOST}/{token(value)}"
        return (made or value)[: limits.length]

    return over_text(masked)


def _truncate(rule: Rule, tools: Tools, limits: Limits) -> Function:
    length = rule.option("length", 1)
    return over_text(lambda value: value[:length])


STRINGS = (str, list)
STRATEGIES = {
    "text": Strategy(make=_text, options={"rest": (str,)}, late=True),
    "pattern": Strategy(
        make=_pattern, options={"template": (str,), "templates": STRINGS, "regex": (str,)}
    ),
    "path": Strategy(make=_path, options={"templates": STRINGS}),
    "filename": Strategy(make=_filename, options={"templates": STRINGS}),
    "url": Strategy(make=_url, options={"templates": STRINGS}),
    "truncate": Strategy(make=_truncate, options={"length": (int,)}),
}
