"""The commands: arguments -> workflow -> exit code, nothing else. `./inv --list` names them all."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from invoke import Context, task

from sandbox.console import Console, size
from sandbox.errors import ConfigError, Refused, SandboxError
from sandbox.usage import teach

teach()
ROOT = Path(__file__).parent
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


def _help(*names: str, **more: str) -> dict[str, str]:
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

    return run


def _session(console: Console, config: str, playground: str) -> Any:
    """An opened project with its connections. Imported here: `./inv --list` needs no driver."""
    from sandbox.project import open_project
    from sandbox.workflows.session import Session

    return Session(open_project(config, playground=playground), console.report)


def _yes(given: bool) -> bool:
    return given or os.environ.get("SANDBOX_YES", "") not in ("", "0")


def _ask(question: str, yes: bool) -> None:
    """A person is asked; a script says --yes."""
    if _yes(yes):
        return
    if not sys.stdin.isatty():
        raise Refused(f"{question} Nobody is there to ask", hint="--yes says so in a script")
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise Refused("not confirmed; nothing was changed")


def _engine(console: Console, yes: bool) -> None:
    """A Docker engine that answers: installed and started where that is possible and wanted."""
    from sandbox import host
    from sandbox.engine import connect
    from sandbox.errors import Unreachable

    try:
        connect(environment=os.environ)
    except Unreachable:
        if not host.can_install():
            raise
        _ask("No Docker engine answers. Install docker.io and start it here?", yes)
        host.install_engine(console.report)


def _kinds(store: str) -> tuple[Any, ...]:
    from sandbox.model import KINDS

    if not store:
        return ()
    if store not in KINDS:
        raise ConfigError(
            f"there is no store {store!r}", where="--store", hint=f"one of {', '.join(KINDS)}"
        )
    return (store,)


# --- servers ------------------------------------------------------------------------------------


@task(
    help=_help(
        "yes",
        "json",
        "dry-run",
        "config",
        "playground",
        app="start the application's API and worker",
    )
)
@command
def up(
    context: Context,
    app: bool = False,
    yes: bool = False,
    json: bool = False,
    dry_run: bool = False,
    config: str = "",
    playground: str = "",
) -> None:
    """Start production and playground, and wait until every store answers."""
    from sandbox.workflows.up import up as start

    console = Console(as_json=json)
    _engine(console, yes)
    with _session(console, config, playground) as session:
        started = start(session, app=app, dry_run=dry_run)
    shown = "\n".join(started.steps) or "everything runs already; nothing to do"
    console.result(
        {"steps": started.steps, "products": dict(started.products), "dry_run": dry_run}, shown
    )


@task(
    help=_help(
        "yes",
        "json",
        "dry-run",
        "config",
        "playground",
        prune="also remove the playground's spaces, logins and env file, after asking",
    )
)
@command
def down(
    context: Context,
    prune: bool = False,
    yes: bool = False,
    json: bool = False,
    dry_run: bool = False,
    config: str = "",
    playground: str = "",
) -> None:
    """Stop and remove the containers. Production's data stays, always."""
    from sandbox.workflows.up import down as stop

    console = Console(as_json=json)
    with _session(console, config, playground) as session:
        removed = stop(
            session, dry_run=dry_run, prune=prune, confirm=lambda question: _ask(question, yes)
        )
    console.result({"removed": removed, "dry_run": dry_run}, "\n".join(removed) or "nothing runs")


