"""`./inv demo` and `./inv seed`: the whole tour; each of its steps is a command of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from demo.seed import Connections, Filled, check_scale, expected, seed
from demo.show import masked_examples
from demo.spoil import spoil
from sandbox.console import Console
from sandbox.errors import Refused
from sandbox.model import FilesSpace, PostgresSpace, Role
from sandbox.report import Step
from sandbox.urls import url
from sandbox.workflows.credentials import check
from sandbox.workflows.guards import check_production
from sandbox.workflows.isolate import isolate
from sandbox.workflows.load import load
from sandbox.workflows.reset import reset
from sandbox.workflows.session import Session
from sandbox.workflows.snapshot import snapshot
from sandbox.workflows.up import up
from sandbox.workflows.verify import broken, verify


def fill(
    session: Session,
    *,
    scale: float,
    random_seed: int,
    replace: bool = False,
    dry_run: bool = False,
) -> Mapping[str, Mapping[str, int]]:
    """Seed the stand-in production. A production that is not ours is never written (P1)."""
    check_scale(scale)
    if session.external:
        raise Refused("production is external: demo data is for the stand-in only")
    if dry_run:
        rows = expected(scale=scale, random_seed=random_seed)
        return {store: {"about": number} for store, number in rows.items()}
    check(session)
    check_production(session)
    return seed(
        connections(session, "admin"),
        scale=scale,
        random_seed=random_seed,
        replace=replace,
        report=session.report,
    )


def connections(session: Session, role: Role) -> Connections:
    """Where the stores are, as `role`: production's spaces for admin, else the playground's."""
    access = {
        place.kind: session.admin_access(place.kind, "production")
        if role == "admin"
        else session.access(place.kind, role)
        for place in session.places()
        if place.kind != "files"
    }
    files = session.place("files")
    space = files.production if role == "admin" else files.playground
    assert isinstance(space, FilesSpace)
    postgres = access["postgres"].space
    assert isinstance(postgres, PostgresSpace)
    return Connections(
        postgres=url(access["postgres"]),
        schema=postgres.schema,
        mongo=url(access["mongo"]),
        mongo_database=access["mongo"].space.name,
        qdrant=url(access["qdrant"]),
        qdrant_key=access["qdrant"].identity.secret,
        qdrant_collection=access["qdrant"].space.name,
        redis=url(access["redis"]),
        redis_prefix=access["redis"].space.name,
        directories=dict(space.directories),
    )


def tour(session: Session, console: Console, *, scale: float, engine_seconds: float) -> None:
    """Every step in turn; ends with what each took. Raises what the first failing step raises."""
    took: dict[str, float] = {"engine": engine_seconds}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        if not console.as_json:
            console.line(f"\n── {name}")
        began = time.monotonic()
        with console.progress():
            yield
        took[name] = time.monotonic() - began

    with step("up"):
        up(session)
    with step("seed"):
        _seed_if_empty(session, scale)
    with step("isolate"):
        isolate(session)
    with step("verify"):
        first = _proved(session)
    with step("snapshot"):
        taken = snapshot(session)
    with step("load"):
        load(session, taken.artifact.id, mask=taken.mask)
    examples = masked_examples(connections(session, "playground"))
    _show(console, examples)
    with step("spoil"):
        spoiled = spoil(connections(session, "playground"))
        _tell(console, spoiled)
    with step("reset"):
        reset(session)
    with step("verify again"):
        second = _proved(session)
    result = {
        "snapshot": taken.artifact.id,
        "attempts": [sum(len(row.attempts) for row in v.rows) for v in (first, second)],
        "isolated": second.isolated,
        "spoiled": spoiled,
        "seconds": {name: round(seconds, 2) for name, seconds in took.items()},
    }
    if console.as_json:
        console.json(result)
        return
    console.line()
    rows = [(name, f"{seconds:.1f} s") for name, seconds in took.items()]
    console.table(
        "What each step took", ("step", "time"), [*rows, ("all", f"{sum(took.values()):.1f} s")]
    )


def _seed_if_empty(session: Session, scale: float) -> None:
    try:
        fill(session, scale=scale, random_seed=1)
    except Filled as error:
        if not error.everywhere:  # its volumes went, or its folder
            raise
        session.report(Step(name="production holds data already; it stays as it is"))


def _proved(session: Session) -> Any:
    verdict = verify(session)
    error = broken(verdict)
    if error is not None:
        raise error
    tried = sum(len(row.attempts) for row in verdict.rows)
    session.report(
        Step(
            name=f"isolated: {len(verdict.rows)} rows, {tried} attempts to cross, none did",
            seconds=verdict.seconds,
        )
    )
    return verdict


def _show(console: Console, examples: Mapping[str, list[Mapping[str, str]]]) -> None:
    if console.as_json:
        return
    console.line("\n── the same people, masked the same way in every store of the playground")
    for store, records in examples.items():
        for record in records:
            console.line(f"{store:<9} " + "  ".join(f"{k}={v}" for k, v in record.items()))


def _tell(console: Console, lines: Mapping[str, str]) -> None:
    if not console.as_json:
        for store, line in lines.items():
            console.line(f"{store:<9} {line}")
