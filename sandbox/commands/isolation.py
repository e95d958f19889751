"""Sets the playground apart, proves it, and changes keys and logins."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from invoke.context import Context
from invoke.tasks import task

from sandbox.commands import ask, command, helping, session_of
from sandbox.console import Console
from sandbox.errors import ConfigError, SandboxError


@task(
    help=helping(
        "layout",
        "json",
        "yes",
        "dry-run",
        "config",
        "playground",
        prune="also remove what the layout no longer uses, after asking",
        print="print the statements that an administrator would run, and run none",
    )
)
@command
def isolate(
    context: Context,
    layout: str = "",
    prune: bool = False,
    print: bool = False,
    yes: bool = False,
    json: bool = False,
    dry_run: bool = False,
    config: str = "",
    playground: str = "",
) -> None:
    """Give the playground a space and a login of its own in every store; --layout moves it."""
    from sandbox.workflows.isolate import isolate as separate
    from sandbox.workflows.isolate import script
    from sandbox.workflows.move import move
    from sandbox.workflows.prune import leftovers
    from sandbox.workflows.prune import prune as clean

    console = Console(as_json=json)
    moved: Any = None
    left: tuple[Any, ...] = ()
    with session_of(console, config, playground) as session, console.progress():
        if layout and not print:
            moved = move(session, layout, dry_run=dry_run)
            done = moved.statements
        else:
            external = print and session.external
            done = script(session) if external else separate(session, dry_run=dry_run or print)
        if prune and not print:
            left = leftovers(session.at(layout) if layout else session)
            if not dry_run:
                done += clean(session, lambda question: ask(question, yes))
    _show_isolated(console, done, moved, left, dry_run or print, as_script=print)


def _show_isolated(
    console: Console, done: Any, moved: Any, left: Any, dry_run: bool, *, as_script: bool
) -> None:
    statements = [
        {"store": one.kind, "server": one.server, "text": statement.text, "why": statement.why}
        for one in done
        for statement in one.statements
    ]
    if as_script:
        lines = [f"-- {one['store']}: {one['why']}\n{one['text']}" for one in statements]
    else:
        lines = [f"{one['store']:<9} {one['why']}" for one in statements]
    result: dict[str, Any] = {"statements": statements, "dry_run": dry_run}
    if moved is not None:
        result |= {
            "from": moved.origin,
            "to": moved.target,
            "steps": moved.lines,
            "carried": {one.kind: one.rows for one in moved.carried},
        }
        if dry_run or moved.origin != moved.target:
            lines = [f"layout {moved.origin} -> {moved.target}", *moved.lines, *lines]
    result["pruned"] = [one.what for one in left]
    lines += [f"remove {one.what}" for one in left]
    console.result(result, "\n".join(lines) or "nothing to do")


@task(
    help=helping(
        "json",
        "config",
        "playground",
        junit="write JUnit XML to this file",
        attempts="show every attempt under its row",
        watch="repeat every so many seconds, until Ctrl-C; its exit code is the last one",
        leaks="search the playground for originals of masked values as well",
    )
)
@command
def verify(
    context: Context,
    json: bool = False,
    junit: str = "",
    attempts: bool = False,
    watch: float = 0.0,
    leaks: bool = False,
    config: str = "",
    playground: str = "",
) -> None:
    """Try to cross the line between production and playground; exit 5 when anything does."""
    from sandbox.workflows import leaks as searching
    from sandbox.workflows.snapshot import open_mask
    from sandbox.workflows.verify import broken
    from sandbox.workflows.verify import verify as probe

    console = Console(as_json=json)
    error: SandboxError | None = None
    try:
        while True:
            searched = None
            with session_of(console, config, playground) as session:
                verdict = probe(session)
                if leaks:
                    mask = open_mask(session.project)
                    searching.collect(session, mask)
                    searched = searching.search_playground(session, mask)
            if junit:
                Path(junit).write_text(verdict.as_junit())
            if json:
                console.json(verdict.as_json() | ({"leaks": searched} if searched else {}))
            else:
                _matrix(console, verdict, attempts)
            error = broken(verdict)
            if not watch:
                break
            time.sleep(watch)
    except KeyboardInterrupt:  # the way out of --watch: what was seen last decides
        if not watch:
            raise
    if error is not None and json:
        sys.exit(error.exit_code)
    if error is not None:
        raise error


@task(
    positional=["pattern"],
    help=helping("json", "config", "playground", pattern="names that match, as in a shell: user:*"),
)
@command
def redis_keys(
    context: Context,
    pattern: str = "*",
    json: bool = False,
    config: str = "",
    playground: str = "",
) -> None:
    """List the playground's Redis keys, and bring its application's list of them up to date."""
    from sandbox.workflows.redis_keys import redis_keys as look

    console = Console(as_json=json)
    with session_of(console, config, playground) as session:
        listed, names = look(session, pattern)
    console.result({"list": listed, "keys": names}, "\n".join(names))


def _matrix(console: Console, verdict: Any, attempts: bool) -> None:
    rows = []
    for row in verdict.rows:
        passed = f"{len(row.attempts) - len(row.failed)}/{len(row.attempts)}"
        state = "isolated" if row.isolated else "shared" if row.shared else "BROKEN"
        rows.append(
            (row.resource, _short(row.production), _short(row.playground), row.how, passed, state)
        )
    columns = ("resource", "production", "playground", "how", "attempts", "verdict")
    console.table(f"Isolation, tried in {verdict.seconds:.1f} s", columns, rows)
    for row in verdict.rows:
        for attempt in row.attempts if attempts else row.failed:
            mark = "ok" if attempt.ok else "BROKEN"
            console.line(
                f"  {mark:<7}{row.resource}: {attempt.identity}: {attempt.tried}: "
                f"expected {attempt.expected}; {attempt.happened}"
            )


def _short(path: str) -> str:
    """A directory below the project's folder, as a person would write it."""
    return path.replace(f"{Path.cwd()}/", "")


