"""From any layout to any other, in one command: what the playground holds goes along.

Everything is made beside what is there; the layout changes in one write at the end. A move that was
interrupted has changed nothing, and runs again from its beginning. Production's data is not read.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sandbox import artifact as artifacts
from sandbox import transfer
from sandbox.contract import Store
from sandbox.errors import ConfigError, Refused
from sandbox.layout import Place
from sandbox.masking.keep import KEEP
from sandbox.model import LAYOUTS, Environment, Kind, Layout, Marker
from sandbox.report import Step, Warned
from sandbox.workflows import servers
from sandbox.workflows.credentials import changing, remember_logins
from sandbox.workflows.env import write_env, write_passwords
from sandbox.workflows.guards import check_own
from sandbox.workflows.isolate import Isolated, each
from sandbox.workflows.recovery import drop_staged, recover
from sandbox.workflows.session import Session


@dataclass(frozen=True, kw_only=True)
class Carried:
    """One store's data that goes along: where it stands now, and how much it is."""

    kind: Kind
    home: Layout
    rows: int
    marker: Marker


@dataclass(frozen=True, kw_only=True)
class Move:
    """What a move does, or did, in words and as statements."""

    origin: Layout
    target: Layout
    carried: tuple[Carried, ...]
    lines: tuple[str, ...]
    statements: tuple[Isolated, ...] = ()


def check_layout(name: str) -> Layout:
    for layout in LAYOUTS:
        if name == layout:
            return layout
    raise ConfigError(
        f"there is no layout {name!r}", where="--layout", hint=f"one of {', '.join(LAYOUTS)}"
    )


def move(session: Session, layout: str, *, dry_run: bool = False) -> Move:
    """Put the playground into `layout`; safe to run again after an interruption."""
    target = check_layout(layout)
    if session.external and target != "dedicated":
        raise Refused(
            f"production is external, and layout {target} would put the playground on its servers",
            hint="./inv isolate --layout dedicated, or --print for the statements to run there",
        )
    if dry_run:
        return _planned(session, target)
    with changing(session):
        recover(session)
        planned = _planned(session, target)
        ahead = session.at(target)
        write_passwords(ahead)
        _start(ahead)
        statements = each(ahead, do=True)
        remember_logins(ahead.project)
        _carry(session, ahead, planned)
        write_env(ahead)
        restart_application(ahead, servers.OWN)
    return replace(planned, statements=statements)


# --- what would be done --------------------------------------------------------------------------


def _planned(session: Session, target: Layout) -> Move:
    origin, ahead = session.project.layout, session.at(target)
    carried = tuple(_carried(session, ahead))
    homes = {one.kind: one for one in carried}
    lines = [f"start {step}" for step in servers.steps(servers.plans(ahead, False, _wanted(ahead)))]
    for place in ahead.places():
        lines += _words(place, homes.get(place.kind), target)
    lines.append(f"{session.project.env_file('playground').name}: addresses and logins of {target}")
    return Move(origin=origin, target=target, carried=carried, lines=tuple(lines))


def _words(place: Place, carried: Carried | None, target: Layout) -> Iterator[str]:
    if place.shared:
        yield f"{place.kind}: shared with production ({place.production.name}), not isolated"
        return
    if place.kind == "files":
        return  # the same directories in every layout
    where = "on a server of its own" if place.server == "playground" else "on production's server"
    yield f"{place.kind}: {place.playground.name} {where}, with logins of its own"
    if carried is not None:
        yield f"{place.kind}: {carried.rows:,} rows go along from {carried.home}"


def _carried(session: Session, ahead: Session) -> Iterator[Carried]:
    """The stores whose data stands in another place than the target's."""
    state = session.project.state()
    if not state.loaded:
        return
    for place in ahead.places():
        home = _home(session, place.kind)
        if place.shared or home is None:
            continue
        there = session.at(home)
        if _same(there.place(place.kind), place) or _gone(there, place.kind):
            continue
        store = there.store(place.kind)
        marker = check_own(session.project, place.kind, store)
        if marker.snapshot:
            rows = sum(store.count().values())
            yield Carried(kind=place.kind, home=home, rows=rows, marker=marker)


