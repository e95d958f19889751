"""[rows] and [links]: how a subset is declared, and how the other stores follow it."""

from __future__ import annotations

import json
import uuid
from typing import Any

import bson
import pytest

from sandbox.errors import ConfigError
from sandbox.masking.mask import PolicyMask
from sandbox.masking.policy import parse
from sandbox.masking.subset import Links, Values, loose, threshold
from sandbox.model import Dataset, Entry, Field, FileEntry, Point

KEY = "ab" * 32
POLICY = """
version = 1
[mongo.chunks]
"**" = "keep"
[mongo."fs.files"]
"**" = "keep"
[postgres.people]
id = "keep"
boss = "null"
"""


def links(*places: str, chosen: Any = (1, 2, "ann", "ben")) -> Links:
    """Places that refer to `videos.id`, of which these values were chosen."""
    lines = "\n".join(f'{json.dumps(place)} = "postgres.videos.id"' for place in places)
    policy = parse(f"{POLICY}\n[links]\n{lines}", file="masking.toml")
    return Links.of(policy).within({("videos", "id"): Values(map(str, chosen))})


def test_values_agree_over_types() -> None:
    """A number, its text and its float are one; a UUID is as PostgreSQL writes it."""
    one = uuid.UUID("0123abcd-0000-4000-8000-000000000001")
    held = Values(["7", str(one), "65f000000000000000000001", "ann"])
    for value in (7, 7.0, "7", bson.Int64(7), one, bson.Binary(one.bytes, 4), b"ann"):
        assert value in held
    assert bson.ObjectId("65f000000000000000000001") in held
    for value in (8, 7.5, "07", "", None, uuid.uuid4()):
        assert value not in held
    assert 1 not in Values([])


def test_documents_follow() -> None:
    found = links("mongo.chunks.video_id", "mongo.chunks.parts[].video.id", "mongo.fs.files.v")
    parts = [{"video": {"id": 1}}, {"video": {"id": 9}}, {"video": None}, {"other": 1}]
    kept = found.document("chunks", {"video_id": 2, "parts": parts})
    assert kept == {"video_id": 2, "parts": [parts[0], parts[2], parts[3]]}
    assert len(parts) == 4  # the original is as it was
    assert found.document("chunks", {"video_id": 9}) is None
    for none in ({"video_id": None}, {}, {"parts": "text"}):
        assert found.document("chunks", none) == none  # refers to nothing
    assert found.document("fs.files", {"v": 9}) is None
    assert found.document("others", {"video_id": 9}) is not None


def test_points_follow_by_payload_and_by_id() -> None:
    found = links("qdrant.payload.video.id")
    assert found.point(Point(id=9, vector=[1.0], payload={"video": {"id": "1"}}))
    assert found.point(Point(id=1, vector=[1.0], payload={"video": {"id": 9}})) is None
    assert links("qdrant.id").point(Point(id=9, vector=None, payload={})) is None


def entry(key: str, kind: str, value: Any) -> Entry:
    return Entry(key=key.encode(), type=kind, value=value)


def test_keys_follow_by_a_part_of_their_name() -> None:
    found = links("redis.video:{id}", "redis.user:{username}:*")
    for key, stays in [
        ("video:1", True),
        ("video:9", False),
        ("video:9:more", True),
        ("user:ann:seen", True),
        ("user:eve:seen", False),
        ("other", True),
    ]:
        assert (found.entry(entry(key, "string", b"x")) is not None) is stays, key


@pytest.mark.parametrize(
    ("place", "kind", "value", "kept"),
    [
        ("redis.k[]", "set", [b"1", b"9"], [b"1"]),
        ("redis.k[]", "list", [b"9", b"ann"], [b"ann"]),
        ("redis.k[]", "zset", [(b"1", 0.5), (b"9", 1.0)], [(b"1", 0.5)]),
        ("redis.k[]", "hash", [(b"ann", b"x"), (b"eve", b"x")], [(b"ann", b"x")]),
        ("redis.k[].a.id", "list", [b'{"a":{"id":1}}', b'{"a":{"id":9}}', b"no"],
         [b'{"a":{"id":1}}', b"no"]),
        ("redis.k[].id", "stream", [("1-0", [(b"id", b"1")]), ("2-0", [(b"id", b"9")])],
         [("1-0", [(b"id", b"1")])]),
        ("redis.k[]", "string", b"9", b"9"),
    ],
)  # fmt: skip
def test_members_follow(place: str, kind: str, value: Any, kept: Any) -> None:
    made = links(place).entry(entry("k", kind, value))
    assert made is not None and made.value == kept


