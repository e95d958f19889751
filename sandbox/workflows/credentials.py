"""Nobody changes anything while one environment's credentials stand in the other's place: in the
secrets file, in an env file or in the environment. Nothing is connected to for this."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

from sandbox.envfiles import fingerprint
from sandbox.errors import ConfigError, Refused
from sandbox.model import SERVER_KINDS, Environment, Kind, Role
from sandbox.project import Project, locked
from sandbox.urls import holds, parse_url
from sandbox.workflows.session import ROLES, Session

THEIRS: tuple[Role, ...] = ("reader", "production")
BOTH: tuple[Environment, ...] = ("production", "playground")
NEXT = "put each back in its place; or remove both, and ./inv isolate makes new ones"


@dataclass(frozen=True, kw_only=True)
class _Secret:
    """One login's secret under the vault's name, and where it was read."""

    name: str
    value: str = field(repr=False)
    where: str

    @property
    def side(self) -> Environment:
        """Whose login it is."""
        return _side(self.name)


@contextlib.contextmanager
def changing(session: Session) -> Iterator[None]:
    """What a command that writes runs in: alone, and with each login in its place."""
    with locked(session.project):
        check(session)
        yield


def check(session: Session, *, files: bool = True) -> None:
    """Raises Refused, naming both logins and where the wrong one stands. `files`: also what the env
    files tell the application, which this tool itself does not use."""
    project = session.project
    for kind in _kinds(project):
        _check_logins(project, kind)
        if files:
            _check_env_files(project, kind)


def remember_logins(project: Project) -> None:
    """The servers have these logins now: from here on each is known by its fingerprint."""
    found = [one for kind in _kinds(project) for one in _secrets(project, kind)]
    project.vault.note({one.name: one.value for one in found})


def _kinds(project: Project) -> list[Kind]:
    return [kind for kind in project.settings.kinds() if kind in SERVER_KINDS]


# --- the logins that this tool uses --------------------------------------------------------------


def _check_logins(project: Project, kind: Kind) -> None:
    """No secret is, or was when the servers were told it last, one of the other environment's."""
    found = list(_secrets(project, kind))
    known = project.vault.noted()
    logins = {name: mark for name, mark in known.items() if name.startswith(f"{kind}/")}
    logins |= {one.name: fingerprint(one.value) for one in found if one.name not in known}
    moved = [one for one in found if known.get(one.name) != fingerprint(one.value)]
    for one in moved or found:
        for name, mark in logins.items():
            if _side(name) != one.side and mark == fingerprint(one.value):
                raise Refused(
                    f"the login {one.name} has the secret of {name}; nothing was changed",
                    where=one.where,
                    hint=NEXT,
                )


def _secrets(project: Project, kind: Kind) -> Iterator[_Secret]:
    """Those that are known, of every playground; none is made for this."""
    names = set(project.vault.names(lambda name: name.startswith(f"{kind}/")))
    for role in ("admin", *ROLES):
        names |= {project.secret_name(kind, role, server) for server in BOTH}
    for name in sorted(names):
        value, where = _known(project, name)
        if value:
            yield _Secret(name=name, value=value, where=where)


def _known(project: Project, name: str) -> tuple[str, str]:
    """A secret, "" when there is none yet, and where it is read."""
    kind, role, *rest = name.split("/")
    if role == "admin":
        server = cast(Environment, rest[0])
        of = project.named(rest[1] if len(rest) > 1 else "")
        variable = of.admin_variable(cast(Kind, kind), server)
        places = (("the environment", of.environ), (of.env_file(server).name, of.variables(server)))
        for where, values in places:
            if values.get(variable):
                return values[variable], f"{where}: {variable}"
    return project.vault.known(name), project.vault.where(name)


def _side(name: str) -> Environment:
    """Whose login the vault's name means."""
    _, role, *rest = name.split("/")
    theirs = role in THEIRS or (role == "admin" and rest[0] == "production")
    return "production" if theirs else "playground"


# --- what the application reads -------------------------------------------------------------------


def _check_env_files(project: Project, kind: Kind) -> None:
    """The variables that name a login, and an external production's URL."""
    names = project.settings.variables
    variable = {
        "postgres": names.postgres_url,
        "mongo": names.mongo_url,
        "qdrant": names.qdrant_key,
        "redis": names.redis_url,
    }[kind]
    foreign = {environment: _foreign(project, kind, environment) for environment in BOTH}
    url, value, where = _external(project, kind)
    _refuse(value, foreign["production"], url, where)
    for environment in BOTH:
        value = project.variables(environment).get(variable, "")
        _refuse(value, foreign[environment], variable, project.env_file(environment).name)


def _foreign(project: Project, kind: Kind, environment: Environment) -> list[tuple[str, str]]:
    """The logins, with their secrets, that are not this environment's."""
    found = [(s.name, s.value) for s in _secrets(project, kind) if s.side != environment]
    if kind == "qdrant":
        found = list(_tokens(project, found, environment))
    _, url, _ = _external(project, kind)
    if environment == "playground" and url:
        with contextlib.suppress(ConfigError):  # who opens it is told
            found.append((f"{kind}/reader", parse_url(kind, url).identity.secret))
    return [(name, secret) for name, secret in found if secret]


def _tokens(
    project: Project, secrets: list[tuple[str, str]], environment: Environment
) -> Iterator[tuple[str, str]]:
    """What is given to the application of Qdrant: tokens that are made of these secrets."""
    from sandbox.stores.qdrant import token  # its driver is imported when it is asked for

    place = next(one for one in project.places("namespaced") if one.kind == "qdrant")
    space = place.playground if environment == "production" else place.production
    for name, secret in secrets:
        role = cast(Role, name.split("/")[1])
        for server in BOTH:
            key, _ = _known(project, project.secret_name("qdrant", "admin", server))
            yield name, token(key, role, space.name, revision=fingerprint(secret))


def _external(project: Project, kind: Kind) -> tuple[str, str, str]:
    """The variable of an external production's URL, what it holds, and where; no command is run."""
    name = project.settings.environments.production.urls.get(kind, "")
    for where, values in (
        ("the environment", project.environ),
        (project.env_file("production").name, project.variables("production")),
    ):
        if name and values.get(name):
            return name, values[name], where
    return name, "", ""


def _refuse(value: str, foreign: list[tuple[str, str]], variable: str, where: str) -> None:
    for name, secret in foreign:
        if value and holds(value, secret):
            raise Refused(
                f"{variable} holds the secret of {name}; nothing was changed",
                where=where,
                hint="put it back, or remove the line and ./inv env writes it anew",
            )
