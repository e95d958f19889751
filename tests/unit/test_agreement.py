"""No value of production's in any variable of the playground's, whatever its name."""

from __future__ import annotations

import pytest

from sandbox.verdict import foreign_attempts

KNOWN = {
    "password of postgres's admin": "s3cret-of-theirs",
    "postgres URL": "postgresql://them:s3cret-of-theirs@db/momentry",
    "port": "3002",
    "redis space": "momentry:",
    "qdrant space": "momentry_rule1",
    "directory output": "/srv/output",
}


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("s3cret-of-theirs", "password"),
        ("mysql://x:s3cret-of-theirs@elsewhere/", "password"),
        ("3002", "port"),
        ("momentry:", "redis space"),
        ("momentry_rule1", "qdrant space"),
        ("/srv/output", "directory"),
        ("/srv/output/videos", "directory"),
    ],
)
def test_a_value_of_productions_is_found_under_any_name(value: str, what: str) -> None:
    (found,) = foreign_attempts(KNOWN, {"OWN": "x", "LEGACY_THING": value}, where=".env")
    assert not found.ok and found.tried == "LEGACY_THING in .env"
    assert f"LEGACY_THING holds production's {what}" in found.happened
    assert "s3cret" not in str(found)


@pytest.mark.parametrize("value", ["/srv/output_dev", "momentry_dev:", "13002", "momentry"])
def test_a_value_that_only_looks_like_it_is_not(value: str) -> None:
    (found,) = foreign_attempts(KNOWN, {"OWN": value}, where=".env")
    assert found.ok
