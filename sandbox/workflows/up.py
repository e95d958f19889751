"""Starts and stops the servers of both environments, and tells what runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sandbox.engine import ServiceStatus
from sandbox.errors import ConfigError
from sandbox.layout import Place
from sandbox.model import Environment
from sandbox.report import Warned
from sandbox.workflows import dedicated, servers
from sandbox.workflows.credentials import changing
from sandbox.workflows.env import write_env
from sandbox.workflows.isolate import isolate
from sandbox.workflows.prune import remove_all
from sandbox.workflows.session import Session


@dataclass(frozen=True, kw_only=True)
class Started:
    """What `up` did, or would do: the plan's steps in words, and what answers now."""

    steps: tuple[str, ...]
    products: tuple[tuple[str, str], ...] = ()  # store, product and version


def up(session: Session, *, app: bool = False, dry_run: bool = False) -> Started:
    """Start both environments and wait until every store answers a real query."""
    servers.check(session, app)
    if dry_run:
        with session.project.vault.rehearsal():
            changes = write_env(session, dry_run=True)
            steps = tuple(f"write {c.file}: {', '.join(c.added)}" for c in changes if c.added)
            return Started(steps=steps + servers.steps(servers.plans(session, app)))
    with changing(session):
        if session.project.layout == "dedicated":
            dedicated.mend(session)  # what was killed may have left servers stopped, or stopping
        write_env(session)  # passwords, before the servers are made with them
        plans = servers.plans(session, app)
        servers.apply(session, plans)
        products = servers.ready(session)
        write_env(session)  # addresses, now that ports are known
    isolate(session)
    return Started(steps=servers.steps(plans), products=products)


def down(
    session: Session,
    *,
    dry_run: bool = False,
    prune: bool = False,
    confirm: Callable[[str], None] = lambda question: None,
) -> tuple[str, ...]:
    """Stop and remove containers: a named playground's only, else of both environments. Volumes
    always stay (P9). `prune`: the playground's spaces, logins, baselines and env file go, too."""
    environments: tuple[Environment, ...] = ("playground", "production")
    if session.external or session.project.playground:
        environments = ("playground",)
    projects = [session.project.compose_project(e) for e in environments]
    found = [
        f"remove {project}/{one.service}"
        for project in projects
        for one in session.engine.status(project)
    ]
    if prune:
        found += [f"remove {_shown(place)}" for place in session.places() if not place.shared]
    if dry_run:
        return tuple(found)
    if prune:
        whose = session.project.playground or "the playground"
        confirm(f"Remove for good all that {whose} has: spaces, data, logins, env file?")
    with changing(session):
        if prune:
            remove_all(session)
        for project in projects:
            for kept in session.engine.down(project):
                session.report(Warned(message=kept))
        if prune:
            session.engine.prune(session.project.compose_project("playground"))
            session.project.forget()
    return tuple(found)


def _shown(place: Place) -> str:
    return f"{place.kind} {place.playground.name}"


def status(session: Session) -> dict[Environment, tuple[ServiceStatus, ...]]:
    """The containers of both environments, with the images that really run."""
    both: tuple[Environment, ...] = ("production", "playground")
    return {e: session.engine.status(session.project.compose_project(e)) for e in both}


def logs(
    session: Session, environment: Environment, service: str, *, follow: bool, tail: int
) -> Iterator[str]:
    """A service's log lines."""
    project = session.project.compose_project(environment)
    names = [one.service for one in session.engine.status(project)]
    if service not in names:
        raise ConfigError(
            f"there is no service {service!r} in {project}",
            hint=f"running: {', '.join(names) or 'nothing; run ./inv up'}",
        )
    return session.engine.logs(project, service, follow=follow, tail=tail)
