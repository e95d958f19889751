"""Compiled loops over texts, JSON and names: the same as Python makes, or left to Python."""

from __future__ import annotations

import gc
import itertools
import json
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sandbox.errors import SandboxError
from sandbox.masking import loops
from sandbox.masking.loops import latest as latest_module
from sandbox.masking.loops import spans as spans_module
from sandbox.masking.loops.bulk import Bulk, Other
from sandbox.masking.loops.latest import Latest
from sandbox.masking.loops.seen import Seen
from sandbox.masking.mask import PolicyMask
from sandbox.masking.patterns import bytewise, template
from sandbox.masking.policy import parse
from sandbox.masking.pseudonyms import Limits, Pseudonyms
from sandbox.masking.rules import Rule
from sandbox.masking.strategies import make
from sandbox.masking.strategies.texts import ByTemplate, Text
from sandbox.masking.trees import Walker
from sandbox.model import Dataset, Field

POLICY = """
version = 1
[postgres.t]
text = ["said", "data.note", "data.notes[]"]
"data.name" = "person"
"data.mail" = "email"
"data.owner.phone" = "phone"
"data.owner.at" = { strategy = "geo", digits = 1 }
"data.tags[]" = "keep"
"data.people[].name" = "person"
"data.kept.**" = "keep"
"data.gone" = "null"
"data.hidden" = "redact"
place = { strategy = "path", templates = ["out/{username}/*/*.jpg", "{person}_*.mp4"] }
"""
KNOWN = {
    "person": (
        "Ann Lee",
        "王小明",
        "鈴木陽菜",
        "Светлана Соколова",
        "Ærø Østergaard",
        "Van der Berg",
    ),
    "email": ("ann.lee@x.com", "王@x.com"),
    "username": ("alee_001",),
    "phone": ("+44 20 7946 0018", "+1 (201) 555-0185", "0049 171 12345"),
    "ip": ("10.1.2.3", "2001:db8:0:46::47"),
    "token": ("123456789", "77-88-99"),
}


MASKS = itertools.count(1)


def mask_of(policy: str = POLICY) -> PolicyMask:
    """Megabytes of filters each, in cycles: collected before hundreds of them wait."""
    if next(MASKS) % 20 == 0:
        gc.collect()
    mask = PolicyMask(parse(policy, file="it.toml"), key="ab" * 32)
    for domain, values in KNOWN.items():
        for value in values:
            mask.originals.record(domain, value, "x")
    return mask


