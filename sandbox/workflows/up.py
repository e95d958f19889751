"""Starts and stops the servers of both environments, and tells what runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox import compose, plan
from sandbox.engine import ServiceStatus
from sandbox.errors import ConfigError, Unreachable
from sandbox.model import Environment, Kind
from sandbox.project import locked
from sandbox.report import Step
from sandbox.settings import parse_env
from sandbox.stores import backend
from sandbox.transfer import run_all
from sandbox.workflows.env import write_env
from sandbox.workflows.isolate import isolate
from sandbox.workflows.session import Session

READY_WITHIN = 60.0  # seconds for a store to answer a real query, after its health check


@dataclass(frozen=True, kw_only=True)
class Started:
    """What `up` did, or would do: the plan's steps in words, and what answers now."""

    steps: tuple[str, ...]
    products: tuple[tuple[str, str], ...] = ()  # store, product and version


def up(session: Session, *, app: bool = False, dry_run: bool = False) -> Started:
    """Start both environments and wait until every store answers a real query."""
    if dry_run:
        changes = write_env(session, dry_run=True)
        steps = tuple(f"write {c.file}: {', '.join(c.added)}" for c in changes if c.added)
        return Started(steps=steps + _steps(_plans(session, app, offered=True)))
    with locked(session.project):
        write_env(session)  # passwords, before the servers are made with them
        plans = _plans(session, app)
        for one in plans.values():
            session.engine.apply(one, session.report)
        session.forget_ports()
        products = _ready(session)
        write_env(session)  # addresses, now that ports are known
    isolate(session)
    return Started(steps=_steps(plans), products=products)


def down(session: Session, *, dry_run: bool = False) -> tuple[str, ...]:
    """Stop and remove the containers of both environments. Volumes always stay (P9)."""
    environments: tuple[Environment, ...] = ("playground", "production")
    if session.external or session.project.playground:
        environments = ("playground",)
    projects = [session.project.compose_project(e) for e in environments]
    found = [
        f"remove {project}/{one.service}"
        for project in projects
        for one in session.engine.status(project)
    ]
    if not dry_run:
        with locked(session.project):
            for project in projects:
                session.engine.down(project)
    return tuple(found)


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


def _plans(session: Session, app: bool, offered: bool = False) -> dict[Environment, plan.Plan]:
    """What each environment needs. `offered`: with the passwords that would be made."""
    found: dict[Environment, plan.Plan] = {}
    for environment in ("production", "playground"):
        if environment == "production" and session.external:
            continue
        found[environment] = _plan(session, environment, app)
    return found


def _plan(session: Session, environment: Environment, app: bool) -> plan.Plan:
    project = session.project
    path = project.compose_file(environment)
    name = project.compose_project(environment)
    profiles = set()
    if app:
        profiles.add("app")
    if environment == "playground" and project.layout == "dedicated":
        profiles.add("dedicated")
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise ConfigError("there is no such file", where=path.name) from None
    file = compose.parse(
        text,
        file=path.name,
        variables={**project.variables(environment), **project.environ},
        profiles=frozenset(profiles),
        read_env=lambda given: _env_file(path.parent / given),
        root=str(path.parent),
    )
    return plan.plan(file, session.engine.observe(name), project=name)


def _env_file(path: Path) -> dict[str, str] | None:
    try:
        return parse_env(path.read_text(), file=path.name)
    except FileNotFoundError:
        return None


def _steps(plans: dict[Environment, plan.Plan]) -> tuple[str, ...]:
    return tuple(f"{one.project}: {step}" for one in plans.values() for step in one.changes)


def _ready(session: Session) -> tuple[tuple[str, str], ...]:
    """Every store's own answer to a real query, as administrator: logins may not exist yet."""
    found: dict[str, str] = {}

    def ask(kind: Kind, server: Environment) -> Callable[[], None]:
        def run() -> None:
            found[f"{server} {kind}"] = _answer(session, kind, server)

        return run

    jobs = [
        (1, ask(place.kind, server))
        for place in session.places()
        if place.kind != "files"
        for server in session.servers(place)
    ]
    run_all(jobs, threading.Event())
    return tuple(sorted(found.items()))


def _answer(session: Session, kind: Kind, server: Environment) -> str:
    began = time.monotonic()
    while True:
        source = backend(kind).source(session.admin_access(kind, server), tool=None)
        try:
            product = source.ready()
        except Unreachable:
            if time.monotonic() - began > READY_WITHIN:
                raise
            time.sleep(0.1)
        else:
            session.report(
                Step(name=f"{server} {kind}", detail=product, seconds=time.monotonic() - began)
            )
            return product
        finally:
            source.close()
