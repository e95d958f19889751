"""An artifact into the playground, and what an interrupted load or reset needs afterwards."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sandbox import artifact as artifacts
from sandbox import transfer
from sandbox.artifact import Artifact
from sandbox.contract import Store
from sandbox.errors import Refused
from sandbox.masking.mask import PolicyMask
from sandbox.model import Kind, Marker
from sandbox.project import Project, locked
from sandbox.report import Step, Warned
from sandbox.workflows import leaks
from sandbox.workflows.session import Session


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a load left in the playground. `notes`: what could not be carried, in words."""

    snapshot: str
    rows: dict[str, int]
    notes: tuple[str, ...]
    seconds: float


def plan(session: Session, snapshot: str = "latest", kinds: Sequence[Kind] = ()) -> dict[str, Any]:
    """What `load` would put into the playground; nothing is connected to."""
    artifact = artifacts.open(session.project.snapshots, snapshot)
    rows = {
        place.kind: sum(dataset.rows for dataset in artifact.datasets(place.kind))
        for place in session.places(kinds)
    }
    return {"snapshot": artifact.id, "rows": rows}


def load(
    session: Session,
    snapshot: str = "latest",
    kinds: Sequence[Kind] = (),
    *,
    mask: PolicyMask | None = None,
) -> Loaded:
    """Load a snapshot beside the playground's data, then swap all stores, all or none (P4).

    With `mask`, originals of masked values are searched for afterwards (P8): those that it knows
    already, else those read from production once more.
    """
    loaded = _put(session, artifacts.open(session.project.snapshots, snapshot), kinds)
    if mask is not None:
        if not mask.originals:
            leaks.collect(session, mask)
        leaks.search_playground(session, mask)
    return loaded


def _put(session: Session, artifact: Artifact, kinds: Sequence[Kind]) -> Loaded:
    started = time.monotonic()
    with locked(session.project):
        recover(session)
        stores = session.stores(kinds)
        for kind, store in stores.items():
            check_own(session.project, kind, store)
        notes = stage(session, artifact, stores)
        swap(session.project, artifact.id, stores)
    seconds = time.monotonic() - started
    session.report(Step(name="loaded", detail=artifact.id, seconds=seconds))
    rows: dict[str, int] = {kind: sum(d.rows for d in artifact.datasets(kind)) for kind in stores}
    return Loaded(snapshot=artifact.id, rows=rows, notes=tuple(notes), seconds=seconds)


def recover(session: Session) -> None:
    """Finish or undo what was interrupted, over all stores: where the last one is in place all are,
    otherwise every store goes back to its old space, whole."""
    state = session.project.state()
    if not state.swapping:
        return
    at = session.at(state.moving) if state.moving else session
    stores = at.stores(state.swapping)
    finished = bool(state.resetting) and stores[state.swapping[-1]].swapped()
    if not finished:
        transfer.undo(stores)
    transfer.run_all([(1, store.settle) for store in stores.values()], threading.Event())
    if finished:
        session.project.remember(swapping=(), resetting="", loaded=state.resetting)
        message = "an interrupted reset was finished; the playground is as it was loaded"
    else:
        session.project.remember(swapping=(), resetting="", moving=None)
        message = "an interrupted swap was undone; the playground is as it was"
    session.report(Warned(message=message))


def check_own(project: Project, kind: Kind, store: Store) -> Marker:
    """The marker over the store's own connection: it must be this project's playground (P6)."""
    marker = store.marker()
    where = f"{kind} {project.settings.project}"
    if marker is None:
        raise Refused(
            f"the playground's {kind} has no marker; it may not be ours",
            where=where,
            hint="./inv isolate makes the space and its marker",
        )
    ours = (project.settings.project, "playground", project.playground)
    if (marker.project, marker.environment, marker.playground) != ours:
        whose = " ".join(filter(None, (marker.environment, marker.playground)))
        raise Refused(
            f"the space is marked as {whose} of {marker.project}; nothing was changed",
            where=where,
            hint="look at the addresses and logins in the env files",
        )
    return marker


def stage(session: Session, artifact: Artifact, stores: dict[Kind, Store]) -> list[str]:
    """Load beside the present spaces. A failure leaves nothing behind."""
    project = session.project
    # In a server of its own the playground's baseline is an image of the server.
    baseline = secrets.token_hex(8) if project.layout == "namespaced" else ""

    def marker(kind: Kind) -> Marker:
        return Marker(
            project=project.settings.project,
            environment="playground",
            playground=project.playground,
            snapshot=artifact.id,
            counts={dataset.name: dataset.rows for dataset in artifact.datasets(kind)},
            baseline=baseline,
        )

    try:
        session.prepare({kind: artifact.catalog(kind) for kind in stores})
        notes = transfer.load(artifact, stores, marker, report=session.report)
    except BaseException:
        drop_staged(stores)
        raise
    for note in notes:
        session.report(Warned(message=note))
    return notes


def swap(
    project: Project, target: str, stores: dict[Kind, Store], *, resetting: bool = False
) -> None:
    """Put what is staged in place, all stores or none; what is under way stands in the state."""

    def begin(kinds: Sequence[Kind]) -> None:
        going = target if resetting and kinds else ""
        project.remember(swapping=tuple(kinds), resetting=going)

    def end() -> None:
        project.remember(swapping=(), resetting="", loaded=target)

    transfer.swap(stores, begin=begin, end=end, last="postgres")


def drop_staged(stores: dict[Kind, Store]) -> None:
    """Best effort, while another error is on its way: the next load drops what stays."""
    for store in stores.values():
        with contextlib.suppress(Exception):
            store.settle()
