"""text, pattern, path, filename, url, truncate: values with personal parts inside."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sandbox.errors import ConfigError
from sandbox.masking.known import DOUBTFUL, Found, apart, batches
from sandbox.masking.patterns import Template, bytewise, masker, template
from sandbox.masking.pseudonyms import HOST, Limits
from sandbox.masking.rules import Rule
from sandbox.masking.strategies.base import (
    Function,
    Looped,
    OverText,
    Strategy,
    Tools,
    make,
)

if TYPE_CHECKING:
    from sandbox.masking.loops.spans import InLoops

# What looks like a person's value wherever it stands, known or not. Each begins with what is found
# quickly; what must not stand before it is asked for after that.
_HOST = re.compile(r"@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_LOCAL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+'-"
_PHONE = re.compile(
    r"\+\d[\d ().-]{6,17}\d|\(\d{2,4}\) ?\d[\d .-]{4,12}\d"
    r"|0(?<![0-9A-Za-z.:-]0)\d{1,4}[ -]\d[\d -]{4,12}\d"
)
_IPV4 = re.compile(r"\d(?<![0-9A-Za-z.:]\d)\d{0,2}\.(?:\d{1,3}\.){2}\d{1,3}(?![0-9A-Za-z]|\.\d)")
_IPV6 = re.compile(
    r"(?<![0-9A-Za-z.:])(?:[0-9A-Fa-f]{1,4}:){2,7}:?(?:[0-9A-Fa-f]{1,4}:?)*[0-9A-Fa-f]{0,4}"
    r"(?![0-9A-Za-z])"
)
FEW = 8  # texts are quicker one by one
LONGEST_LOCAL = 256  # characters before an `@`; RFC 5321 allows 64
GAP = "…"  # stands for what was between known values where the rest is redacted


def find(text: str, tools: Tools) -> list[Found]:
    """Known values, and what is shaped like an e-mail address, IP address or phone number."""
    return apart([*tools.known.find(text), *shaped(text)])


def find_all(texts: Sequence[str], tools: Tools) -> Iterator[list[Found]]:
    """`find` for many texts."""
    tools.known.settle()
    for batch in batches(texts):
        joined = "\n".join(batch)  # nothing that is found reaches over the end of a line
        yield from tools.known.find_in(joined, batch, also=shaped(joined))


def shaped(text: str) -> list[Found]:
    """What has the shape of an address or a number; one may overlap another."""
    found = [Found(*match.span(), "phone") for match in _PHONE.finditer(text)]
    if "@" in text:
        for match in _HOST.finditer(text):
            end = match.start()
            before = text[max(end - LONGEST_LOCAL, 0) : end]
            length = len(before) - len(before.rstrip(_LOCAL))
            if length:
                found.append(Found(end - length, match.end(), "email"))
    if text.count(".") >= 3:
        for match in _IPV4.finditer(text):
            if all(int(part) < 256 for part in match[0].split(".")):
                found.append(Found(*match.span(), "ip"))
    found += [Found(*place, "ip") for place in ips(text)]
    return found


def ips(text: str) -> list[tuple[int, int]]:
    """Where IPv6 addresses stand."""
    if text.count(":") < 2:
        return []
    matches = ((match[0], match.span()) for match in _IPV6.finditer(text))
    return [span for shown, span in matches if shown.count(":") >= 4 or "::" in shown]


def shape_of(text: str) -> str:
    """The domain of a text that is one address or number as a whole, else ""."""
    whole = (one.domain for one in shaped(text) if (one.start, one.end) == (0, len(text)))
    return next(whole, "")


class Text(Looped):
    """Known values inside a text become their own pseudonyms; the rest is kept or redacted."""

    def __init__(self, tools: Tools, limits: Limits, *, redact: bool) -> None:
        super().__init__()
        self._tools, self._length, self._redact = tools, limits.length, redact
        self._functions: dict[str, Function] = {}
        self._one = OverText(self._alone)

    def __call__(self, value: Any) -> Any:
        return self._one(value)

    @property
    def loopable(self) -> bool:
        return not self._redact

    def _finder(self) -> InLoops:
        from sandbox.masking.loops import latest, spans, texts

        remembered = latest.of(self._tools.made)
        finder = texts.TextFinder(self._tools.known, remembered, self._of, ips)
        return spans.InLoops(finder, remembered, self.some, length=self._length)

    def some(self, values: Sequence[Any]) -> list[Any]:
        if len(values) < FEW or not all(isinstance(value, str) for value in values):
            return list(map(self._one, values))
        return list(map(self._replaced, values, find_all(values, self._tools)))

    def _alone(self, text: str) -> str:
        return self._replaced(text, find(text, self._tools))

    def _replaced(self, text: str, found: list[Found]) -> str:
        if not found and not self._redact:
            return text[: self._length]
        parts: list[str] = []
        end = 0
        for one in found:
            parts.append(self._rest(text[end : one.start]))
            parts.append(self._of(one.domain)(text[one.start : one.end]))
            end = one.end
        parts.append(self._rest(text[end:]))
        return "".join(parts)[: self._length]

    def _rest(self, part: str) -> str:
        return GAP if part and self._redact else part

    def _of(self, domain: str) -> Function:
        function = self._functions.get(domain)
        if function is None:
            strategy = "token" if domain == DOUBTFUL else domain
            function = self._functions[domain] = make(Rule(strategy=strategy), self._tools)
        return function


def _text(rule: Rule, tools: Tools, limits: Limits) -> Function:
    return Text(tools, limits, redact=rule.option("rest", "keep") == "redact")


def templates(rule: Rule, separators: str, *names: str) -> list[Template]:
    """The rule's own templates. Raises ConfigError on one that cannot be read."""
    texts = [text for name in names for text in _listed(rule.option(name))]
    try:
        return [template(text, separators) for text in texts]
    except ValueError as error:
        raise ConfigError(f"not a template: {error}", where=rule.where) from None


