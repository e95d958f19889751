"""What an interrupted load, reset or move needs afterwards: all stores old, or all new."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence

from sandbox import transfer
from sandbox.contract import Store
from sandbox.model import Kind
from sandbox.report import Warned
from sandbox.workflows import dedicated
from sandbox.workflows.session import Session


def recover(session: Session, *, keep: Sequence[Kind] = ()) -> None:
    """Finish or undo what was interrupted, over all stores: where the last one is in place all are,
    otherwise every store goes back to its old space, whole. What a load has finished beside the
    present spaces goes, but for the stores of `keep`."""
    if session.project.layout == "dedicated" and dedicated.mend(session):
        return
    state = session.project.state()
    if not keep and state.staging:
        drop_staged(session.stores(state.staged))
        session.project.remember(staging="", staged=())
    if not state.swapping:
        return
    at = session.at(state.moving) if state.moving else session
    stores = at.stores(state.swapping)
    finished = bool(state.resetting) and stores[state.swapping[-1]].swapped()
    if not finished:
        transfer.undo(stores)
    settle(stores)
    if finished:
        session.project.remember(swapping=(), resetting="", loaded=state.resetting)
        message = "an interrupted reset was finished; the playground is as it was loaded"
    else:
        session.project.remember(swapping=(), resetting="", moving=None)
        message = "an interrupted swap was undone; the playground is as it was"
    session.report(Warned(message=message))


def settle(stores: Mapping[Kind, Store]) -> None:
    """Drop what a command left that was killed when all was in place and not yet cleared away."""
    transfer.run_all([(1, store.settle) for store in stores.values()], threading.Event())


def drop_staged(stores: dict[Kind, Store]) -> None:
    """Best effort, while another error is on its way: the next load drops what stays."""
    for store in stores.values():
        with contextlib.suppress(Exception):
            store.settle()
