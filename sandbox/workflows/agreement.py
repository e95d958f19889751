"""Whether what really runs agrees with the layout: no value of production's in any variable of the
playground's, servers and ports that are apart."""

from __future__ import annotations

from collections.abc import Mapping

from sandbox.errors import Unreachable
from sandbox.model import Attempt, FilesSpace, Role
from sandbox.urls import url
from sandbox.verdict import DIRECTORY, SECRET, SERVER_ROW, TITLES, foreign_attempts
from sandbox.workflows.env import application
from sandbox.workflows.session import Session

THEIRS: tuple[Role, ...] = ("admin", "reader", "production")


def attempts(session: Session) -> list[Attempt]:
    """Of the env file, of every container of the playground, and of the ports."""
    project = session.project
    known = production_values(session)
    file = project.env_file("playground").name
    found = foreign_attempts(known, project.variables("playground"), where=file)
    for service, environment in _containers(session).items():
        found += foreign_attempts(known, environment, where=service)
    return found + _servers(session) + _ports(session)


def production_values(session: Session) -> dict[str, str]:
    """What it is -> a value that is production's alone, and so has no place in the playground."""
    ours = set(application(session, "playground").values())
    found: dict[str, str] = {}
    for place in session.places():
        if isinstance(place.production, FilesSpace):
            for purpose, path in place.production.directories.items():
                found[f"{DIRECTORY} {purpose}"] = str(path)
            continue
        for role in THEIRS:
            if role == "admin" and session.external:
                continue
            identity = session.identity(place.kind, role, "production")
            found[f"{SECRET} of {place.kind}'s {role}"] = identity.secret
        if place.kind in ("qdrant", "redis"):
            found[f"{place.kind} space"] = place.production.name
        try:
            if place.server == "playground" or place.kind != "qdrant":
                found[f"{place.kind} URL"] = url(session.access(place.kind, "production"))
        except Unreachable:
            continue
    port = session.project.settings.variables.server_port
    declared = session.project.settings.application.get(port)
    values = session.project.variables("production")
    found["port"] = values.get(port, declared.production if declared else "")
    return {what: value for what, value in found.items() if value and value not in ours}


def _containers(session: Session) -> Mapping[str, Mapping[str, str]]:
    """The real environment of every container of the playground that runs."""
    project = session.project.compose_project("playground")
    try:
        return {
            one.service: session.engine.environment(project, one.service)
            for one in session.engine.status(project)
            if one.state == "running"
        }
    except Unreachable:
        return {}


def _servers(session: Session) -> list[Attempt]:
    """In a server of its own a store answers where production's does not."""
    found = []
    for place in session.places():
        if place.kind == "files" or place.server != "playground":
            continue
        theirs = session.endpoint(place.kind, "production")
        ours = session.endpoint(place.kind, "playground")
        apart = (theirs.host, theirs.port) != (ours.host, ours.port)
        found.append(
            Attempt(
                row=TITLES[place.kind],
                identity="settings",
                tried="addresses of both servers",
                expected="two different ones",
                happened=f"{theirs.host}:{theirs.port} and {ours.host}:{ours.port}",
                ok=apart,
            )
        )
    return found


def _ports(session: Session) -> list[Attempt]:
    """No two playgrounds of one folder start their API server at one port."""
    name = session.project.settings.variables.server_port
    mine = session.project.variables("playground").get(name, "")
    found = []
    for sibling in session.project.siblings():
        other = session.project.named(sibling).variables("playground").get(name, "")
        found.append(
            Attempt(
                row=SERVER_ROW,
                identity="settings",
                tried=f"the port of {sibling or 'the first playground'}",
                expected="another one",
                happened=f"{mine} and {other}",
                ok=not mine or mine != other,
            )
        )
    return found
