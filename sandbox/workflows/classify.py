"""Looks at production through the readers' logins and suggests rules, or checks those there are.

Samples are held in memory, written nowhere, and nothing that is printed repeats one.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from sandbox.contract import Cut, Sampling, Source
from sandbox.errors import ConfigError, Refused
from sandbox.masking.classify_check import Finding, find
from sandbox.masking.classify_gather import (
    LOOKED_INTO,
    Enough,
    Gather,
    add_column,
    columns,
    file_groups,
    key_groups,
    look_into,
)
from sandbox.masking.classify_known import Known
from sandbox.masking.classify_propose import Proposal, propose
from sandbox.masking.classify_seen import Leaves, Seen, folded
from sandbox.masking.classify_write import toml
from sandbox.masking.mask import PolicyMask
from sandbox.masking.policy import parse
from sandbox.model import Dataset, Kind
from sandbox.report import Step
from sandbox.workflows.session import Session
from sandbox.workflows.snapshot import open_policy

ROWS = 500  # of each table, collection and so on
NAMES = 20  # as many times more names of keys and files: they are what forms are made of


@dataclass(frozen=True, kw_only=True)
class Classified:
    """`text`: of a policy that the parser accepts."""

    proposal: Proposal
    text: str


def classify(session: Session, *, rows: int = ROWS) -> Classified:
    """Rules for every place that was seen, with reasons."""
    proposal = propose(look(session, rows=rows))
    text = toml(proposal)
    parse(text, file="the suggested policy")
    return Classified(proposal=proposal, text=text)


def check(session: Session, *, rows: int = ROWS) -> Sequence[Finding]:
    """What has drifted since the policy was written."""
    policy = open_policy(session.project)
    # A key of its own: what is masked here is thrown away.
    mask = PolicyMask(policy, key=secrets.token_hex(32))
    broken: list[Finding] = []
    seen = look(session, rows=rows, mask=mask, broken=broken)
    new = [Finding(kind="new", place=p, detail=d) for p, d in sorted(mask.uncovered.items())]
    return [*new, *broken, *find(policy, seen)]


def refuse(findings: Sequence[Finding]) -> None:
    """Raises Refused (exit code 4) when there is any finding."""
    if not findings:
        return
    titles = {
        "new": "no rule",
        "kept": "kept, and looks personal",
        "gone": "a rule without a place",
    }
    lines = [f"  {titles[one.kind]}: {one.place}  {one.detail}" for one in findings]
    raise Refused(
        f"production has drifted from the policy in {len(findings)} "
        f"place{'s' if len(findings) > 1 else ''}:\n" + "\n".join(lines) + "\n",
        hint="mend the policy; docs/classify.md",
    )


def facts(classified: Classified) -> list[dict[str, Any]]:
    """For --json: places, strategies and reasons."""
    return [{"place": place, **asdict(advice)} for place, advice in classified.proposal.places()]


# --- looking -------------------------------------------------------------------------------------


def look(
    session: Session,
    *,
    rows: int,
    mask: PolicyMask | None = None,
    broken: list[Finding] | None = None,
) -> Seen:
    """Samples of every store; `mask` is shown the same rows. `rows`: 0 for all there are."""
    seen = Seen()
    sources = session.sources()
    kinds: list[Kind] = ["postgres", "mongo", "qdrant", "redis", "files"]
    for kind in kinds:  # in this order: names known from tables are found again in keys and files
        if kind not in sources:
            continue
        source = sources[kind]
        with source.cut() as cut:
            for dataset in source.datasets(cut):
                _look_at(kind, source, cut, dataset, seen, rows, mask, broken)
        session.report(Step(name=f"looked at {kind}"))
    return seen


def _look_at(
    kind: Kind,
    source: Source,
    cut: Cut,
    dataset: Dataset,
    seen: Seen,
    rows: int,
    mask: PolicyMask | None,
    broken: list[Finding] | None,
) -> None:
    if kind == "postgres":
        seen.tables[dataset.name] = _table(source, cut, dataset, seen, rows, mask, broken)
        return
    limit = rows * (NAMES if kind in ("redis", "files") else 1)
    gather = Gather(limit=limit, inner=mask)
    place = f"{kind}.{dataset.name}"
    if _read(source, cut, dataset, gather):
        seen.whole.add("qdrant.payload" if kind == "qdrant" else place)
    if kind == "mongo":
        seen.collections[dataset.name] = folded(gather.leaves)
    elif kind == "qdrant":
        seen.payload, seen.vectors = folded(gather.leaves), gather.vectors
    elif kind == "redis":
        seen.keys = key_groups(gather.seen, _people(seen))
    else:
        seen.files[dataset.name] = _files(source, cut, dataset, gather, seen, mask)


def _read(source: Source, cut: Cut, dataset: Dataset, gather: Gather) -> bool:
    """Whether all of it was read."""
    try:
        for _ in source.read(cut, dataset, gather):
            pass
    except Enough:
        return False
    return True


def _people(seen: Seen) -> Any:
    known = Known.of(seen).exact
    return lambda text: text.strip().lower() in known


def _table(
    source: Source,
    cut: Cut,
    dataset: Dataset,
    seen: Seen,
    rows: int,
    mask: PolicyMask | None,
    broken: list[Finding] | None,
) -> Leaves:
    assert isinstance(source, Sampling)
    fields = {field.name: field for field in dataset.fields if not field.generated}
    leaves = columns(fields.values())
    count = 0
    wanted = rows or 1 << 62
    texts = _texts(mask, dataset, broken)
    for row in source.sample(cut, dataset, wanted):
        count += 1
        for name, value in row.items():
            if value is not None:
                add_column(fields[name], value, leaves)
                if name in texts:
                    with suppress(ConfigError):
                        texts[name]([value])
    if count < wanted:
        seen.whole.add(f"postgres.{dataset.name}")
    return folded(leaves)


def _texts(
    mask: PolicyMask | None, dataset: Dataset, broken: list[Finding] | None
) -> Mapping[str, Any]:
    """The policy's functions for this table, which tell of paths without a rule."""
    if mask is None or broken is None:
        return {}
    try:
        mask.columns(dataset)
        return mask.texts(dataset)
    except ConfigError as error:  # a rule for a column that is gone
        broken.append(Finding(kind="gone", place=error.where, detail=error.message))
        return {}


def _files(
    source: Source,
    cut: Cut,
    dataset: Dataset,
    names: Gather,
    seen: Seen,
    mask: PolicyMask | None,
) -> list[Any]:
    """Names first; then a few files of each form are looked into."""
    found = file_groups(names.files, _people(seen))
    chosen = {
        name: group
        for group, form in found
        if group.content in ("json", "jsonl", "csv", "text")
        for name, _ in form.rows[:LOOKED_INTO]
    }
    if chosen:
        inside = Gather(wanted=frozenset(chosen), inner=mask)
        _read(source, cut, dataset, inside)
        for group, form in found:
            contents = [inside.inside[n] for n, _ in form.rows[:LOOKED_INTO] if n in inside.inside]
            look_into(group, contents)
    return [group for group, _ in found]
