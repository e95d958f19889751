"""Production, read-only and masked, into an artifact on disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from sandbox import artifact as artifacts
from sandbox.artifact import Artifact
from sandbox.contract import Columnar, Cut, Mask, Source
from sandbox.errors import ConfigError, LeakFound, Refused, SandboxError
from sandbox.masking.mask import PolicyMask
from sandbox.masking.policy import Policy, parse
from sandbox.masking.subset import Values
from sandbox.model import Dataset, Kind, slices
from sandbox.project import Project
from sandbox.report import Step, Warned
from sandbox.transfer import Held, Job, run_all, take
from sandbox.workflows import leaks
from sandbox.workflows.credentials import changing
from sandbox.workflows.dangling import Watched
from sandbox.workflows.keys import masking_key
from sandbox.workflows.session import Session
from sandbox.workflows.subset import choose, expected


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A finished snapshot, and the mask that made it: its originals are searched for later."""

    artifact: Artifact
    mask: PolicyMask


def open_policy(project: Project) -> Policy:
    """Read and check the policy. Raises ConfigError with file, line and key."""
    try:
        text = project.policy.read_text()
    except FileNotFoundError:
        raise ConfigError(
            "there is no masking policy",
            where=project.settings.policy,
            hint="copy the masking.toml of the demo and go through it",
        ) from None
    return parse(text, file=project.settings.policy)


def open_mask(project: Project) -> PolicyMask:
    return PolicyMask(open_policy(project), key=masking_key(project))


def snapshot(session: Session, *, resume: bool = False) -> Taken:
    """Copy production's isolated data through the policy into a new artifact.

    Raises Refused (nothing is left on disk) for a place that the policy does not name, and
    LeakFound. What another error interrupts can be gone on with by `resume`; without it the next
    snapshot clears it away.

    Free text knows who was met before it. A text that names somebody who is met later, in another
    store, is found by the search; then production is read once more, knowing everybody.
    """
    mask = open_mask(session.project)
    try:
        return _taken(session, mask, resume=resume)
    except LeakFound:
        if not mask.recognises:
            raise
    note = "free text may name people who were met after it: reading once more, knowing them all"
    session.report(Warned(message=note))
    return _taken(session, mask.knowing(), resume=False)


def _taken(session: Session, mask: PolicyMask, *, resume: bool) -> Taken:
    with changing(session):
        unfinished = _unfinished(session.project, mask) if resume else ""
        artifacts.clean(session.project.snapshots, keep=unfinished)
        sources = session.sources()
        for kind, source in sources.items():
            _refuse_playground(kind, source.marker())
        if session.external:
            _refuse_writers(session, sources)
        writer = _begun(session, mask, unfinished)
        started = time.monotonic()
        chosen: dict[str, Any] = {}
        watched = Watched(mask, mask.declared, mask.links)
        try:
            cuts = take(
                sources,
                cast(Mask, watched),
                writer,
                check=lambda held: chosen.update(_check_columns(mask, held, watched)),
                after=lambda held: None,
                beside=lambda held: _beside(mask, held),
                report=session.report,
            )
            facts = {"cuts": cuts, "masking": receipt(mask), "dangling": watched.dangling}
            made = writer.commit(facts | chosen)
        except (Refused, ConfigError):
            writer.discard()
            raise
        except BaseException as error:
            writer.leave()
            if isinstance(error, SandboxError) and not error.hint:
                error.hint = "./inv snapshot --resume goes on with what is finished"
            raise
    _search(session, made, mask)
    session.report(Step(name="snapshot", detail=made.id, seconds=time.monotonic() - started))
    return Taken(artifact=made, mask=mask)


def _unfinished(project: Project, mask: PolicyMask) -> str:
    """The newest interrupted snapshot. A subset is chosen at one moment, in all stores."""
    if mask.starts:
        raise ConfigError("a subset cannot be gone on with", hint="./inv snapshot begins it anew")
    known = artifacts.interrupted(project.snapshots)
    if not known:
        raise ConfigError(
            "there is no interrupted snapshot to go on with", hint="./inv snapshot begins one"
        )
    return known[-1]


def _begun(session: Session, mask: PolicyMask, unfinished: str) -> artifacts.Writer:
    """A new snapshot, or an interrupted one: parts masked in two ways do not belong together."""
    root = session.project.snapshots
    facts = {
        "project": session.project.settings.project,
        "layout": session.project.layout,
        "masking": {"policy": mask.policy_hash, "key": mask.key_id},
    }
    if unfinished:
        return artifacts.resume(root, unfinished, facts=facts)
    return artifacts.create(root, facts=facts)


