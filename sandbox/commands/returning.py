"""The playground back to a baseline: what changed, names, reset."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from sandbox.commands import ask, command, helping, kinds_of, planned_text, session_of, show_loaded
from sandbox.console import Console, size


@task(
    help=helping(
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
    with session_of(console, config, playground) as session, console.progress():
        planned = plan_reset(session, to, kinds_of(store))
        if dry_run:
            console.result(planned | {"dry_run": True}, planned_text(planned))
            return
        if not safety:
            ask(f"Throw away what changed since snapshot {planned['snapshot']}?", yes)
        more = {"safety": safety, "discard_more": discard_more}
        loaded = back(session, to, kinds_of(store), **more)
    show_loaded(console, loaded)


@task(
    help=helping("json", "config", "playground", "store"),
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
    with session_of(console, config, playground) as session:
        found = look(session, kinds_of(store))
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
    help=helping(
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
    with session_of(console, config, playground) as session:
        if action == "prune":
            gone = shelf.prune(session, name, dry_run=dry_run, confirm=lambda q: ask(q, yes))
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
