"""The masking key: where it comes from, what rotating it says, and that it is never shown."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from sandbox import artifact as artifacts
from sandbox.errors import ConfigError, Refused
from sandbox.masking.pseudonyms import key_id, read_key
from sandbox.project import Project, open_project
from sandbox.workflows import keys

ROOT = Path(__file__).parents[2]
GIVEN = "a phrase of more than twenty-four characters"


def project(folder: Path, *, command: str = "", **environ: str) -> Project:
    text = (ROOT / "sandbox.toml").read_text()
    line = 'masking_key_command = ""'
    assert line in text
    text = text.replace(line, f"masking_key_command = {json.dumps(command)}")
    (folder / "sandbox.toml").write_text(text)
    return open_project(folder / "sandbox.toml", environ=environ)


def refuse(question: str) -> None:
    raise Refused(question)


def test_the_first_use_makes_a_private_file(tmp_path: Path) -> None:
    made = keys.masking_key(project(tmp_path))
    path = tmp_path / ".sandbox" / "identities.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert keys.masking_key(project(tmp_path)) == made
    assert made not in json.dumps(keys.show(project(tmp_path)))


def test_a_variable_wins_over_a_command_and_that_over_the_file(tmp_path: Path) -> None:
    command = shlex.join([sys.executable, "-c", f"print('{GIVEN}')"])
    assert keys.masking_key(project(tmp_path, command=command)) == GIVEN
    given = project(tmp_path, command=command, SANDBOX_SECRET_MASKING_KEY="0" * 64)
    assert keys.masking_key(given) == "0" * 64
    assert not (tmp_path / ".sandbox").exists()


@pytest.mark.parametrize("program", ["import sys; sys.exit('secret')", "print()", "1/0"])
def test_a_command_that_prints_no_key_is_named_and_its_words_are_not(
    tmp_path: Path, program: str
) -> None:
    with pytest.raises(ConfigError, match="masking_key_command") as raised:
        keys.masking_key(project(tmp_path, command=shlex.join([sys.executable, "-c", program])))
    assert "secret" not in str(raised.value) and raised.value.exit_code == 2


def test_rotating_says_what_must_be_taken_anew(tmp_path: Path) -> None:
    one = project(tmp_path)
    before = key_id(read_key(keys.masking_key(one)))
    writer = artifacts.create(one.snapshots, facts={})
    made = writer.commit({"masking": {"key": before}})
    one.remember(loaded=made.id)
    assert keys.show(one)["old"] == []
    with pytest.raises(Refused):
        keys.rotate(one, dry_run=False, confirm=refuse)
    assert keys.show(one)["key"] == before
    done = keys.rotate(one, dry_run=False, confirm=lambda question: None)
    assert done["before"] == before != done["key"] == keys.show(project(tmp_path))["key"]
    assert done["old"] == [{"id": made.id, "key": before, "loaded": True}]


def test_a_key_that_is_kept_elsewhere_is_not_rotated_here(tmp_path: Path) -> None:
    given = project(tmp_path, SANDBOX_SECRET_MASKING_KEY=GIVEN)
    with pytest.raises(Refused, match="SANDBOX_SECRET_MASKING_KEY"):
        keys.rotate(given, dry_run=False, confirm=lambda question: None)
