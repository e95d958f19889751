"""Gives the playground a space and a login of its own in every store, or says what it would do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.contract import Statement
from sandbox.errors import ConfigError, Refused
from sandbox.layout import Place
from sandbox.model import LAYOUTS, Environment, Kind, Layout
from sandbox.project import locked
from sandbox.transfer import run_all
from sandbox.workflows import servers
from sandbox.workflows.env import write_env
from sandbox.workflows.session import Session


@dataclass(frozen=True, kw_only=True)
class Isolated:
    """What was, or would be, done in one store of one environment's servers."""

    kind: Kind
    server: Environment
    statements: tuple[Statement, ...]


def isolate(
    session: Session, *, layout: str = "", dry_run: bool = False, prune: bool = False
) -> tuple[Isolated, ...]:
    """Make spaces and identities for `layout` (the present one when ""); safe to run twice.

    `prune` removes the spaces that the layout left behind; without it they stay, unused.
    """
    target = check_layout(layout) if layout else session.project.layout
    if session.external and target != "dedicated":
        raise Refused(
            f"production is external, and layout {target} would put the playground on its servers",
            hint="./inv isolate --layout dedicated, or --print for the statements to run there",
        )
    if dry_run:
        return _each(session, do=False)
    with locked(session.project):
        if target != session.project.layout:
            session.project.remember(layout=target)
            if target == "dedicated":
                servers.apply(session, servers.plans(session, False, servers.OWN))
                servers.ready(session)
        done = _each(session, do=True)
        if prune:
            done += _prune(session)
        write_env(session)  # the logins may be other ones than before
        return done


def check_layout(name: str) -> Layout:
    for layout in LAYOUTS:
        if name == layout:
            return layout
    raise ConfigError(
        f"there is no layout {name!r}", where="--layout", hint=f"one of {', '.join(LAYOUTS)}"
    )


def _each(session: Session, *, do: bool) -> tuple[Isolated, ...]:
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


def _prune(session: Session) -> tuple[Isolated, ...]:
    """Drop the spaces of a namespaced playground that a dedicated one no longer uses."""
    if session.project.layout != "dedicated" or session.external:
        return ()
    done = []
    for place in session.project.places("namespaced"):
        if place.kind == "files":
            continue
        with_all = session.admin_of(place, "production")
        done.append(
            Isolated(kind=place.kind, server="production", statements=tuple(with_all.remove()))
        )
    return tuple(done)
