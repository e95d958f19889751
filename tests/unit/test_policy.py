"""The policy: every error with its line, bulk rules, and in every store nothing unnamed passes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from sandbox.errors import ConfigError
from sandbox.masking.mask import PolicyMask
from sandbox.masking.policy import parse
from sandbox.model import Dataset, Entry, Field, FileEntry, Point

ROOT = Path(__file__).parents[2]
KEY = "0" * 64
POLICY = """version = 1
unknown = "stop"

[postgres.people]
keep = ["id"]
email = "email"
"data.mail" = "email"
"data.tags[]" = "keep"

[mongo.people]
"*" = "keep"
"owner.mail" = "email"
"friends[].mail" = "email"
"extra.**" = "keep"

[qdrant]
id = "keep"
vector = "keep"
[qdrant.payload]
"owner.mail" = "email"

[redis."user:{username}"]
type = "hash"
fields = { mail = "email", "detail.mail" = "email" }

[redis."queue"]
type = "list"
json = { mail = "email" }

[files.output]
"{username}/a.json" = { json = { mail = "email" } }
"{username}/a.csv" = { columns = { mail = "email" } }
"""


def mask(text: str = POLICY) -> PolicyMask:
    return PolicyMask(parse(text, file="masking.toml"), key=KEY)


def table(*fields: Field) -> Dataset:
    return Dataset(store="postgres", name="people", fields=fields)


ID, MAIL = Field(name="id", type="bigint"), Field(name="email", type="text")
DATA = Field(name="data", type="jsonb")


def file(path: str) -> FileEntry:
    return FileEntry(path=path, type="file", mode=0o644, mtime=0, size=0)


def content(one: PolicyMask, path: str, data: bytes) -> None:
    list(one.content("output", file(path), io.BytesIO(data)))


def entry(key: bytes, kind: str, value: Any) -> Entry:
    return Entry(key=key, type=kind, value=value)


NEW = {
    "a column": (
        lambda m: m.columns(table(ID, MAIL, DATA, Field(name="ssn", type="text"))),
        "postgres.people.ssn",
        'suggested: ssn = "token"',
    ),
    "a primary key": (
        lambda m: m.columns(table(ID, MAIL, DATA, Field(name="number", type="bigint"))),
        "postgres.people.number",
        "seen as bigint",
    ),
    "a path in JSON": (
        lambda m: m.texts(table(ID, MAIL, DATA))["data"](['{"phone": "+44 20 7946 0018"}']),
        "postgres.people.data.phone",
        '"data.phone" = "phone"',
    ),
    "an element in JSON": (
        lambda m: m.texts(table(ID, MAIL, DATA))["data"](['{"tags": [{"ip": "10.1.2.3"}]}']),
        "postgres.people.data.tags[].ip",
        '"data.tags[].ip" = "ip"',
    ),
    "a field": (
        lambda m: m.documents("people", [{"owner": {"phone": "+44 20 7946 0018"}}]),
        "mongo.people.owner.phone",
        '"owner.phone" = "phone"',
    ),
    "a field in an array of documents": (
        lambda m: m.documents("people", [{"friends": [{"mail": "a@b.cd"}, {"name": "Ann"}]}]),
        "mongo.people.friends[].name",
        '"friends[].name" = "person"',
    ),
    "an array where a scalar was": (
        lambda m: m.documents("people", [{"nick": ["Ann"]}]),
        "mongo.people.nick[]",
        "suggested",
    ),
    "an object where a scalar was": (
        lambda m: m.documents("people", [{"owner": {"mail": {"work": "a@b.cd"}}}]),
        "mongo.people.owner.mail.work",
        '"owner.mail.work" = "email"',
    ),
    "a collection": (
        lambda m: m.documents("news", [{"text": "of Ann"}]),
        "mongo.news.text",
        '"text" = "text"',
    ),
    "a payload key": (
        lambda m: m.points("", [Point(id=1, vector=[1.0], payload={"by": {"mail": "a@b.cd"}})]),
        "qdrant.payload.by.mail",
        '"by.mail" = "email"',
    ),
    "a vector": (
        lambda m: m.points("", [Point(id=1, vector={"face": [1.0]}, payload={})]),
        "qdrant.vectors.face",
        "rotate",
    ),
    "a key": (
        lambda m: m.entries([entry(b"mail:ann@x.com", "string", b"1")]),
        "redis.mail:{email}",
        'type = "string"',
    ),
    "another type of key": (
        lambda m: m.entries([entry(b"user:ann", "string", b"1")]),
        "redis.user:ann",
        "the policy has a rule for a hash",
    ),
    "a hash field": (
        lambda m: m.entries([entry(b"user:ann", "hash", [(b"phone", b"+44 20 7946 0018")])]),
        "redis.user:{username}.phone",
        "phone",
    ),
    "JSON in a hash field": (
        lambda m: m.entries([entry(b"user:ann", "hash", [(b"detail", b'{"ip": "10.1.2.3"}')])]),
        "redis.user:{username}.detail.ip",
        "ip",
    ),
    "JSON in a list": (
        lambda m: m.entries([entry(b"queue", "list", [b'{"name": "Ann"}'])]),
        "redis.queue.name",
        "person",
    ),
    "no JSON where JSON was": (
        lambda m: m.entries([entry(b"queue", "list", [b"Ann"])]),
        "redis.queue",
        "suggested",
    ),
    "a file": (
        lambda m: m.file("output", file("ann/new/ann@x.com.bin")),
        "files.output.ann/new/{email}",
        "placeholder",
    ),
    "a directory": (lambda m: m.file("other", file("a")), "files.other", "without rules"),
    "a path in a file": (
        lambda m: content(m, "ann/a.json", b'{"name": "Ann Lee"}'),
        "files.output.{username}/a.json: name",
        "person",
    ),
    "a column of a CSV": (
        lambda m: content(m, "ann/a.csv", b"mail,name\na@b.cd,Ann Lee\n"),
        "files.output.{username}/a.csv: name",
        "person",
    ),
}


@pytest.mark.parametrize("case", NEW)
def test_what_is_new_is_named_and_no_value_is(case: str) -> None:
    act, place, note = NEW[case]
    one = mask()
    act(one)
    assert place in one.uncovered, dict(one.uncovered)
    assert note in one.uncovered[place]
    told = " ".join(f"{name} {text}" for name, text in one.uncovered.items())
    assert not any(value in told for value in ("Ann", "@", "7946", "10.1.2.3"))


def test_what_is_named_is_not_told() -> None:
    """The cases above fail for a reason: the same stores with nothing new in them tell nothing."""
    one = mask()
    one.columns(table(ID, MAIL, DATA))
    one.texts(table(ID, MAIL, DATA))["data"](['{"mail": "a@b.cd", "tags": ["x"]}'])
    one.documents("people", [{"age": 3, "owner": {"mail": "a@b.cd"}, "extra": {"a": [{"b": 1}]}}])
    one.points("", [Point(id=1, vector=[1.0], payload={"owner": {"mail": "a@b.cd"}})])
    one.entries([entry(b"user:ann", "hash", [(b"mail", b"a@b.cd")])])
    one.file("output", file("ann/a.json"))
    content(one, "ann/a.json", b'{"mail": "a@b.cd"}')
    assert dict(one.uncovered) == {}


def test_what_is_kept_whole_is_never_read_as_json() -> None:
    one = mask(POLICY.replace('"owner.mail" = "email"\n"friends', '"owner.**" = "keep"\n"friends'))
    document = {"owner": "no JSON", "extra": '{"a": 1 }', "age": '{"b": 2 }'}
    assert one.documents("people", [document]) == [document]
    assert dict(one.uncovered) == {}


def test_redact_is_the_only_other_choice() -> None:
    one = mask(POLICY.replace('"stop"', '"redact"'))
    for act, _, _ in NEW.values():
        if act is not NEW["a directory"][0]:
            act(one)
    assert dict(one.uncovered) == {}
    made = one.documents("people", [{"owner": {"phone": "+44 20 7946 0018", "mail": "a@b.cd"}}])[0]
    assert made["owner"]["phone"] == "[redacted]"
    assert one.entries([entry(b"mail:ann@x.com", "string", b"1")])[0] is None
    assert one.file("output", file("ann/new.bin")) is None


@pytest.mark.parametrize(
    ("line", "put", "said"),
    [
        (1, "version = 2", "version must be 1"),
        (2, 'unknown = "pass"', "must be one of stop, redact"),
        (6, 'email = "e-mail"', "no strategy is called e-mail"),
        (6, 'email = { strategy = "email", length = 3 }', "email has no option length"),
        (6, 'email = { strategy = "email", exact = "yes" }', "exact is of the wrong type"),
        (7, '"data.**" = "email"', "\\*\\* takes keep, redact or null"),
        (11, 'token = ["owner.mail"]', "a second rule for the same place"),
        (18, 'vector = "email"', "a vector takes vector, keep or null"),
        (23, 'type = "hashes"', "must be one of string"),
        (24, 'value = "keep"', "a hash takes fields"),
        (28, 'json = "keep"', "must be a table"),
        (31, '"{name}/a.json" = "copy"', "no strategy is called name"),
        (31, '"{username/a.json" = "copy"', "not a template"),
        (31, '"a.json" = "copied"', "content must be one of copy"),
        (31, '"a.json" = { json = { a = "keep" }, columns = { a = "keep" } }', "json takes json"),
    ],
)
def test_an_error_has_its_line(line: int, put: str, said: str) -> None:
    lines = POLICY.splitlines()
    lines[line - 1] = put
    with pytest.raises(ConfigError, match=said) as raised:
        parse("\n".join(lines), file="masking.toml")
    assert raised.value.where.startswith(("masking.toml:", "masking.toml"))
    number = raised.value.where.split(":")[1]
    assert abs(int(number) - line) <= 2, raised  # the table's or the key's


def test_a_hundred_safe_columns_are_one_line() -> None:
    fields = tuple(Field(name=f"c{number}", type="text") for number in range(100))
    one = mask('version = 1\n[postgres.people]\n"*" = "keep"\nc7 = "email"\n')
    assert list(one.columns(table(*fields))) == ["c7"] and dict(one.uncovered) == {}


def test_json_needs_its_paths_even_under_a_bulk_rule() -> None:
    one = mask('version = 1\n[postgres.people]\n"*" = "keep"\n')
    one.columns(table(ID, DATA))
    assert 'name its paths, or "data.**" = "keep"' in one.uncovered["postgres.people.data"]


def test_the_demo_policy_is_read() -> None:
    assert parse((ROOT / "masking.toml").read_text(), file="masking.toml").unknown == "stop"


def test_the_receipt_counts_by_rule() -> None:
    one = mask()
    one.documents("people", [{"owner": {"mail": "a@b.cd"}, "friends": [{"mail": "c@d.ef"}] * 2}])
    one.entries([entry(b"user:ann", "hash", [(b"mail", b"a@b.cd")])])
    assert dict(one.counts) == {
        "mongo.people: email": 3,
        "redis.user:{username}: email": 1,
        "redis.user:{username}: key": 1,
    }
    assert "a@b.cd" not in str(one.counts) and one.key_id and len(one.policy_hash) == 64


@pytest.mark.parametrize(("size", "copied"), [(2_000, True), (2_001, False)])
def test_a_large_file_becomes_a_placeholder(size: int, copied: bool) -> None:
    text = 'version = 1\n[files.output]\n"*.mp4" = { content = "copy", up_to = "2 kB" }\n'
    one, data = mask(text), b"x" * size
    film = FileEntry(path="a.mp4", type="file", mode=0o644, mtime=0, size=size)
    assert one.file("output", film) == film
    made = b"".join(one.content("output", film, io.BytesIO(data)))
    assert made == data if copied else b"ftyp" in made


def test_a_limit_that_is_no_size_is_told_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"'2 kilo' is no size") as raised:
        mask('version = 1\n[files.output]\n"*.mp4" = { content = "copy", up_to = "2 kilo" }\n')
    assert raised.value.where.startswith("masking.toml:3: files.output.*.mp4")


@pytest.mark.parametrize(
    ("rule", "type_"),
    [
        ('"redact"', "text"),
        ('{ strategy = "constant", value = "x" }', "text"),
        ('{ strategy = "truncate", length = 3 }', "text"),
        ('"round"', "numeric"),
        ('"geo"', "numeric"),
    ],
)
def test_what_makes_many_values_one_is_refused_in_a_unique_column(rule: str, type_: str) -> None:
    policy = f'version = 1\n[postgres.people]\nkeep = ["id"]\ncode = {rule}\n'
    with pytest.raises(ConfigError, match=r"postgres\.people\.code is unique") as raised:
        mask(policy).columns(table(ID, Field(name="code", type=type_, unique=True)))
    assert raised.value.where.startswith("masking.toml:4:")
    mask(policy).columns(table(ID, Field(name="code", type=type_)))


@pytest.mark.parametrize("rule", ['"null"', '"hash"', '"token"', '"person"', '"keep"'])
def test_what_keeps_values_apart_may_stand_in_a_unique_column(rule: str) -> None:
    policy = f'version = 1\n[postgres.people]\nkeep = ["id"]\ncode = {rule}\n'
    mask(policy).columns(table(ID, Field(name="code", type="text", unique=True)))


def test_redacting_what_is_unnamed_stops_at_a_unique_column_that_cannot_be_null() -> None:
    policy = 'version = 1\nunknown = "redact"\n[postgres.people]\nkeep = ["id"]\n'
    code = Field(name="code", type="text", unique=True, nullable=False)
    with pytest.raises(ConfigError, match=r"postgres\.people\.code is unique"):
        mask(policy).columns(table(ID, code))
    mask(policy).columns(table(ID, Field(name="code", type="text", unique=True)))
