"""New passwords and tokens for every login that this project made, in every store and playground.

The secrets change in one write; the servers are then brought to them, as `isolate` always does:
what an interruption left out is done by running this, or `isolate`, again.
"""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.model import Environment, Kind
from sandbox.project import locked
from sandbox.report import Step, Warned
from sandbox.workflows import servers
from sandbox.workflows.env import write_env
from sandbox.workflows.isolate import each
from sandbox.workflows.move import restart_application
from sandbox.workflows.prune import leftovers
from sandbox.workflows.session import ROLES, Session


def rotate_identities(session: Session, *, dry_run: bool = False) -> tuple[str, ...]:
    """Returns the names of the logins, as store/role; the servers' administrators are not among
    them. Raises Unreachable, and changes nothing, while a server that holds one does not answer."""
    if dry_run:
        return session.project.vault.names(_is_login)
    with locked(session.project):
        playgrounds = list(_playgrounds(session))
        for one in playgrounds:
            servers.ready(one)
        vault = session.project.vault
        given = vault.given(_is_login)
        for name in given:
            session.report(Warned(message=f"{name} comes from the environment: change it there"))
        names = vault.rotate(lambda name: _is_login(name) and name not in given)
        for one in playgrounds:
            _bring(one)
        for one in playgrounds:
            restart_application(one, servers.BOTH)
    session.report(Step(name="new passwords and tokens", detail=f"{len(names)} logins"))
    return tuple(names)


def _is_login(name: str) -> bool:
    """`postgres/reader`, `redis/playground/ann`, ...; not `postgres/admin/production`."""
    return name.split("/")[1] in ROLES


def _playgrounds(session: Session) -> Iterator[Session]:
    """This one, and every other that has logins."""
    yield session
    for name in session.project.siblings():
        other = session.beside(name)
        if other.project.state().made:
            yield other


def _bring(session: Session) -> None:
    """Servers and env files to what the secrets say now; also where an earlier layout left logins,
    which the old passwords would go on opening."""
    each(session, do=True)
    left: set[tuple[Kind, bool]] = set()
    for one in leftovers(session):
        beside = one.layout == "namespaced"
        if (one.kind, beside) not in left:
            left.add((one.kind, beside))
            server: Environment = "production" if beside else "playground"
            session.at(one.layout).admin(one.kind, server).isolate()
    write_env(session)
