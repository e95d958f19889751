"""Searches for originals of masked values: in an artifact before it counts, in every playground
store after a load (P8). Originals are held as fingerprints, in memory, for as long as it takes."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from sandbox import transfer
from sandbox.artifact import Artifact
from sandbox.contract import Columnar, Source, Store
from sandbox.errors import LeakFound
from sandbox.masking.keep import KEEP
from sandbox.masking.known import DOUBTFUL
from sandbox.masking.leaks import scan
from sandbox.masking.mask import PolicyMask
from sandbox.model import KINDS, Dataset, Kind
from sandbox.report import Step, Warned
from sandbox.workflows.keys import made_with_others
from sandbox.workflows.session import Session

Places = list[tuple[str, str, str]]  # where, by which rule, and the text: never to be shown
LOOKED_UP = 10  # suspects of one rule in one dataset whose exact place is asked for


def collect(session: Session, mask: PolicyMask) -> None:
    """Read production through `mask` once more, keeping nothing but the originals' fingerprints."""
    sources = session.sources()
    jobs = [(1, _collecting(source, mask)) for source in sources.values()]
    transfer.run_all(jobs, threading.Event())


def search_artifact(session: Session, artifact: Artifact, mask: PolicyMask) -> dict[str, Any]:
    """Raises LeakFound naming store, dataset and rule; returns what was looked through."""
    found: Places = []
    looked = [0]
    jobs: list[tuple[int, Callable[[], None]]] = []
    for kind in KINDS:
        for dataset in artifact.datasets(kind):
            jobs.append(
                (dataset.bytes, _searching_part(artifact, kind, dataset, mask, looked, found))
            )
    return _searched(session, mask, "the snapshot", jobs, looked, found)


def search_playground(session: Session, mask: PolicyMask) -> dict[str, Any]:
    """The same over what the playground's stores really hold now."""
    for one in made_with_others(session.project, mask.key_id):
        if one["loaded"]:
            note = (
                f"snapshot {one['id']} was made with another masking key; names may be told twice"
            )
            session.report(Warned(message=note))
    found: Places = []
    looked = [0]
    jobs = [
        (1, _searching_store(kind, store, mask, looked, found))
        for kind, store in session.stores().items()
    ]
    return _searched(session, mask, "the playground", jobs, looked, found)


def _searched(
    session: Session,
    mask: PolicyMask,
    what: str,
    jobs: list[tuple[int, Callable[[], None]]],
    looked: list[int],
    found: Places,
) -> dict[str, Any]:
    started = time.monotonic()
    transfer.run_all(jobs, threading.Event())
    places = {f"{place} (rule {rule})" for place, rule, _ in found if rule != DOUBTFUL}
    doubtful = [(place, text) for place, rule, text in found if rule == DOUBTFUL]
    if doubtful:
        places.update(_second_look(session, mask, doubtful))
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
            detail=f"{looked[0] / 1e6:.0f} MB searched",
            seconds=seconds,
        )
    )
    return {"searched": what, "bytes": looked[0], "leaks": 0, "seconds": round(seconds, 3)}


def _second_look(
    session: Session, mask: PolicyMask, doubtful: Sequence[tuple[str, str]]
) -> Iterator[str]:
    """A filter may be wrong: what only it knows is looked for among production's values again."""
    second = mask.again(text for _, text in doubtful)
    collect(session, second)
    for place, text in doubtful:
        for known in second.originals.index.find(text):
            yield f"{place} (rule {known.domain})"


def _collecting(source: Source, mask: PolicyMask) -> Callable[[], None]:
    def run() -> None:
        with source.cut() as cut:
            for dataset in source.datasets(cut):
                if isinstance(source, Columnar):
                    if columns := mask.searched(dataset):
                        for lines in source.lines(cut, dataset, columns):
                            mask.take(dataset, columns, lines)
                    continue
                for _ in source.read(cut, dataset, mask):
                    pass

    return run


def _searching_part(
    artifact: Artifact,
    kind: Kind,
    dataset: Dataset,
    mask: PolicyMask,
    looked: list[int],
    found: Places,
) -> Callable[[], None]:
    def run() -> None:
        pieces = _counted(artifact.pieces(kind, dataset), looked)
        for suspect in scan(pieces, mask.originals, dataset=dataset.name):
            found.append((f"{kind}: {dataset.name}", suspect.rule, suspect.text))

    return run


def _searching_store(
    kind: Kind, store: Store, mask: PolicyMask, looked: list[int], found: Places
) -> Callable[[], None]:
    def run() -> None:
        with store.cut() as cut:
            for dataset in store.datasets(cut):
                pieces = _counted((piece for _, piece in store.read(cut, dataset, KEEP)), looked)
                looked_up: Counter[str] = Counter()
                for suspect in scan(pieces, mask.originals, dataset=dataset.name):
                    looked_up[suspect.rule] += 1
                    text = suspect.text
                    places: Sequence[str] = (dataset.name,)
                    if looked_up[suspect.rule] <= LOOKED_UP and suspect.rule != DOUBTFUL:
                        text, places = _looked_up(store, suspect.text, dataset.name)
                    found.extend(
                        (_shown(kind, place, text, suspect.rule, mask), suspect.rule, text)
                        for place in places
                    )

    return run


def _looked_up(store: Store, text: str, dataset: str) -> tuple[str, Sequence[str]]:
    """In a binary frame a byte beside the text may have looked like a letter of it, and JSON inside
    a string may hold it escaped."""
    for one in (text, text[:-1], text[1:], json.dumps(text)[1:-1]):
        if places := store.search((one,)):
            return one, places
    return text, (dataset,)


def _shown(kind: Kind, place: str, text: str, rule: str, mask: PolicyMask) -> str:
    """Keys and file names may hold the value themselves: what is known in them is not shown."""
    place = re.sub(re.escape(text), f"{{{rule}}}", place, flags=re.IGNORECASE)
    for known in reversed(mask.originals.index.find(place)):
        place = f"{place[: known.start]}{{{known.domain}}}{place[known.end :]}"
    return f"{kind}: {place}"


def _counted(pieces: Iterable[bytes], looked: list[int]) -> Iterator[bytes]:
    for piece in pieces:
        looked[0] += len(piece)
        yield piece
