"""The playground back to its baseline, all stores or none. Production is not contacted (P5).

Each store goes back by what changed where that is sound, and is loaded whole where it is not; both
are staged beside the present spaces and put in place together.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from sandbox import artifact as artifacts
from sandbox import transfer
from sandbox.contract import Store
from sandbox.errors import ConfigError, NoBaseline
from sandbox.model import Change, Kind
from sandbox.project import Project, locked
from sandbox.report import Step, Warned
from sandbox.workflows.load import (
    Loaded,
    check_own,
    drop_staged,
    plan,
    recover,
    stage,
    swap,
)
from sandbox.workflows.session import Session


def plan_reset(session: Session, to: str = "", kinds: Sequence[Kind] = ()) -> dict[str, Any]:
    """What `reset` would return to; nothing is connected to."""
    return plan(session, _target(session.project, to), kinds)


def reset(session: Session, to: str = "", kinds: Sequence[Kind] = ()) -> Loaded:
    """Put the playground back to the snapshot that it was loaded from; production is not asked."""
    started = time.monotonic()
    target = _target(session.project, to)
    with locked(session.project):
        recover(session)
        stores = session.stores(kinds)
        loaded = {k: check_own(session.project, k, s).snapshot for k, s in stores.items()}
        try:
            changes, reasons = _rewind({k: s for k, s in stores.items() if loaded[k] == target})
            whole = {k: s for k, s in stores.items() if k not in changes}
            notes = [f"{kind}: {why}; it is loaded whole" for kind, why in reasons.items()]
            for note in notes:
                session.report(Warned(message=note))
            if whole:
                artifact = artifacts.open(session.project.snapshots, target)
                notes += stage(session, artifact, whole)
        except BaseException:
            drop_staged(stores)
            raise
        swap(session.project, target, stores, resetting=True)
    seconds = time.monotonic() - started
    session.report(Step(name="reset", detail=target, seconds=seconds))
    rows: dict[str, int] = {
        kind: sum(change.rows or 0 for change in found) for kind, found in changes.items()
    }
    for kind in whole:
        rows[kind] = sum(dataset.rows for dataset in artifact.datasets(kind))
    return Loaded(snapshot=target, rows=rows, notes=tuple(notes), seconds=seconds)


def _rewind(
    stores: dict[Kind, Store],
) -> tuple[dict[Kind, Sequence[Change]], dict[Kind, str]]:
    """Stage the way back in every store side by side; the stores that have none, with why."""
    changes: dict[Kind, Sequence[Change]] = {}
    reasons: dict[Kind, str] = {}

    def one(kind: Kind, store: Store) -> None:
        try:
            changes[kind] = store.rewind()
        except NoBaseline as error:
            reasons[kind] = error.message

    jobs = [(1, partial(one, kind, store)) for kind, store in stores.items()]
    transfer.run_all(jobs, threading.Event())
    return changes, reasons


def _target(project: Project, to: str) -> str:
    target = to or project.state().loaded
    if not target:
        raise ConfigError(
            "nothing was loaded into this playground yet", hint="./inv snapshot, then ./inv load"
        )
    return artifacts.open(project.snapshots, target).id if to else target
