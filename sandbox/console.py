"""Events and results -> a terminal (bars, tables, colours) or plain lines and JSON."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console as Terminal
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from sandbox.errors import SandboxError
from sandbox.report import Event, Step, Warned
from sandbox.report import Progress as Moved

PLAIN_EVERY = 10.0  # seconds between two lines of one store, where there is no terminal
SHORTEST = 0.1  # seconds that a rate is told of


class Console:
    """Results go to stdout; progress, steps and warnings to stderr, so that `--json` stays clean.

    `quiet` drops steps and progress (with `--json`), never warnings and errors.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self._quiet = quiet or as_json
        self._out = Terminal(highlight=False, soft_wrap=not sys.stdout.isatty())
        self._err = Terminal(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, float] = {}
        self._told: dict[str, float] = {}
        self._lock = threading.Lock()

    def report(self, event: Event) -> None:
        """Show one event; called from several threads."""
        with self._lock:
            if isinstance(event, Warned):
                self._err.print(f"[yellow]![/] {escape(event.message)}")
            elif isinstance(event, Step):
                self._step(event)
            else:
                self._moved(event)

    @contextmanager
    def progress(self) -> Iterator[None]:
        """Show bars while the block runs, where there is a terminal."""
        if self._quiet or not self._err.is_terminal:
            yield
            return
        columns = (
            TextColumn("  {task.description:<18}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[moved]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        )
        with Progress(*columns, console=self._err, transient=True) as bars:
            self._bars = bars
            try:
                yield
            finally:
                self._bars = None
                self._tasks.clear()

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table that fits the terminal; tab-separated lines where there is none."""
        if not self._out.is_terminal:
            self.line(title)
            for line in aligned([columns, *rows]):
                self.line("  " + line)
            return
        table = Table(
            title=title, title_justify="left", title_style="bold", box=None, pad_edge=False
        )
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(_coloured(cell) for cell in row))
        self._out.print(table)

    def line(self, text: str = "") -> None:
        self._out.print(escape(text), soft_wrap=True)

    def json(self, value: Any) -> None:
        """One JSON document on stdout."""
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")

    def result(self, value: Mapping[str, Any], shown: str) -> None:
        """The command's result: `value` with `--json`, `shown` otherwise."""
        if self.as_json:
            self.json(value)
        elif shown:
            self.line(shown)

    def error(self, error: SandboxError) -> None:
        """One line (more only where it lists names), and the same as JSON with `--json`."""
        if self.as_json:
            self.json(
                {
                    "error": error.message,
                    "where": error.where,
                    "hint": error.hint,
                    "exit_code": error.exit_code,
                }
            )
        where = f"{error.where}: " if error.where else ""
        self._err.print(f"[red]error[/] {escape(where + error.message)}", soft_wrap=True)
        if error.hint:
            self._err.print(f"  [dim]{escape(error.hint)}[/]", soft_wrap=True)

    def _step(self, event: Step) -> None:
        if self._quiet:
            return
        detail = f"  [dim]{escape(event.detail)}[/]" if event.detail else ""
        took = f"  {event.seconds:.1f} s" if event.seconds else ""
        self._err.print(f"[green]✓[/] {escape(event.name)}{took}{detail}")

    def _moved(self, event: Moved) -> None:
        if self._quiet:
            return
        name = f"{event.task} {event.store}"
        now = time.monotonic()
        took = now - self._began.setdefault(name, now)
        moved = _amount(event, took)
        if event.done:
            self._began.pop(name)
        if self._bars is None:
            self._plain(event, name, moved, now, took)
            return
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=event.total_rows or 1, moved="")
        self._bars.update(
            self._tasks[name],
            completed=event.rows if event.total_rows else 0,
            total=event.total_rows or 1,
            moved=moved,
        )

    def _plain(self, event: Moved, name: str, moved: str, now: float, took: float) -> None:
        """A line at the end, and now and then while it lasts."""
        if event.done:
            self._told.pop(name, None)
            self._err.print(f"  {name:<18} {moved}")
        elif now - self._told.setdefault(name, now) >= PLAIN_EVERY:
            self._told[name] = now
            left = took * (event.total_rows / event.rows - 1) if event.rows else 0
            about = f"  about {left:.0f} s left" if left else ""
            self._err.print(f"  {name:<18} {moved}, of {event.total_rows:,} rows{about}")


def _amount(event: Moved, took: float) -> str:
    """Rows and bytes with their rate; rows alone where bytes are not counted."""
    rows = f"{event.rows:,} rows"
    if not event.bytes:
        return rows + (f"  {event.rows / took:,.0f} rows/s" if took >= SHORTEST else "")
    rate = f"  {size(event.bytes / took)}/s" if took >= SHORTEST else ""
    return f"{rows}  {size(event.bytes)}{rate}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with columns below one another."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def size(count: float) -> str:
    """Bytes for a person: 1.5 GB (powers of 1,000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit in ("B", "kB") else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _coloured(cell: str) -> str:
    colour = {"ok": "green", "isolated": "green", "BROKEN": "bold red", "shared": "red"}.get(cell)
    return f"[{colour}]{escape(cell)}[/]" if colour else escape(cell)
