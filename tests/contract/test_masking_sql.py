"""Two routes, one result: what PostgreSQL makes of a rule is what Python makes of it, byte for
byte, over all Unicode that PostgreSQL accepts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime
from ipaddress import ip_interface
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sandbox.masking import sql
from sandbox.masking.known import Index
from sandbox.masking.pseudonyms import FORMS, Pseudonyms
from sandbox.masking.rules import Rule
from sandbox.masking.strategies import Tools, make
from sandbox.model import Field

KEY = bytes(range(32))
MANY = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
# Any character but NUL and surrogates, and often what the rules care about.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
SPICY = st.text(st.sampled_from("aA zZ.\t\n\v-+()/@{}:'\"\\é王김Жあα٠अ𝔸ß\u0345İ"), max_size=20)
VALUES = st.lists(
    TEXT
    | SPICY
    | st.emails()
    | st.builds("{}@gmail.com".format, SPICY)
    | st.builds("{}@GoogleMail.com ".format, SPICY),
    min_size=1,
    max_size=30,
)
Ask = Callable[..., list[Any]]


def tools() -> Tools:
    return Tools(pseudonyms=Pseudonyms(key=KEY), known=Index())


@pytest.fixture(scope="module")
def ask(postgres_server: Any) -> Iterator[Ask]:
    """Masks a list of values by one expression, in a transaction with the settings."""
    connection = psycopg.connect(
        host=postgres_server.host,
        port=postgres_server.port,
        user=postgres_server.admin_user,
        password=postgres_server.admin_password,
        dbname="postgres",
    )
    with connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, value in sql.settings(
            Pseudonyms(key=KEY), [*FORMS, "enum", "ip", "date"]
        ).items():
            connection.execute("SELECT set_config(%s, %s, false)", [name, value])

        def asked(field: Field, rule: Rule, values: list[Any], expression: Any = None) -> list[Any]:
            made = expression or sql.expression(rule, field)
            assert made is not None
            query = (
                f"SELECT (({made})::{field.type})::text FROM unnest(%s::text[]) WITH ORDINALITY "
                f"t(v, n), LATERAL (SELECT v::{field.type} AS c) u ORDER BY n"
            )
            doubled = query.replace("%", "%%").replace("%%s::text[]", "%s::text[]")
            return [row[0] for row in connection.execute(doubled, [values])]

        yield asked


def field(kind: str = "text", **facts: Any) -> Field:
    return Field(name="c", type=kind, **facts)


def by_python(rule: Rule, one: Field, values: list[Any]) -> list[Any]:
    function = make(rule, tools(), sql.limits(one))
    return [None if value is None else function(value) for value in values]


@pytest.mark.parametrize("domain", sorted(FORMS))
@given(values=VALUES, exact=st.booleans())
@MANY
def test_texts_agree(ask: Ask, domain: str, values: list[str], exact: bool) -> None:
    rule = Rule(strategy=domain, options={"exact": exact})
    assert ask(field(), rule, [*values, None]) == by_python(rule, field(), [*values, None])


@pytest.mark.parametrize("domain", ["person", "street", "city", "company", "phone", "email"])
@given(values=VALUES, length=st.integers(24, 90), unique=st.booleans())
@MANY
def test_limits_agree(ask: Ask, domain: str, values: list[str], length: int, unique: bool) -> None:
    values = [value[:length] for value in values]
    one = field(f"varchar({length})", length=length, unique=unique)
    rule = Rule(strategy=domain)
    masked = ask(one, rule, values)
    assert masked == by_python(rule, one, values)
    assert all(len(value) <= length for value in masked)


@given(numbers=st.lists(st.integers(0, 2**63 - 1), min_size=1))
@MANY
def test_a_number_and_its_text_agree(ask: Ask, numbers: list[int]) -> None:
    rule = Rule(strategy="phone")
    texts = [str(number) for number in numbers]
    as_numbers = ask(field("bigint"), rule, texts)
    assert ["+" + number for number in as_numbers] == ask(field(), rule, texts)
    function = make(rule, tools())
    assert [str(function(number)) for number in numbers] == as_numbers


@given(values=st.lists(st.none() | st.lists(TEXT | SPICY, max_size=5), min_size=1, max_size=10))
@MANY
def test_elements_agree(ask: Ask, values: list[list[str] | None]) -> None:
    one, rule = field("text[]"), Rule(strategy="person")
    function = make(rule, tools())
    quoted = [None if value is None else _array(value) for value in values]
    wanted = [None if value is None else _array([function(e) for e in value]) for value in values]
    plain = ask(one, Rule(strategy="keep"), wanted, expression="c")
    assert ask(one, rule, quoted, expression=sql.elements(rule, one)) == plain


def _array(elements: list[str]) -> str:
    escaped = (e.replace("\\", "\\\\").replace('"', '\\"') for e in elements)
    return "{" + ",".join(f'"{e}"' for e in escaped) + "}"


@given(
    values=st.lists(st.dates(date(2, 1, 1), date(9990, 1, 1)), min_size=1),
    days=st.integers(1, 1000),
)
@MANY
def test_dates_agree(ask: Ask, values: list[date], days: int) -> None:
    rule = Rule(strategy="date", options={"days": days})
    texts = [value.isoformat() for value in values]
    assume(all(value.year > 3 and value.year < 9980 for value in values))
    assert ask(field("date"), rule, texts) == by_python(rule, field("date"), texts)


@given(values=st.lists(st.dates(date(10, 1, 1), date(9900, 1, 1)), min_size=1, max_size=12))
@MANY
def test_dates_by_subject_agree(ask: Ask, values: list[date]) -> None:
    """The subject is the row's number, which the query calls `n`."""
    rule = Rule(strategy="date", options={"subject": "n"})
    function: Callable[..., Any] = make(rule, tools())
    texts = [value.isoformat() for value in values]
    wanted = [function(text, number) for number, text in enumerate(texts, 1)]
    assert ask(field("date"), rule, texts) == wanted


