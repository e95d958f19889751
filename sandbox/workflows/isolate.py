"""Gives the playground a space and a login of its own in every store, or says what it would do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.contract import Statement
from sandbox.errors import Refused
from sandbox.layout import Place, identity_name
from sandbox.model import Environment, Kind, Marker
from sandbox.stores import backend
from sandbox.transfer import run_all
from sandbox.workflows.credentials import changing, remember_logins
from sandbox.workflows.env import write_env
from sandbox.workflows.session import Session


@dataclass(frozen=True, kw_only=True)
class Isolated:
    """What was, or would be, done in one store of one environment's servers."""

    kind: Kind
    server: Environment
    statements: tuple[Statement, ...]


def isolate(session: Session, *, dry_run: bool = False) -> tuple[Isolated, ...]:
    """Make spaces and identities for the present layout; safe to run twice."""
    if session.external and session.project.layout != "dedicated":
        raise Refused(
            f"production is external, and layout {session.project.layout} would put the playground "
            "on its servers",
            hint="./inv isolate --layout dedicated, or --print for the statements to run there",
        )
    if dry_run:
        return each(session, do=False)
    with changing(session):
        done = each(session, do=True)
        remember_logins(session.project)
        write_env(session)  # the logins may be other ones than before
        session.project.remember(made=True)
        return done


def script(session: Session) -> tuple[Isolated, ...]:
    """What the administrator of an external production would run to make its reader, as text:
    nothing is connected to, and no secret stands in it."""
    project = session.project.settings
    marker = Marker(project=project.project, environment="production")
    name = identity_name(project, "reader")
    return tuple(
        Isolated(
            kind=place.kind,
            server="production",
            statements=tuple(backend(place.kind).script(place.production, name, marker)),
        )
        for place in session.places()
    )


def each(session: Session, *, do: bool) -> tuple[Isolated, ...]:
    """All stores side by side: they share nothing."""
    found: dict[tuple[Kind, Environment], Isolated] = {}

    def one(place: Place, server: Environment) -> Callable[[], None]:
        admin = session.admin(place.kind, server)

        def run() -> None:
            statements = admin.isolate() if do else admin.statements()
            found[place.kind, server] = Isolated(
                kind=place.kind, server=server, statements=tuple(statements)
            )

        return run

    jobs = [
        (1, one(place, server))
        for place in session.places()
        if not place.shared
        for server in session.servers(place)
    ]
    run_all(jobs, threading.Event())
    return tuple(found[key] for key in sorted(found))
