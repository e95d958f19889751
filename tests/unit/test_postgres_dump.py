"""pg_dump's text is cut where its items begin, and nowhere inside names, literals and bodies."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sandbox.stores.postgres.dump import items, literals, pattern, replaced, split, statements

HEADER = "--\n-- Name: {}; Type: {}; Schema: s; Owner: -\n--\n\n"
FAKE = HEADER.format("fake", "TABLE") + "CREATE TABLE fake ();\n\\restrict x\n"
# Any text, and often what could end a literal, a name or a body too early.
SPICY = st.lists(
    st.sampled_from(["'", '"', "$$", "$a$", "\\", "\n", ";", "--", FAKE, "E'", "s.f(", "x"])
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
).map("".join)


def string(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def escaped(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def body(text: str) -> str:
    tag = "$t"
    while f"{tag}$" in text:
        tag += "t"
    return f"{tag}${text}{tag}$"


QUOTED = SPICY.flatmap(lambda text: st.sampled_from([f(text) for f in (string, escaped, body)]))


@given(texts=st.lists(st.tuples(QUOTED, SPICY.filter(bool)), min_size=1, max_size=5))
def test_items_and_statements_are_found_again(texts: list[tuple[str, str]]) -> None:
    made = [f"COMMENT ON TABLE s.{name(n)} IS {q};" for q, n in texts]
    dump = "SET a = b;\n\\restrict k\n\n" + "".join(
        HEADER.format("t", "COMMENT") + f"{one}\n\n\n" for one in made
    )
    first, *found = items(dump)
    assert first.type == "" and first.text.strip() == "SET a = b;"
    assert [item.text.strip() for item in found] == made
    assert statements("\n".join(made)) == made
    assert list(literals("\n".join(made))) == [quoted for quoted, _ in texts]


@given(quoted=QUOTED, named=SPICY.filter(bool))
def test_only_calls_outside_of_quotes_are_replaced(quoted: str, named: str) -> None:
    text = f"DEFAULT s.f(1, {quoted}) {name(named)} xs.f( s.f2("
    assert replaced(text, {"s.f(": "t.f("}) == text.replace("s.f(", "t.f(", 1)


def test_the_rows_stand_between_tables_and_keys() -> None:
    dump = "".join(HEADER.format(n, k) for n, k in (("t", "TABLE"), ("i", "INDEX"), ("v", "VIEW")))
    before, after = split(items(dump)[1:])
    assert [item.title for item in before] == ["table t"]
    assert [item.title for item in after] == ["index i", "view v"]
    assert pattern('a"b') == '"a""b"'
