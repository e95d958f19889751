"""pg_dump's plain text as the items that it is made of, whatever stands in names, literals, bodies.

https://www.postgresql.org/docs/current/app-pgdump.html; an item begins with pg_dump's own comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# What pg_dump writes after the rows: the first of these in a dump ends what comes before them.
POST = frozenset(
    {
        *("CONSTRAINT", "CHECK CONSTRAINT", "FK CONSTRAINT", "INDEX", "INDEX ATTACH", "STATISTICS"),
        *("RULE", "TRIGGER", "EVENT TRIGGER", "POLICY", "ROW SECURITY", "MATERIALIZED VIEW DATA"),
    }
)
_TOKEN = re.compile(
    r"""
    ^--\n--\ Name:\ (?P<name>[^\n]*);\ Type:\ (?P<type>[A-Z ]+);\ Schema:\ [^\n]*\n--\n
    | (?P<meta>^\\(?:un)?restrict[^\n]*$)     # psql's own lines in a plain dump
    | --[^\n]*
    | (?P<literal>
        \b[eE]'[^'\\]*(?:(?:''|\\.)[^'\\]*)*'
      | '[^']*(?:''[^']*)*'
      | (?<![\w$])(?P<tag>\$(?:[^\W\d]\w*)?\$).*?(?P=tag) )
    | "[^"]*(?:""[^"]*)*"
    | (?P<end>;)
    """,
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)

_COMMENTS = re.compile(r"^--[^\n]*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Item:
    """One object's statements. `name` and `type` as pg_dump says them ("videos videos_pkey",
    "FK CONSTRAINT"); both are empty for the settings at a dump's beginning."""

    name: str
    type: str
    text: str

    @property
    def title(self) -> str:
        return f"{self.type.lower()} {self.name}"


def items(dump: str) -> list[Item]:
    """In the dump's order; psql's own lines and pg_dump's comments are left out."""
    found: list[Item] = []
    name = kind = ""
    pieces: list[str] = []
    start = 0
    for token in _TOKEN.finditer(dump):
        if token["type"] is None and token["meta"] is None:
            continue
        pieces.append(dump[start : token.start()])
        start = token.end()
        if token["type"] is not None:
            found.append(Item(name=name, type=kind, text="".join(pieces)))
            name, kind, pieces = token["name"], token["type"], []
    pieces.append(dump[start:])
    return [*found, Item(name=name, type=kind, text="".join(pieces))]


def statements(text: str) -> list[str]:
    """Statements one by one. Not for functions, whose bodies may hold statements of their own."""
    ends = [token.end() for token in _TOKEN.finditer(text) if token["end"]]
    cut = [text[a:b].strip() for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]
    return [one for one in cut if _COMMENTS.sub("", one).strip()]


def literals(text: str) -> Iterator[str]:
    """Strings and bodies, with their quotes: what a rename does not reach."""
    for token in _TOKEN.finditer(text):
        if token["literal"]:
            yield token["literal"]


def replaced(text: str, known: Mapping[str, str]) -> str:
    """Pieces of text replaced, but not inside strings, bodies and quoted names."""
    if not known:
        return text
    wanted = "|".join(map(re.escape, known))
    both = re.compile(rf"(?P<call>(?<![\w$.\"])(?:{wanted}))|{_TOKEN.pattern}", _TOKEN.flags)
    return both.sub(lambda match: known[match[0]] if match["call"] else match[0], text)


def split(found: list[Item]) -> tuple[list[Item], list[Item]]:
    """What comes before the rows, what comes after them."""
    first = next((i for i, item in enumerate(found) if item.type in POST), len(found))
    return found[:first], found[first:]


def pattern(schema: str) -> str:
    """A schema's name as pg_dump's patterns want it: quoted, and nothing else is special then."""
    return '"' + schema.replace('"', '""') + '"'
