"""Tries to cross the line with the real logins, all stores side by side, and judges."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from sandbox.errors import IsolationBroken, SandboxError, Unreachable
from sandbox.model import Attempt, Kind
from sandbox.transfer import run_all
from sandbox.verdict import SERVER_ROW, TITLES, Verdict, judge, settings_attempts
from sandbox.workflows import agreement, credentials, siblings
from sandbox.workflows.env import application
from sandbox.workflows.session import Session


def verify(session: Session) -> Verdict:
    """The isolation matrix, tried now. A store that does not answer raises: silence is no proof."""
    credentials.check(session, files=False)  # what the env files say is a row of its own
    started = time.perf_counter()
    attempts: list[Attempt] = []
    lock = threading.Lock()

    def probe(kind: Kind) -> Callable[[], None]:
        prober = session.prober(kind)

        def run() -> None:
            found = list(prober.attempts())
            with lock:
                attempts.extend(found)

        return run

    def against(pair: siblings.Pair) -> Callable[[], None]:
        def run() -> None:
            found = pair.run()
            with lock:
                attempts.extend(found)

        return run

    places, pairs = session.places(), siblings.pairs(session)
    jobs = [(1, probe(place.kind)) for place in places if not place.shared]
    jobs += [(1, against(pair)) for pair in pairs]
    jobs.append((1, lambda: attempts.extend(_settings(session) + agreement.attempts(session))))
    run_all(jobs, threading.Event())
    for place in places:
        if place.shared:
            attempts.append(_shared(place.kind, place.production.name))
    beside = [(pair.name, pair.ours, pair.theirs) for pair in pairs]
    seconds = time.perf_counter() - started
    return judge(places, _ports(session), attempts, beside=beside, seconds=seconds)


def _shared(kind: Kind, name: str) -> Attempt:
    return Attempt(
        row=TITLES[kind],
        identity="settings",
        tried=f"whose space is {name}",
        expected="the playground's own",
        happened="production's: this layout shares it",
        ok=False,
    )


def _ports(session: Session) -> tuple[str, str]:
    name = session.project.settings.variables.server_port
    declared = session.project.settings.application.get(name)
    values = [session.project.variables(e).get(name, "") for e in ("production", "playground")]
    if declared is None:
        return values[0], values[1]
    return values[0] or declared.production, values[1] or declared.playground


def _settings(session: Session) -> list[Attempt]:
    """The env file and, where it runs, the application's container against the layout."""
    project = session.project
    production = {**project.variables("production"), **application(session, "production")}
    wanted = application(session, "playground")
    file = project.env_file("playground")
    found = settings_attempts(production, project.variables("playground"), wanted, where=file.name)
    for service, values in _running(session).items():
        present = {name: value for name, value in values.items() if name in wanted}
        found += settings_attempts(
            production, present, {n: v for n, v in wanted.items() if n in present}, where=service
        )
    ports = _ports(session)
    found.append(
        Attempt(
            row=SERVER_ROW,
            identity="settings",
            tried="ports of both servers",
            expected="two different ports",
            happened=f"{ports[0]} and {ports[1]}",
            ok=ports[0] != ports[1],
        )
    )
    return found


def _running(session: Session) -> Mapping[str, Mapping[str, str]]:
    """The real environment of the playground's application containers, by service."""
    try:
        project = session.project.compose_project("playground")
        stores = {place.service for place in session.places()}
        return {
            one.service: session.engine.environment(project, one.service)
            for one in session.engine.status(project)
            if one.state == "running" and one.service not in stores
        }
    except Unreachable:
        return {}


def broken(verdict: Verdict) -> SandboxError | None:
    """The error that `verify` ends with, naming every row and attempt; None when isolated."""
    rows = [row for row in verdict.rows if not row.isolated]
    if not rows:
        return None
    named = "; ".join(f"{row.resource} ({row.why})" for row in rows)
    hint = "./inv isolate mends rights and spaces"
    if any(row.shared for row in rows):
        hint = "./inv isolate --layout namespaced gives the playground spaces of its own"
    return IsolationBroken(f"not isolated: {named}", hint=hint)