def test_files_follow_and_so_do_links_to_them() -> None:
    found = links("files.output.{username}/film_*.mp4", "files.output.{username}/")

    def stays(path: str, kind: Any = "file", target: str = "") -> bool:
        file = FileEntry(path=path, type=kind, mode=0o644, mtime=0, size=0, target=target)
        return found.file("output", file)

    assert stays("ann/film_1.mp4") and not stays("eve/film_1.mp4") and stays("eve/other")
    assert stays("ann", "directory") and not stays("eve", "directory")
    assert stays("last", "symlink", "ann/film_1.mp4")
    assert not stays("last", "symlink", "eve/film_1.mp4")
    assert not stays("sub/last", "symlink", "../eve/film_1.mp4")
    assert found.file(
        "backup", FileEntry(path="eve/film_1.mp4", type="file", mode=0, mtime=0, size=0)
    )


def test_a_link_to_a_table_that_is_whole_lets_everything_through() -> None:
    policy = parse(f'{POLICY}[links]\n"redis.video:{{id}}" = "postgres.videos.id"', file="m")
    found = Links.of(policy).within({})
    assert not found.active and found.entry(entry("video:9", "string", b"x"))


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("mongo.chunks", "postgres.videos.id"),
        ("qdrant.video", "postgres.videos.id"),
        ("redis.video:*", "postgres.videos.id"),
        ("redis.{a}:{b}", "postgres.videos.id"),
        ("files.output.a", "postgres.videos.id"),
        ("files.output.{", "postgres.videos.id"),
        ("elsewhere.x", "postgres.videos.id"),
        ("redis.video:{id}", "postgres.videos"),
    ],
)
def test_a_link_that_means_nothing_is_an_error(place: str, target: str) -> None:
    with pytest.raises(ConfigError, match=r"masking\.toml"):
        Links.of(parse(f"{POLICY}[links]\n'{place}' = '{target}'", file="masking.toml"))


def test_rows_as_sql() -> None:
    text = f"""{POLICY}
[rows]
videos = {{ rows = "10%", by = "owner", where = "status = 'done'", children = true }}
frames = {{ where = "number < 10" }}
people = {{ children = ["chunks"] }}
tags = {{ rows = "100%", by = "id" }}
"""
    mask = PolicyMask(parse(text, file="masking.toml"), key=KEY)
    starts = mask.starts
    where = starts["videos"].where or ""
    assert where.startswith("(status = 'done') AND substr(sha256(") and "1999999999999" in where
    assert KEY not in where and mask.settings["sandbox.rows_i"]
    assert starts["frames"].where == "(number < 10)" and starts["videos"].children is True
    assert starts["people"].where is None and starts["people"].children == ("chunks",)
    assert starts["tags"].where == "true" and starts["tags"].line.startswith("masking.toml:")
    assert mask.subset["rows"]["videos"]["filtered"] is True  # a filter may name a person


def test_thresholds_and_loose_columns() -> None:
    assert threshold(0) == bytes(8) and threshold(50) == b"\x80" + bytes(7)
    fields = (Field(name="id", type="bigint"), Field(name="boss", type="bigint"))
    table = Dataset(store="postgres", name="people", fields=fields)
    other = Dataset(store="postgres", name="other", fields=fields)
    assert loose(parse(POLICY, file="m"), [table, other]) == {"people": ("boss",)}


@pytest.mark.parametrize("wrong", ['children = "x"', "children = [1]", 'rows = "10%"'])
def test_rows_that_mean_nothing(wrong: str) -> None:
    with pytest.raises(ConfigError, match="m:"):
        parse(f"{POLICY}[rows]\nvideos = {{ {wrong} }}", file="m")
