"""Progress as a person sees it: bars on a terminal, plain lines where there is none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = """
import time
from sandbox import console as shown
from sandbox.report import Progress

shown.PLAIN_EVERY = 0.4
console = shown.Console()
with console.progress():
    for step in range(1, 6):
        for store, rows in (("postgres", 1000), ("files", 10)):
            moved = rows * step // 5
            console.report(Progress(task="load", store=store, rows=moved, total_rows=rows,
                                    bytes=moved * 1_000_000 * (store != "files"),
                                    done=step == 5))
        time.sleep(0.25)
"""


def test_bars_on_a_terminal_with_rate_and_time_left() -> None:
    reader, writer = os.openpty()
    size = {**os.environ, "TERM": "xterm", "COLUMNS": "110", "LINES": "30"}
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stderr=writer, cwd=ROOT, env=size):
        os.close(writer)
        seen = b""
        try:
            while piece := os.read(reader, 1 << 16):
                seen += piece
        except OSError:  # the other end is closed
            pass
    os.close(reader)
    text = seen.decode()
    assert "load postgres" in text and "load files" in text
    assert re.search(r"\d [kMG]B/s", text) and "0:0" in text
    assert re.search(r" [1-9]\d %", text)  # on its way, and not only begun or ended
    assert "\x1b[1A" in text  # the bars are drawn over one another, not one below the other


def test_plain_lines_without_a_terminal() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, cwd=ROOT
    )
    lines = done.stderr.splitlines()
    assert "\x1b" not in done.stderr
    assert any("of 1,000 rows  about 0 s left" in line for line in lines)
    ended = [line for line in lines if "left" not in line]
    assert [line.split()[:4] for line in ended[-2:]] == [
        ["load", "postgres", "1,000", "rows"],
        ["load", "files", "10", "rows"],
    ]
    assert re.search(r"1.0 GB  \d+(\.\d)? MB/s", ended[-2])
    assert re.search(r"10 rows  \d+ rows/s", ended[-1])  # whose bytes nobody counted
    assert len(lines) < 10
