"""Reset at several sizes, both layouts and what people use today, side by side in one run.

    python -m benchmarks.reset --sizes 100,1000,5000 --json reset.json --plot docs/reset.svg

For each size of the largest PostgreSQL table, with the other stores to match: a playground of its
own is filled and kept as a baseline; 1,000 rows and a share of everything else are changed; the
time runs from the command `./inv reset`, Python's start included, to the first query answered on
the largest table of every store. The peers restore the PostgreSQL table only. The disk should hold
eight times the largest size. What was measured is written after each step: a run may be stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker

from benchmarks import reset_peers
from benchmarks.plot import plot
from benchmarks.reset_world import first_write, sizes, timed_reset, world

WAYS = ("dedicated", "namespaced", "dslr", "pg_restore", "compose")
LIMIT = 2.0  # seconds
GROWTH = 1.5  # the largest size to the smallest, in layout dedicated


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", default="100", help="MB of PostgreSQL data, comma-separated")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="an SVG file")
    parser.add_argument("--draw", type=Path, help="only draw this result again")
    given = parser.parse_args()
    if given.draw:
        found = json.loads(given.draw.read_text())
    else:
        found = measure(
            [int(one) for one in given.sizes.split(",")],
            given.ways.split(","),
            given.runs,
            given.json,
        )
    if given.plot:
        given.plot.write_text(plot(found))
    print(json.dumps(found, indent=1))


def measure(megabytes: list[int], ways: list[str], runs: int, file: Path | None) -> dict[str, Any]:
    found: dict[str, Any] = {"machine": machine(), "runs": runs, "sizes": {}}

    def keep() -> None:
        found["met"] = met(found["sizes"])
        if file:
            file.write_text(json.dumps(found, indent=1) + "\n")

    with tempfile.TemporaryDirectory(prefix="reset-bench-") as name:
        folder = Path(name)
        dslr = reset_peers.install_dslr(folder) if "dslr" in ways else None
        for size in megabytes:
            row: dict[str, Any] = {}
            found["sizes"][str(size)] = row
            for layout in [way for way in ("dedicated", "namespaced") if way in ways]:
                tell(f"{size} MB: {layout}")
                row[layout] = ours(folder / f"{layout}-{size}", layout, size, runs)
                keep()
            if {"dslr", "pg_restore", "compose"} & set(ways):
                tell(f"{size} MB: peers")
                row.update(peers(folder / f"peer-{size}", size, ways, runs, dslr))
                keep()
    return found


def ours(folder: Path, layout: str, size: int, runs: int) -> dict[str, Any]:
    folder.mkdir()
    with world(folder, layout, size) as made:
        timed = [timed_reset(made) for _ in range(runs)]
        found: dict[str, Any] = {
            "seconds": statistics.median(one["answered"] for one in timed),
            "command": statistics.median(one["command"] for one in timed),
            "all": [one["answered"] for one in timed],
            **sizes(made),
        }
        if layout == "dedicated":
            found["first_write"] = first_write(made, at_once=False)
            found["first_write_at_once"] = first_write(made, at_once=True)
    return found


def peers(folder: Path, size: int, ways: list[str], runs: int, dslr: Path | None) -> dict[str, Any]:
    folder.mkdir()
    found = {}
    with reset_peers.peer(folder, size) as made:
        known: dict[str, Callable[[], Callable[[], None]]] = {
            "dslr": lambda: made.dslr(dslr),  # type: ignore[arg-type]
            "pg_restore": lambda: made.pg_restore,
            "compose": lambda: made.compose_anew,
        }
        for way in [one for one in known if one in ways]:
            back = known[way]()
            timed = [made.timed(back) for _ in range(runs)]
            found[way] = {"seconds": statistics.median(timed), "all": timed}
    return found


def met(found: dict[str, Any]) -> dict[str, bool]:
    """What the issue demands, as far as it was measured."""
    result = {}
    for layout in ("dedicated", "namespaced"):
        seconds = [row[layout]["seconds"] for row in found.values() if layout in row]
        if seconds:
            result[f"{layout} within {LIMIT:.0f} s"] = max(seconds) <= LIMIT
            if layout == "dedicated" and len(seconds) > 1:
                result[f"largest within {GROWTH} times smallest"] = (
                    seconds[-1] <= GROWTH * seconds[0]
                )
    return result


def machine() -> dict[str, Any]:
    information = docker.from_env().info()
    return {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "engine": information["ServerVersion"],
        "storage": information["Driver"],
        "load": os.getloadavg()[0],
    }


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
