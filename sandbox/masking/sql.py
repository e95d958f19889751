"""Rules as SQL expressions, byte for byte what Python makes: raw values never leave the server.

HMAC-SHA256 is built from sha256(bytea). Keys and word lists are settings of the transaction, read
once in a statement as uncorrelated subqueries; the text of a query holds neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from sandbox.errors import ConfigError
from sandbox.masking.pseudonyms import (
    FORMS,
    FROM_LISTS,
    GMAIL,
    HOST,
    HOUSES,
    PHONE,
    REMOVED,
    Limits,
    Pseudonyms,
)
from sandbox.masking.rules import Rule
from sandbox.masking.strategies.fixed import REDACTED
from sandbox.masking.strategies.names import fitting
from sandbox.masking.strategies.times import DAYS
from sandbox.masking.words import FAMILY_FIRST, SCRIPTS, UNSPACED, lists, scripts_with, words
from sandbox.model import Field

BLOCK = 64  # bytes, of SHA-256
# Characters of the longest pseudonym: a shorter column cuts it.
LONGEST = {"email": 18 + len(HOST), "phone": 20, "username": 21, "token": 39, "hash": 64}
_DIGEST = re.compile(r"\bd\b(?=[,)])")  # where a form names the digest
WHOLE = ("smallint", "integer", "bigint")
NUMBERS = (*WHOLE, "numeric", "real", "double precision", "money")
TEXTS = ("text", "character", "varchar")
TIMES = ("date", "timestamp", "time", "interval")
OTHERS = ("boolean", "bytea", "json", "jsonb", "xml", "point", "vector", "halfvec", "bit")


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    if text.isprintable() and "\\" not in text:
        return "'" + text.replace("'", "''") + "'"
    escaped = "".join(
        char if char.isprintable() and char not in "\\'" else f"\\U{ord(char):08x}" for char in text
    )
    return f"E'{escaped}'"


def base(type_name: str) -> str:
    """`numeric(10, 3)` -> numeric, `timestamp with time zone` -> timestamp."""
    name = type_name.split("(")[0].strip()
    return name.split(" ")[0] if name.startswith(("timestamp", "time ")) else name


def kind_of(field: Field) -> str:
    """The type's plain name; of a domain, that of the type below it."""
    return base(field.base or field.type)


def is_array(field: Field) -> bool:
    return (field.base or field.type).endswith("[]")


def is_json(field: Field) -> bool:
    return kind_of(field) in ("json", "jsonb")


def limits(field: Field) -> Limits:
    return Limits(length=field.length, unique=field.unique, number=kind_of(field) in NUMBERS)


# --- settings ------------------------------------------------------------------------------------


def settings(pseudonyms: Pseudonyms, domains: Iterable[str]) -> Mapping[str, str]:
    """What the expressions of these domains read: HMAC's two padded keys, and word lists."""
    found: dict[str, str] = {}
    kinds: set[str] = set()
    for domain in sorted(set(domains)):
        key = pseudonyms.domain_key(domain).ljust(BLOCK, b"\0")
        found[f"sandbox.{domain}_i"] = bytes(b ^ 0x36 for b in key).hex()
        found[f"sandbox.{domain}_o"] = bytes(b ^ 0x5C for b in key).hex()
        kinds |= {"person": {"first", "last"}}.get(domain, {domain} & FROM_LISTS)
    for (kind, script), known in lists().items():
        if kind in kinds:
            found[f"sandbox.{kind}_{script}"] = "{" + ",".join(f'"{word}"' for word in known) + "}"
    return found


def _key(domain: str, side: str) -> str:
    return f"(SELECT decode(current_setting('sandbox.{domain}_{side}'), 'hex'))"


def hmac(domain: str, message: str) -> str:
    """HMAC-SHA256 of a bytea expression (RFC 2104)."""
    return f"sha256({_key(domain, 'o')} || sha256({_key(domain, 'i')} || {message}))"


# --- expressions ---------------------------------------------------------------------------------


