"""sandbox.toml: the default parses, and each wrong input is one line with file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.errors import ConfigError
from sandbox.layout import compose_project, places, playground_value
from sandbox.model import PostgresSpace, RedisSpace
from sandbox.settings import parse, parse_env

DEFAULT = (Path(__file__).parents[2] / "sandbox.toml").read_text()


def broken(old: str, new: str) -> str:
    assert old in DEFAULT
    return DEFAULT.replace(old, new, 1)


def test_the_default_parses() -> None:
    settings = parse(DEFAULT, file="sandbox.toml")
    assert settings.project == "momentry"
    assert len(settings.postgres.isolated) == 12  # type: ignore[union-attr]
    assert settings.kinds() == ("postgres", "mongo", "qdrant", "redis", "files")


@pytest.mark.parametrize(
    ("old", "new", "where", "says"),
    [
        ('project = "momentry"', "project = ", "sandbox.toml", "not valid TOML"),
        ('project = "momentry"', 'project = "momentry"\ncolour = 1', "colour", "unknown key"),
        ('project = "momentry"', 'project = "Mo mentry"', "project", "pattern"),
        ('layout = "namespaced"', 'layout = "cloudy"', "layout", "no layout 'cloudy'"),
        ('playground = "dev"', 'playground = "public"', "postgres.playground", "both 'public'"),
        (
            'playground = "momentry_dev:"',
            'playground = "momentry:dev:"',
            "redis.playground",
            "overlaps",
        ),
        ('playground = "momentry_dev:"', 'playground = "momentry:"', "redis.playground", "equals"),
        (
            'playground = "output_dev"',
            'playground = "output/dev"',
            "files.directories.output.playground",
            "inside or around",
        ),
        (
            'playground = "output_dev"',
            'playground = "../output_dev"',
            "files.directories.output.playground",
            "leaves files.root",
        ),
        ('"api_keys", "api_key_audit_log"', '"videos", "api_keys"', "postgres.isolated", "both"),
        ("[mongo]", "[mongodb]", "mongodb", "unknown key"),
        ('ttl = "hold"', 'ttl = "never"', "mongo.ttl", "'shift'"),
    ],
)
def test_a_wrong_input_is_one_line_with_file_and_key(
    old: str, new: str, where: str, says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(broken(old, new), file="sandbox.toml")
    assert caught.value.exit_code == 2
    text = str(caught.value)
    assert where in text and says in text and "\n" not in text


def test_namespaced_puts_each_space_apart() -> None:
    settings = parse(DEFAULT, file="sandbox.toml")
    by_kind = {
        place.kind: place for place in places(settings, layout="namespaced", root=Path("/srv"))
    }
    assert isinstance(by_kind["postgres"].playground, PostgresSpace)
    assert by_kind["postgres"].playground.schema == "dev"
    assert isinstance(by_kind["redis"].playground, RedisSpace)
    assert by_kind["redis"].playground.prefix == "momentry_dev:"
    assert all(place.playground != place.production for place in by_kind.values())
    assert all(place.server == "production" and not place.shared for place in by_kind.values())


def test_partial_shares_three_stores_and_dedicated_moves_four() -> None:
    settings = parse(DEFAULT, file="sandbox.toml")
    partial = places(settings, layout="partial", root=Path("/srv"))
    assert [place.kind for place in partial if place.shared] == ["postgres", "mongo", "qdrant"]
    dedicated = places(settings, layout="dedicated", root=Path("/srv"))
    assert [place.kind for place in dedicated if place.server == "playground"] == [
        "postgres",
        "mongo",
        "qdrant",
        "redis",
    ]


def test_a_named_playground_derives_every_name() -> None:
    settings = parse(DEFAULT, file="sandbox.toml")
    assert playground_value("momentry_dev:", "ann") == "momentry_dev_ann:"
    assert compose_project(settings, "playground", "ann") == "momentry-playground-ann"
    assert compose_project(settings, "production", "ann") == "momentry-production"
    with pytest.raises(ConfigError):
        places(settings, layout="namespaced", root=Path("/srv"), playground="Ann; DROP")


def test_an_env_file_without_a_value_names_the_variable() -> None:
    assert parse_env("# c\nA=1\nB='x y'\nC=$A\n", file=".env") == {"A": "1", "B": "x y", "C": "$A"}
    with pytest.raises(ConfigError, match=r"\.env: B has no value"):
        parse_env("A=1\nB\n", file=".env")
