"""New passwords and tokens for every login that this project made, in every store and playground.

The secrets change in one write; the servers are then brought to them, as `isolate` always does:
what an interruption left out is done by running this, or `isolate`, again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sandbox.model import Environment, Kind
from sandbox.report import Step, Warned
from sandbox.workflows import servers
from sandbox.workflows.credentials import changing, remember_logins
from sandbox.workflows.dedicated import LOADED, project_of, sweep_files
from sandbox.workflows.env import write_env
from sandbox.workflows.isolate import each
from sandbox.workflows.move import restart_application
from sandbox.workflows.prune import leftovers
from sandbox.workflows.session import ROLES, Session


def rotate_identities(
    session: Session,
    *,
    dry_run: bool = False,
    confirm: Callable[[str], None] = lambda question: None,
) -> tuple[str, ...]:
    """Returns the names of the logins, as store/role; the servers' administrators are not among
    them. Raises Unreachable, and changes nothing, while a server that holds one does not answer.

    Images of servers hold the old passwords, so they go; those with a name of their own after
    asking, since only what was loaded can be had again from its snapshot.
    """
    if dry_run:
        return session.project.vault.names(_is_login)
    with changing(session):
        playgrounds = list(_playgrounds(session))
        for one in playgrounds:
            servers.ready(one)
        images = {one: _images(one) for one in playgrounds}
        named = sorted({name for found in images.values() for name in found} - {LOADED})
        if named:
            confirm(f"Baselines hold the old passwords. Remove {', '.join(named)}?")
        vault = session.project.vault
        given = vault.given(_is_login)
        for name in given:
            session.report(Warned(message=f"{name} comes from the environment: change it there"))
        names = vault.rotate(lambda name: _is_login(name) and name not in given)
        for one in playgrounds:
            _bring(one)
            remember_logins(one.project)
        for one in playgrounds:
            _forget_images(one, images[one])
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


def _images(session: Session) -> tuple[str, ...]:
    """The names of the baselines that are images of this playground's own servers."""
    return tuple(one.name for one in session.engine.baselines(project_of(session)))


def _forget_images(session: Session, names: tuple[str, ...]) -> None:
    if not names:
        return
    session.engine.prune(project_of(session))
    sweep_files(session)
    whose = session.project.playground or "the playground"
    message = f"{whose}: baselines with the old passwords are gone; a reset loads the snapshot"
    session.report(Warned(message=message))


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
