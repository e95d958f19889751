"""Starts the servers that a layout needs, and waits until each answers a real query."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from sandbox import compose, plan
from sandbox.errors import ConfigError, LoginRefused, Unreachable
from sandbox.model import Environment, Kind
from sandbox.report import Step
from sandbox.settings import parse_env
from sandbox.stores import backend
from sandbox.transfer import run_all
from sandbox.workflows.env import passwords
from sandbox.workflows.session import Session

READY_WITHIN = 60.0  # seconds for a store to answer a real query, after its health check
Plans = dict[Environment, plan.Plan]
BOTH: tuple[Environment, ...] = ("production", "playground")
OWN: tuple[Environment, ...] = ("playground",)


def apply(session: Session, plans: Plans) -> None:
    """Run the plans; ports are asked for anew afterwards."""
    for environment, one in plans.items():
        try:
            session.engine.apply(one, session.report)
        except LoginRefused as error:
            raise _other_password(session, environment, error.service) from None
    session.forget_ports()


def plans(session: Session, app: bool, environments: Collection[Environment] = BOTH) -> Plans:
    """What each environment needs; an external production needs nothing from here."""
    return {
        environment: _plan(session, environment, app)
        for environment in BOTH
        if environment in environments and not (environment == "production" and session.external)
    }


def check(session: Session, app: bool) -> None:
    """Read the Compose files, so that a mistake in one is told before anything is changed."""
    with session.project.vault.rehearsal():
        for environment in BOTH:
            if not (environment == "production" and session.external):
                read(session, environment, app)


def _plan(session: Session, environment: Environment, app: bool) -> plan.Plan:
    name = session.project.compose_project(environment)
    file = read(session, environment, app)
    if environment == "playground" and session.project.playground:
        file = _with_free_ports(file)
    return plan.plan(file, session.engine.observe(name), project=name)


def read(session: Session, environment: Environment, app: bool) -> compose.ComposeFile:
    """One Compose file, with the passwords that its env file holds or will hold."""
    project = session.project
    path = project.compose_file(environment)
    profiles = set()
    if app:
        profiles.add("app")
    if environment == "playground" and project.layout == "dedicated":
        profiles.add("dedicated")
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise ConfigError("there is no such file", where=path.name) from None
    return compose.parse(
        text,
        file=path.name,
        variables={
            **passwords(session, environment),
            **project.variables(environment),
            **project.environ,
        },
        profiles=frozenset(profiles),
        read_env=lambda given: _env_file(_own_env_file(session, environment, path.parent / given)),
        root=str(path.parent),
    )


def _own_env_file(session: Session, environment: Environment, given: Path) -> Path:
    """A named playground's containers read her own file in the place of the common one."""
    project = session.project
    common = project.root / project.settings.environment(environment).env_file
    return project.env_file(environment) if given == common else given


def _with_free_ports(file: compose.ComposeFile) -> compose.ComposeFile:
    """The file's ports are the first playground's; the others get free ones, derived from their
    names, that stay the same from start to start."""
    services = {
        name: replace(service, ports=tuple(replace(port, published=0) for port in service.ports))
        for name, service in file.services.items()
    }
    return replace(file, services=services)


def _env_file(path: Path) -> dict[str, str] | None:
    try:
        return parse_env(path.read_text(), file=path.name)
    except FileNotFoundError:
        return None


def steps(plans: Plans) -> tuple[str, ...]:
    return tuple(f"{one.project}: {step}" for one in plans.values() for step in one.changes)


def ready(session: Session) -> tuple[tuple[str, str], ...]:
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
        except LoginRefused:
            if server == "production" and session.external:
                raise
            service = getattr(session.project.settings, kind).service
            raise _other_password(session, server, service) from None
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


def _other_password(session: Session, environment: Environment, service: str) -> LoginRefused:
    """A server whose data were made with another password: a new one in the env file does not
    change what stands in them."""
    file = read(session, environment, app=False)
    project = session.project.compose_project(environment)
    volumes = [file.volumes[v].full_name(project) for v in file.services[service].volumes]
    env = session.project.env_file(environment).name
    hint = f"bring back the {env} with which it was made, or make it anew after ./inv down"
    if volumes:
        names = " ".join(volumes)
        hint = (
            f"volume {names} was made with another one, by an earlier {env} or another clone: "
            f"bring that {env} here, or give this project a name of its own in "
            f"{session.project.config.name}, or, where nobody needs the data: ./inv down, then "
            f"docker volume rm {names}"
        )
    return LoginRefused(f"{service} of {project} does not take the password in {env}", hint=hint)
