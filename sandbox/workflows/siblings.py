"""Probes between the playgrounds of one project: another one's space is as closed to a playground
as production's is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sandbox.errors import Unreachable
from sandbox.layout import Place
from sandbox.model import Attempt, Kind
from sandbox.stores import backend
from sandbox.verdict import beside_row
from sandbox.workflows.session import Session

ONE_OF_EACH = "the markers"  # files: true of production and a playground only


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One store of two playgrounds; `run` tries to cross in both directions."""

    name: str
    ours: Place
    theirs: Place
    run: Callable[[], list[Attempt]]


def pairs(session: Session) -> list[Pair]:
    """Every store of every other playground that is there. Servers of a playground's own that do
    not run hold nothing that could be reached."""
    found = []
    for name in session.project.siblings():
        other = session.beside(name)
        if not other.project.state().made:
            continue
        for place in session.places():
            theirs = other.place(place.kind)
            if place.shared or theirs.shared or not _runs(other, theirs):
                continue
            run = _probing(session, other, place.kind)
            found.append(Pair(name=name, ours=place, theirs=theirs, run=run))
    return found


def _runs(other: Session, place: Place) -> bool:
    if place.server == "production":
        return True
    try:
        other.endpoint(place.kind, place.server)
    except Unreachable:
        return False
    return True


def _probing(session: Session, other: Session, kind: Kind) -> Callable[[], list[Attempt]]:
    def run() -> list[Attempt]:
        name = other.project.playground
        return [*_crossing(session, other, kind, name), *_crossing(other, session, kind, name)]

    return run


def _crossing(one: Session, other: Session, kind: Kind, name: str) -> list[Attempt]:
    """The prober with the other playground in production's place. What it tries with the other
    one's own login, at home, is no crossing."""
    ours, theirs = one.access(kind, "playground"), other.access(kind, "playground")
    prober = backend(kind).prober(playground=ours, production=theirs, reader=theirs)
    try:
        found = list(prober.attempts())
    finally:
        prober.close()
    login = theirs.identity.name
    crossing = [a for a in found if a.tried != ONE_OF_EACH and (not login or a.identity != login)]
    return [replace(attempt, row=beside_row(attempt.row, name)) for attempt in crossing]
