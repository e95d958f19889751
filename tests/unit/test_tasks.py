"""What the project's own tasks start."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SAID = "import os, sys; print(os.path.basename(os.getcwd()), sys.argv[1:]); sys.exit(3)"
RUN = "import tasks, invoke; tasks._python(invoke.Context(), 'said', 'a b', '$HOME')"


def test_they_run_in_a_folder_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "it's $(my) folder; ü"
    folder.mkdir()
    (folder / "tasks.py").write_bytes((ROOT / "tasks.py").read_bytes())
    (folder / "sandbox").symlink_to(ROOT / "sandbox")
    (folder / "said.py").write_text(SAID)
    argv = [sys.executable, "-c", RUN]
    done = subprocess.run(
        argv, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout == f"{folder.name} ['a b', '$HOME']\n"