@given(values=st.lists(st.datetimes(datetime(10, 1, 2), datetime(9900, 1, 1)), min_size=1))
@MANY
def test_moments_agree(ask: Ask, values: list[datetime]) -> None:
    """Days are UTC's, as the source reads."""
    rule, one = Rule(strategy="timestamp"), field("timestamp with time zone")
    texts = [value.isoformat(sep=" ") + "+00" for value in values]
    plain = ask(one, rule, texts, expression="c")
    assert ask(one, rule, texts) == by_python(rule, one, plain)


@given(values=st.lists(st.ip_addresses(v=4) | st.ip_addresses(v=6), min_size=1))
@MANY
def test_networks_agree_in_their_first_bits(ask: Ask, values: list[Any]) -> None:
    one, rule = field("cidr"), Rule(strategy="ip")
    hosts = ask(field("inet"), rule, [str(value) for value in values])
    nets = ask(one, rule, [str(value) for value in values])
    assert [ip_interface(a).ip for a in hosts] == [ip_interface(b).ip for b in nets]


@given(values=st.lists(st.datetimes(datetime(10, 1, 1), datetime(9900, 1, 1)), min_size=1))
@MANY
def test_timestamps_agree(ask: Ask, values: list[datetime]) -> None:
    rule, one = Rule(strategy="timestamp"), field("timestamp without time zone")
    texts = [value.isoformat(sep=" ") for value in values]
    plain = ask(one, rule, texts, expression="c")
    assert ask(one, rule, texts) == by_python(rule, one, plain)


ROUND = st.decimals(
    allow_nan=False, allow_infinity=False, places=6, min_value=-(10**9), max_value=10**9
)


@given(values=st.lists(ROUND, min_size=1), digits=st.integers(0, 5))
@MANY
def test_rounding_agrees(ask: Ask, values: list[Any], digits: int) -> None:
    rule = Rule(strategy="round", options={"digits": digits})
    texts = [str(value) for value in values]
    assert ask(field("numeric"), rule, texts) == by_python(rule, field("numeric"), texts)


@given(values=st.lists(st.floats(-180, 180), min_size=1))
@MANY
def test_places_agree(ask: Ask, values: list[float]) -> None:
    rule, one = Rule(strategy="geo", options={"digits": 1}), field("double precision")
    masked = [float(value) for value in ask(one, rule, [repr(value) for value in values])]
    assert masked == by_python(rule, one, values)


@given(values=st.lists(st.ip_addresses(), min_size=1), bits=st.integers(0, 32))
@MANY
def test_addresses_agree(ask: Ask, values: list[Any], bits: int) -> None:
    one, rule = field("inet"), Rule(strategy="ip")
    texts = [str(value) for value in values] + [f"{values[0]}/{bits}"]
    masked = ask(one, rule, texts)
    ours = by_python(rule, one, ask(one, rule, texts, expression="c"))
    assert [ip_interface(value) for value in masked] == [ip_interface(value) for value in ours]


def test_an_enum_stays_an_enum(ask: Ask) -> None:
    one = field(values=("red", "green", "it's"))
    masked = ask(one, Rule(strategy="token"), ["red", "green", "it's", None])
    assert set(masked[:3]) <= {"red", "green", "it's"} and masked[3] is None


def test_fixed_values_fit_their_columns(ask: Ask) -> None:
    for kind, text in (("integer", "7"), ("boolean", "t"), ("date", "2020-02-02"), ("jsonb", "[1]"),
                       ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"), ("inet", "1.2.3.4"),
                       ("text[]", "{a}"), ("numeric(10, 3)", "1.5"), ("bytea", "\\x01"),
                       ("interval", "1 day"), ("varchar(4)", "abcd")):  # fmt: skip
        length = 4 if kind == "varchar(4)" else None
        masked = ask(field(kind, length=length), Rule(strategy="redact"), [text, None])
        assert masked[0] != text and masked[0] is not None and masked[1] is None


def test_key_and_names_are_in_no_expression() -> None:
    key = Pseudonyms(key=KEY).domain_key("person").hex()
    made = sql.expression(Rule(strategy="person"), field()) or ""
    assert key[:16] not in made
    assert "Oona" not in made


def test_a_twin_that_forgets_to_normalise_is_seen(ask: Ask) -> None:
    """The comparison above fails for a route that differs: this one does not lower the case."""
    twin = sql.expression(Rule(strategy="email", options={"exact": True}), field())
    rule = Rule(strategy="email")
    assert ask(field(), rule, ["Ann@x.com"], expression=twin) != by_python(
        rule, field(), ["Ann@x.com"]
    )