def expression(rule: Rule, field: Field) -> str | None:
    """The masked column, or None where only Python can say the rule.

    Raises ConfigError for a rule that cannot hold for the column's type.
    """
    column = identifier(field.name)
    if rule.strategy in ("null", "redact", "constant"):
        return _fixed(rule, field, column)
    if is_array(field):
        return None
    if field.values and rule.strategy in FORMS:
        return _label(field, column)
    if rule.strategy in FORMS:
        refuse_type(rule, field)
        return pseudonym(rule, column, limits(field))
    made = {"date": _date, "timestamp": _date, "round": _round, "geo": _round, "ip": _ip}
    return made[rule.strategy](rule, field, column) if rule.strategy in made else None


def elements(rule: Rule, field: Field) -> str | None:
    """An array column whose elements are masked."""
    if rule.strategy not in FORMS or not (field.base or field.type).startswith(TEXTS):
        return None
    column = identifier(field.name)
    one = pseudonym(rule, "u.e", limits(field))
    return (
        f"CASE WHEN cardinality({column}) = 0 THEN {column} WHEN {column} IS NOT NULL THEN "
        f"(SELECT array_agg({one} ORDER BY u.o) FROM unnest({column}) WITH ORDINALITY u(e, o)) END"
    )


def pseudonym(rule: Rule, column: str, given: Limits) -> str:
    """The pseudonym of a column as text. A form that asks for the digest once has it written in
    its place; for the others a subquery holds it (each costs about as much as half an HMAC)."""
    domain, wanted = rule.strategy, fitting(rule.strategy, rule, given)
    value = f'{column}::text COLLATE "C"'
    message = value if wanted.exact else _normalised(domain, value)
    digest = hmac(domain, f"convert_to({message}, 'UTF8')")
    made = _FORMS[domain](wanted)
    if wanted.unique and domain in FROM_LISTS:
        room = "" if wanted.length is None else f", {max(wanted.length - 17, 0)}"
        head = f"left({made}{room})" if room else f"({made})"
        made = f"{head} || ' ' || encode(substr(d, 9, 8), 'hex')"
    if wanted.length is not None and wanted.length < LONGEST.get(domain, wanted.length + 1):
        made = f"left({made}, {wanted.length})"
    if len(_DIGEST.findall(made)) == 1 and domain not in FROM_LISTS:
        whole = _DIGEST.sub(lambda _: digest, made)
    else:
        whole = (
            f"(SELECT {made} FROM (SELECT {digest} AS d, {value} AS v OFFSET 0) s "
            "WHERE d IS NOT NULL)"
        )
    return f"CASE WHEN {value} = '' THEN {value} ELSE {whole} END"


def plain(rule: Rule, field: Field) -> str | None:
    """What a column's pseudonyms are made of; None where that is the whole value."""
    if rule.strategy not in REMOVED or rule.option("exact"):
        return None
    column = identifier(field.name)
    if is_array(field):
        one = _normalised(rule.strategy, 'u.e::text COLLATE "C"')
        return (
            f"(SELECT array_agg({one} ORDER BY u.o) FROM unnest({column}) WITH ORDINALITY u(e, o))"
        )
    return _normalised(rule.strategy, f'{column}::text COLLATE "C"')


def _normalised(domain: str, value: str) -> str:
    """In the collation "C", lower() changes A to Z alone."""
    removed = REMOVED.get(domain)
    if removed is None:
        return value
    plain = f"lower({_without(value, removed)})"
    if domain != "email":
        return plain
    cases = " ".join(
        f"WHEN right(n, {len(host)}) = '{host}' "
        f"THEN replace(left(n, -{len(host)}), '.', '') || '{host}'"
        for host in (host.decode() for host in GMAIL)
    )
    whole = f"(SELECT CASE {cases} ELSE n END FROM (SELECT {plain} AS n OFFSET 0) t)"
    return f"CASE WHEN lower({value}) LIKE '%g%m%a%i%l%.%c%o%m%' THEN {whole} ELSE {plain} END"


def _without(value: str, removed: str) -> str:
    """`translate` looks at each character, `replace` for a byte that is hardly ever there: half the
    time and less."""
    for char in removed:
        value = f"replace({value}, {literal(char)}, '')"
    return value


def _u16(start: int) -> str:
    return f"(get_byte(d, {start}) * 256 + get_byte(d, {start + 1}))"


