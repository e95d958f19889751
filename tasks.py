"""The commands, as `./inv --list` names them. The tool's own stand in sandbox/commands/, here those
of the demo and of the project itself."""

from __future__ import annotations

import atexit
import gc
import os
import shlex
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from invoke.context import Context
from invoke.tasks import task

from sandbox.commands import command, engine_for, helping, session_of
from sandbox.commands.copies import classify, load, snapshot, snapshots
from sandbox.commands.isolation import isolate, key, redis_keys, verify
from sandbox.commands.returning import baseline, diff, reset
from sandbox.commands.servers import down, env, logs, status, up
from sandbox.console import Console
from sandbox.errors import ConfigError, SandboxError
from sandbox.usage import teach

# A command lives for seconds: garbage is looked for seldom, and not when it ends. Each ends 0.2 s
# sooner.
gc.set_threshold(50_000, 20, 20)
atexit.register(gc.freeze)
# Parts of two drivers that cannot be used here, and are tried only after long imports.
for part in ("pymongo.pyopenssl_context", "httpx._main"):
    sys.modules.setdefault(part, None)  # type: ignore[arg-type]
teach()
ROOT = Path(__file__).parent
__all__ = [
    "baseline",
    "check",
    "classify",
    "demo",
    "diff",
    "doctor",
    "down",
    "env",
    "isolate",
    "key",
    "load",
    "logs",
    "redis_keys",
    "reset",
    "seed",
    "snapshot",
    "snapshots",
    "status",
    "test",
    "up",
    "verify",
]


@task(
    help=helping(
        "scale",
        "json",
        "dry-run",
        "config",
        seed="the random seed: the same one makes the same data",
        replace="throw away the demo data that is there",
    )
)
@command
def seed(
    context: Context,
    scale: float = 1.0,
    seed: int = 1,
    replace: bool = False,
    json: bool = False,
    dry_run: bool = False,
    config: str = "",
) -> None:
    """Fill the stand-in production with demo data, the same people in every store."""
    from demo.tour import fill

    console = Console(as_json=json)
    with session_of(console, config, "") as session, console.progress():
        counts = fill(session, scale=scale, random_seed=seed, replace=replace, dry_run=dry_run)
    lines = [
        f"{store:<9} {sum(rows.values()):>9,} in {len(rows)}" for store, rows in counts.items()
    ]
    console.result({"counts": counts, "dry_run": dry_run}, "\n".join(lines))


@task(help=helping("yes", "json", "config", "scale"))
@command
def demo(
    context: Context,
    scale: float = 1.0,
    yes: bool = False,
    json: bool = False,
    config: str = "",
) -> None:
    """The whole tour: up, seed, isolate, verify, snapshot, load, spoil, reset, verify."""
    from demo.tour import tour

    console = Console(as_json=json)
    began = time.monotonic()
    engine_for(console, yes)
    took = time.monotonic() - began
    with session_of(console, config, "") as session:
        tour(session, console, scale=scale, engine_seconds=took)


@task(help=helping("yes", only="a part of the tests: unit, contract, e2e or interop"))
@command
def test(context: Context, only: str = "", yes: bool = False) -> None:
    """Run every test; the servers are started from the same images as everywhere."""
    if only not in ("", "unit", "contract", "e2e", "interop"):
        raise ConfigError(f"there are no tests called {only!r}", where="--only")
    if only != "unit":
        engine_for(Console(), yes)
        _make_images()
    # A file's tests stay together, since they share servers; most of the time is waiting for these.
    # In the order of tests/conftest.py: with the most tests first, the longest would come last.
    workers = min(4, (os.cpu_count() or 1) + 1)
    side_by_side = ["-n", str(workers), "--dist", "loadfile", "--no-loadscope-reorder"]
    _python(context, "pytest", *side_by_side, *([f"tests/{only}"] if only else []))


@task
@command
def check(context: Context) -> None:
    """Format, lint, types, import contracts and unit tests."""
    _python(context, "ruff", "format", "--check", ".")
    _python(context, "ruff", "check", ".")
    _python(context, "mypy")
    _run(context, str(Path(sys.executable).parent / "lint-imports"))
    _python(context, "pytest", "tests/unit", "tests/test_docs.py")


@task(help=helping("json"))
@command
def doctor(context: Context, json: bool = False) -> None:
    """What is missing on this machine, and how to mend it."""
    from sandbox import host

    console = Console(as_json=json)
    checks = host.checks()
    rows = [("ok" if c.ok else "missing", c.name, c.found, "" if c.ok else c.hint) for c in checks]
    if json:
        columns = ("state", "name", "found", "hint")
        console.json({"checks": [dict(zip(columns, row, strict=True)) for row in rows]})
    else:
        console.table("This machine", ("", "what", "found", "how to mend it"), rows)
    if any(not c.ok and c.needed for c in checks):
        sys.exit(3)


def _make_images() -> None:
    """In the background, while the unit tests run. What goes wrong, the first test that needs the
    image tells."""
    import yaml

    from sandbox.engine import connect
    from sandbox.images import ensure
    from sandbox.report import silent

    client = connect(environment=os.environ).client
    services = yaml.safe_load((ROOT / "compose.prod.yaml").read_text())["services"]

    def make(reference: str) -> None:
        with suppress(SandboxError):
            ensure(client, reference, report=silent)

    for reference in {service["image"] for service in services.values()}:
        threading.Thread(target=make, args=(reference,), daemon=True).start()


def _python(context: Context, *arguments: str) -> None:
    _run(context, sys.executable, "-m", *arguments)


def _run(context: Context, *argv: str) -> None:
    """Run a program in the project's folder, whose name may hold anything; its exit code becomes
    ours."""
    line = f"cd {shlex.quote(str(ROOT))} && exec {shlex.join(argv)}"
    done = context.run(line, pty=False, warn=True)
    if done is not None and done.exited:
        sys.exit(done.exited)
