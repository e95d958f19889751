"""What the end-to-end tests leave behind when they are killed goes with the next run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import docker

from tests.e2e.world import LOCKS, ROOT, made, sweep

BEGINNING = """
import os, sys
from pathlib import Path
import docker
from tests.e2e.world import made
with made(Path(sys.argv[1])) as one:
    label = {"com.docker.compose.project": one.project + "-production"}
    docker.from_env().networks.create(one.project + "-production_default", labels=label)
    print(one.project, flush=True)
    os._exit(9)
"""


def test_what_a_killed_run_left_is_swept_and_a_living_run_is_not(tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", BEGINNING, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert killed.returncode == 9, killed.stderr
    name = killed.stdout.strip()
    networks = docker.from_env().networks
    assert networks.list(names=[f"{name}-production_default"])
    (mine := tmp_path / "mine").mkdir()
    with made(mine) as living:
        sweep()
        assert not networks.list(names=[f"{name}-production_default"])
        assert (LOCKS / living.project).exists()
    assert not (LOCKS / living.project).exists()