def _home(session: Session, kind: Kind) -> Layout | None:
    """The layout in whose place the store's data stands; None where it has none."""
    if session.place(kind).shared:
        return session.project.state().homes.get(kind)
    return session.project.layout


def _same(one: Place, other: Place) -> bool:
    return (one.server, one.playground) == (other.server, other.playground)


def _gone(there: Session, kind: Kind) -> bool:
    """Whether a server of the playground's own was taken down, and its data with it."""
    place = there.place(kind)
    if place.server != "playground":
        return False
    project = there.project.compose_project("playground")
    if any(one.service == place.service for one in there.engine.status(project)):
        return False
    there.report(
        Warned(message=f"{kind}: the playground's server is gone, and what it held: not moved")
    )
    return True


# --- doing it ------------------------------------------------------------------------------------


def _wanted(ahead: Session) -> tuple[Environment, ...]:
    """Production's servers are started only where they do not run: they are not ours to change."""
    project = ahead.project.compose_project("production")
    running = {one.service for one in ahead.engine.status(project) if one.state == "running"}
    stores = {place.service for place in ahead.places() if place.service}
    return servers.OWN if stores <= running or ahead.external else servers.BOTH


def _start(ahead: Session) -> None:
    servers.apply(ahead, servers.plans(ahead, False, _wanted(ahead)))
    servers.ready(ahead)


def _carry(session: Session, ahead: Session, planned: Move) -> None:
    """Copy through a temporary artifact, put it in place, and with the same write change layout."""
    project, target = session.project, planned.target
    homes: dict[Kind, Layout] = {}
    for place in ahead.places():
        home = _home(session, place.kind)
        if place.shared and home is not None:
            homes[place.kind] = home
    end = {"layout": target, "made": True, "homes": homes, "swapping": (), "moving": None}
    if not planned.carried:
        project.remember(**end)
        return
    stores = {one.kind: ahead.store(one.kind) for one in planned.carried}
    for kind, store in stores.items():
        check_own(project, kind, store)
    try:
        _copy(session, ahead, planned, stores)
    except BaseException:
        drop_staged(stores)
        raise
    transfer.swap(
        stores,
        begin=lambda kinds: _begin(session, kinds, target),
        end=lambda: _remember(session, **end),
        last="postgres",
    )


def _begin(session: Session, kinds: Sequence[Kind], target: Layout) -> None:
    _remember(session, swapping=tuple(kinds), moving=target if kinds else None)


def _remember(session: Session, **changes: object) -> None:
    session.project.remember(**changes)


def _copy(session: Session, ahead: Session, planned: Move, stores: Mapping[Kind, Store]) -> None:
    """All is masked already, so every value is kept as it is."""
    root = session.project.folder / "moving"
    shutil.rmtree(root, ignore_errors=True)  # of a move that was killed
    try:
        made = _read(session, planned, root)
        markers = {one.kind: one.marker for one in planned.carried}
        ahead.prepare({kind: made.catalog(kind) for kind in stores})
        notes = transfer.load(
            made,
            stores,
            # No pristine copy goes along: the next reset loads the snapshot whole.
            lambda kind: replace(markers[kind], baseline=""),
            report=session.report,
        )
    finally:
        shutil.rmtree(root, ignore_errors=True)
    for note in notes:
        session.report(Warned(message=note))


def _read(session: Session, planned: Move, root: Path) -> artifacts.Artifact:
    sources = {one.kind: session.at(one.home).store(one.kind) for one in planned.carried}
    writer = artifacts.create(root, facts={"moving": planned.target})
    try:
        transfer.take(
            sources,
            KEEP,
            writer,
            check=lambda held: None,
            after=lambda held: None,
            report=session.report,
            task="move",
        )
        return writer.commit({})
    except BaseException:
        writer.discard()
        raise


def restart_application(session: Session, environments: Sequence[Environment]) -> None:
    """Containers of the application that run get the new addresses and logins."""
    stores = {place.service for place in session.places()}
    for environment in environments:
        if environment == "production" and session.external:
            continue
        project = session.project.compose_project(environment)
        running = [one for one in session.engine.status(project) if one.state == "running"]
        if any(one.service not in stores for one in running):
            servers.apply(session, servers.plans(session, True, (environment,)))
            session.report(Step(name=f"the {environment}'s application has its new env file"))