@task(help=_help("json", "config", "playground"))
@command
def status(context: Context, json: bool = False, config: str = "", playground: str = "") -> None:
    """What runs: services, health, ports, and the images that are really used."""
    from sandbox.workflows.up import status as look

    console = Console(as_json=json)
    with _session(console, config, playground) as session:
        found = look(session)
        project = session.project
    rows = [
        (
            environment,
            one.service,
            one.state if one.health in ("", one.state) else f"{one.state}, {one.health}",
            " ".join(f"{inside}->{outside}" for inside, outside in sorted(one.ports.items())),
            one.product or one.image,
        )
        for environment, services in found.items()
        for one in services
    ]
    state = project.state()
    if console.as_json:
        columns = ("environment", "service", "state", "ports", "image")
        console.json(
            {
                "project": project.settings.project,
                "layout": project.layout,
                "loaded": state.loaded,
                "services": [dict(zip(columns, row, strict=True)) for row in rows],
            }
        )
        return
    title = f"{project.settings.project}: layout {project.layout}, snapshot {state.loaded or '-'}"
    console.table(title, ("environment", "service", "state", "ports", "runs"), rows)


@task(
    positional=["service"],
    help=_help(
        "config",
        "playground",
        service="the service's name, as in the Compose file",
        environment="production (the default) or playground",
        follow="go on as new lines come",
        tail="only the last lines",
    ),
)
@command
def logs(
    context: Context,
    service: str,
    environment: str = "production",
    follow: bool = False,
    tail: int = 100,
    config: str = "",
    playground: str = "",
) -> None:
    """Show a service's log."""
    from sandbox.workflows.up import logs as read

    if environment not in ("production", "playground"):
        raise ConfigError(f"there is no environment {environment!r}", where="--environment")
    console = Console()
    with _session(console, config, playground) as session:
        for line in read(session, environment, service, follow=follow, tail=tail):
            console.line(line)


@task(help=_help("json", "dry-run", "config", "playground"))
@command
def env(
    context: Context,
    json: bool = False,
    dry_run: bool = False,
    config: str = "",
    playground: str = "",
) -> None:
    """Write .env and .env.development in full; what a person changed stays."""
    from sandbox.workflows.env import write_env

    console = Console(as_json=json)
    with _session(console, config, playground) as session:
        changes = write_env(session, dry_run=dry_run)
    lines = [
        f"{c.file}: {len(c.added)} added, {len(c.updated)} updated, {len(c.kept)} of yours kept"
        for c in changes
    ]
    result = [
        {"file": c.file, "added": c.added, "updated": c.updated, "kept": c.kept} for c in changes
    ]
    console.result({"files": result, "dry_run": dry_run}, "\n".join(lines))


# --- isolation ----------------------------------------------------------------------------------


