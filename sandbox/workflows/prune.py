"""What earlier layouts left behind: spaces and logins on production's servers, servers of the
playground's own. It stays until it is asked to go, and goes only where the marker is ours (P6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from sandbox.contract import Statement
from sandbox.layout import Place
from sandbox.model import Kind, Layout, Marker
from sandbox.stores import backend
from sandbox.workflows.credentials import changing
from sandbox.workflows.isolate import Isolated
from sandbox.workflows.session import Session


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """One thing that the present layout does not use. `home`: it holds the store's only data."""

    layout: Layout
    kind: Kind
    what: str
    home: bool = False


def leftovers(session: Session) -> tuple[Leftover, ...]:
    """What `prune` would remove."""
    return (*_spaces(session), *_servers(session))


def prune(session: Session, confirm: Callable[[str], None]) -> tuple[Isolated, ...]:
    """Remove it all, after asking once."""
    found = leftovers(session)
    if not found:
        return ()
    lost = sorted({one.kind for one in found if one.home})
    words = "; ".join(one.what for one in found)
    if lost:
        words += f"; the only data of {', '.join(lost)} is there"
    confirm(f"Remove for good: {words}?")
    with changing(session):
        done = tuple(_remove_spaces(session, [one for one in found if one.layout == "namespaced"]))
        done += tuple(_remove_servers(session, [one for one in found if one.layout == "dedicated"]))
        homes = session.project.state().homes
        session.project.remember(homes={k: v for k, v in homes.items() if k not in lost})
    return done


def remove_all(session: Session) -> tuple[Isolated, ...]:
    """The playground's spaces and logins in every store, then what is known of it. Servers of its
    own go with `down`."""
    done = []
    before = session.at("namespaced")
    if not session.external:
        for place in before.places():
            if place.kind == "files" or _marker(before, place.kind) == _whose(session):
                statements = before.admin(place.kind, "production").remove()
                done.append(
                    Isolated(kind=place.kind, server="production", statements=tuple(statements))
                )
    elif any(place.kind == "files" for place in before.places()):
        statements = session.admin("files", "playground").remove()
        done.append(Isolated(kind="files", server="playground", statements=tuple(statements)))
    session.project.remember(made=False, loaded="", homes={})
    return tuple(done)


def _spaces(session: Session) -> Iterator[Leftover]:
    """Spaces beside production's that no store uses now."""
    if session.external:
        return
    before = session.at("namespaced")
    for place in before.places():
        if place.kind == "files" or _used(session, place):
            continue
        if _marker(before, place.kind) == _whose(session):
            yield Leftover(
                layout="namespaced",
                kind=place.kind,
                what=f"{place.kind} {place.playground.name} on production's server",
                home=session.project.state().homes.get(place.kind) == "namespaced",
            )


def _servers(session: Session) -> Iterator[Leftover]:
    if session.project.layout == "dedicated":
        return
    project = session.project.compose_project("playground")
    services = {place.service: place.kind for place in session.places() if place.service}
    for one in session.engine.status(project):
        if one.service in services:
            kind = services[one.service]
            yield Leftover(
                layout="dedicated",
                kind=kind,
                what=f"container {project}/{one.service}, with its data",
                home=session.project.state().homes.get(kind) == "dedicated",
            )


def _used(session: Session, place: Place) -> bool:
    now = session.place(place.kind)
    return (now.server, now.playground) == (place.server, place.playground)


def _whose(session: Session) -> tuple[str, str, str]:
    return session.project.settings.project, "playground", session.project.playground


def _marker(session: Session, kind: Kind) -> tuple[str, str, str] | None:
    """Whose the playground's space on production's server is; None where there is none."""
    place = session.place(kind)
    access = replace(session.admin_access(kind, "production"), space=place.playground)
    source = backend(kind).source(access, tool=None)
    try:
        found: Marker | None = source.marker()
    finally:
        source.close()
    return None if found is None else (found.project, found.environment, found.playground)


def _remove_spaces(session: Session, found: list[Leftover]) -> Iterator[Isolated]:
    before = session.at("namespaced")
    for one in found:
        statements = before.admin(one.kind, "production").remove()
        yield Isolated(kind=one.kind, server="production", statements=tuple(statements))


def _remove_servers(session: Session, found: list[Leftover]) -> Iterator[Isolated]:
    project = session.project.compose_project("playground")
    for one in found:
        service = session.place(one.kind).service
        session.engine.remove(project, service)
        text = f"docker rm --force {project}-{service}-1"
        yield Isolated(
            kind=one.kind,
            server="playground",
            statements=(Statement(text=text, why=f"{one.kind}'s server of the playground's own"),),
        )
    if found:
        session.engine.prune(project)
