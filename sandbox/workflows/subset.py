"""Chooses the rows of a subset while the cuts are held, and lets the other stores follow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from sandbox.contract import Documents, Subsetting
from sandbox.errors import ConfigError
from sandbox.masking.keep import Keep
from sandbox.masking.mask import PolicyMask
from sandbox.masking.subset import Values
from sandbox.model import Dataset, Entry, FileEntry, Point
from sandbox.transfer import Held


def choose(mask: PolicyMask, postgres: Held) -> dict[str, Any]:
    """Rows by the policy's [rows], references kept whole; values for its [links]. Returns what the
    manifest says of it, nothing when the policy has no [rows]."""
    starts = mask.starts
    if not starts:
        return {}
    source = postgres.source
    assert isinstance(source, Subsetting)
    tables = source.subset(
        postgres.cut, starts, loose=mask.loose(postgres.datasets), settings=mask.settings
    )
    datasets = {dataset.name: dataset for dataset in postgres.datasets}
    values: dict[tuple[str, str], Values] = {}
    for table, column in mask.linked:
        if column not in {field.name for field in _known(datasets, table).fields}:
            raise ConfigError(f"there is no column {table}.{column}", where="[links]")
        if table in tables:
            texts = source.chosen(postgres.cut, datasets[table], column)
            values[table, column] = Values(texts)
    mask.follow(values)
    return {"subset": mask.subset | {"tables": list(tables)}}


def _known(datasets: Mapping[str, Dataset], table: str) -> Dataset:
    if table not in datasets:
        raise ConfigError(f"there is no table {table} that is copied", where="[links]")
    return datasets[table]


def expected(mask: PolicyMask, one: Held) -> dict[str, int]:
    """How many rows a snapshot would read: counted where a subset decides, else estimated."""
    links = mask.links
    found = {}
    for dataset in one.datasets:
        rows = dataset.rows
        if dataset.store == "postgres" and mask.starts and isinstance(one.source, Subsetting):
            rows = one.source.expected(one.cut, dataset)
        elif links.of_store(dataset.store):
            counted = one.source.read(one.cut, dataset, Followed(mask))
            rows = sum(count for count, _ in counted)
        found[dataset.name] = rows
    return found


class Followed(Keep):
    """A mask that only leaves out what a subset and the rules for files leave out."""

    def __init__(self, mask: PolicyMask) -> None:
        self._mask, self._links = mask, mask.links

    def documents(self, collection: str, documents: Documents) -> Documents:
        followed = [self._links.document(collection, one) for one in documents]
        return [one for one in followed if one is not None]

    def points(self, collection: str, points: Sequence[Point]) -> Sequence[Point]:
        return [one for one in map(self._links.point, points) if one is not None]

    def entries(self, entries: Sequence[Entry]) -> Sequence[Entry | None]:
        return [self._links.entry(one) for one in entries]

    def file(self, directory: str, file: FileEntry) -> FileEntry | None:
        return self._mask.file(directory, file)

    def content(self, directory: str, file: FileEntry, stream: IO[bytes]) -> Iterator[bytes]:
        return iter(())

    def keeps(self, dataset: Dataset) -> bool:
        return False
