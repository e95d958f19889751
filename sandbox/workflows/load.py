"""An artifact into the playground: beside what is there, then in its place, all stores or none."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sandbox import artifact as artifacts
from sandbox import transfer
from sandbox.artifact import Artifact
from sandbox.contract import Store
from sandbox.errors import ConfigError, SandboxError
from sandbox.model import Kind, Marker
from sandbox.project import Project
from sandbox.report import Step, Warned
from sandbox.workflows import dedicated
from sandbox.workflows.credentials import changing
from sandbox.workflows.guards import check_amounts, check_own
from sandbox.workflows.recovery import drop_staged, recover, settle
from sandbox.workflows.session import Session

if TYPE_CHECKING:
    from sandbox.masking.mask import PolicyMask


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a load left in the playground. `rows`: by store, None for one whose server was put in
    place whole. `notes`: what could not be carried, in words."""

    snapshot: str
    rows: Mapping[str, int | None]
    notes: tuple[str, ...]
    seconds: float


def plan(session: Session, snapshot: str = "latest", kinds: Sequence[Kind] = ()) -> dict[str, Any]:
    """What `load` would put into the playground; nothing is connected to."""
    return planned(session, artifacts.open(session.project.snapshots, snapshot), kinds)


def planned(session: Session, artifact: Artifact, kinds: Sequence[Kind]) -> dict[str, Any]:
    rows = {place.kind: artifact.rows(place.kind) for place in session.places(kinds)}
    return {"snapshot": artifact.id, "rows": rows}


def load(
    session: Session,
    snapshot: str = "latest",
    kinds: Sequence[Kind] = (),
    *,
    mask: PolicyMask | None = None,
    resume: bool = False,
    discard_more: bool = False,
) -> Loaded:
    """Load a snapshot beside the playground's data, then swap all stores, all or none (P4).

    With `mask`, originals of masked values are searched for afterwards (P8): those that it knows
    already, else those read from production once more. `resume` goes on with an interrupted load:
    stores that it has finished beside the present ones are not loaded again. `discard_more`: also
    where a store holds far more than the last load left.
    """
    artifact = artifacts.open(session.project.snapshots, snapshot)
    loaded = _put(session, artifact, kinds, resume=resume, discard_more=discard_more)
    if mask is not None:
        from sandbox.workflows import leaks  # a reset needs none of it, and begins sooner

        if not mask.originals:
            leaks.collect(session, mask)
        leaks.search_playground(session, mask)
    keep_loaded(session, loaded.snapshot, kinds)
    return loaded


def keep_loaded(session: Session, snapshot: str, kinds: Sequence[Kind] = ()) -> None:
    """In servers of its own the playground's baseline is kept as images of them."""
    if session.project.layout != "dedicated":
        return
    if kinds:
        message = "the stores that were not loaded are kept in the baseline as they are now"
        session.report(Warned(message=message))
    with changing(session):
        dedicated.keep(session, dedicated.LOADED, snapshot=snapshot)


def _put(
    session: Session, artifact: Artifact, kinds: Sequence[Kind], *, resume: bool, discard_more: bool
) -> Loaded:
    started = time.monotonic()
    with changing(session):
        done = _resumable(session.project, artifact) if resume else ()
        recover(session, keep=done)
        stores = session.stores(kinds)
        markers = [(k, s, check_own(session.project, k, s)) for k, s in stores.items()]
        if not discard_more:
            check_amounts(markers, artifact)
        settle({kind: store for kind, store in stores.items() if kind not in done})
        notes = stage(session, artifact, stores, done=done, resumable=True)
        swap(session.project, artifact.id, stores)
    seconds = time.monotonic() - started
    session.report(Step(name="loaded", detail=artifact.id, seconds=seconds))
    rows: dict[str, int] = {kind: artifact.rows(kind) for kind in stores}
    return Loaded(snapshot=artifact.id, rows=rows, notes=tuple(notes), seconds=seconds)


def _resumable(project: Project, artifact: Artifact) -> tuple[Kind, ...]:
    """The stores that an interrupted load of this snapshot has finished."""
    state = project.state()
    if state.staging != artifact.id or state.swapping:
        found = f"; that of {state.staging} was" if state.staging else ""
        raise ConfigError(
            f"no load of snapshot {artifact.id} was interrupted{found}",
            where="--resume",
            hint="./inv load begins one",
        )
    return state.staged


def stage(
    session: Session,
    artifact: Artifact,
    stores: dict[Kind, Store],
    *,
    done: Sequence[Kind] = (),
    resumable: bool = False,
    stop: threading.Event | None = None,
) -> list[str]:
    """Load beside the present spaces, but for the stores that are `done`. A failure, or `stop`,
    leaves nothing behind; where it is `resumable`, it leaves the stores that are finished."""
    project = session.project
    todo = {kind: store for kind, store in stores.items() if kind not in done}
    finished: list[Kind] = list(done)
    lock = threading.Lock()
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

    def note_finished(kind: Kind) -> None:
        with lock:
            finished.append(kind)
            if resumable:
                project.remember(staging=artifact.id, staged=tuple(finished))

    try:
        if resumable:
            project.remember(staging=artifact.id, staged=tuple(finished))
        session.prepare({kind: artifact.catalog(kind) for kind in todo})
        notes = transfer.load(
            artifact, todo, marker, report=session.report, finished=note_finished, stop=stop
        )
    except BaseException as error:
        drop_staged({k: s for k, s in stores.items() if k not in finished or not resumable})
        if resumable and finished and isinstance(error, SandboxError) and not error.hint:
            error.hint = "./inv load --resume goes on with what is finished"
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
        project.remember(swapping=tuple(kinds), resetting=going, staging="", staged=())

    def end() -> None:
        project.remember(swapping=(), resetting="", loaded=target, staging="", staged=())

    transfer.swap(stores, begin=begin, end=end, last="postgres")
