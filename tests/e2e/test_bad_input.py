"""Each wrong input: one clear line that names file and key, exit code 2, nothing changed. None of
these needs a server: a mistake is told before anything is contacted."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.world import PROGRAM, ROOT

FILES = ("compose.prod.yaml", "compose.dev.yaml", "masking.toml", "sandbox.toml")
# file, what is replaced, by what, the command, what the line must say
MISTAKES = [
    (
        "sandbox.toml",
        'layout = "namespaced"',
        "layout = namespaced",
        "up",
        "sandbox.toml: not valid TOML: Invalid value (at line 5",
    ),
    ("compose.prod.yaml", "services:", "services: [", "up", "compose.prod.yaml:8: not valid YAML"),
    (
        "masking.toml",
        "version = 1",
        "version = ",
        "snapshot",
        "masking.toml: not valid TOML: Invalid value (at line 2",
    ),
    (
        "sandbox.toml",
        "[redis]",
        "[redis]\ncolour = 1",
        "up",
        "sandbox.toml: redis.colour: unknown key",
    ),
    (
        "compose.prod.yaml",
        "    image: mongo:8",
        "    image: mongo:8\n    privilegd: true",
        "up",
        "compose.prod.yaml:33: services.mongo.privilegd: this key is not supported",
    ),
    (
        "compose.dev.yaml",
        "    image: mongo:8",
        "    image: mongo:8\n    scale: 3",
        "up",
        "services.mongo.scale: this key is not supported",
    ),
    (
        "sandbox.toml",
        '"api_keys", "api_key_audit_log"',
        '"videos", "api_keys", "api_key_audit_log"',
        "up",
        "sandbox.toml: postgres.isolated: table 'videos' is in both lists",
    ),
    (
        "compose.prod.yaml",
        "POSTGRES_DB: momentry",
        "POSTGRES_DB: ${NOWHERE}",
        "up",
        "compose.prod.yaml:14: services.postgres.environment.POSTGRES_DB: NOWHERE is not set",
    ),
    (
        "compose.prod.yaml",
        "POSTGRES_DB: momentry",
        "POSTGRES_DB: ${NOWHERE:?name it}",
        "up",
        "NOWHERE is not set: name it",
    ),
    (
        "sandbox.toml",
        'layout = "namespaced"',
        'layout = "shared"',
        "isolate",
        "sandbox.toml: layout: no layout 'shared'; there are partial, namespaced and dedicated",
    ),
    ("", "", "", "isolate --layout shared", "--layout: there is no layout 'shared'"),
    ("", "", "", "load --store mysql", "--store: there is no store 'mysql'"),
    ("sandbox.toml", "[mongo]", "[mysql]", "up", "sandbox.toml: mysql: unknown key"),
    (
        "sandbox.toml",
        'playground = "dev"',
        'playground = "public"',
        "up",
        "sandbox.toml: postgres.playground: production and playground are both 'public'",
    ),
    (
        "sandbox.toml",
        'playground = "momentry_dev"',
        'playground = "momentry"',
        "up",
        "sandbox.toml: mongo.playground: production and playground are both 'momentry'",
    ),
    (
        "sandbox.toml",
        '"momentry_dev_rule1"',
        '"momentry_rule1"',
        "up",
        "sandbox.toml: qdrant.playground: production and playground are both",
    ),
    (
        "sandbox.toml",
        '"momentry_dev:"',
        '"momentry:dev:"',
        "up",
        "sandbox.toml: redis.playground: prefix 'momentry:dev:' overlaps production's 'momentry:'",
    ),
    (
        "sandbox.toml",
        '"output_dev"',
        '"output/dev"',
        "up",
        "sandbox.toml: files.directories.output.playground: data/output/dev is inside or around",
    ),
    (
        "sandbox.toml",
        '"output_dev"',
        '"../output"',
        "up",
        "sandbox.toml: files.directories.output.playground: data/../output leaves files.root",
    ),
    (
        "masking.toml",
        'owner_name = "person"',
        'owner_name = "persn"',
        "snapshot",
        ": postgres.videos.owner_name: no strategy is called persn",
    ),
    (
        "masking.toml",
        "digits = 1",
        "digts = 1",
        "snapshot",
        ": postgres.videos.latitude: geo has no option digts",
    ),
    ("", "", "", "up --playground Ann!", "--playground: 'Ann!' cannot name a playground"),
    ("", "", "", "seed --scale=-1", "--scale: -1.0 is no scale"),
    ("", "", "", "seed --scale=much", "--scale takes a number, not 'much'"),
    ("", "", "", "snapshots frob", "action: snapshots cannot 'frob'"),
    ("", "", "", "snapshots show nosuch", "there is no snapshot"),
    ("", "", "", "reset --to nosuch", "--to: no baseline is called so, and there is no snapshot"),
    ("", "", "", "reset --nosuch", "no idea what '--nosuch' is"),
    ("", "", "", "nosuch", "no idea what 'nosuch' is"),
]


def project(folder: Path, file: str, old: str, new: str) -> None:
    """A project of its own name: nobody's containers are found, whatever goes wrong."""
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    settings = folder / "sandbox.toml"
    settings.write_text(settings.read_text().replace('"momentry"', '"bad-input"', 1))
    if file:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1))


def run(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *PROGRAM,
            *command.split(),
            *(["--config", "sandbox.toml"] if command != "nosuch" else []),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={k: v for k, v in os.environ.items() if not k.endswith(("_PASSWORD", "_PORT"))},
        timeout=60,
    )


@pytest.mark.parametrize(("file", "old", "new", "command", "line"), MISTAKES)
def test_one_clear_line_and_nothing_changed(
    file: str, old: str, new: str, command: str, line: str, tmp_path: Path
) -> None:
    project(tmp_path, file, old, new)
    if line.startswith(":"):  # the line on which the mistake stands
        texts = (tmp_path / file).read_text().splitlines()
        line = f"{file}:{1 + next(i for i, text in enumerate(texts) if new in text)}{line}"
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = run(tmp_path, command)
    assert done.returncode == 2, done.stderr
    first, *hints = done.stderr.strip().splitlines()
    assert first.startswith("error ")
    assert line in first
    assert all(hint.startswith("  ") for hint in hints)  # what to do next, no traceback
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_dry_run_on_a_fresh_clone_changes_nothing(tmp_path: Path) -> None:
    project(tmp_path, "", "", "")
    for command in ("env --dry-run", "up --dry-run", "seed --dry-run"):
        done = run(tmp_path, command)
        assert done.returncode == 0, done.stderr
        assert done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
