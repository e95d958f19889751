"""What differs between two snapshots, in words."""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.artifact.reading import Artifact
from sandbox.model import KINDS, Dataset


def diff(one: Artifact, other: Artifact) -> Iterator[str]:
    """Policy and key, datasets, their fields and options, their row counts."""
    masking = [a.manifest["facts"].get("masking", {}) for a in (one, other)]
    for name in ("policy", "key"):
        if masking[0].get(name) != masking[1].get(name):
            yield f"{name}: {masking[0].get(name)} -> {masking[1].get(name)}"
    yield from _catalog_diff(one, other)
    sides = [
        {(kind, dataset.name): dataset for kind in KINDS for dataset in a.datasets(kind)}
        for a in (one, other)
    ]
    for key in sorted(sides[0].keys() | sides[1].keys()):
        yield from _dataset_diff(" ".join(key), sides[0].get(key), sides[1].get(key))


def _catalog_diff(one: Artifact, other: Artifact) -> Iterator[str]:
    both = [a.manifest["catalogs"] for a in (one, other)]
    for kind in sorted(both[0].keys() | both[1].keys()):
        hashes = [catalogs.get(kind, {}).get("sha256") for catalogs in both]
        if hashes[0] != hashes[1]:
            yield f"{kind}: the schema differs"


def _dataset_diff(name: str, one: Dataset | None, other: Dataset | None) -> Iterator[str]:
    if one is None or other is None:
        yield f"{name}: only in the {'second' if one is None else 'first'}"
        return
    yield from _field_diff(name, one, other)
    for option in sorted(one.options.keys() | other.options.keys()):
        if one.options.get(option) != other.options.get(option):
            yield f"{name}: {option} differs"
    if one.rows != other.rows:
        yield f"{name}: {one.rows:,} -> {other.rows:,} rows"


def _field_diff(name: str, one: Dataset, other: Dataset) -> Iterator[str]:
    fields = [{field.name: field.type for field in side.fields} for side in (one, other)]
    for column in sorted(fields[0].keys() | fields[1].keys()):
        before, after = fields[0].get(column, "-"), fields[1].get(column, "-")
        if before != after:
            yield f"{name}.{column}: {before} -> {after}"
