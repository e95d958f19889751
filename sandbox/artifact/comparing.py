"""What differs between two snapshots, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sandbox.artifact.reading import Artifact


def diff(one: Artifact, other: Artifact) -> Iterator[str]:
    """Policy and key, datasets, their fields and options, their row counts."""
    masking = [a.manifest["facts"].get("masking", {}) for a in (one, other)]
    for name in ("policy", "key"):
        if masking[0].get(name) != masking[1].get(name):
            yield f"{name}: {masking[0].get(name)} -> {masking[1].get(name)}"
    yield from _catalog_diff(one, other)
    parts = [
        {(p["kind"], p["dataset"]["name"]): p for p in a.manifest["parts"]} for a in (one, other)
    ]
    for key in sorted(parts[0].keys() | parts[1].keys()):
        yield from _part_diff(" ".join(key), parts[0].get(key), parts[1].get(key))


def _catalog_diff(one: Artifact, other: Artifact) -> Iterator[str]:
    both = [a.manifest["catalogs"] for a in (one, other)]
    for kind in sorted(both[0].keys() | both[1].keys()):
        hashes = [catalogs.get(kind, {}).get("sha256") for catalogs in both]
        if hashes[0] != hashes[1]:
            yield f"{kind}: the schema differs"


def _part_diff(
    name: str, one: Mapping[str, Any] | None, other: Mapping[str, Any] | None
) -> Iterator[str]:
    if one is None or other is None:
        yield f"{name}: only in the {'second' if one is None else 'first'}"
        return
    yield from _field_diff(name, one["dataset"]["fields"], other["dataset"]["fields"])
    options = [part["dataset"]["options"] for part in (one, other)]
    for option in sorted(options[0].keys() | options[1].keys()):
        if options[0].get(option) != options[1].get(option):
            yield f"{name}: {option} differs"
    if one["rows"] != other["rows"]:
        yield f"{name}: {one['rows']:,} -> {other['rows']:,} rows"


def _field_diff(name: str, one: list[dict[str, Any]], other: list[dict[str, Any]]) -> Iterator[str]:
    fields = [{field["name"]: field["type"] for field in side} for side in (one, other)]
    for column in sorted(fields[0].keys() | fields[1].keys()):
        before, after = fields[0].get(column, "-"), fields[1].get(column, "-")
        if before != after:
            yield f"{name}.{column}: {before} -> {after}"
