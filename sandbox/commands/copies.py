"""Production, masked, into snapshots and from there into the playground."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from invoke.context import Context
from invoke.tasks import task

from sandbox.commands import ask, command, helping, kinds_of, planned_text, session_of, show_loaded
from sandbox.console import Console, size
from sandbox.errors import ConfigError


@task(
    help=helping(
        "json",
        "dry-run",
        "config",
        "playground",
        load="load it into the playground as well",
        resume="go on with the snapshot that was interrupted last",
    )
)
@command
def snapshot(
    context: Context,
    load: bool = False,
    resume: bool = False,
    json: bool = False,
    dry_run: bool = False,
    config: str = "",
    playground: str = "",
) -> None:
    """Copy production, masked, into a new snapshot on disk; search it for originals."""
    from sandbox.workflows import snapshot as taking
    from sandbox.workflows.load import load as put
    from sandbox.workflows.snapshots import summary

    console = Console(as_json=json)
    with session_of(console, config, playground) as session, console.progress():
        if dry_run:
            planned = taking.plan(session)
            rows = [
                f"{k:<9} {n}  {c:,} rows"
                for k, d in planned["datasets"].items()
                for n, c in d.items()
            ]
            console.result(planned | {"dry_run": True}, "\n".join(rows))
            return
        taken = taking.snapshot(session, resume=resume)
        result = summary(taken.artifact)
        if load:
            result["loaded"] = put(session, taken.artifact.id, mask=taken.mask).rows
    console.result(result, f"snapshot {taken.artifact.id}, {size(result['bytes'])} on disk")


@task(
    help=helping(
        "json",
        "config",
        write="write the suggested policy to this new file",
        check="compare with the present policy instead: exit 4 on drift",
        rows="rows of each table and collection to look at, 0 for all",
    )
)
@command
def classify(
    context: Context,
    check: bool = False,
    write: str = "",
    rows: int = 500,
    json: bool = False,
    config: str = "",
) -> None:
    """Find what looks personal in production and suggest rules for it; or check the policy."""
    from sandbox.workflows import classify as looking

    console = Console(as_json=json)
    path = Path(write) if write else None
    if path is not None and (check or path.exists()):
        what = "there is nothing to write" if check else "the file exists; it was not changed"
        raise ConfigError(what, where=f"--write {write}", hint="name a new file, without --check")
    with session_of(console, config, "") as session:
        if check:
            findings = looking.check(session, rows=rows)
            console.result(
                {"drift": [vars(one) for one in findings]},
                "the policy is up to date" if not findings else "",
            )
            looking.refuse(findings)
            return
        found = looking.classify(session, rows=rows)
    if path is not None:
        path.write_text(found.text)
    shown = f"wrote {write}" if write else found.text
    console.result({"policy": found.text, "places": looking.facts(found)}, shown)


@task(
    positional=["snapshot"],
    help=helping(
        "json",
        "dry-run",
        "yes",
        "config",
        "playground",
        "store",
        snapshot="the snapshot's id, or its beginning (latest when not given)",
        search="search the playground for originals afterwards (reads production)",
        resume="go on with the load that was interrupted: finished stores are not loaded again",
        discard_more="go on where a store holds far more than the last load left",
    ),
)
@command
def load(
    context: Context,
    snapshot: str = "latest",
    store: str = "",
    search: bool = True,
    resume: bool = False,
    discard_more: bool = False,
    yes: bool = False,
    json: bool = False,
    dry_run: bool = False,
    config: str = "",
    playground: str = "",
) -> None:
    """Load a snapshot into the playground: built beside, then swapped in, all stores or none."""
    from sandbox.workflows.load import load as put
    from sandbox.workflows.load import plan
    from sandbox.workflows.snapshot import open_mask

    console = Console(as_json=json)
    with session_of(console, config, playground) as session, console.progress():
        planned = plan(session, snapshot, kinds_of(store))
        if dry_run:
            console.result(planned | {"dry_run": True}, planned_text(planned))
            return
        ask(f"Replace the playground's data by snapshot {planned['snapshot']}?", yes)
        mask = open_mask(session.project) if search else None
        more = {"resume": resume, "discard_more": discard_more}
        loaded = put(session, snapshot, kinds_of(store), mask=mask, **more)
    show_loaded(console, loaded)


@task(
    positional=["action", "name", "other"],
    help=helping(
        "json",
        "yes",
        "dry-run",
        "config",
        action="list (the default), show, verify, diff, prune, export or import",
        name="a snapshot's id or its beginning; for import, the file",
        other="the second snapshot of diff; the file of export",
        keep="how many prune keeps",
        encrypt="export: with a passphrase, asked for or in SANDBOX_PASSPHRASE",
        format="export: mongodump, for a folder that mongorestore reads",
    ),
)
@command
def snapshots(
    context: Context,
    action: str = "list",
    name: str = "latest",
    other: str = "",
    keep: int = 5,
    encrypt: bool = False,
    format: str = "",
    yes: bool = False,
    json: bool = False,
    dry_run: bool = False,
    config: str = "",
) -> None:
    """List, show, compare, check, prune, export and import snapshots."""
    from sandbox.project import open_project
    from sandbox.workflows import snapshots as shelf

    console = Console(as_json=json)
    project = open_project(config)
    shelf.check_action(action)
    if action == "list":
        _list_snapshots(console, shelf.listing(project))
    elif action == "show":
        _show_snapshot(console, shelf.show(project, name))
    elif action == "verify":
        checked = shelf.verify(project, name)
        console.result(checked, f"{checked['id']}: {checked['parts']} parts, all checksums match")
    elif action == "diff":
        found = shelf.diff(project, name, other or "latest")
        console.result(found, "\n".join(found["differences"]) or "no difference")
    elif action == "prune":
        removed = shelf.prune(project, keep, dry_run=dry_run, confirm=lambda q: ask(q, yes))
        console.result({"removed": removed, "dry_run": dry_run}, "\n".join(removed) or "none")
    elif action == "export" and shelf.check_format(format):
        dumped = shelf.dump(project, name, other)
        lines = [f"{dumped['folder']}, {size(dumped['bytes'])}", *dumped["notes"]]
        console.result(dumped, "\n".join(lines))
    elif action == "export":
        secret = (lambda: _passphrase(twice=True)) if encrypt else None
        written = shelf.export(project, name, other, passphrase=secret)
        console.result(written, f"{written['file']}, {size(written['bytes'])}")
    else:
        taken = shelf.import_(project, name, passphrase=_passphrase)
        console.result(taken, f"snapshot {taken['id']}")


def _passphrase(*, twice: bool = False) -> str:
    """Never an argument: other users of the machine see those."""
    import getpass

    given = os.environ.get("SANDBOX_PASSPHRASE", "")
    if given or not sys.stdin.isatty():
        if not given:
            raise ConfigError("the file needs a passphrase", hint="set SANDBOX_PASSPHRASE")
        return given
    typed = getpass.getpass("Passphrase: ")
    if twice and getpass.getpass("Once more: ") != typed:
        raise ConfigError("the two are not the same")
    return typed


def _list_snapshots(console: Console, found: Any) -> None:
    if console.as_json:
        console.json({"snapshots": found})
        return
    rows = [
        (
            "*" if one["loaded"] else "",
            one["id"],
            one["created"],
            f"{sum(one['rows'].values()):,}",
            size(one["bytes"]),
        )
        for one in found
    ]
    console.table("Snapshots (* is loaded)", ("", "id", "created", "records", "size"), rows)


def _fact(name: str, value: Any) -> list[str]:
    """One fact of a receipt; the masking's counts have a line for each rule."""
    if not isinstance(value, dict):
        return [f"{name}: {value}"]
    flat = ", ".join(f"{k} {v}" for k, v in value.items() if not isinstance(v, dict))
    lines = [f"{name}: {flat}".rstrip()]
    for key, inner in value.items():
        if isinstance(inner, dict):
            lines.append(f"  {key}:")
            lines += [f"    {k}: {v}" for k, v in inner.items()]
    return lines


def _show_snapshot(console: Console, shown: Any) -> None:
    if console.as_json:
        console.json(shown)
        return
    console.line(f"snapshot {shown['id']}, made {shown['created']}")
    for name, value in shown["facts"].items():
        for line in _fact(name, value):
            console.line(f"  {line}")
    rows = [
        (
            part["kind"],
            part["dataset"],
            f"{part['rows']:,}",
            size(part["bytes"]),
            part["sha256"][:12],
        )
        for part in shown["parts"]
    ]
    console.table("Parts", ("store", "dataset", "rows", "size", "sha256"), rows)