def _number(start: int, size: int) -> str:
    return f"('x' || encode(substr(d, {start + 1}, {size}), 'hex'))::bit({size * 8})::bigint"


def _hex(size: int) -> str:
    return f"encode(substr(d, 1, {size}), 'hex')"


def _pick(kind: str, script: str, start: int) -> str:
    count = len(words(kind, script))
    script = script if (kind, script) in lists() else "latin"
    # Elements of a fixed size are reached directly, those of text[] one after the other.
    known = f"(SELECT current_setting('sandbox.{kind}_{script}')::name[])"
    return f"({known})[1 + {_u16(start)} % {count}]::text"


def _by_script(kind: str, made: Callable[[str], str]) -> str:
    cases = "".join(
        f" WHEN v ~ '[{ranges}]' THEN {made(script if script in scripts_with(kind) else 'latin')}"
        for script, ranges in SCRIPTS
    )
    latin = made("latin")
    return f"CASE WHEN octet_length(v) = char_length(v) THEN {latin}{cases} ELSE {latin} END"


def _email(wanted: Limits) -> str:
    local, room = f"'u' || {_hex(8)}", (wanted.length or LONGEST["email"]) - len(HOST) - 1
    return f"{f'left({local}, {room})' if room < 17 else local} || '@{HOST}'"


def _phone(wanted: Limits) -> str:
    digits = f"lpad(({_number(0, 6)} % 1000000000000)::text, 12, '0')"
    if wanted.unique:
        digits += f" || right(lpad({_u16(6)}::text, 5, '0'), 3)"
    return f"'{'' if wanted.number else '+'}{PHONE}' || {digits}"


def _person(wanted: Limits) -> str:
    def name(script: str) -> str:
        first, last = _pick("first", script, 0), _pick("last", script, 2)
        if script in UNSPACED:
            return f"{last} || {first}"
        pair = (last, first) if script in FAMILY_FIRST else (first, last)
        return " || ' ' || ".join(pair)

    return _by_script("first", name)


def _street(wanted: Limits) -> str:
    house = f"(1 + {_u16(2)} % {HOUSES})::text"

    def street(script: str) -> str:
        road = _pick("street", script, 0)
        if script == "han":
            return f"{road} || {house} || '号'"
        return f"{road} || ', ' || {house}" if script == "cyrillic" else f"{house} || ' ' || {road}"

    return _by_script("street", street)


_FORMS: dict[str, Callable[[Limits], str]] = {
    "email": _email,
    "username": lambda wanted: f"'user_' || {_hex(8)}",
    "phone": _phone,
    "person": _person,
    "street": _street,
    "city": lambda wanted: _by_script("city", lambda script: _pick("city", script, 0)),
    "company": lambda wanted: _by_script("company", lambda script: _pick("company", script, 0)),
    "token": lambda wanted: f"'masked_' || {_hex(16)}",
    "hash": lambda wanted: "encode(d, 'hex')",
    "uuid": lambda wanted: (
        f"overlay(overlay({_hex(16)} placing '4' from 13) placing 'a' from 17)::uuid::text"
    ),
    "mac": lambda wanted: f"('02' || {_hex(5)})::macaddr::text",
}


def refuse_type(rule: Rule, field: Field) -> None:
    name, strategy = kind_of(field), rule.strategy
    fits = {"phone": ("bigint", "numeric"), "uuid": ("uuid",), "mac": ("macaddr", "macaddr8")}
    typed = (*NUMBERS, *TIMES, *OTHERS, "uuid", "macaddr", "macaddr8", "inet", "cidr")
    if name in typed and name not in fits.get(strategy, ()):
        raise ConfigError(
            f"{strategy} cannot stand in {field.name}, which is {field.type}",
            where=rule.where,
            hint="use a strategy for that type, redact or null",
        )


def _label(field: Field, column: str) -> str:
    """One of an enum's labels, the same for the same label."""
    labels = ", ".join(literal(label) for label in field.values)
    digest = hmac("enum", f"convert_to({column}::text, 'UTF8')")
    return (
        f"(SELECT (ARRAY[{labels}])[1 + {_u16(0)} % {len(field.values)}] "
        f"FROM (SELECT {digest} AS d OFFSET 0) s WHERE d IS NOT NULL)"
    )