def _listed(value: Any) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


class ByTemplate(OverText, Looped):
    """Names by the first template that they have the form of, those with the most fixed characters
    first; `other`: of names of no form."""

    def __init__(
        self,
        found: list[Template],
        tools: Tools,
        limits: Limits,
        other: Callable[[str], str],
        *,
        more: Callable[[str], str | None] | None = None,
    ) -> None:
        """`more`: is tried after the templates."""
        Looped.__init__(self)
        OverText.__init__(self, self._masked)
        self._templates = sorted(found, key=lambda one: -one.literal)
        names = {name for one in found for name in one.strategies}
        self._functions = {name: make(Rule(strategy=name), tools) for name in names}
        self._tried = [masker(one, self._functions) for one in self._templates]
        self._tried += [] if more is None else [more]
        self._tools, self._length, self._other = tools, limits.length, other
        self._plain = more is None

    def _masked(self, value: str) -> str:
        made = _first(self._tried, value)
        return (self._other(value) if made is None else made)[: self._length]

    def some(self, values: Sequence[Any]) -> list[Any]:
        return list(map(self, values))

    @property
    def loopable(self) -> bool:
        return self._plain and bool(self._templates) and all(map(bytewise, self._templates))

    def _finder(self) -> InLoops:
        from sandbox.masking.loops import latest, spans, templates

        remembered = latest.of(self._tools.made)
        finder = templates.TemplateFinder(self._templates, self._functions, remembered)
        return spans.InLoops(finder, remembered, self.some, length=self._length)


def _first(tried: list[Callable[[str], str | None]], value: str) -> str | None:
    for one in tried:
        masked = one(value)
        if masked is not None:
            return masked
    return None


def _pattern(rule: Rule, tools: Tools, limits: Limits) -> Function:
    """`template` or `templates`, or `regex` with groups named by strategies; others: a token."""
    found = templates(rule, ":/", "template", "templates")
    more = None if rule.option("regex") is None else _regex(rule, tools)
    return ByTemplate(found, tools, limits, tools.pseudonyms.function("token", limits), more=more)


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
    part = _hashed(tools)

    def by_part(value: str) -> str:
        return "/".join(part(name) for name in value.split("/"))

    found = [*templates(rule, "/", "templates"), *tools.paths]
    made = ByTemplate(found, tools, limits, tools.pseudonyms.remember("path", by_part))
    made.text = tools.pseudonyms.remember("path", made.text, recorded=False)
    return made


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
    part = _hashed(tools)
    other = tools.pseudonyms.remember("path", lambda name: part(name, limits.length or 64))
    return ByTemplate(templates(rule, "/", "templates"), tools, limits, other)


def _url(rule: Rule, tools: Tools, limits: Limits) -> Function:
    """The rule's `templates`; of other URLs only the scheme stays: no host, login or query."""
    token = tools.pseudonyms.function("token")

    def other(value: str) -> str:
        if not value:
            return value
        try:
            scheme = urlsplit(value).scheme
        except ValueError:
            scheme = ""
        return f"{scheme or 'https'}://{HOST}/{token(value)}"

    return ByTemplate(templates(rule, "/?#&@", "templates"), tools, limits, other)


def _truncate(rule: Rule, tools: Tools, limits: Limits) -> Function:
    length = rule.option("length", 1)
    return OverText(lambda value: value[:length])


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
