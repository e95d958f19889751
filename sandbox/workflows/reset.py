"""The playground back to its baseline, all stores or none. Production is not contacted (P5).

Each store goes back by what changed where that is sound, and is loaded whole where it is not; both
are staged beside the present spaces and put in place together.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from sandbox.contract import Store
from sandbox.engine import Baseline
from sandbox.errors import ConfigError, NoBaseline
from sandbox.model import Change, Kind, Marker
from sandbox.project import Project
from sandbox.report import Step, Warned
from sandbox.workflows import dedicated
from sandbox.workflows.baselines import artifact_of, save
from sandbox.workflows.credentials import changing
from sandbox.workflows.diff import diff
from sandbox.workflows.guards import check_amounts, check_own
from sandbox.workflows.load import Loaded, keep_loaded, planned, stage, swap
from sandbox.workflows.recovery import drop_staged, recover
from sandbox.workflows.session import Session

SAFETY = "safety"
SLOWEST_FIRST: tuple[Kind, ...] = ("redis", "postgres", "mongo", "qdrant", "files")


def plan_reset(session: Session, to: str = "", kinds: Sequence[Kind] = ()) -> dict[str, Any]:
    """What `reset` would return to; no store is connected to."""
    if session.project.layout == "dedicated":
        baseline = dedicated.find(session, to)
        if baseline is not None:
            stores = [place.kind for place in session.places(kinds)]
            return {"snapshot": baseline.snapshot or baseline.name, "rows": dict.fromkeys(stores)}
    return planned(session, artifact_of(session.project, _target(session.project, to)), kinds)


def reset(
    session: Session,
    to: str = "",
    kinds: Sequence[Kind] = (),
    *,
    safety: bool = False,
    discard_more: bool = False,
) -> Loaded:
    """Put the playground back to what it was loaded with; production is not asked. With `safety`,
    what would be lost is kept first, as the baseline `safety`. `discard_more`: also where a store
    that is loaded whole holds far more than was loaded."""
    if safety and diff(session, kinds):
        save(session, SAFETY)
    if session.project.layout == "dedicated":
        baseline = dedicated.find(session, to)
        if baseline is not None:
            return _reset_servers(session, baseline, kinds)
        message = "no baseline of it is kept; its snapshot is loaded, which takes longer"
        session.report(Warned(message=message))
    started = time.monotonic()
    target = _target(session.project, to)
    with changing(session):
        recover(session)
        begun = _begin(session, kinds, target)
        stores, changes = begun.stores, begun.changes
        try:
            whole = {k: s for k, s in stores.items() if k not in changes}
            notes = [f"{kind}: {why}; it is loaded whole" for kind, why in begun.reasons.items()]
            for note in notes:
                session.report(Warned(message=note))
            if whole:
                artifact = artifact_of(session.project, target)
                if not discard_more:
                    check_amounts([(k, s, begun.markers[k]) for k, s in whole.items()], artifact)
                _let_go(stores, changes)
                notes += stage(session, artifact, whole)
                changes |= _again(stores, changes)
        except BaseException:
            drop_staged(stores)
            raise
        swap(session.project, target, stores, resetting=True)
    keep_loaded(session, target, kinds)
    seconds = time.monotonic() - started
    session.report(Step(name="reset", detail=target, seconds=seconds))
    rows: dict[str, int] = {
        kind: sum(change.rows or 0 for change in found) for kind, found in changes.items()
    }
    for kind in whole:
        rows[kind] = sum(dataset.rows for dataset in artifact.datasets(kind))
    return Loaded(snapshot=target, rows=rows, notes=tuple(notes), seconds=seconds)


def _reset_servers(session: Session, baseline: Baseline, kinds: Sequence[Kind]) -> Loaded:
    """In servers of its own they change places whole."""
    began = time.monotonic()
    with changing(session):
        recover(session)
        dedicated.put_back(session, baseline, kinds)
    seconds = time.monotonic() - began
    session.report(Step(name="reset", detail=baseline.name, seconds=seconds))
    rows: dict[str, int | None] = {place.kind: None for place in session.places(kinds)}
    return Loaded(snapshot=baseline.snapshot or baseline.name, rows=rows, notes=(), seconds=seconds)


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """The way back is staged in those that have `changes`; the others have none, by `reasons` where
    there are any."""

    stores: dict[Kind, Store] = field(default_factory=dict)
    markers: dict[Kind, Marker] = field(default_factory=dict)
    changes: dict[Kind, Sequence[Change]] = field(default_factory=dict)
    reasons: dict[Kind, str] = field(default_factory=dict)


def _begin(session: Session, kinds: Sequence[Kind], target: str) -> _Begun:
    """One store after the other is opened, asked whose it is and begins its way back: while its
    server works, the next one's driver is imported. When one is not ours, what was staged in the
    others goes, and nothing has changed."""
    made = _Begun()
    wanted = {place.kind for place in session.places(kinds)}
    jobs: dict[Kind, Future[Sequence[Change]]] = {}
    try:
        with ThreadPoolExecutor(len(SLOWEST_FIRST)) as pool:
            for kind in (one for one in SLOWEST_FIRST if one in wanted):
                store = made.stores[kind] = session.store(kind)
                marker = made.markers[kind] = check_own(session.project, kind, store)
                store.settle()
                if marker.snapshot == target:
                    jobs[kind] = pool.submit(store.rewind)
        for kind, job in jobs.items():
            try:
                made.changes[kind] = job.result()
            except NoBaseline as error:
                made.reasons[kind] = error.message
    except BaseException:
        drop_staged(made.stores)
        raise
    return made


def _let_go(stores: dict[Kind, Store], changes: dict[Kind, Sequence[Change]]) -> None:
    """A rewind of PostgreSQL holds writers back: not for as long as another store is loaded."""
    if "postgres" in changes:
        stores["postgres"].undo()


def _again(
    stores: dict[Kind, Store], changes: dict[Kind, Sequence[Change]]
) -> dict[Kind, Sequence[Change]]:
    return {"postgres": stores["postgres"].rewind()} if "postgres" in changes else {}


def _target(project: Project, to: str) -> str:
    target = to or project.state().loaded
    if not target:
        raise ConfigError(
            "nothing was loaded into this playground yet", hint="./inv snapshot, then ./inv load"
        )
    return artifact_of(project, target).id if to else target
