"""The one pipe: sources -> mask -> artifact, and artifact -> stores.

All stores and tables run side by side in threads, largest first; memory stays flat because a piece
(about 1 MiB) is the most that any of them holds. The first failure stops all the others.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

from sandbox.artifact import Artifact, Writer
from sandbox.contract import Cut, Mask, Source, Store, Unlocked, Vectored
from sandbox.errors import Refused, SandboxError
from sandbox.memory import give_back, let_go, trim, without_compiler
from sandbox.model import KINDS, Dataset, Kind, Marker, slices
from sandbox.report import Progress, Report, Step

# One more than processors: each waits for its server now and then, and each holds a few MB.
WORKERS = max(3, 1 + (os.cpu_count() or 2))
SELDOM = (50_000, 20, 20)  # thresholds of the garbage collector while rows move
TICK = 0.1  # seconds between two progress events of one store
LARGE = 16 << 20  # bytes of a stream after whose end memory is given back
Job = tuple[int, Callable[[], None]]  # size, and what to do


class Stopped(Exception):
    """Another part failed, or a person pressed Ctrl-C."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """One source with its cut open, and what stands in it."""

    source: Source
    cut: Cut
    datasets: tuple[Dataset, ...]


class Meter:
    """Counts rows and bytes of one store from several threads and tells of them now and then."""

    def __init__(self, task: str, kind: Kind, datasets: Sequence[Dataset], report: Report) -> None:
        self._task, self._kind, self._report = task, kind, report
        self._total = sum(dataset.rows for dataset in datasets)
        self._left = len(datasets)
        self._rows = self._bytes = 0
        self._told = 0.0
        self._lock = threading.Lock()

    def add(self, rows: int, size: int) -> None:
        with self._lock:
            self._rows += rows
            self._bytes += size
            now = time.monotonic()
            if now - self._told < TICK:
                return
            self._told = now
        self._tell(done=False)

    def ended(self) -> None:
        """One dataset is through."""
        with self._lock:
            self._left -= 1
            left = self._left
        if left == 0:
            self._tell(done=True)

    def _tell(self, *, done: bool) -> None:
        total = self._rows if done else max(self._total, self._rows)
        self._report(
            Progress(
                task=self._task,
                store=self._kind,
                rows=self._rows,
                total_rows=total,
                bytes=self._bytes,
                done=done,
            )
        )


def take(
    sources: Mapping[Kind, Source],
    mask: Mask,
    writer: Writer,
    *,
    check: Callable[[Mapping[Kind, Held]], None],
    after: Callable[[Mapping[Kind, Held]], None],
    report: Report,
    task: str = "snapshot",
    beside: Callable[[Mapping[Kind, Held]], Sequence[Job]] = lambda held: (),
) -> dict[str, object]:
    """Read every source at one cut through `mask` into `writer`; returns the cuts' facts.

    `check` sees what there is before anything is read; what `beside` asks for runs while it is
    read; `after` runs while the cuts are still held.
    Raises Refused with every uncovered name when there is one, and SandboxError where something was
    made otherwise while it was read; nothing that was written counts.
    What `writer` has from an interrupted run is read for its originals only, and is named.
    """
    with ExitStack() as stack:
        cuts = {kind: stack.enter_context(sources[kind].cut()) for kind in _ordered(sources)}
        held = {
            kind: Held(source=sources[kind], cut=cut, datasets=tuple(sources[kind].datasets(cut)))
            for kind, cut in cuts.items()
        }
        check(held)
        _refuse_uncovered(mask)
        resumed = _taken_up(held, writer)
        stop = threading.Event()
        jobs = _reading_jobs(held, mask, writer, stop, report, task)
        run_all([*jobs, *beside(held)], stop)
        _refuse_uncovered(mask)
        _refuse_altered(held, writer)
        after(held)
        return {
            kind: dict(cut.facts) | ({"resumed": resumed[kind]} if resumed[kind] else {})
            for kind, cut in cuts.items()
        }


def _taken_up(held: Mapping[Kind, Held], writer: Writer) -> dict[Kind, list[str]]:
    """The finished parts that an interrupted run left, by store. Of a store with one moment for
    all its datasets they count together only: half of two moments is no moment."""
    resumed: dict[Kind, list[str]] = {}
    for kind, one in held.items():
        finished, present = writer.finished(kind), {dataset.name for dataset in one.datasets}
        whole = finished == present and writer.has_catalog(kind)
        if finished - present or (not whole and one.cut.token is not None):
            writer.forget(kind)
        resumed[kind] = sorted(writer.finished(kind))
    return resumed


def load(
    artifact: Artifact,
    stores: Mapping[Kind, Store],
    marker: Callable[[Kind], Marker],
    *,
    report: Report,
    finished: Callable[[Kind], None] = lambda kind: None,
    stop: threading.Event | None = None,
) -> list[str]:
    """Load `artifact` into new spaces beside the present ones; returns what could not be carried.

    Nothing of the present spaces is touched: `swap` does that when all stores have finished;
    `finished` hears of each of them, from the thread that it ended in. `stop` ends it early.
    """
    stop = stop or threading.Event()
    started = time.monotonic()
    let_go()
    run_all([(1, partial(_stage, stores[kind], artifact, kind)) for kind in stores], stop)
    jobs: list[tuple[int, Callable[[], None]]] = []
    notes: list[str] = []
    for kind in _ordered(stores):
        jobs += _writing_jobs(
            artifact, kind, stores[kind], marker(kind), notes, stop, report, finished
        )
    run_all(jobs, stop)
    report(Step(name="loaded beside the present spaces", seconds=time.monotonic() - started))
    return notes


def swap(
    stores: Mapping[Kind, Store],
    *,
    begin: Callable[[Sequence[Kind]], None],
    end: Callable[[], None],
    last: Kind | None = None,
) -> None:
    """Put every staged space in place, all or none, side by side; `last` is one that cannot be
    undone, and goes when the others are in place.

    `begin` keeps on disk which stores are in it, so that the next command can undo a swap that was
    interrupted; `end` tells, in one write, that all are in place.
    """
    order = tuple(sorted(_ordered(stores), key=lambda kind: kind == last))
    begin(order)
    try:
        first = [kind for kind in order if kind != last]
        run_all([(1, stores[kind].swap) for kind in first], threading.Event())
        for kind in order[len(first) :]:
            stores[kind].swap()
        end()
    except BaseException:
        undo(stores)
        begin(())
        raise
    run_all([(1, stores[kind].settle) for kind in order], threading.Event())


def undo(stores: Mapping[Kind, Store]) -> None:
    """Bring every store back to its old space, one after the other, whatever state it is in."""
    failures: list[Exception] = []
    for kind in reversed(_ordered(stores)):
        try:
            stores[kind].undo()
        except Exception as error:  # the others must still go back
            failures.append(error)
    if failures:
        raise failures[0]


def run_all(jobs: Sequence[tuple[int, Callable[[], None]]], stop: threading.Event) -> None:
    """Run `(size, job)` in threads, largest first; the first failure sets `stop` and is raised."""
    give_back()
    ordered = [job for _, job in sorted(jobs, key=lambda pair: -pair[0])]
    with (
        seldom_collected(),
        ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="transfer") as pool,
    ):
        futures = [pool.submit(job) for job in ordered]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:  # Ctrl-C: let the threads end at their next piece
            _cancel(futures, stop)
            raise
        if any(future.exception() for future in done):
            _cancel(futures, stop)
    _raise_first(futures)


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Rows are many small objects without cycles, which reference counts free: looking for cycles
    at Python's usual pace took a fifth of the time of masking documents."""
    before = gc.get_threshold()
    gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _cancel(futures: Sequence[Future[None]], stop: threading.Event) -> None:
    stop.set()
    for future in futures:
        future.cancel()