@task(
    help=_help(
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
    moved, left = None, ()
    with _session(console, config, playground) as session, console.progress():
        if layout and not print:
            moved = move(session, layout, dry_run=dry_run)
            done = moved.statements
        else:
            external = print and session.external
            done = script(session) if external else separate(session, dry_run=dry_run or print)
        if prune and not print:
            left = leftovers(session.at(layout) if layout else session)
            if not dry_run:
                done += clean(session, lambda question: _ask(question, yes))
        else:
            left = ()
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
    help=_help(
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
            with _session(console, config, playground) as session:
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
    help=_help("json", "config", "playground", pattern="names that match, as in a shell: user:*"),
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
    with _session(console, config, playground) as session:
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


# --- data ---------------------------------------------------------------------------------------


@task(
    help=_help(
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
    with _session(console, config, "") as session, console.progress():
        counts = fill(session, scale=scale, random_seed=seed, replace=replace, dry_run=dry_run)
    lines = [
        f"{store:<9} {sum(rows.values()):>9,} in {len(rows)}" for store, rows in counts.items()
    ]
    console.result({"counts": counts, "dry_run": dry_run}, "\n".join(lines))


@task(
    help=_help(
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
    with _session(console, config, playground) as session, console.progress():
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
    help=_help(
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
    with _session(console, config, "") as session:
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
    help=_help(
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
    with _session(console, config, playground) as session, console.progress():
        planned = plan(session, snapshot, _kinds(store))
        if dry_run:
            console.result(planned | {"dry_run": True}, _planned(planned))
            return
        _ask(f"Replace the playground's data by snapshot {planned['snapshot']}?", yes)
        mask = open_mask(session.project) if search else None
        more = {"resume": resume, "discard_more": discard_more}
        loaded = put(session, snapshot, _kinds(store), mask=mask, **more)
    _show_loaded(console, loaded)


@task(
    help=_help(
        "json",
        "dry-run",
        "yes",
        "config",
        "playground",
        "store",
        to="another snapshot than the one that is loaded, or a baseline's name",
        safety="first keep the playground as it is, as baseline `safety`, if it has changed",
        discard_more="go on where a store holds far more than the last load left",
    )
)
@command
def reset(
    context: Context,
    to: str = "",
    store: str = "",
    safety: bool = False,
    discard_more: bool = False,
    yes: bool = False,
    json: bool = False,
    dry_run: bool = False,
    config: str = "",
    playground: str = "",
) -> None:
    """Put the playground back to what was loaded. Production is not contacted."""
    from sandbox.workflows.reset import plan_reset
    from sandbox.workflows.reset import reset as back

    console = Console(as_json=json)
    with _session(console, config, playground) as session, console.progress():
        planned = plan_reset(session, to, _kinds(store))
        if dry_run:
            console.result(planned | {"dry_run": True}, _planned(planned))
            return
        if not safety:
            _ask(f"Throw away what changed since snapshot {planned['snapshot']}?", yes)
        more = {"safety": safety, "discard_more": discard_more}
        loaded = back(session, to, _kinds(store), **more)
    _show_loaded(console, loaded)


def _planned(planned: Any) -> str:
    stores = ", ".join(_rows_of(kind, rows) for kind, rows in planned["rows"].items())
    return f"would load snapshot {planned['snapshot']}: {stores}"


def _rows_of(kind: str, rows: int | None) -> str:
    """A server that is swapped whole has no number of rows."""
    return kind if rows is None else f"{kind} {rows:,}"


def _show_loaded(console: Console, loaded: Any) -> None:
    stores = ", ".join(_rows_of(kind, rows) for kind, rows in loaded.rows.items())
    console.result(
        {
            "snapshot": loaded.snapshot,
            "rows": loaded.rows,
            "notes": loaded.notes,
            "seconds": round(loaded.seconds, 3),
        },
        f"snapshot {loaded.snapshot} in {loaded.seconds:.1f} s: {stores}",
    )


@task(
    help=_help("json", "config", "playground", "store"),
)
@command
def diff(
    context: Context,
    store: str = "",
    json: bool = False,
    config: str = "",
    playground: str = "",
) -> None:
    """What changed in the playground since its baseline, by store and table."""
    from sandbox.workflows.diff import as_json
    from sandbox.workflows.diff import diff as look

    console = Console(as_json=json)
    with _session(console, config, playground) as session:
        found = look(session, _kinds(store))
    if console.as_json:
        console.json({"changes": as_json(found)})
        return
    if not found:
        console.line("nothing has changed")
        return
    rows = [
        (one.store, one.dataset, one.what, f"{one.rows:,}" if one.rows else "", one.detail)
        for one in found
    ]
    console.table("Changed since the baseline", ("store", "what", "how", "rows", ""), rows)


@task(
    positional=["action", "name", "other"],
    help=_help(
        "json",
        "yes",
        "dry-run",
        "config",
        "playground",
        action="list (the default), save, tag or prune",
        name="a baseline's name: to save under, to tag, or to prune (all when not given)",
        other="for tag: the second name",
    ),
)
@command
def baseline(
    context: Context,
    action: str = "list",
    name: str = "",
    other: str = "",
    yes: bool = False,
    json: bool = False,
    dry_run: bool = False,
    config: str = "",
    playground: str = "",
) -> None:
    """Keep the playground under a name, to come back to with `./inv reset --to NAME`."""
    from sandbox.workflows import baselines as shelf

    console = Console(as_json=json)
    shelf.check_action(action)
    with _session(console, config, playground) as session:
        if action == "prune":
            gone = shelf.prune(session, name, dry_run=dry_run, confirm=lambda q: _ask(q, yes))
            console.result({"removed": gone, "dry_run": dry_run}, "\n".join(gone) or "none")
            return
        if action == "save" and not dry_run:
            shelf.save(session, name)
        elif action == "tag" and not dry_run:
            shelf.tag(session, name, other)
        found = shelf.listing(session)
    if console.as_json:
        console.json({"baselines": found, "bytes": sum(one["bytes"] for one in found)})
        return
    rows = [
        (
            "*" if one["current"] else "",
            one["name"],
            one["created"][:19],
            one["snapshot"],
            size(one["bytes"]),
        )
        for one in found
    ]
    total = size(sum(one["bytes"] for one in found))
    title = f"Baselines, {total} in all (* is what reset returns to)"
    console.table(title, ("", "name", "created", "of snapshot", "adds"), rows)


@task(
    positional=["action", "name", "other"],
    help=_help(
        "json",
        "yes",
        "dry-run",
        "config",
        action="list (the default), show, verify, diff, prune, export or import",
        name="a snapshot's id or its beginning; for import, the file",
        other="the second snapshot of diff; the file of export",
        keep="how many prune keeps",
        encrypt="export: with a passphrase, asked for or in SANDBOX_PASSPHRASE",
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
        removed = shelf.prune(project, keep, dry_run=dry_run, confirm=lambda q: _ask(q, yes))
        console.result({"removed": removed, "dry_run": dry_run}, "\n".join(removed) or "none")
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


@task(
    positional=["action"],
    help=_help(
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

    console = Console(as_json=json)
    if identities:
        _rotate_identities(console, action, dry_run, yes, config)
        return
    project = open_project(config)
    if action == "show":
        shown = keys.show(project)
        text = f"masking key {shown['key']}, from {shown['from']}"
    elif action == "rotate":
        shown = keys.rotate(project, dry_run=dry_run, confirm=lambda q: _ask(q, yes))
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
    with _session(console, config, "") as session, console.progress():
        names = rotate_identities(session, dry_run=dry_run, confirm=lambda q: _ask(q, yes))
    console.result({"rotated": names, "dry_run": dry_run}, "\n".join(names))


def _made_before(old: Any) -> list[str]:
    """What still holds pseudonyms of another key."""
    lines = [
        f"  {one['id']}  made with {one['key']}{', in the playground' if one['loaded'] else ''}"
        for one in old
    ]
    wanted = "take a new snapshot and load it: pseudonyms of two keys do not join"
    return [*lines, wanted] if lines else []


@task(help=_help("yes", "json", "config", "scale"))
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
    _engine(console, yes)
    took = time.monotonic() - began
    with _session(console, config, "") as session:
        tour(session, console, scale=scale, engine_seconds=took)


# --- the project itself -------------------------------------------------------------------------


@task(help=_help("yes", only="a part of the tests: unit, contract, e2e or interop"))
@command
def test(context: Context, only: str = "", yes: bool = False) -> None:
    """Run every test; the servers are started from the same images as everywhere."""
    if only not in ("", "unit", "contract", "e2e", "interop"):
        raise ConfigError(f"there are no tests called {only!r}", where="--only")
    if only != "unit":
        _engine(Console(), yes)
    _python(context, "pytest", *([f"tests/{only}"] if only else []))


@task
@command
def check(context: Context) -> None:
    """Format, lint, types, import contracts and unit tests."""
    _python(context, "ruff", "format", "--check", ".")
    _python(context, "ruff", "check", ".")
    _python(context, "mypy")
    with context.cd(str(ROOT)):
        context.run(f"{Path(sys.executable).parent}/lint-imports", pty=False)
    _python(context, "pytest", "tests/unit", "tests/test_docs.py")


@task(help=_help("json"))
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


def _python(context: Context, *arguments: str) -> None:
    """Run a module in this environment; its exit code becomes ours."""
    with context.cd(str(ROOT)):
        done = context.run(" ".join([sys.executable, "-m", *arguments]), pty=False, warn=True)
    if done is not None and done.exited:
        sys.exit(done.exited)