def _fixed(rule: Rule, field: Field, column: str) -> str:
    if rule.strategy == "null":
        if not field.nullable:
            raise ConfigError(
                f"{field.name} cannot be null", where=rule.where, hint="use redact or constant"
            )
        return "NULL"
    value = rule.option("value") if rule.strategy == "constant" else redaction(field)
    if value is None:
        return "NULL"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"CASE WHEN {column} IS NOT NULL THEN {literal(text)} END"


def redaction(field: Field) -> str | None:
    """What stands in a column of this type when nothing else may; None: NULL."""
    name = kind_of(field)
    if is_array(field):
        return "{}"
    if field.values:
        return field.values[0]
    if name in NUMBERS:
        return "0"
    known = {
        "boolean": "false",
        "bytea": "",
        "json": "{}",
        "jsonb": "{}",
        "date": "1970-01-01",
        "timestamp": "1970-01-01",
        "time": "00:00",
        "interval": "0",
        "uuid": "00000000-0000-4000-a000-000000000000",
        "inet": "0.0.0.0",
        "cidr": "0.0.0.0/32",
        "macaddr": "02:00:00:00:00:00",
        "point": "(0,0)",
        "xml": "",
    }
    if name in known:
        return known[name]
    return None if name in OTHERS else REDACTED[: field.length]


def _date(rule: Rule, field: Field, column: str) -> str | None:
    name = kind_of(field)
    if name not in ("date", "timestamp"):
        return None
    zoned = (field.base or field.type).endswith("with time zone")
    local = f"({column} AT TIME ZONE 'UTC')" if zoned else column
    days = int(rule.option("days", DAYS))
    seed = f"to_char({local}, 'YYYY-MM-DD')"
    if rule.option("subject") is not None:
        subject = identifier(str(rule.option("subject")))
        seed = f"('subject ' || coalesce({subject}::text, ''))"
    digest = hmac("date", f"convert_to({seed}, 'UTF8')")
    offset = (
        f"(SELECT CASE WHEN p < {days} THEN p - {days} ELSE p - {days} + 1 END::integer FROM "
        f"(SELECT {_number(0, 4)} % {2 * days} AS p FROM (SELECT {digest} AS d OFFSET 0) s) q)"
    )
    moved = (
        f"{local} + {offset}" if name == "date" else f"{local} + make_interval(days => {offset})"
    )
    moved = f"({moved}) AT TIME ZONE 'UTC'" if zoned else moved
    return f"CASE WHEN isfinite({column}) THEN {moved} ELSE {column} END"


def _round(rule: Rule, field: Field, column: str) -> str | None:
    if kind_of(field) not in NUMBERS or rule.option("move") is not None:
        return None
    digits = rule.option("digits", 1 if rule.strategy == "geo" else 0)
    return f"round({column}::text::numeric, {int(digits)})"


def _ip(rule: Rule, field: Field, column: str) -> str | None:
    """Over inet and cidr; an address inside text is left to Python."""
    if kind_of(field) not in ("inet", "cidr"):
        return None
    packed = f"substr(inet_send({column}), 5)"
    four = " || '.' || ".join(
        f"(get_byte({packed}, {i}) # get_byte({_pad(packed, '4', i)}, 0))::text" for i in range(4)
    )
    six = " || ':' || ".join(
        f"to_hex((get_byte({packed}, {i}) # get_byte({_pad(packed, '6', i)}, 0)) * 256 + "
        f"(get_byte({packed}, {i + 1}) # get_byte({_pad(packed, '6', i)}, 1)))"
        for i in range(0, 16, 2)
    )
    made = (
        f"set_masklen((CASE family({column}) WHEN 4 THEN {four} ELSE {six} END)::inet, "
        f"masklen({column}))"
    )
    return f"network({made})" if kind_of(field) == "cidr" else made


def _pad(packed: str, version: str, count: int) -> str:
    return hmac("ip", f"'{version}'::bytea || substr({packed}, 1, {count})")
