"""Names, values and forms that classify knows, and a written policy that reads back the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.masking.classify import Advice, advise, part_of_name
from sandbox.masking.classify_check import rule_at
from sandbox.masking.classify_forms import of_keys, of_paths, text_of
from sandbox.masking.classify_gather import Gather, add_column, columns
from sandbox.masking.classify_known import Known
from sandbox.masking.classify_names import by_name
from sandbox.masking.classify_propose import Named, Proposal
from sandbox.masking.classify_seen import Leaf, Leaves, collect, folded
from sandbox.masking.classify_values import SHAPES, shares
from sandbox.masking.classify_write import toml
from sandbox.masking.policy import parse
from sandbox.model import Entry, Field

NOBODY = Known()
PERSONAL = {
    "email": "mail contact_email 邮箱 用户邮箱 電子郵件 correo eMail",
    "phone": "phone mobileNumber tel 手机号 聯絡電話 联系电话 msisdn work_phone",
    "person": "full_name lastName 姓名 真实姓名 收件人 氏名 owner_name apellidos",
    "username": "username login nickname 用户名 昵称 screen_name",
    "birthday": "dob date_of_birth 出生日期 birthday Geburtsdatum",
    "street": "address home_address 收货地址 住址 street_address address_line_1",
    "city": "city 所在城市 town",
    "geo": "latitude lng 经度 coordinates",
    "ip": "ip client_ip ip_address",
    "token": "password api_key refreshToken 密码 key_hash session_id secret",
    "card": "card_number iban 银行卡号 account_no creditCard",
    "identity": "ssn passport_no 身份证号 national_id taxId",
}
HARMLESS = (
    "id uuid created_at status email_verified phone_type user_id token_count address_id mime_type "
    "language width chip zip_file_size description_length hotel panel 创建时间 状态 latency"
)


def leaf(*values: Any, kind: str = "", repeat: int = 1, **facts: Any) -> Leaf:
    made = Leaf(column=Field(name="c", type=kind, **facts) if kind else None)
    for value in values * repeat:
        made.add(value)
    return made


def said(name: str, *values: Any, **facts: Any) -> str:
    return advise(("t", name), leaf(*values, **facts), NOBODY).strategy


@pytest.mark.parametrize(("kind", "names"), PERSONAL.items())
def test_names_of_fields(kind: str, names: str) -> None:
    assert {name: by_name(name) for name in names.split()} == dict.fromkeys(names.split(), kind)


@pytest.mark.parametrize("name", HARMLESS.split())
def test_names_that_only_sound_like_it(name: str) -> None:
    assert by_name(name) in ("", "safe")


@pytest.mark.parametrize(
    ("shape", "yes", "no"),
    [
        ("email", ["a.b+c@x.co.uk", "用户@例子.公司"], ["a@b", "a b@x.org", "@x.org", "x.org"]),
        ("ip", ["10.0.0.1", "2001:db8::1", "::1"], ["1.2.3", "12:30", "10", "a:b:c:d:e"]),
        ("phone", ["+86 138 1234 5678", "13812345678", "(415) 555-2671", "+15551234567890",
                   "03-1234-5678"],
         ["2026-01-02", "1234567", "10.20.30.40", "12", "1735689600", "+1", "20260102123000"]),
        ("card", ["4111 1111 1111 1111", "5500005555555559", "DE89370400440532013000"],
         ["4111111111111112", "0000000000000", "1234", "DE00370400440532013000"]),
        ("identity", ["11010519491231002X"], ["110105194912310021", "123456789012345678"]),
        ("secret", ["ghp_" + "a1B2" * 9, "AKIAIOSFODNN7EXAMPLE", "eyJhbGciOi.eyJzdWIi.c2ln",
                    "$2b$12$" + "a" * 53], ["hello", "sk", "a1b2c3"]),
        ("credentials", ["postgres://u:p@h/d"], ["https://example.com/a:b@c", "postgres://h/d"]),
        ("person", ["Ann Lee", "陈伟", "Jean-Luc O'Neill", "김민수", "Иван Петров"],
         ["done", "machine learning", "今天的天气很好", "GET /x", "A very long thing Goes on"]),
        ("path", ["a/b.txt", "/var/log/x", "output/陈 伟/x.mp4"], ["video/mp4", "a", "https://x/y"]),
        ("opaque", ["9f86d081884c7d659a2feaa0c55ad015"], ["a" * 32, "2f1c"]),
    ],
)  # fmt: skip
def test_shapes_of_values(shape: str, yes: list[str], no: list[str]) -> None:
    assert [text for text in yes if not SHAPES[shape](text)] == []
    assert [text for text in no if SHAPES[shape](text)] == []


def test_values_outweigh_the_name() -> None:
    assert said("x", "ann@x.org", "ben@x.org") == "email"
    assert said("email", "sent", "queued", repeat=20) == "keep"
    assert said("note", "call +86 138 1234 5678", "no") == "text"
    assert said("code", "11010519491231002X") == "token"
    assert said("dsn", "postgres://u:secret@db/x") == "redact"
    assert said("status", "done", "new", repeat=20) == "keep"
    assert said("digest", "9f86d081884c7d659a2feaa0c55ad015") == "keep"
    assert said("nonce", "9f86d081884c7d659a2feaa0c55ad015") == "token"
    assert said("备注", "今天的天气很好，大家一起去了公园。") == "text"
    assert said("用户姓名", "陈伟", "王小明") == "person"


def test_types_of_columns() -> None:
    assert said("x", kind="inet") == "ip"
    assert said("x", kind="macaddr") == "mac"
    assert said("face_vector", kind="vector(128)") == "vector"
    assert said("born", kind="date") == "date" and said("made", kind="date") == "keep"
    assert said("mobile", 13812345678, kind="bigint") == "phone"
    assert said("card_number", 4111111111111111, kind="bigint") == "bigint"
    assert said("lat", 51.5, kind="double precision") == "geo"
    assert said("password", kind="bytea") == "redact" and said("digest", kind="bytea") == "keep"
    assert said("mood", kind="mood", values=("sad", "ok")) == "keep"
    assert said("extra", kind="text") == "redact"  # nobody has seen a value
    assert said("full_name", kind="text") == "person"


def test_known_people_are_found_again() -> None:
    known = Known(exact={"chen wei": "person", "annlee": "username"}, inside=("chen wei",))
    again = advise(("t", "label"), leaf("Chen Wei", "CHEN WEI"), known)
    assert (again.strategy, again.sure) == ("person", True)
    assert advise(("t", "x"), leaf("by chen wei", "none"), known).strategy == "text"
    assert part_of_name(["cache"], leaf("annlee"), known).strategy == "username"
    assert part_of_name(["cache"], leaf("7", "12"), known).strategy == "keep"
    assert part_of_name(["user"], leaf("wim", "ida"), NOBODY).strategy == "username"
    assert part_of_name(["session"], leaf("9f86d081884c7d659a2feaa0c55ad015"), NOBODY).personal


@pytest.mark.parametrize(
    ("names", "forms"),
    [
        (["a:1", "a:22", "b:x:1", "config:on"], ["a:*", "b:x:*", "config:on"]),
        ([f"user:{name}:seen" for name in ["ann", "ben", "cyd", "dee"]], ["user:*:seen"]),
        (["rate:2001:db8::1", "rate:10.0.0.1"], ["rate:*"]),
        (["a{b}*:1"], ["*:*"]),
        (["online"], ["online"]),
    ],
)
def test_forms_of_keys(names: list[str], forms: list[str]) -> None:
    found = of_keys(names, lambda _: False)
    stars = [text_of(one.template, ["keep"] * len(one.template)) for one in found]
    assert sorted(stars) == forms
    assert sorted(name for one in found for name, _ in one.rows) == sorted(names)


@pytest.mark.parametrize(
    ("names", "forms"),
    [
        (["u1/ab_1.tar.gz", "u2/ab_2.tar.gz"], ["*/ab_*.tar.gz"]),
        (["logs/job-1.log", "logs/job-2.log", "readme.txt"], ["logs/job-*.log", "readme.txt"]),
        (["陈伟_护照.pdf"], ["*.pdf"]),
        (["noend", "x/.hidden"], ["noend", "x/*"]),
    ],
)  # fmt: skip
def test_forms_of_paths(names: list[str], forms: list[str]) -> None:
    found = of_paths(names, lambda _: False)
    assert sorted(text_of(f.template, ["keep"] * len(f.template)) for f in found) == forms


def test_a_known_name_is_no_word_of_a_form() -> None:
    found = of_keys(["ann:cart", "ann:cart"], lambda text: text == "ann")
    assert found[0].template == (None, ":cart")


def test_maps_by_day_or_user_are_not_listed() -> None:
    leaves: Leaves = {}
    for day in range(10, 20):
        collect({"by_day": {f"2026-01-{day}": day}, "by_user": {"ann@x.org": 1}}, leaves)
    assert set(folded(leaves)) == {("by_day", "*"), ("by_user", "*")}


def test_a_text_column_with_json_now_and_then() -> None:
    field = Field(name="c", type="text")
    leaves = columns([field])
    add_column(field, '{"email": "ann@x.org"}', leaves)
    assert ("c", "email") in leaves
    array = Field(name="a", type="text[]")
    leaves = columns([array])
    add_column(array, '{"Ann Lee","Ben Low"}', leaves)
    assert leaves["a", "[]"].texts == ["Ann Lee", "Ben Low"]


def test_binary_and_expired_values_do_not_stop_it() -> None:
    gather = Gather()
    for kind, value in [("string", b"\xff\xfe"), ("hash", [(b"\xff", b"\xfe")]), ("list", [])]:
        gather.entries([Entry(key=f"k:{kind}".encode(), type=kind, value=value)])
    assert gather.rows == 3


def test_shares_of_nothing() -> None:
    assert shares([]) == {} and shares(["", " "]) == {}


NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="[]\\*."), min_size=1, max_size=12
)
ADVICE = st.sampled_from(
    [
        Advice(strategy="keep", reason="seen"),
        Advice(strategy="email", reason="20% of 3 values"),
        Advice(strategy="geo", reason="", options={"digits": 1}),
        Advice(strategy="filename", reason="x", options={"templates": ["{person}_*.mp4"]}),
    ]
)
PATHS = st.lists(NAMES | st.just("[]"), min_size=1, max_size=3).map(tuple).filter(
    lambda path: path[0] != "[]"
)  # fmt: skip
ADVICES = st.dictionaries(PATHS, ADVICE, min_size=1, max_size=6)


@given(tables=st.dictionaries(NAMES, ADVICES, max_size=3), inside=ADVICES, key=NAMES)
@settings(max_examples=150)
def test_what_is_written_reads_back_the_same(tables: Any, inside: Any, key: str) -> None:
    """Whatever fields are called: quotes, dots, line ends, names of strategies."""
    keys = [Named(template=text_of((key, None), ["keep"]), kind="hash", inside=inside)]
    made = Proposal(tables=tables, collections=tables, payload=inside, keys=keys)
    policy = parse(toml(made), file="suggested")
    for held, trees in ((tables, policy.postgres), (tables, policy.mongo)):
        for name, advices in held.items():
            for path, advice in advices.items():
                _same(rule_at(trees[name], path), advice)
    for path, advice in inside.items():
        _same(rule_at(policy.payload, path), advice)
        _same(rule_at(policy.redis[0].fields, path), advice)


def _same(rule: Any, advice: Advice) -> None:
    assert rule is not None
    assert (rule.strategy, rule.options) == (advice.strategy, advice.options)
