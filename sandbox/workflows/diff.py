"""What changed in the playground since its baseline, by store and dataset, before it goes.

On production's servers each store knows it. In servers of its own a baseline is an image: servers
of it are started beside the present ones, and both are read, which takes as long as reading takes.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from sandbox import comparing, transfer
from sandbox.contract import Cut, Source, Store
from sandbox.engine import Baseline
from sandbox.errors import ConfigError, NoBaseline
from sandbox.masking.keep import KEEP, Keep
from sandbox.model import KINDS, Change, Dataset, FilesSpace, Kind
from sandbox.stores import backend
from sandbox.workflows import dedicated
from sandbox.workflows.credentials import changing
from sandbox.workflows.guards import check_own
from sandbox.workflows.recovery import recover
from sandbox.workflows.session import Session

UNCOPIED = ("cut_ms", "aliases")  # options that tell of the reading, or of production alone
OBJECT = re.compile(r"^-- Name: (?P<name>.+?); Type: (?P<type>[A-Z ]+); Schema: .*$", re.M)
NOISE = re.compile(r"^(--|\\).*$", re.M)  # comments, and the dump's own key, new each time


def diff(session: Session, kinds: Sequence[Kind] = ()) -> tuple[Change, ...]:
    """Changes in the order of stores and datasets; () when `reset` would change nothing."""
    with changing(session):
        recover(session)
        dedicatedly = session.project.layout == "dedicated"
        found = _images(session, kinds) if dedicatedly else _stores(session, kinds)
    order = {kind: number for number, kind in enumerate(KINDS)}
    return tuple(sorted(found, key=lambda one: (order[one.store], one.dataset, one.what)))


def as_json(changes: Sequence[Change]) -> list[dict[str, Any]]:
    return [
        {
            "store": one.store,
            "dataset": one.dataset,
            "what": one.what,
            "rows": one.rows,
            "detail": one.detail,
        }
        for one in changes
    ]


# --- on production's servers ----------------------------------------------------------------------


def _stores(session: Session, kinds: Sequence[Kind]) -> list[Change]:
    found: list[Change] = []

    def one(kind: Kind, store: Store) -> None:
        marker = check_own(session.project, kind, store)
        try:
            found.extend(store.changes())
        except NoBaseline:
            found.extend(_counted(kind, marker.counts, store.count()))

    stores = session.stores(kinds)
    jobs = [(1, partial(one, kind, store)) for kind, store in stores.items()]
    transfer.run_all(jobs, threading.Event())
    return found


def _counted(kind: Kind, before: Mapping[str, int], now: Mapping[str, int]) -> Iterator[Change]:
    """Where no pristine copy is kept, only the numbers of rows are known."""
    for name in sorted({*before, *now}):
        if name not in now:
            yield Change(store=kind, dataset=name, what="removed", rows=before[name])
        elif name not in before:
            yield Change(store=kind, dataset=name, what="added", rows=now[name])
        elif before[name] != now[name]:
            detail = f"{now[name]:,} rows, {before[name]:,} were loaded; other changes are not seen"
            rows = abs(now[name] - before[name])
            yield Change(store=kind, dataset=name, what="rows", rows=rows, detail=detail)


# --- in servers of its own ------------------------------------------------------------------------


def _images(session: Session, kinds: Sequence[Kind]) -> list[Change]:
    baseline = dedicated.find(session)
    if baseline is None:
        raise ConfigError("there is no baseline to compare with", hint="./inv load makes one")
    images = {one: baseline.images[one] for one in dedicated.services(session, kinds)}
    found: list[Change] = []
    with session.engine.showing(dedicated.project_of(session), images) as shown:
        pairs: dict[Kind, tuple[Source, Source]] = {
            kind: (session.home(kind, shown[service]), session.home(kind))
            for service, kind in dedicated.services(session, kinds).items()
        }
        for place in session.places(("files",)):
            if not kinds or place.kind in kinds:
                pairs["files"] = (_kept_files(session, baseline), session.store("files"))
        jobs = [(1, partial(_add, found, kind, *pair)) for kind, pair in pairs.items()]
        transfer.run_all(jobs, threading.Event())
        for before, _ in pairs.values():
            before.close()
    return found


def _kept_files(session: Session, baseline: Baseline) -> Source:
    access = session.access("files", "keeper")
    assert isinstance(access.space, FilesSpace)
    folder = dedicated.files_folder(session.project) / baseline.generation
    directories = {purpose: folder / purpose for purpose in access.space.directories}
    return backend("files").source(
        replace(access, space=FilesSpace(directories=directories)), tool=None
    )


def _add(found: list[Change], kind: Kind, before: Source, now: Source) -> None:
    found.extend(compare(kind, before, now))


def compare(kind: Kind, before: Source, now: Source) -> Iterator[Change]:
    """What `now` has otherwise than `before`: two spaces of one store, read in the same way."""
    with ExitStack() as stack:
        old, new = stack.enter_context(before.cut()), stack.enter_context(now.cut())
        yield from _catalogs(kind, before.catalog(old), now.catalog(new))
        olds, news = _by_name(before.datasets(old)), _by_name(now.datasets(new))
        for name in sorted({*olds, *news}):
            if name not in news:
                rows = _count(before, old, olds[name])
                yield Change(store=kind, dataset=name, what="removed", rows=rows)
            elif name not in olds:
                rows = _count(now, new, news[name])
                yield Change(store=kind, dataset=name, what="added", rows=rows)
            else:
                if _options(olds[name]) != _options(news[name]):
                    yield Change(store=kind, dataset=name, what="altered")
                yield from _rows(kind, (before, old, olds[name]), (now, new, news[name]))


class _Typed(Keep):
    """A Redis dump holds when a stream's consumer was last seen, which a restart changes: there
    values are read one by one."""

    def keeps(self, dataset: Dataset) -> bool:
        return dataset.store != "redis"


TYPED = _Typed()
Read = tuple[Source, Cut, Dataset]


def _rows(kind: Kind, before: Read, now: Read) -> Iterator[Change]:
    if comparing.digest(_pieces(*before)) == comparing.digest(_pieces(*now)):
        return
    gone, come = comparing.compare(kind, _pieces(*before), _pieces(*now))
    if gone or come:
        detail = f"+{come:,} -{gone:,}"
        name = now[2].name
        yield Change(store=kind, dataset=name, what="rows", rows=max(gone, come), detail=detail)


def _pieces(source: Source, cut: Cut, dataset: Dataset) -> Iterator[bytes]:
    return (piece for _, piece in source.read(cut, dataset, TYPED))


def _count(source: Source, cut: Cut, dataset: Dataset) -> int:
    return sum(rows for rows, _ in source.read(cut, dataset, KEEP))


def _options(dataset: Dataset) -> dict[str, Any]:
    return {key: value for key, value in dataset.options.items() if key not in UNCOPIED}


def _by_name(datasets: Sequence[Dataset]) -> dict[str, Dataset]:
    return {one.name: one for one in datasets}


def _catalogs(kind: Kind, before: bytes, now: bytes) -> Iterator[Change]:
    """Objects whose definition is another one; where every sequence stands."""
    if before == now:
        return
    if kind != "postgres":
        yield Change(store=kind, dataset="views", what="altered")
        return
    old, new = json.loads(before), json.loads(now)
    objects = _objects(old["dump"]), _objects(new["dump"])
    for name in sorted({*objects[0], *objects[1]}):
        was, is_now = (one.get(name) for one in objects)
        if was != is_now and not (name.startswith("TABLE ") and None in (was, is_now)):
            what = "altered" if was and is_now else "added" if is_now else "removed"
            yield Change(store=kind, dataset=name.lower(), what=what)  # type: ignore[arg-type]
    for name in sorted({*old["sequences"], *new["sequences"]}):
        was, is_now = old["sequences"].get(name), new["sequences"].get(name)
        if was and is_now and was != is_now:
            detail = f"at {is_now[0]:,}, was at {was[0]:,}"
            yield Change(store=kind, dataset=f"sequence {name}", what="altered", detail=detail)


def _objects(dump: str) -> dict[str, str]:
    """`TYPE name` -> its DDL, from pg_dump's own headings."""
    heads = list(OBJECT.finditer(dump))
    ends = [head.start() for head in heads[1:]] + [len(dump)]
    return {
        f"{head['type']} {head['name']}": NOISE.sub("", dump[head.end() : end]).strip()
        for head, end in zip(heads, ends, strict=True)
    }
