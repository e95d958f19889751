"""Searches for originals of masked values: in an artifact before it counts, in every playground
store after a load (P8). Originals are held as fingerprints, in memory, for as long as it takes."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from sandbox import transfer
from sandbox.artifact import Artifact
from sandbox.contract import Columnar, Cut, Source, Store
from sandbox.errors import LeakFound
from sandbox.masking.keep import KEEP
from sandbox.masking.known import DOUBTFUL
from sandbox.masking.leaks import Suspect, scan
from sandbox.masking.mask import PolicyMask
from sandbox.memory import let_go, without_compiler
from sandbox.model import KINDS, Dataset, Kind, slices
from sandbox.report import Step, Warned
from sandbox.transfer import Job
from sandbox.workflows.keys import made_with_others
from sandbox.workflows.session import Session

Place = tuple[str, str, str]  # where, by which rule, and the text: never to be shown
LOOKED_UP = 10  # suspects of one rule in one dataset whose exact place is asked for


def collect(session: Session, mask: PolicyMask) -> None:
    """Read production through `mask` once more, keeping nothing but the originals' fingerprints."""
    with ExitStack() as stack:
        jobs: list[Job] = []
        for source in session.sources().values():
            cut = stack.enter_context(source.cut())
            for part in _parts(source, cut):
                jobs.append((part.bytes or part.rows, partial(_collect, source, cut, part, mask)))
        transfer.run_all(jobs, threading.Event())


def search_artifact(session: Session, artifact: Artifact, mask: PolicyMask) -> dict[str, Any]:
    """Raises LeakFound naming store, dataset and rule; returns what was looked through."""
    search = Search(mask)
    jobs = [
        (one.bytes, partial(search.stream, artifact, kind, one))
        for kind in KINDS
        for one in artifact.streams(kind)
    ]
    return _searched(session, search, "the snapshot", jobs)


def search_playground(session: Session, mask: PolicyMask) -> dict[str, Any]:
    """The same over what the playground's stores really hold now."""
    for one in made_with_others(session.project, mask.key_id):
        if one["loaded"]:
            note = (
                f"snapshot {one['id']} was made with another masking key; names may be told twice"
            )
            session.report(Warned(message=note))
    search = Search(mask)
    with ExitStack() as stack:
        jobs: list[Job] = []
        for kind, store in session.stores().items():
            cut, lock = stack.enter_context(store.cut()), threading.Lock()
            for part in _parts(store, cut):
                run = partial(search.store, kind, store, cut, part, lock)
                jobs.append((part.bytes or part.rows, run))
        return _searched(session, search, "the playground", jobs)


def _parts(source: Source, cut: Cut) -> list[Dataset]:
    return [part for dataset in source.datasets(cut) for part in slices(dataset)]


class Search:
    """What was looked through, and the places that were found. Shared by threads."""

    def __init__(self, mask: PolicyMask) -> None:
        self.mask = mask
        self.bytes = 0
        self.found: list[Place] = []
        self._looked_up: Counter[tuple[Kind, str, str]] = Counter()
        self._lock = threading.Lock()

    def stream(self, artifact: Artifact, kind: Kind, dataset: Dataset) -> None:
        """One stream of an artifact."""
        for suspect in self._scan(artifact.pieces(kind, dataset), dataset):
            self.found.append((f"{kind}: {dataset.name}", suspect.rule, suspect.text))

    def store(
        self, kind: Kind, store: Store, cut: Cut, dataset: Dataset, lock: threading.Lock
    ) -> None:
        """One dataset of a store, or a part of one. Under `lock` the store is asked for places."""
        pieces = (piece for _, piece in transfer.read_texts(store, cut, dataset, KEEP))
        for suspect in self._scan(pieces, dataset):
            text, places = suspect.text, [dataset.name]
            if self._first_ones(kind, suspect) and suspect.rule != DOUBTFUL:
                with lock:
                    text, places = _looked_up(store, suspect.text, dataset.name)
            for place in places:
                shown = _shown(kind, place, text, suspect.rule, self.mask)
                self.found.append((shown, suspect.rule, text))

    def _first_ones(self, kind: Kind, suspect: Suspect) -> bool:
        with self._lock:
            self._looked_up[kind, suspect.dataset, suspect.rule] += 1
            return self._looked_up[kind, suspect.dataset, suspect.rule] <= LOOKED_UP

    def _scan(self, pieces: Iterable[bytes], dataset: Dataset) -> Iterator[Suspect]:
        return scan(self._counted(pieces), self.mask.originals, dataset=dataset.name)

    def _counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for number, piece in enumerate(pieces):
            with self._lock:
                self.bytes += len(piece)
            if number == 1:
                without_compiler()  # the loops that look through the first piece are loaded now
            yield piece


def _searched(session: Session, search: Search, what: str, jobs: Sequence[Job]) -> dict[str, Any]:
    started = time.monotonic()
    let_go()  # of what the copy before has left
    transfer.run_all(jobs, threading.Event())
    places = {f"{place} (rule {rule})" for place, rule, _ in search.found if rule != DOUBTFUL}
    doubtful = [(place, text) for place, rule, text in search.found if rule == DOUBTFUL]
    if doubtful:
        places.update(_second_look(session, search.mask, doubtful))
    if places:
        listed = "\n".join(f"  {place}" for place in sorted(places))
        raise LeakFound(
            f"originals of masked values stand in {what}:\n{listed}\n",
            hint="mend the rule, take a new snapshot and load it",
        )
    seconds = time.monotonic() - started
    session.report(
        Step(
            name=f"no original of a masked value in {what}",
            detail=f"{search.bytes / 1e6:.0f} MB searched",
            seconds=seconds,
        )
    )
    return {"searched": what, "bytes": search.bytes, "leaks": 0, "seconds": round(seconds, 3)}


def _second_look(
    session: Session, mask: PolicyMask, doubtful: Sequence[tuple[str, str]]
) -> Iterator[str]:
    """A filter may be wrong: what only it knows is looked for among production's values again."""
    second = mask.again(text for _, text in doubtful)
    collect(session, second)
    for place, text in doubtful:
        for known in second.originals.index.find(text):
            yield f"{place} (rule {known.domain})"


def _collect(source: Source, cut: Cut, dataset: Dataset, mask: PolicyMask) -> None:
    if not isinstance(source, Columnar):
        for _ in transfer.read_texts(source, cut, dataset, mask):
            pass
    elif columns := mask.searched(dataset):
        take(mask, source, cut, dataset, columns)


def take(
    mask: PolicyMask, source: Columnar, cut: Cut, dataset: Dataset, columns: Sequence[str]
) -> None:
    """Show the mask the originals of columns that the server masks."""
    for lines in source.lines(cut, dataset, columns):
        mask.take(dataset, columns, lines)


def _looked_up(store: Store, text: str, dataset: str) -> tuple[str, list[str]]:
    """In a binary frame a byte beside the text may have looked like a letter of it, and JSON inside
    a string may hold it escaped."""
    for one in (text, text[:-1], text[1:], json.dumps(text)[1:-1]):
        if places := store.search((one,)):
            return one, list(places)
    return text, [dataset]


def _shown(kind: Kind, place: str, text: str, rule: str, mask: PolicyMask) -> str:
    """Keys and file names may hold the value themselves: what is known in them is not shown."""
    place = re.sub(re.escape(text), f"{{{rule}}}", place, flags=re.IGNORECASE)
    for known in reversed(mask.originals.index.find(place)):
        place = f"{place[: known.start]}{{{known.domain}}}{place[known.end :]}"
    return f"{kind}: {place}"
