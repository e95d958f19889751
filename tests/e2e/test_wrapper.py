"""`./inv` itself: makes `.venv` from the hashed lock file once, and again when that has changed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TASKS = '''
from invoke import task

@task
def hello(context):
    """Say hello."""
    print("hello")
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one task, whose lock file is the invoke of ours."""
    made = tmp_path_factory.mktemp("a project")  # with a space in its name
    shutil.copy(ROOT / "inv", made / "inv")
    (made / "tasks.py").write_text(TASKS)
    lock = (ROOT / "requirements.lock").read_text()
    invoke = re.search(r"^invoke==.*(?:\n    .*)*\n", lock, re.MULTILINE)
    assert invoke
    (made / "requirements.lock").write_text(invoke[0])
    return made


def run(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [folder / "inv", *arguments],
        env={**os.environ, **environ},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_no_python_that_fits_is_one_line(folder: Path, tmp_path: Path) -> None:
    for tool in ("dirname", "cmp", "flock"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    done = run(folder, PATH=str(tmp_path), PYTHON="")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("inv: no Python 3.11, 3.12 or 3.13 found")
    assert not (folder / ".venv").exists()


def test_made_once_and_again_when_the_lock_changes(folder: Path) -> None:
    first = run(folder)
    assert first.returncode == 0, first.stderr
    assert "making .venv" in first.stderr
    assert "hello   Say hello." in first.stdout  # alone it lists what there is
    again = run(folder, "hello")
    assert (again.stdout, again.stderr) == ("hello\n", "")
    marked = folder / ".venv" / "of the first"
    marked.touch()
    lock = folder / "requirements.lock"
    lock.write_text(lock.read_text() + "# another\n")
    assert "making .venv" in run(folder, "hello").stderr
    assert not marked.exists()


def test_what_has_another_hash_is_not_installed_nor_taken_for_whole(folder: Path) -> None:
    lock = folder / "requirements.lock"
    lock.write_text(re.sub(r"sha256:\w{8}", "sha256:00000000", lock.read_text()))
    for _ in range(2):
        done = run(folder, "hello")
        assert (done.returncode, done.stdout) == (1, "")
        assert "DO NOT MATCH THE HASHES" in done.stderr