def _raise_first(futures: Sequence[Future[None]]) -> None:
    errors = [f.exception() for f in futures if not f.cancelled()]
    real = [error for error in errors if error and not isinstance(error, Stopped)]
    for error in real or [error for error in errors if error]:
        raise error


def _reading_jobs(
    held: Mapping[Kind, Held],
    mask: Mask,
    writer: Writer,
    stop: threading.Event,
    report: Report,
    task: str,
) -> list[tuple[int, Callable[[], None]]]:
    jobs: list[tuple[int, Callable[[], None]]] = []
    for kind, one in held.items():
        streams = [part for dataset in one.datasets for part in slices(dataset)]
        meter = Meter(task, kind, streams, report)
        if not writer.has_catalog(kind):
            jobs.append((1 << 62, partial(_read_catalog, kind, one, writer)))
        finished = writer.finished(kind)
        for dataset in streams:
            into = None if dataset.name in finished else writer
            run = partial(_read, one, dataset, mask, into, meter, stop)
            jobs.append((dataset.bytes or dataset.rows, run))
    return jobs


def _read_catalog(kind: Kind, one: Held, writer: Writer) -> None:
    writer.catalog(kind, one.source.catalog(one.cut))


def _read(
    one: Held,
    dataset: Dataset,
    mask: Mask,
    writer: Writer | None,
    meter: Meter,
    stop: threading.Event,
) -> None:
    """Without a writer the part is there already, and is read for what the mask sees only: the
    leak search must know every original. Those that PostgreSQL masks were asked for already."""
    by_server = dataset.store == "postgres" and mask.bulk(dataset) is None
    if writer is None and by_server and not mask.texts(dataset):
        return meter.ended()
    read = partial(read_texts, one.source) if writer is None else one.source.read
    size = 0
    with nullcontext() if writer is None else writer.part(dataset.store, dataset) as part:
        for number, (rows, piece) in enumerate(read(one.cut, dataset, mask)):
            if stop.is_set():
                raise Stopped
            if not number:
                without_compiler()  # this dataset's loops are loaded now
            if part is not None and not mask.uncovered:  # else only to name every uncovered place
                part.write(rows, piece)
            meter.add(rows, len(piece))
            size += len(piece)
    if size >= LARGE:
        trim()
    return meter.ended()