def plan(session: Session) -> dict[str, Any]:
    """What a snapshot would read: `--dry-run`. Without a subset no row is read, and rows are
    estimates; of a subset they are counted."""
    mask = open_mask(session.project)
    found: dict[str, Any] = {}
    chosen: dict[str, Any] = {}
    for kind, source in session.sources().items():
        with source.cut() as cut:
            one = Held(source=source, cut=cut, datasets=tuple(source.datasets(cut)))
            if kind == "postgres":
                for dataset in one.datasets:
                    mask.columns(dataset)
                chosen = choose(mask, one)
            found[kind] = expected(mask, one)
    return {"datasets": found, "uncovered": dict(mask.uncovered)} | chosen


def _search(session: Session, made: Artifact, mask: PolicyMask) -> None:
    """A snapshot in which an original is found does not stay on disk (P8)."""
    try:
        found = leaks.search_artifact(session, made, mask)
    except BaseException:
        artifacts.remove(session.project.snapshots, made.id)
        raise
    artifacts.update_facts(made, {"leaks": found})


def receipt(mask: PolicyMask) -> dict[str, Any]:
    """What the manifest says of the masking: enough to check it, nothing of the values."""
    return {
        "policy": mask.policy_hash,
        "key": mask.key_id,
        "counts": dict(mask.counts),
        "uncovered": len(mask.uncovered),
    }


def _check_columns(mask: PolicyMask, held: Mapping[Kind, Held], watched: Watched) -> dict[str, Any]:
    """Every declared column against the policy, before a row is read; then the rows of a subset,
    the originals that free text is searched for, and the leak search later."""
    for one in held.values():
        for dataset in one.datasets:
            if dataset.store == "postgres":
                mask.columns(dataset)
    if mask.uncovered:
        return {}
    if mask.recognises:
        run_all(collecting(mask, held), threading.Event())
    postgres = held.get("postgres")
    if postgres is None:
        return {}
    if not mask.starts:  # a subset leaves out what would dangle
        watched.begin(_linked(mask, postgres))
    return choose(mask, postgres)


def _linked(mask: PolicyMask, postgres: Held) -> dict[tuple[str, str], Values]:
    """The values of the columns that other stores refer to."""
    tables = {dataset.name: dataset for dataset in postgres.datasets}
    return {
        (table, column): Values(postgres.source.originals(postgres.cut, tables[table], (column,)))
        for table, column in mask.linked
        if table in tables and column in {field.name for field in tables[table].fields}
    }


def collecting(mask: PolicyMask, held: Mapping[Kind, Held]) -> list[Job]:
    """Fingerprints of what PostgreSQL masks itself: its values never come through the mask. One job
    for each range of a table; free text needs them before it is read, else there is time."""
    one = held.get("postgres")
    if one is None or not isinstance(one.source, Columnar):
        return []
    jobs: list[Job] = []
    for dataset in one.datasets:
        columns = mask.unseen(dataset)
        if columns:
            for part in slices(dataset):
                run = partial(leaks.take, mask, one.source, one.cut, part, columns)
                jobs.append((part.bytes or part.rows, run))
        for column, expression in mask.unique(dataset).items():
            check = partial(_apart, mask, one.source, one.cut, dataset, column, expression)
            jobs.append((dataset.bytes or dataset.rows, check))
    return jobs


def _apart(
    mask: PolicyMask, source: Columnar, cut: Cut, dataset: Dataset, column: str, expression: str
) -> None:
    if source.repeats(cut, dataset, expression):
        raise mask.alike(dataset, column)


def _beside(mask: PolicyMask, held: Mapping[Kind, Held]) -> list[Job]:
    return [] if mask.recognises else collecting(mask, held)


def _refuse_writers(session: Session, sources: Mapping[Kind, Source]) -> None:
    """A login of an external production that could write is not used, unless the file says so; the
    sessions read only in any case."""
    able = {kind: words for kind, source in sources.items() if (words := source.can_write())}
    if not able:
        return
    listed = "; ".join(f"{kind}: {words}" for kind, words in able.items())
    if not session.project.settings.environments.production.accept_writer:
        raise Refused(
            f"the reader of production can write ({listed}); nothing was read",
            where=f"{session.project.config.name}: environments.production.urls",
            hint="./inv isolate --print says how to make one that cannot; accept_writer = true "
            "accepts it",
        )
    session.report(Warned(message=f"production is read with a login that can write: {listed}"))


def _refuse_playground(kind: Kind, marker: Any) -> None:
    if marker is not None and marker.environment != "production":
        raise Refused(
            f"the {kind} that is called production is marked as a playground of {marker.project}",
            hint="look at the addresses in the env files; nothing was read",
        )
