"""The playground back to its baseline, all stores or none. Production is not contacted (P5).

Each store goes back by what changed where that is sound, and is loaded whole where it is not; both
are staged beside the present spaces and put in place together.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
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
        way = _WayBack(session, target, discard_more=discard_more)
        way.stage(kinds)
        swap(session.project, target, way.stores, resetting=True)
    keep_loaded(session, target, kinds)
    seconds = time.monotonic() - started
    session.report(Step(name="reset", detail=target, seconds=seconds))
    return Loaded(snapshot=target, rows=way.rows, notes=tuple(way.notes), seconds=seconds)


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


class _WayBack:
    """Every store on its way back, side by side: by what changed where that is sound, and loaded
    whole, beside what is there, where it is not."""

    def __init__(self, session: Session, target: str, *, discard_more: bool) -> None:
        self.stores: dict[Kind, Store] = {}
        self.rows: dict[str, int] = {}
        self.notes: list[str] = []
        self._session, self._target, self._discard_more = session, target, discard_more
        self._markers: dict[Kind, Marker] = {}
        self._stop = threading.Event()

    def stage(self, kinds: Sequence[Kind]) -> None:
        """When one is not ours, or fails, what was staged in the others goes, and nothing has
        changed."""
        try:
            with ThreadPoolExecutor(2 * len(SLOWEST_FIRST)) as pool:
                try:
                    let_go = self._follow(pool, self._begin(pool, kinds))
                except BaseException:
                    self._stop.set()
                    raise
            if let_go:
                self._count("postgres", self.stores["postgres"].rewind())
        except BaseException:
            drop_staged(self.stores)
            raise

    def _begin(self, pool: Executor, kinds: Sequence[Kind]) -> dict[Future[Any], Kind | None]:
        """One store after the other is opened, asked whose it is and begins: while its server
        works, the next one's driver is imported."""
        wanted = {place.kind for place in self._session.places(kinds)}
        jobs: dict[Future[Any], Kind | None] = {}
        others: list[Kind] = []
        for kind in (one for one in SLOWEST_FIRST if one in wanted):
            store = self.stores[kind] = self._session.store(kind)
            marker = self._markers[kind] = check_own(self._session.project, kind, store)
            store.settle()
            if marker.snapshot == self._target:
                jobs[pool.submit(store.rewind)] = kind
            else:
                others.append(kind)
        if others:
            jobs[pool.submit(self._load, others)] = None
        return jobs

    def _follow(self, pool: Executor, jobs: dict[Future[Any], Kind | None]) -> bool:
        """Until all are staged. PostgreSQL holds writers back while its way back stands ready: not
        for as long as another store is loaded. Returns whether it was let go."""
        loading, holds, let_go = None in jobs.values(), False, False
        while jobs:
            for job in wait(jobs, return_when=FIRST_COMPLETED).done:
                kind = jobs.pop(job)
                try:
                    found = job.result()
                except NoBaseline as error:
                    if kind is None:
                        raise
                    self._note(f"{kind}: {error.message}; it is loaded whole")
                    jobs[pool.submit(self._load, [kind])] = None
                    loading = True
                else:
                    if kind is not None:
                        self._count(kind, found)
                        holds |= kind == "postgres"
            if loading and holds:
                self.stores["postgres"].undo()
                holds, let_go = False, True
        return let_go

    def _load(self, kinds: Sequence[Kind]) -> None:
        """From the snapshot."""
        stores = {kind: self.stores[kind] for kind in kinds}
        artifact = artifact_of(self._session.project, self._target)
        if not self._discard_more:
            check_amounts([(k, s, self._markers[k]) for k, s in stores.items()], artifact)
        self.notes += stage(self._session, artifact, stores, stop=self._stop)
        for kind in kinds:
            self.rows[kind] = artifact.rows(kind)

    def _count(self, kind: Kind, changes: Sequence[Change]) -> None:
        self.rows[kind] = sum(change.rows or 0 for change in changes)

    def _note(self, note: str) -> None:
        self.notes.append(note)
        self._session.report(Warned(message=note))


def _target(project: Project, to: str) -> str:
    target = to or project.state().loaded
    if not target:
        raise ConfigError(
            "nothing was loaded into this playground yet", hint="./inv snapshot, then ./inv load"
        )
    if not to:
        return target
    try:
        return artifact_of(project, target).id
    except ConfigError as error:
        message = f"no baseline is called so, and {error.message}"
        hint = "./inv baseline and ./inv snapshots list them"
        raise ConfigError(message, where="--to", hint=hint) from None