def walker_of(mask: PolicyMask, told: Callable[[str, Any], None]) -> Walker:
    return Walker(mask._policy.postgres["t"].children["data"], mask._tools, told)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few values there are."""
    monkeypatch.setattr(loops, "SOME", 0)
    monkeypatch.setattr(loops, "MANY", 0)


VALUES = [value for values in KNOWN.values() for value in values]
AROUND = (
    *("", " ", "\n", "\t", "+", "-", ".", ":", "@", "(", ")", "/", "x", "0", "7", "é", "的", "は"),
    *("ann", "lee", "a.b@c.de", "@c.de", "a@b", "1.2.3.4", "256.1.1.1", "1.2.3.4.5", "::1"),
    *("fe80::1", "12:30:45", "+49 171 1234567", "0171 1234567", "(030) 123456", "٣", "\u0130"),
    *(
        "\U0001f600",
        "\U0010ffff",
        "\x7f",
        "1234.1.1.1",
        "1:2:3:4:5",
        "-0171 1234567",
        "a" * 300 + "@b.cd",
    ),
)
pieces = st.one_of(
    st.sampled_from(VALUES),
    st.sampled_from([value.upper() for value in VALUES]),
    st.sampled_from([value.replace(" ", "  ") for value in VALUES]),
    st.sampled_from(AROUND),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    st.from_regex(r"[0-9.:+() @a-f-]{1,24}", fullmatch=True),
)
texts = st.lists(pieces, max_size=8).map("".join)


def text_of(length: int | None = None) -> Text:
    """Of a mask of its own: what one finds, the next one knows."""
    made = make(Rule(strategy="text"), mask_of()._tools, Limits(length=length))
    assert isinstance(made, Text)
    return made


def by_python(text: Text, values: list[str]) -> list[str]:
    padded = [*values, *[""] * 8]  # a few are looked through one by one
    return text.some(padded)[: len(values)]


@settings(max_examples=150)
@given(st.lists(texts, min_size=1, max_size=12))
@example(["Ann Lee", "", "Lee"])
@example(["Ann", "Lee: 王小明和鈴木陽菜"])
@example(["+", "44 20 7946 0018 442079460018 +442079460018"])
@example(["1.2.3.4 fe80::1:2 10.1.2.3:80", "12:30:45"])
@example([" ".join(VALUES) * 3000])
def test_texts_become_what_python_makes(values: list[str]) -> None:
    assert text_of().in_loops().texts(values) == by_python(text_of(), values)


def test_a_text_is_cut_as_python_cuts_it() -> None:
    values = ["Ann Lee here", "王小明", "short", "x" * 12]
    assert text_of(12).in_loops().texts(values) == by_python(text_of(12), values)


@pytest.mark.parametrize("second", [(0, 2, 5, 0), (0, 7, 3, 0)], ids=["overlaps", "backwards"])
def test_spans_that_no_finder_may_tell_write_nowhere_else(second: tuple[int, ...]) -> None:
    """A size below nothing is none: unsigned, it would be most of the memory."""
    data = np.frombuffer(b"0123456789", dtype=np.uint8)
    made, into = np.frombuffer(b"ab", dtype=np.uint8), np.full(64, 0xFF, dtype=np.uint8)
    found = np.array([(0, 1, 6, 0), second], dtype=np.int64)
    starts, ends, places, sizes = (np.array(x) for x in ([0], [10], [0, 1], [1, 1]))
    of_text = np.empty((2, 1), dtype=np.int64)
    size = spans_module.spliced(data, starts, ends, found, made, places, sizes, into, *of_text)
    assert size <= 2 * len(data)
    assert (into[2 * len(data) :] == 0xFF).all()


def test_what_is_added_later_is_found() -> None:
    mask = mask_of()
    text = make(Rule(strategy="text"), mask._tools)
    assert isinstance(text, Text)
    assert text.many(["hello Bob Ross"]) == ["hello Bob Ross"]
    mask.originals.record("person", "Bob Ross", "x")
    assert text.many(["hello Bob Ross"]) == [text("hello Bob Ross")] != ["hello Bob Ross"]


def test_beyond_what_is_known_exactly_the_filter_is_asked() -> None:
    from sandbox.masking.known import Index
    from sandbox.masking.loops.texts import TextFinder
    from sandbox.masking.strategies.texts import ips

    index = Index(limit=2)
    for name in ("Ann Lee", "Bob Ross", "Cy Young", "王小明"):
        index.add_all("person", [name] * 8)
    finder = TextFinder(index, Latest(), lambda domain: lambda value: f"<{domain}>", ips)
    data = np.frombuffer(bytearray("Cy Young, 王小明".encode()), dtype=np.uint8)
    found = finder.find(data, np.array([0]), np.array([len(data)]), np.zeros(1, bool))
    assert [bytes(data[a:b]).decode() for _, a, b, _ in found.tolist()] == ["Cy Young", "王小明"]


# --- JSON ----------------------------------------------------------------------------------------

scalars = st.one_of(
    texts,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
)
things = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "note": texts | st.integers() | st.none(),
        "notes": st.lists(texts, max_size=3),
        "name": texts | st.integers(),
        "mail": texts,
        "owner": st.fixed_dictionaries(
            {}, optional={"phone": texts | st.integers(), "at": st.floats(-90, 90) | st.integers()}
        ),
        "tags": st.lists(scalars, max_size=3),
        "people": st.lists(st.fixed_dictionaries({"name": texts}), max_size=3),
        "kept": things,
        "gone": things,
        "hidden": scalars | st.just([]) | st.just({}),
        "other": things,
    },
)
spelled = st.sampled_from((None, 1, "\t"))


@settings(max_examples=150)
@given(st.lists(st.tuples(documents | things, spelled, st.booleans()), min_size=1, max_size=8))
@example([({"note": 100000, "owner": {"phone": 100000}}, None, False)])
def test_json_becomes_what_python_makes(given_: list[tuple[Any, Any, bool]]) -> None:
    values = [
        json.dumps(one, indent=indent, ensure_ascii=escaped) for one, indent, escaped in given_
    ]
    told: list[set[str]] = [set(), set()]
    mask = mask_of()
    in_python = walker_of(mask, lambda path, value: told[0].add(path))
    in_loops = walker_of(mask_of(), lambda path, value: told[1].add(path))
    # One by one: what a hard text holds is known only when Python has masked it, after the others.
    expected = [in_python.json(in_python.root, value, "") for value in values]
    got = [in_loops.in_loops().texts([value])[0] for value in values]
    assert [parsed(one) for one in got] == [parsed(one) for one in expected]
    assert told[0] == told[1]
    assert [node.count for node in in_loops.nodes] == [node.count for node in in_python.nodes]


def test_free_text_knows_the_values_beside_it_and_in_later_rows() -> None:
    values = [
        '{"note": "by Bob Ross and Cy Young"}',
        '{"name": "Cy Young"}',
        '{"name": "Bob Ross"}',
    ]
    one, other = (walker_of(mask_of(), lambda path, value: pytest.fail(path)) for _ in range(2))
    got = one.in_loops().texts(values)
    assert [parsed(made) for made in got] == [
        parsed(made) for made in other.jsons(other.root, values, "")
    ]
    assert "Ross" not in str(got)
    assert "Young" not in str(got)


def parsed(text: str | None) -> Any:
    return None if text is None else json.loads(text, parse_float=str, parse_int=str)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "{", "}", "[", '{"a"}', '{"name": }', '{"name": "x"', '{"name": "x"} x', "nul"),
        *('{"name": "x",}', "[1,]", '{"name": "\\x"}', '{"name": "a\nb"}', '{"name": "\\u12"}'),
        *('{name: "x"}', "{'name': 1}", '{"tags": [01]}', '{"tags": [1.]}', '{"tags": [-]}'),
        *(
            '{"tags": [1e]}',
            '{"tags": [.5]}',
            '{"tags": [True]}',
            "[" * 70,
            '{"name" "x"}',
            "\ufeff{}",
        ),
    ],
)
def test_what_is_no_json_is_told(text: str) -> None:
    told: list[str] = []
    walker = walker_of(mask_of(), lambda path, value: told.append(path))
    assert walker.texts(['{"name": "Ann"}', text])[1] is None
    assert told == [""]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"new": 1}', "new"),
        ('{"owner": {"new": 1}}', "owner.new"),
        ('{"owner": "x"}', "owner"),
        ('{"tags": [{"a": 1}]}', "tags[].a"),
        ('{"people": [1]}', "people[]"),
        ('{"n\\u0061me": {"x": 1}}', "name.x"),
        ("[1]", "[]"),
        ("1", ""),
    ],
)
def test_a_path_without_a_rule_never_passes(text: str, path: str) -> None:
    """The loops pass over nothing that Python would have told."""
    told: list[str] = []
    walker = walker_of(mask_of(), lambda path, value: told.append(path))
    walker.texts([text])
    assert told == [path]


def test_values_that_stay_are_not_touched() -> None:
    text = '{ "tags" : [1.50, 1e5, -0, 12345678901234567890123, "\\u00e9"], "tags": []}'
    walker = walker_of(mask_of(), lambda path, value: pytest.fail(path))
    assert walker.texts([text]) == [text]


def test_what_stands_between_known_values_is_redacted_where_the_rule_says_so() -> None:
    policy = 'version = 1\n[postgres.t]\n"data.note" = { strategy = "text", rest = "redact" }\n'
    walker = walker_of(mask_of(policy), lambda path, value: pytest.fail(path))
    (made,) = walker.texts(['{"note": "the secret of Ann Lee is out"}'])
    assert made is not None
    assert "secret" not in made
    assert "Ann" not in made


# --- names by templates --------------------------------------------------------------------------

TEMPLATES = (
    *("out/{username}/*/*.jpg", "{person}_*.mp4", "a/**", "**/{email}/x", "{ip}:*", "*.{token}"),
    *("\\{x\\}/{username}", "{username}", "*-*-{username}-*", ""),
)
parts = st.sampled_from(
    (
        "out",
        "/",
        "ann",
        "a_b_c.mp4",
        ".mp4",
        "_",
        "-",
        ".jpg",
        "a/",
        "x",
        "王",
        "1.2.3.4",
        ":",
        "{x}",
    )
)
names = st.lists(parts, max_size=8).map("".join) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=8
)


@settings(max_examples=150)
@given(
    st.lists(st.sampled_from(TEMPLATES), max_size=3, unique=True),
    st.lists(names, min_size=1, max_size=8),
)
def test_names_become_what_python_makes(chosen: list[str], values: list[str]) -> None:
    rule = Rule(strategy="path", options={"templates": chosen})
    made = make(rule, mask_of('version = 1\n[files.out]\n"{username}/*.txt" = "copy"\n')._tools)
    assert isinstance(made, ByTemplate)
    assert made.loopable
    assert made.in_loops().texts(values) == [made.text(value) for value in values]


@pytest.mark.parametrize("text", ["{person}{username}", "*{person}", "**{email}", "{python:x:y}/a"])
def test_where_a_piece_could_end_inside_a_character_python_looks(text: str) -> None:
    assert not bytewise(template(text, "/"))


# --- what is remembered --------------------------------------------------------------------------


def spans(values: Sequence[bytes], numbers: Sequence[int]) -> tuple[Any, Any]:
    ends = np.cumsum([len(one) for one in values])
    starts = ends - [len(one) for one in values]
    found = np.stack((np.zeros_like(ends), starts, ends, np.array(numbers)), axis=1)
    return np.frombuffer(bytearray(b"".join(values)), dtype=np.uint8), found.astype(np.int64)


@pytest.mark.parametrize("slots", [4, 64, 1 << 12])
def test_each_value_has_its_own_pseudonym(slots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one text has more values than are remembered, and after that."""
    monkeypatch.setattr(latest_module, "SLOTS", slots)
    monkeypatch.setattr(latest_module, "MOST", slots // 2)
    made: list[bytes] = []

    def upper(value: bytes) -> bytes:
        made.append(value)
        return value.upper() * 2

    held = Latest()
    one, other = held.number("one", upper), held.number("other", bytes.title)
    assert held.number("one", upper) == one != other
    for count in (10, 1000, 10):
        values = [f"v{number}".encode() for number in range(count)] * 2
        numbers = [one] * count + [other] * count
        data, found = spans(values, numbers)
        joined, places, sizes = held.take(data, found)
        got = [joined[a : a + n].tobytes() for a, n in zip(places, sizes, strict=True)]
        assert got == [*(v.upper() * 2 for v in values[:count]), *map(bytes.title, values[:count])]
    assert len(made) >= 1000


def test_originals_that_come_again_are_told_once() -> None:
    seen = Seen()
    lines = b"".join(b"%d\tann\t\\N\n" % (number % 3) for number in range(90))
    assert seen.new("t", ("a", "b", "c"), lines) == [[b"0", b"1", b"2"], [b"ann"], [b"\\N"]]
    assert seen.new("t", ("a", "b", "c"), lines) == [[], [], []]
    assert seen.new("u", ("b",), b"ann\nann\nann\n") == [[b"ann"]]
    assert seen.new("t", ("a",), b"7\n8\n") is None  # most are new: looking does not pay
    assert seen.new("t", ("a",), b"") == [[]]


# --- columns -------------------------------------------------------------------------------------


def row(fields: Sequence[bytes | None]) -> bytes:
    out = struct.pack(">h", len(fields))
    for field in fields:
        out += struct.pack(">i", -1) if field is None else struct.pack(">i", len(field)) + field
    return out


def vector(*numbers: float) -> bytes:
    return struct.pack(f">hh{len(numbers)}f", len(numbers), 0, *numbers)


def changed(others: Sequence[Other], rows: Sequence[Sequence[bytes | None]]) -> bytes:
    one = Bulk({}, Pseudonyms(key=bytes(32)), len(rows[0]), others)
    return one.change(bytearray().join(map(row, rows)), len(rows))


def test_columns_of_every_kind_in_one_row() -> None:
    table = Dataset(
        store="postgres",
        name="t",
        rows=1 << 20,
        fields=(
            Field(name="said", type="character varying(40)", length=40),
            Field(name="data", type="jsonb"),
            Field(name="place", type="text"),
        ),
    )
    mask = mask_of()
    bulk = mask.bulk(table)
    assert bulk is not None
    given_ = [
        (b"hi Ann Lee", b'\1{"name": "Ann", "note": "it is Ann Lee"}', b"out/ann/1/2.jpg"),
        (None, None, None),
        (b"", b"\1{}", b"somewhere/else.txt"),
        ("王小明 ٣".encode(), b'\1{"note": "it is Ann L\\u0065e"}', b""),
    ]
    python = mask_of().texts(table)
    expected = []
    for said, data, place in given_:
        fields = {"said": said, "data": data and data[1:], "place": place}
        made = {
            name: None if value is None else python[name]([value.decode()])[0]
            for name, value in fields.items()
        }
        texts_ = [None if made[name] is None else str(made[name]).encode() for name in fields]
        texts_[1] = None if texts_[1] is None else b"\1" + texts_[1]
        expected.append(texts_)
    got = bulk(bytearray().join(map(row, given_)), len(given_))
    assert got.replace(b'": ', b'":').replace(b', "', b',"') != got
    assert decoded(got) == decoded(b"".join(map(row, expected)))


def decoded(data: bytes) -> list[list[Any]]:
    """The rows, their JSON parsed."""
    at, found = 0, []
    while at < len(data):
        (count,) = struct.unpack_from(">h", data, at)
        at += 2
        fields: list[Any] = []
        for _ in range(count):
            (size,) = struct.unpack_from(">i", data, at)
            at += 4
            field = None if size < 0 else data[at : at + size]
            fields.append(json.loads(field[1:]) if field and field[0] == 1 else field)
            at += max(size, 0)
        found.append(fields)
    return found


def test_vectors_in_binary_become_what_their_texts_become() -> None:
    function = make(Rule(strategy="vector", options={"method": "noise"}), mask_of()._tools)
    other = Other(place=1, type="vector", function=function.matrix)  # type: ignore[attr-defined]
    given_ = [(b"a", vector(0.1, -2.5, 3)), (b"b", None), (b"c", vector(1)), (b"d", vector())]
    got = [one[1] for one in decoded(changed([other], given_))]
    assert [one and one[:4] for one in got] == [one and one[:4] for _, one in given_]
    texts_ = function.many(["[0.1,-2.5,3]", "[1]", "[]"])  # type: ignore[attr-defined]
    numbers = [struct.unpack(f">{len(one) // 4 - 1}f", one[4:]) for one in got if one is not None]
    assert [list(map(np.float32, one)) for one in numbers] == [
        [np.float32(number) for number in json.loads(text)] for text in texts_
    ]


@pytest.mark.parametrize("field", [vector(1, 2)[:-4], b"\0\2\0\0", b"\0"])
def test_what_is_no_vector_stops_the_copy(field: bytes) -> None:
    other = Other(place=0, type="vector", function=lambda numbers: numbers)
    with pytest.raises(SandboxError, match="vectors in a form"):
        changed([other], [(field,)])


def test_another_form_of_jsonb_stops_the_copy() -> None:
    other = Other(place=0, type="jsonb", function=lambda values: values)
    with pytest.raises(SandboxError, match="jsonb in a form"):
        changed([other], [(b"\2{}",)])


def test_a_nul_stops_the_copy_and_none_is_null() -> None:
    with pytest.raises(SandboxError, match="NUL"):
        changed([Other(place=0, type="text", function=lambda values: ["\0"])], [(b"a",)])
    nothing = Other(place=0, type="text", function=lambda values: [None])
    assert decoded(changed([nothing], [(b"a",)])) == [[None]]
