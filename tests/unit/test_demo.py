"""The demo's data is what docs/demo.md says it is, and the same each time."""

from __future__ import annotations

import ast
import csv
import hashlib
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from demo import fill_files, fill_mongo, fill_postgres, fill_qdrant, fill_redis, tour
from demo.app.server import level
from demo.fill_postgres import TABLES
from demo.people import people
from demo.rows import ISOLATED
from demo.seed import Connections, Filled, seed
from demo.shared_rows import SHARED
from demo.world import World
from sandbox import settings
from sandbox.errors import ConfigError, Refused
from sandbox.report import silent

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs/demo.md").read_text()
SCHEMA = (ROOT / "demo/schema.sql").read_text()
WORLD = World(scale=0.1, random_seed=1)
KINDS = (
    "no", "person", "persons", "email", "username", "phone", "ip", "street", "city", "geo",
    "birthday", "token", "mac", "free text", "face vector", "text vector", "path", "filename",
    "url", "generated", "JSON",
)  # fmt: skip
NESTED = {  # PostgreSQL's JSON columns
    "videos": "metadata", "chunks": "metadata", "processor_results": "result",
    "file_lifecycle": "details", "face_identities": "attributes", "api_key_audit_log": "details",
}  # fmt: skip


# --- reading the page, the schema and the data ---------------------------------------------------


def sections(text: str) -> Iterator[tuple[str, list[list[str]]]]:
    """(the last heading or the name before `by path:`, the table's rows without its header)."""
    name = ""
    for block in re.split(r"\n\n+", text):
        if heading := re.match(r"#+ (.*)", block):
            name = heading[1].strip().strip("`")
        elif nested := re.match(r"`(\w+)` by path:", block):
            name = f"{name.split('.')[0]}.{nested[1]}"
        elif block.startswith("|"):
            rows = [
                [cell.strip() for cell in line.strip("|").split("|")] for line in block.split("\n")
            ]
            yield name, rows[2:]


PAGE = dict(sections(DOC))
TABLES_PAGE = dict(sections(DOC[: DOC.index("## MongoDB")]))


def documented(section: str, page: Mapping[str, list[list[str]]] = PAGE) -> dict[str, list[str]]:
    return {row[0].strip("`"): row[1:] for row in page[section]}


def declared(schema: str) -> dict[str, dict[str, str]]:
    """Table -> column -> its type and what follows, as schema.sql has them."""
    tables: dict[str, dict[str, str]] = {}
    for match in re.finditer(r"CREATE TABLE (\w+) \(\n(.*?)\n\)", schema, re.S):
        columns = re.findall(r'^ {4}"?(\w+)"? (.*?),?$', match[2], re.M)
        tables[match[1]] = {
            name: rest for name, rest in columns if name not in ("CHECK", "UNIQUE", "PRIMARY")
        }
    return tables