@task(
    positional=["action"],
    help=helping(
        "json",
        "yes",
        "dry-run",
        "config",
        action="show (the default) or rotate",
        identities="rotate every login's password and token instead, in every store and playground",
    ),
)
@command
def key(
    context: Context,
    action: str = "show",
    identities: bool = False,
    yes: bool = False,
    json: bool = False,
    dry_run: bool = False,
    config: str = "",
) -> None:
    """The masking key: its id, where it comes from, what was made with another; or a new one."""
    from sandbox.project import open_project
    from sandbox.workflows import keys
    from sandbox.workflows.credentials import check

    console = Console(as_json=json)
    if identities:
        _rotate_identities(console, action, dry_run, yes, config)
        return
    project = open_project(config)
    if action == "rotate" and not dry_run:
        with session_of(console, config, "") as session:
            check(session)
    if action == "show":
        shown = keys.show(project)
        text = f"masking key {shown['key']}, from {shown['from']}"
    elif action == "rotate":
        shown = keys.rotate(project, dry_run=dry_run, confirm=lambda q: ask(q, yes))
        text = f"masking key {shown['key'] or 'to come'} in place of {shown['before']}"
    else:
        raise ConfigError(f"a key cannot {action!r}", where="action", hint="show or rotate")
    console.result(shown | {"dry_run": dry_run}, "\n".join((text, *_made_before(shown["old"]))))


def _rotate_identities(
    console: Console, action: str, dry_run: bool, yes: bool, config: str
) -> None:
    from sandbox.workflows.rotate import rotate_identities

    if action != "rotate":
        raise ConfigError("identities are rotated, not shown", hint="./inv key rotate --identities")
    with session_of(console, config, "") as session, console.progress():
        names = rotate_identities(session, dry_run=dry_run, confirm=lambda q: ask(q, yes))
    console.result({"rotated": names, "dry_run": dry_run}, "\n".join(names))


def _made_before(old: Any) -> list[str]:
    """What still holds pseudonyms of another key."""
    lines = [
        f"  {one['id']}  made with {one['key']}{', in the playground' if one['loaded'] else ''}"
        for one in old
    ]
    wanted = "take a new snapshot and load it: pseudonyms of two keys do not join"
    return [*lines, wanted] if lines else []
