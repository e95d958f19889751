"""Writes `.env` and `.env.development`: passwords first, addresses once the servers have ports."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

from sandbox import envfiles
from sandbox.errors import Refused, Unreachable
from sandbox.identities import write_private
from sandbox.layout import server_port
from sandbox.model import Environment, FilesSpace, Kind, Role, Space
from sandbox.urls import url
from sandbox.workflows.credentials import changing
from sandbox.workflows.session import Session

ENVIRONMENTS: tuple[Environment, ...] = ("production", "playground")
HEADER = "Written by ./inv env; what you change stays. Holds secrets: never commit it."


@dataclass(frozen=True, kw_only=True)
class EnvChange:
    """What was, or would be, done to one file; names of variables only."""

    file: str
    added: tuple[str, ...]
    updated: tuple[str, ...]
    kept: tuple[str, ...]

    @property
    def changes(self) -> bool:
        return bool(self.added or self.updated)


def bring_env(session: Session, *, dry_run: bool = False) -> tuple[EnvChange, ...]:
    """The command: what `write_env` does inside of the others."""
    with nullcontext() if dry_run else changing(session):
        return write_env(session, dry_run=dry_run)


def write_env(session: Session, *, dry_run: bool = False) -> tuple[EnvChange, ...]:
    """Bring both files up to date. A value that a person changed stays."""
    rehearsal = session.project.vault.rehearsal() if dry_run else nullcontext()
    with rehearsal:
        return tuple(
            _write_one(session, environment, wanted(session, environment), dry_run)
            for environment in ENVIRONMENTS
        )


def write_passwords(session: Session) -> None:
    """The servers' administrators only: what a server that is not there yet is made with."""
    for environment in ENVIRONMENTS:
        _write_one(session, environment, passwords(session, environment), False)


def wanted(session: Session, environment: Environment) -> dict[str, str]:
    """Every variable that this environment's file should hold, as far as it is known now."""
    return {**passwords(session, environment), **application(session, environment)}


def passwords(session: Session, environment: Environment) -> dict[str, str]:
    """The servers' administrators, for the Compose file of this environment."""
    if environment == "production" and session.external:
        return {}
    project = session.project
    return {
        project.admin_variable(place.kind, environment): project.admin_secret(
            place.kind, environment
        )
        for place in session.places()
        if place.kind != "files"
    }


def application(session: Session, environment: Environment) -> dict[str, str]:
    """The application's own variables. Addresses are left out while a server has no port yet."""
    if environment == "production" and session.external:
        return {}
    found = {
        name: getattr(pair, environment)
        for name, pair in session.project.settings.application.items()
    }
    port = session.project.settings.variables.server_port
    if environment == "playground" and session.project.playground and port in found:
        found[port] = _own_port(session, port)
    for place in session.places():
        space = place.production if environment == "production" else place.playground
        found.update(_names(session, place.kind, space))
        if place.kind != "files":
            found.update(_address(session, place.kind, environment))
    return found


def _own_port(session: Session, variable: str) -> str:
    """A named playground's server has a port that no other one of this folder has."""
    project = session.project
    others = [project.named(name) for name in project.siblings()]
    taken = {one.variables("playground").get(variable, "") for one in others}
    taken.add(project.variables("production").get(variable, ""))
    present = project.variables("playground").get(variable, "")
    return present if present and present not in taken else server_port(project.playground, taken)


def _names(session: Session, kind: Kind, space: Space) -> dict[str, str]:
    names = session.project.settings.variables
    if isinstance(space, FilesSpace):
        assert session.project.settings.files is not None
        declared = session.project.settings.files.directories
        return {
            declared[purpose].variable: str(path)
            for purpose, path in space.directories.items()
            if declared[purpose].variable
        }
    variable = {
        "postgres": names.postgres_schema,
        "mongo": names.mongo_database,
        "qdrant": names.qdrant_collection,
        "redis": names.redis_prefix,
    }[kind]
    return {variable: space.name}


def _address(session: Session, kind: Kind, environment: Environment) -> dict[str, str]:
    role: Role = "production" if environment == "production" else "playground"
    try:
        access = session.access(kind, role)
    except Unreachable:
        return {}
    names = session.project.settings.variables
    variable = {
        "postgres": names.postgres_url,
        "mongo": names.mongo_url,
        "qdrant": names.qdrant_url,
        "redis": names.redis_url,
    }[kind]
    found = {variable: url(access)}
    if kind == "qdrant":
        found[names.qdrant_key] = access.identity.secret
    return found


def _write_one(
    session: Session, environment: Environment, want: Mapping[str, str], dry_run: bool
) -> EnvChange:
    project = session.project
    path = project.env_file(environment)
    # Production's file belongs to all playgrounds: what is known of it stands in one place.
    owner = project if environment == "playground" else project.named("")
    fingerprints: Mapping[str, str] = owner.state().fingerprints.get(path.name, {})
    try:
        text = path.read_text()
    except FileNotFoundError:
        text = ""
    if path.is_symlink():
        raise Refused("it is a symlink", where=path.name, hint="make it a plain file")
    written = envfiles.merge(
        text, project.variables(environment), want, fingerprints, header=HEADER
    )
    if not dry_run and (written.text != text or path.stat().st_mode & 0o077):
        write_private(path, written.text)
    if not dry_run:
        known = {**owner.state().fingerprints, path.name: written.fingerprints}
        if known != owner.state().fingerprints:
            owner.remember(fingerprints=known)
    return EnvChange(
        file=path.name, added=written.added, updated=written.updated, kept=written.kept
    )
