"""What looks personal, and which strategy fits: from a place's name, its type and its values.

Whatever is said of a place counts values and never repeats one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sandbox.errors import ConfigError
from sandbox.masking import sql
from sandbox.masking.classify_forms import Form, of_keys, of_paths, text_of, words_before
from sandbox.masking.classify_known import Known, few, last
from sandbox.masking.classify_names import about_people, by_name
from sandbox.masking.classify_seen import Leaf, Path
from sandbox.masking.classify_values import UUID, shares
from sandbox.masking.rules import ITEMS, Rule

STRATEGY = {
    "email": "email", "phone": "phone", "username": "username", "person": "person",
    "street": "street", "city": "city", "company": "company", "ip": "ip", "mac": "mac",
    "token": "token", "card": "token", "identity": "token", "secret": "token", "opaque": "token",
    "birthday": "date", "geo": "geo", "url": "url", "path": "path", "filename": "filename",
    "text": "text", "postcode": "redact", "credentials": "redact", "vector": "vector",
}  # fmt: skip
OPTIONS: Mapping[str, Mapping[str, Any]] = {"geo": {"digits": 1}, "date": {"days": 180}}
WORDS = {
    "email": "e-mail addresses", "phone": "telephone numbers", "ip": "IP addresses",
    "mac": "MAC addresses", "identity": "identity card numbers", "card": "card or account numbers",
    "secret": "API keys or password hashes", "credentials": "URLs with a password",
    "url": "URLs", "path": "paths", "person": "full names", "opaque": "random characters",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Advice:
    """`sure`: enough to say that a rule which keeps the place is a mistake."""

    strategy: str
    reason: str
    options: Mapping[str, Any] = field(default_factory=dict)
    sure: bool = False

    @property
    def personal(self) -> bool:
        return self.strategy != "keep"


def advise(path: Path, leaf: Leaf, known: Known) -> Advice:
    """`path`: the table or collection first. What is in doubt is masked."""
    if path[-1:] == (ITEMS,) and by_name(last(path)) == "vector":
        return vector(path)
    advice = _by_type(path, leaf) or _in_form(_by_value(path, leaf, known), leaf, known)
    if leaf.column is not None and advice.personal:
        return _fitting(advice, leaf, path)
    return advice


def _made(kind: str, reason: str, *, sure: bool = False) -> Advice:
    strategy = STRATEGY[kind]
    return Advice(strategy=strategy, reason=reason, options=OPTIONS.get(strategy, {}), sure=sure)


def keep(reason: str) -> Advice:
    return Advice(strategy="keep", reason=reason)


# --- by type -------------------------------------------------------------------------------------


def vector(path: Path) -> Advice:
    """Faces keep their distances, since clusters are made of them; texts become noise."""
    about = "_".join(path).lower()
    if "face" in about or "centroid" in about or "脸" in about:
        options: dict[str, Any] = {"method": "rotate"}
        reason = "a vector of a face says who it is; distances stay (docs/masking.md: weakness)"
    else:
        options = {"method": "noise", "sigma": 0.1}
        reason = "a text can be guessed from its vector"
    return Advice(strategy="vector", reason=reason, options=options, sure=True)


def _by_type(path: Path, leaf: Leaf) -> Advice | None:
    column = leaf.column
    kind = by_name(last(path))
    numeric = set(leaf.seen) == {"number"} or _is_numeric(leaf)
    if column is not None:
        base = sql.base(column.type)
        if base in ("vector", "halfvec", "sparsevec"):
            return vector(path)
        if base in ("inet", "cidr"):
            return _made("ip", f"the type is {base}", sure=True)
        if base in ("macaddr", "macaddr8"):
            return _made("mac", f"the type is {base}", sure=True)
        if base == "uuid" or base == "boolean" or column.values:
            return keep(f"the type is {base}")
        if base in sql.TIMES or base in ("timestamptz", "timetz"):
            return _birthday(kind)
        if base in ("bytea", "tsvector", "xml"):
            named = kind not in ("", "safe")
            return Advice(strategy="redact", reason=f"by name: {base}") if named else keep(base)
        numeric = base in sql.NUMBERS
    if set(leaf.seen) == {"time"}:
        return _birthday(kind)
    if set(leaf.seen) and set(leaf.seen) <= {"flag", "binary", "other"}:
        return keep(f"{', '.join(sorted(leaf.seen))} values")
    return _number(kind, leaf) if numeric else None


def _birthday(kind: str) -> Advice:
    return _made("birthday", "by name", sure=True) if kind == "birthday" else keep("a moment")


def _is_numeric(leaf: Leaf) -> bool:
    def number(text: str) -> bool:
        try:
            float(text)
        except ValueError:
            return False
        return len(text.lstrip("+-")) < 10 or "." in text

    return bool(leaf.values) and all(map(number, leaf.texts))


def _number(kind: str, leaf: Leaf) -> Advice:
    if kind == "geo":
        return _made("geo", "by name: a coordinate", sure=True)
    if kind in ("phone", "card", "identity") and max(map(len, leaf.texts), default=9) > 6:
        if kind == "phone":
            return _made("phone", "by name", sure=True)
        return Advice(strategy="bigint", reason=f"by name: {WORDS[kind]}", sure=True)
    digits = [text for text in leaf.texts if len(text.lstrip("-")) >= 11]
    if len(digits) >= 10 and kind != "safe" and shares(leaf.texts)["phone"] > 0.9:
        return _made("phone", f"{len(leaf.texts)} values look like telephone numbers")
    return keep("numbers")


# --- by value ------------------------------------------------------------------------------------


def _by_value(path: Path, leaf: Leaf, known: Known) -> Advice:
    kind, values = by_name(last(path)), leaf.texts
    if not values:
        return _unseen(path, kind)
    found = shares(values)
    alike, part = known.same(values)
    return (
        _by_shape(kind, found, values)
        or _by_name_and_shape(path, kind, leaf, found, alike, part)
        or _by_content(kind, leaf, found, alike, part, known)
    )


def _in_form(advice: Advice, leaf: Leaf, known: Known) -> Advice:
    """Texts of one form, as keys have (`search:{email}:*`), are masked part by part."""
    if advice.strategy == "filename":
        found = templates(of_paths(leaf.texts, known.knows), known)
        options = {"templates": [one for one in found if "{" in one]}
        return replace(advice, options=options) if options["templates"] else advice
    if advice.strategy != "text" or any(" " in text or ":" not in text for text in leaf.texts):
        return advice
    found = templates(of_keys(leaf.texts, known.knows), known)
    if len(found) != 1 or "{" not in found[0]:
        return advice
    return replace(advice, strategy="pattern", options={"template": found[0]})


def templates(forms: Iterable[Form], known: Known) -> list[str]:
    """The forms as the policy writes them, with a strategy for each part that looks personal."""
    return [text_of(form.template, _strategies(form, known)) for form in forms]


def _strategies(form: Form, known: Known) -> list[str]:
    parts = [Leaf() for part in form.template if part is None]
    for _, values in form.rows:
        for leaf, value in zip(parts, values, strict=True):
            leaf.add(value)
    words = words_before(form.template)
    return [part_of_name(w, leaf, known).strategy for w, leaf in zip(words, parts, strict=True)]


def _share(part: float, of: Sequence[str]) -> str:
    return f"{part:.0%} of {len(of)} values"


def _unseen(path: Path, kind: str) -> Advice:
    if kind == "name":
        kind = "person" if about_people(path) else "text"
    if kind in STRATEGY:
        return _made(kind, "by name; no value was seen")
    if kind == "safe":
        return keep("by name; no value was seen")
    return Advice(strategy="redact", reason="no value was seen: look at it")


def _by_shape(kind: str, found: Mapping[str, float], values: Sequence[str]) -> Advice | None:
    """Shapes that say it all, whatever the name is."""
    for shape in ("credentials", "email", "ip", "mac", "identity", "secret", "card", "phone"):
        need = 0.9 if shape in ("phone", "card") and kind not in ("phone", "card") else 0.6
        if found[shape] >= need and not (shape in ("phone", "card") and kind == "safe"):
            return _made(shape, f"{_share(found[shape], values)} are {WORDS[shape]}", sure=True)
    if found["url"] >= 0.6:
        return _made("url", f"{_share(found['url'], values)} are URLs")
    return None


def _by_name_and_shape(
    path: Path,
    kind: str,
    leaf: Leaf,
    found: Mapping[str, float],
    alike: str,
    part: float,
) -> Advice | None:
    values = leaf.texts
    if kind == "name":
        if found["person"] >= 0.5 and (about_people(path) or not few(leaf)):
            return _made("person", f"{_share(found['person'], values)} look like names", sure=True)
        if part >= 0.3 and alike:
            return _made(alike, f"{_share(part, values)} are known elsewhere", sure=True)
        return None
    if kind == "text" and part >= 0.5 and alike in ("person", "username"):
        return _made(alike, f"{_share(part, values)} are known elsewhere as {alike}", sure=True)
    if kind in ("", "safe") or kind not in STRATEGY or (few(leaf) and kind in ("text", "token")):
        return None
    wanted = {"email": "email", "ip": "ip", "mac": "mac", "birthday": "date", "url": "url",
              "path": "path", "phone": "phone"}.get(kind)  # fmt: skip
    if wanted is not None and found[wanted] < 0.3:
        return None
    if kind == "person" and part < 0.3 and (found["person"] < 0.3 or few(leaf)):
        return None
    if kind in ("text", "username") and all(map(UUID.fullmatch, values)):
        return None
    share = f", and {_share(found[wanted], values)} look so" if wanted else ""
    return _made(kind, f"by name{share}", sure=kind not in ("text", "path", "url", "filename"))


def _by_content(
    kind: str,
    leaf: Leaf,
    found: Mapping[str, float],
    alike: str,
    part: float,
    known: Known,
) -> Advice:
    values = leaf.texts
    if part >= 0.3 and alike and (alike != "city" or not few(leaf)):
        return _made(alike, f"{_share(part, values)} are known elsewhere as {alike}", sure=True)
    if found["path"] >= 0.6 and kind != "safe" and not few(leaf):
        return _made("path", f"{_share(found['path'], values)} are paths")
    if found["inside"] >= 0.03:
        return _made(
            "text", f"{_share(found['inside'], values)} hold addresses or numbers", sure=True
        )
    if kind != "safe" and (within := known.within(values)) >= 0.05:
        return _made(
            "text", f"{_share(within, values)} hold names that are known elsewhere", sure=True
        )
    if kind == "safe" or few(leaf):
        return keep("by name" if kind == "safe" else f"{len(values)} values again and again")
    if found["person"] >= 0.8 and len(values) >= 10:
        return _made("person", f"{_share(found['person'], values)} look like full names")
    if found["opaque"] >= 0.8:
        return _made("token", f"{_share(found['opaque'], values)} are random characters")
    if found["prose"] >= 0.3:
        return _made("text", f"{_share(found['prose'], values)} are sentences")
    if kind == "text":
        return _made("text", "by name")
    return keep(f"nothing personal in {len(values)} values")


def _fitting(advice: Advice, leaf: Leaf, path: Path) -> Advice:
    """A strategy that the column's type can hold, else the value is lost."""
    column = leaf.column
    assert column is not None
    if path[-1] == ITEMS or sql.is_json(column) or len(path) > 2:
        return advice
    try:
        sql.expression(Rule(strategy=advice.strategy, options=advice.options), column)
    except ConfigError:
        strategy = "null" if column.nullable else "redact"
        return Advice(strategy=strategy, reason=f"{advice.reason}; its type is {column.type}",
                      sure=advice.sure)  # fmt: skip
    return advice


def part_of_name(words: Sequence[str], leaf: Leaf, known: Known) -> Advice:
    """A part of a key's or file's name that varies. `words`: the fixed ones before it."""
    advice = advise(tuple(words), leaf, known) if leaf.values else keep("nothing seen")
    before = words[-1] if words else ""
    if advice.strategy in ("text", "path", "url", "redact", "geo", "date", "vector", "bigint"):
        advice = keep("numbers or codes")
    found = shares(leaf.texts)
    if found.get("opaque", 0) > 0.5 and by_name(before) != "token" and before != "session":
        return keep("codes")
    plain = (
        not advice.personal and not _is_numeric(leaf) and not all(map(UUID.fullmatch, leaf.texts))
    )
    if plain and about_people((before,)) and found.get("opaque", 0) < 0.5:
        return _made("username", f"after {before!r}")
    return advice
