"""What a person types: arguments -> workflow -> exit code, and nothing else."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sandbox.console import Console
from sandbox.errors import ConfigError, Refused, SandboxError

HELP = {
    "json": "print the result as JSON on standard output",
    "dry-run": "say what would be done, and change nothing",
    "yes": "do not ask (also SANDBOX_YES=1); installs a Docker engine where there is none",
    "config": "another sandbox.toml (also SANDBOX_CONFIG)",
    "playground": "a named playground beside the default one",
    "store": "only this store: postgres, mongo, qdrant, redis or files",
    "scale": "1 is about 100,000 rows and 10,000 vectors",
    "layout": "partial, namespaced or dedicated",
}


def helping(*names: str, **more: str) -> dict[str, str]:
    return {name: HELP[name] for name in names} | {k.replace("_", "-"): v for k, v in more.items()}


def command(body: Callable[..., None]) -> Callable[..., None]:
    """Turn every error into one clear line and its exit code; Ctrl-C into 130."""

    @functools.wraps(body)
    def run(*arguments: Any, **options: Any) -> None:
        console = Console(as_json=bool(options.get("json")))
        try:
            body(*arguments, **options)
        except SandboxError as error:
            console.error(error)
            sys.exit(error.exit_code)
        except OSError as error:
            where = str(error.filename or "")
            console.error(SandboxError(error.strerror or str(error), where=where))
            sys.exit(1)
        except KeyboardInterrupt:
            console.error(SandboxError("stopped; the next command goes on from a clean state"))
            sys.exit(130)
        except Exception as error:
            console.error(_unexpected(error))
            sys.exit(1)

    return run


def _unexpected(error: Exception) -> SandboxError:
    """Where it happened, and not what it says: a driver's message may quote production's data."""
    frames = traceback.extract_tb(error.__traceback__)
    if os.environ.get("SANDBOX_DEBUG", "") not in ("", "0"):
        sys.stderr.writelines(traceback.format_list(frames))
    last = frames[-1]
    return SandboxError(
        f"unexpected {type(error).__name__} in {Path(last.filename).name}, line {last.lineno}",
        hint="SANDBOX_DEBUG=1 shows the way there; please report it",
    )


def session_of(console: Console, config: str, playground: str) -> Any:
    """An opened project with its connections. Imported here: `./inv --list` needs no driver."""
    from sandbox.project import open_project
    from sandbox.workflows.session import Session

    return Session(open_project(config, playground=playground), console.report)


def _yes(given: bool) -> bool:
    return given or os.environ.get("SANDBOX_YES", "") not in ("", "0")


def ask(question: str, yes: bool) -> None:
    """A person is asked; a script says --yes."""
    if _yes(yes):
        return
    if not sys.stdin.isatty():
        raise Refused(f"{question} Nobody is there to ask", hint="--yes says so in a script")
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise Refused("not confirmed; nothing was changed")


def engine_for(console: Console, yes: bool) -> None:
    """A Docker engine that answers: installed and started where that is possible and wanted."""
    from sandbox import host
    from sandbox.engine import connect
    from sandbox.errors import Unreachable

    try:
        connect(environment=os.environ)
    except Unreachable:
        if not host.can_install():
            raise
        ask("No Docker engine answers. Install docker.io and start it here?", yes)
        host.install_engine(console.report)


def kinds_of(store: str) -> tuple[Any, ...]:
    from sandbox.model import KINDS

    if not store:
        return ()
    if store not in KINDS:
        raise ConfigError(
            f"there is no store {store!r}", where="--store", hint=f"one of {', '.join(KINDS)}"
        )
    return (store,)


def planned_text(planned: Any) -> str:
    stores = ", ".join(rows_text(kind, rows) for kind, rows in planned["rows"].items())
    return f"would load snapshot {planned['snapshot']}: {stores}"


def rows_text(kind: str, rows: int | None) -> str:
    """A server that is swapped whole has no number of rows."""
    return kind if rows is None else f"{kind} {rows:,}"


def show_loaded(console: Console, loaded: Any) -> None:
    stores = ", ".join(rows_text(kind, rows) for kind, rows in loaded.rows.items())
    console.result(
        {
            "snapshot": loaded.snapshot,
            "rows": loaded.rows,
            "notes": loaded.notes,
            "seconds": round(loaded.seconds, 3),
        },
        f"snapshot {loaded.snapshot} in {loaded.seconds:.1f} s: {stores}",
    )