def paths(value: Any, at: str = "") -> Iterator[str]:
    """`a.b[].c` of every leaf."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from paths(inner, f"{at}.{name}" if at else str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from paths(inner, f"{at}[]")
    else:
        yield at


def all_paths(values: Iterable[Any]) -> set[str]:
    return {path for value in values for path in paths(value)}


def named(cell: str) -> set[str]:
    """What stands in backticks, up to a remark on consumer groups."""
    return set(re.findall(r"`([^`]+)`", cell.split("Consumer group")[0]))


def pattern(text: str) -> re.Pattern[str]:
    """A documented key or path as a regular expression; digits stand for any digits."""
    text = re.sub(r"\d+", "0", text)
    parts = re.split(r"(<[^>]+>|0)", text)
    holes = {"<username>": "[^:/]+", "<id>": r"\d+", "0": r"\d+", "<person>": "[^/]+"}
    return re.compile(
        "".join(holes.get(p, ".+" if p.startswith("<") else re.escape(p)) for p in parts)
    )


def matching(name: str, patterns: Iterable[str]) -> str:
    found = [text for text in patterns if pattern(text).fullmatch(name)]
    assert len(found) == 1, f"{name} fits {found or 'nothing'} in docs/demo.md"
    return found[0]


# --- the page is exact ---------------------------------------------------------------------------


def test_page_has_every_table_and_column() -> None:
    tables = declared(SCHEMA)
    assert set(tables) == {table.name for table in TABLES}
    for name, columns in tables.items():
        shown = documented(name, TABLES_PAGE)
        assert list(shown) == list(columns), name
        for column, rest in columns.items():
            assert rest.replace("public.", "").startswith(shown[column][0]), (name, column)


def test_a_new_column_would_be_missed_on_the_page() -> None:
    changed = SCHEMA.replace("    speakers text[]", "    nickname text,\n    speakers text[]")
    assert changed != SCHEMA
    missing = set(declared(changed)["videos"]) - set(documented("videos", TABLES_PAGE))
    assert missing == {"nickname"}


def test_generator_fills_every_column_that_is_not_generated() -> None:
    for table in TABLES:
        columns = declared(SCHEMA)[table.name]
        own = [name for name, rest in columns.items() if "ALWAYS AS (" not in rest]
        assert sorted(table.columns) == sorted(own), table.name
        row = next(table.rows(WORLD))
        assert len(row) == len(table.columns), table.name


@pytest.mark.parametrize(("table", "column"), NESTED.items())
def test_page_has_every_path_of_json(table: str, column: str) -> None:
    (made,) = (one for one in TABLES if one.name == table)
    position = made.columns.index(column)
    values = (json.loads(row[position]) for row in made.rows(WORLD))
    assert set(documented(f"{table}.{column}")) == all_paths(values)


def test_page_has_every_column_of_the_views() -> None:
    for view, (columns, _) in documented("Views").items():
        assert view in fill_postgres.VIEWS
        query = re.search(rf"CREATE VIEW {view} AS\nSELECT (.*?)\nFROM", SCHEMA, re.S)
        assert query is not None
        shown = re.findall(r"(?:AS |\.)(\w+)(?:,|$)", re.sub(r",\s+", ",\n", query[1]), re.M)
        assert [name.strip("`") for name in columns.split(", ")] == shown


def test_page_has_every_path_of_mongo() -> None:
    for name, documents in (("chunks", fill_mongo.chunks), ("cache", fill_mongo.cache)):
        page = dict(sections(DOC[DOC.index("## MongoDB") : DOC.index("## Qdrant")]))
        assert set(documented(name, page)) == all_paths(documents(WORLD))


def test_page_has_every_payload_key() -> None:
    ids, payloads, vectors = fill_qdrant.points(WORLD, 1, WORLD.video_count)
    assert set(documented("Qdrant: `momentry_rule1")) == all_paths(payloads)
    assert vectors.shape == (len(ids), 1024)
    assert len(set(ids)) == len(ids)


def test_page_has_every_redis_key() -> None:
    keys = documented("Redis: keys under `momentry:")
    fields: dict[str, set[str]] = {key: set() for key in keys}
    expiring, types = set(), {}
    makes = {
        "HSET": "hash", "SADD": "set", "RPUSH": "list", "SET": "string", "ZADD": "zset",
        "XADD": "stream",
    }  # fmt: skip
    for command, key, *rest in fill_redis.commands(WORLD):
        shown = matching(key, keys)
        if command == "PEXPIREAT" or "PXAT" in rest:
            expiring.add(shown)
        if command == "PEXPIREAT":
            continue
        types[shown] = makes[command]
        fields[shown] |= value_names(command, rest)
    assert {key: row[0] for key, row in keys.items()} == types
    assert {key for key, row in keys.items() if row[1] == "yes"} == expiring
    fields["stats:daily"] = fields["config:features"] = set()  # neither holds a person's
    assert {key: named(row[3]) for key, row in keys.items()} == fields


def value_names(command: str, rest: list[Any]) -> set[str]:
    """The names inside a value: fields, and paths where a value is JSON."""
    if command in ("SADD", "ZADD"):
        return set()
    flat = rest[1:] if command == "XADD" else rest
    names: set[str] = set(flat[::2]) if command in ("HSET", "XADD") else set()
    for value in flat:
        if isinstance(value, bytes) and value.startswith(b"{"):
            names |= set(paths(json.loads(value)))
    return names


@pytest.mark.parametrize("purpose", ["output", "backup"])
def test_page_has_every_file(purpose: str) -> None:
    files = documented(purpose)
    used: dict[str, set[str]] = {}
    for path, content, target in getattr(fill_files, purpose)(WORLD):
        shown = matching(path, files)
        assert (
            (content is None) == bool(target) == ("symlink" in files[shown][0] or path == "latest")
        )
        used.setdefault(shown, set())
        if path.endswith(".json") and content is not None:
            used[shown] |= all_paths([json.loads(content)])
        elif path.endswith(".csv"):
            used[shown] |= set(next(csv.reader([content.decode().split("\r\n")[0]])))
    assert set(used) == set(files)
    for shown, names in used.items():
        assert not names or named(files[shown][1]) == names


def test_page_names_kinds_that_it_explains() -> None:
    for name, rows in PAGE.items():
        if name.startswith("Redis") or name in ("output", "backup", "Views"):
            continue
        for row in rows:
            kind = row[-1]
            assert any(kind == k or kind.startswith((f"{k} ", f"{k}:", f"{k},")) for k in KINDS), (
                row
            )


# --- the data ------------------------------------------------------------------------------------


def test_tables_are_the_settings_ones() -> None:
    read = settings.parse((ROOT / "sandbox.toml").read_text(), file="sandbox.toml").postgres
    assert read is not None
    assert {table.name for table in ISOLATED} == set(read.isolated)
    for name in (*(table.name for table in SHARED), *fill_postgres.VIEWS):
        assert any(
            name == one or (one[-1] == "*" and name.startswith(one[:-1])) for one in read.shared
        )


def test_people_are_told_apart_and_stay_who_they_are() -> None:
    many = people(10_000, 1)
    for field in ("email", "username", "phone", "ip"):
        assert len({getattr(person, field) for person in many}) == len(many), field
    assert len({person.email.replace(".", "").lower() for person in many}) == len(many)
    assert people(50, 1) == many[:50]
    assert people(50, 2) != many[:50]
    scripts = "".join(person.name for person in many[:200])
    assert all(letter in scripts for letter in "王佐김éΕИ") or len(set(scripts)) > 100


def test_the_same_person_stands_in_every_store() -> None:
    person = WORLD.people[0]
    identity = next(ISOLATED[1].rows(WORLD))
    assert person.name in identity
    assert any(person.name in row[11] for row in ISOLATED[3].rows(WORLD)), "chunks.metadata"
    assert any(person.name == d["owner"]["name"] for d in fill_mongo.chunks(WORLD))
    assert any(person.email in d["_id"] for d in fill_mongo.cache(WORLD))
    assert any(person.name in p["text"] for p in fill_qdrant.points(WORLD, 1, WORLD.video_count)[1])
    keys = {command[1] for command in fill_redis.commands(WORLD)}
    assert {f"session:{person.email}", f"user:{person.username}"} <= keys
    names = {path for path, _, _ in fill_files.output(WORLD)}
    assert f"{person.username}/interview_{person.name}.json" in names


def test_texts_hold_names_as_the_tables_have_them() -> None:
    """docs/demo.md says so: a masked text can then be checked against masked columns."""
    emails = {person.email for person in WORLD.people}
    names = {person.name.lower(): person.name for person in WORLD.people}
    seen = 0
    for table in ISOLATED:
        for text in (cell for row in table.rows(WORLD) for cell in row if isinstance(cell, str)):
            found = re.findall(r"[a-z0-9.]+@(?:mail\.)?example\.(?:com|org|net)", text)
            assert set(found) <= emails, (table.name, text)
            lowered = text.lower()
            for low, name in names.items():
                if low in lowered:
                    assert name in text, (table.name, text)
                    seen += 1
    assert seen > 1000


def test_sizes_are_as_promised() -> None:
    full = World(scale=1, random_seed=1)
    assert 95_000 < fill_postgres.total(full) < 110_000
    assert fill_qdrant.total(full) == 10_000
    for table in TABLES:
        assert sum(1 for _ in table.rows(WORLD)) == table.count(WORLD), table.name


def test_rows_are_streamed() -> None:
    huge = World(scale=50, random_seed=1)
    for table in TABLES:
        rows = table.rows(huge)
        assert inspect.isgenerator(rows), table.name
        next(rows)


def fingerprint(world: World) -> str:
    digest = hashlib.sha256()
    for table in TABLES:
        for row in table.rows(world):
            digest.update(repr(row).encode())
    for document in (*fill_mongo.chunks(world), *fill_mongo.cache(world)):
        digest.update(repr(document).encode())
    ids, payloads, vectors = fill_qdrant.points(world, 1, world.video_count)
    digest.update(repr((ids, payloads)).encode() + vectors.tobytes())
    for command in fill_redis.commands(world):
        digest.update(repr(command).encode())
    for file in (*fill_files.output(world), *fill_files.backup(world)):
        digest.update(repr(file).encode())
    return digest.hexdigest()


def test_a_seed_makes_the_same_bytes_in_another_process() -> None:
    world = World(scale=0.02, random_seed=7)
    program = (
        "from tests.unit.test_demo import fingerprint; from demo.world import World;"
        "print(fingerprint(World(scale=0.02, random_seed=7)))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "4", "TZ": "Asia/Taipei"}
    other = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, check=True
    )
    assert other.stdout.decode().strip() == fingerprint(world)
    assert fingerprint(World(scale=0.02, random_seed=8)) != fingerprint(world)


# --- around it -----------------------------------------------------------------------------------


def somewhere(folder: Path) -> Connections:
    return Connections(
        postgres="postgresql://u:hidden@127.0.0.1:1/d",
        schema="public",
        mongo="mongodb://u:hidden@127.0.0.1:1/",
        mongo_database="d",
        qdrant="http://127.0.0.1:1",
        qdrant_key="hidden",
        qdrant_collection="c",
        redis="redis://u:hidden@127.0.0.1:1/0",
        redis_prefix="p:",
        directories={"output": folder},
    )


def test_connections_show_no_secret(tmp_path: Path) -> None:
    assert "hidden" not in repr(somewhere(tmp_path))
    assert "hidden" not in somewhere(tmp_path).places()


@pytest.mark.parametrize("scale", [0, -1, 1e9, float("nan")])
def test_a_scale_that_is_none_is_refused(tmp_path: Path, scale: float) -> None:
    with pytest.raises(ConfigError, match="scale"):
        seed(somewhere(tmp_path), scale=scale, random_seed=1, report=silent)


def test_the_sandbox_does_not_import_the_demo() -> None:
    for file in (ROOT / "sandbox").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names.append(node.module)
            assert not [name for name in names if name.split(".")[0] == "demo"], file


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("info", "INFO"),
        ("debug", "DEBUG"),
        ("trace", "DEBUG"),
        ("warn", "WARNING"),
        ("a=b", "INFO"),
    ],
)
def test_rust_log_is_understood(word: str, meant: str) -> None:
    assert level(word) == meant


def test_the_tour_goes_on_where_every_store_is_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Mock()
    monkeypatch.setattr(tour, "fill", Mock(side_effect=Filled(["one"] * 5)))
    tour._seed_if_empty(session, 1)
    assert "stays as it is" in session.report.call_args.args[0].name


@pytest.mark.parametrize("error", [Filled(["one"] * 4), Refused("production is external")])
def test_the_tour_stops_where_production_is_filled_in_part_or_not_ours(
    monkeypatch: pytest.MonkeyPatch, error: Refused
) -> None:
    """A folder whose volumes are gone, for one."""
    monkeypatch.setattr(tour, "fill", Mock(side_effect=error))
    with pytest.raises(Refused) as raised:
        tour._seed_if_empty(Mock(), 1)
    assert raised.value is error
