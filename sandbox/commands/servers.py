"""Starts, stops and shows the servers, and writes the env files."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from sandbox.commands import ask, command, engine_for, helping, session_of
from sandbox.console import Console
from sandbox.errors import ConfigError
from sandbox.model import Environment


@task(
    help=helping(
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
    engine_for(console, yes)
    with session_of(console, config, playground) as session:
        started = start(session, app=app, dry_run=dry_run)
    shown = "\n".join(started.steps) or "everything runs already; nothing to do"
    console.result(
        {"steps": started.steps, "products": dict(started.products), "dry_run": dry_run}, shown
    )


@task(
    help=helping(
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
    with session_of(console, config, playground) as session:
        removed = stop(
            session, dry_run=dry_run, prune=prune, confirm=lambda question: ask(question, yes)
        )
    console.result({"removed": removed, "dry_run": dry_run}, "\n".join(removed) or "nothing runs")


@task(help=helping("json", "config", "playground"))
@command
def status(context: Context, json: bool = False, config: str = "", playground: str = "") -> None:
    """What runs: services, health, ports, and the images that are really used."""
    from sandbox.workflows.up import status as look

    console = Console(as_json=json)
    with session_of(console, config, playground) as session:
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
    if not rows:
        console.line("nothing runs; ./inv up starts it")


@task(
    positional=["service"],
    help=helping(
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

    of: Environment = "playground" if environment == "playground" else "production"
    if environment != of:
        raise ConfigError(
            f"there is no environment {environment!r}",
            where="--environment",
            hint="production or playground",
        )
    console = Console()
    with session_of(console, config, playground) as session:
        for line in read(session, of, service, follow=follow, tail=tail):
            console.line(line)


@task(help=helping("json", "dry-run", "config", "playground"))
@command
def env(
    context: Context,
    json: bool = False,
    dry_run: bool = False,
    config: str = "",
    playground: str = "",
) -> None:
    """Write .env and .env.development in full; what a person changed stays."""
    from sandbox.workflows.env import bring_env

    console = Console(as_json=json)
    with session_of(console, config, playground) as session:
        changes = bring_env(session, dry_run=dry_run)
    lines = [
        f"{c.file}: {len(c.added)} added, {len(c.updated)} updated, {len(c.kept)} of yours kept"
        for c in changes
    ]
    result = [
        {"file": c.file, "added": c.added, "updated": c.updated, "kept": c.kept} for c in changes
    ]
    console.result({"files": result, "dry_run": dry_run}, "\n".join(lines))