def read_texts(
    source: Source, cut: Cut, dataset: Dataset, mask: Mask
) -> Iterator[tuple[int, bytes]]:
    """What somebody's value may stand in, for the leak search."""
    if isinstance(source, Vectored):
        return source.without_vectors(cut, dataset, mask)
    return source.read(cut, dataset, mask)


def _refuse_uncovered(mask: Mask) -> None:
    if not mask.uncovered:
        return
    listed = "\n".join(f"  {name}  {where}" for name, where in sorted(mask.uncovered.items()))
    count = len(mask.uncovered)
    raise Refused(
        f"the policy does not name {count} place{'s' if count > 1 else ''}; "
        f"nothing was written:\n{listed}\n",
        hint="add a rule for each; docs/masking.md lists the strategies",
    )


def _refuse_altered(held: Mapping[Kind, Held], writer: Writer) -> None:
    """What was read of a store that is made otherwise now is of no one shape: `--resume` must not
    go on with it. (PostgreSQL's tables are locked meanwhile.)"""
    for kind, one in held.items():
        if isinstance(one.source, Unlocked):
            altered = one.source.altered(one.cut, one.datasets)
            if altered:
                writer.forget(kind)
                raise SandboxError(
                    f"changed while it was read: {', '.join(altered)}",
                    where=kind,
                    hint="take the snapshot again when nothing is being migrated there",
                )


def _stage(store: Store, artifact: Artifact, kind: Kind) -> None:
    store.stage(artifact.datasets(kind), artifact.catalog(kind))


def _writing_jobs(
    artifact: Artifact,
    kind: Kind,
    store: Store,
    marker: Marker,
    notes: list[str],
    stop: threading.Event,
    report: Report,
    finished: Callable[[Kind], None],
) -> list[tuple[int, Callable[[], None]]]:
    datasets = artifact.streams(kind)
    meter = Meter("load", kind, datasets, report)
    left = [len(datasets)]
    lock = threading.Lock()

    def finish() -> None:
        notes.extend(f"{kind}: {text}" for text in store.finish(marker))
        finished(kind)

    def write(dataset: Dataset) -> None:
        pieces = artifact.pieces(kind, dataset)
        store.write(dataset, _watched(pieces, dataset, meter, stop))
        meter.ended()
        with lock:
            left[0] -= 1
            last = left[0] == 0
        if last:  # indexes of one store while others still load
            finish()

    if not datasets:
        return [(1, finish)]
    return [(dataset.bytes or dataset.rows, partial(write, dataset)) for dataset in datasets]


def _watched(
    pieces: Iterator[bytes], dataset: Dataset, meter: Meter, stop: threading.Event
) -> Iterator[bytes]:
    """Bytes are what moves: rows follow in proportion, so that a large table's bar moves, too."""
    seen = told = 0
    for piece in pieces:
        if stop.is_set():
            raise Stopped
        seen += len(piece)
        rows = dataset.rows * min(seen, dataset.bytes) // max(dataset.bytes, 1)
        meter.add(rows - told, len(piece))
        told = rows
        yield piece
    meter.add(dataset.rows - told, 0)


def _ordered(kinds: Mapping[Kind, object]) -> tuple[Kind, ...]:
    return tuple(kind for kind in KINDS if kind in kinds)
