"""A finished snapshot: its manifest, its streams with their checksums, and which there are."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import IO, Any

import zstandard

from sandbox.errors import ConfigError, SnapshotBroken
from sandbox.model import Dataset, Field, Kind

FORMAT = 1
MANIFEST = "manifest.json"
RESULTS = "results.json"
PARTIAL = ".partial"
PIECE = 1 << 20  # bytes
SLICED = frozenset({"slice", "of", "range"})  # options of one stream among several


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A finished snapshot. `manifest`: format, id, created, facts, parts, catalogs."""

    id: str
    folder: Path
    manifest: Mapping[str, Any] = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes on disk, compressed."""
        return sum(part["bytes"] for part in self.manifest["parts"])

    def rows(self, kind: Kind) -> int:
        """What was read from one store, exactly."""
        return sum(one.rows for one in self.streams(kind))

    def datasets(self, kind: Kind) -> tuple[Dataset, ...]:
        """What was read from one store; `rows` are exact, `bytes` those of the raw stream."""
        found: dict[str, Dataset] = {}
        for one in self.streams(kind):
            known = found.get(one.name)
            options = {key: value for key, value in one.options.items() if key not in SLICED}
            found[one.name] = replace(
                one,
                options=options,
                rows=one.rows + (known.rows if known else 0),
                bytes=one.bytes + (known.bytes if known else 0),
            )
        return tuple(found.values())

    def streams(self, kind: Kind) -> tuple[Dataset, ...]:
        """The same, one for each stream: a large table has several (`model.slices`)."""
        return tuple(
            dataset_from(part["dataset"], rows=part["rows"], size=part["raw_bytes"])
            for part in self.manifest["parts"]
            if part["kind"] == kind
        )

    def catalog(self, kind: Kind) -> bytes:
        """A store's catalog; b"" when it has none."""
        entry = self.manifest["catalogs"].get(kind)
        return b"" if entry is None else b"".join(self._stream(entry))

    def pieces(self, kind: Kind, dataset: Dataset) -> Iterator[bytes]:
        """A stream in pieces of at most 1 MiB, checked on the way; of a whole dataset that was cut
        into slices, all its streams one after the other.

        Raises SnapshotBroken at its end when size or checksum do not match.
        """
        wanted = dataset.options.get("slice")
        parts = [
            part
            for part in self.manifest["parts"]
            if part["kind"] == kind
            and part["dataset"]["name"] == dataset.name
            and wanted in (None, part["dataset"]["options"].get("slice"))
        ]
        if not parts:
            raise SnapshotBroken(f"there is no part for {dataset.name}", where=f"{self.id}: {kind}")
        return chain.from_iterable(map(self._stream, parts))

    def verify(self) -> None:
        """Read every part. Raises SnapshotBroken naming the first that is missing or damaged."""
        for part in [*self.manifest["parts"], *self.manifest["catalogs"].values()]:
            for _ in self._stream(part):
                pass

    def _stream(self, entry: Mapping[str, Any]) -> Iterator[bytes]:
        return pieces(self.folder / entry["path"], entry, where=f"{self.id}: {entry['path']}")


def open(root: Path, name: str = "latest") -> Artifact:
    """A finished snapshot by id, by the beginning of its id, or the `latest`.

    Raises ConfigError when there is none or several, SnapshotBroken when it cannot be read.
    """
    known = names(root)
    matching = known[-1:] if name == "latest" else [n for n in known if n.startswith(name)]
    if not matching:
        what = "no snapshot yet" if name == "latest" else f"there is no snapshot {name!r}"
        raise ConfigError(what, where=root.name, hint="./inv snapshots lists them")
    if len(matching) > 1:
        raise ConfigError(f"{name!r} could be {' or '.join(matching)}", where=root.name)
    return read(root / matching[0])


def listing(root: Path) -> list[Artifact]:
    """All finished snapshots, newest first."""
    return [read(root / name) for name in reversed(names(root))]


def names(root: Path) -> list[str]:
    """The ids of finished snapshots, oldest first."""
    return sorted(
        path.parent.name for path in root.glob(f"*/{MANIFEST}") if path.parent.suffix == ""
    )


def read(folder: Path) -> Artifact:
    """The snapshot in `folder`. Raises SnapshotBroken when its manifest cannot be understood."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        known = manifest["format"]
        entries = [*manifest["parts"], *manifest["catalogs"].values()]
        inside = all(_is_inside(entry["path"]) for entry in entries)
        made = Artifact(id=str(manifest["id"]), folder=folder, manifest=manifest)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SnapshotBroken(f"its manifest cannot be read: {error}", where=folder.name) from None
    if known != FORMAT:
        raise SnapshotBroken(
            f"it has format {known}, this program reads {FORMAT}", where=folder.name
        )
    if not inside:
        raise SnapshotBroken("its manifest names a file outside", where=folder.name)
    return made


def results(artifact: Artifact) -> dict[str, Any]:
    """What was learned after the snapshot was finished."""
    try:
        found: dict[str, Any] = json.loads((artifact.folder / RESULTS).read_text())
    except FileNotFoundError:
        return {}
    return found


def update_facts(artifact: Artifact, facts: Mapping[str, Any]) -> None:
    """Keep what was learned after the snapshot was finished (the leak search's result)."""
    known = {**results(artifact), **facts}
    write_synced(artifact.folder / RESULTS, json.dumps(known, indent=1, ensure_ascii=False))


class _Hashed:
    """A file that is hashed while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.bytes = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._hash.update(data)
        self.bytes += len(data)
        return data

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def pieces(path: Path, entry: Mapping[str, Any], *, where: str) -> Iterator[bytes]:
    """Decompressed pieces of one file. `entry`: its bytes and its sha256, both as compressed.

    A stream reader, because one compressed MiB may hold gigabytes of zeros.
    """
    try:
        with path.open("rb") as raw:
            file = _Hashed(raw)
            with zstandard.ZstdDecompressor().stream_reader(
                file,  # type: ignore[arg-type]
                read_across_frames=True,
            ) as reader:
                while piece := reader.read(PIECE):
                    yield piece
            while file.read(PIECE):
                pass
    except FileNotFoundError:
        raise SnapshotBroken("the file is missing", where=where) from None
    except zstandard.ZstdError:
        raise SnapshotBroken("the file is damaged", where=where) from None
    if file.bytes != entry["bytes"]:
        raise SnapshotBroken(f"{file.bytes} bytes instead of {entry['bytes']}", where=where)
    if file.sha256 != entry["sha256"]:
        raise SnapshotBroken("the checksum does not match", where=where)


def dataset_from(raw: Mapping[str, Any], *, rows: int, size: int) -> Dataset:
    """A dataset from its JSON."""
    fields = tuple(
        Field(
            **{
                **one,
                "values": tuple(one["values"]),
                "parts": tuple(map(tuple, one.get("parts", ()))),
            }
        )
        for one in raw["fields"]
    )
    return Dataset(
        store=raw["store"],
        name=raw["name"],
        options=raw["options"],
        fields=fields,
        rows=rows,
        bytes=size,
    )


def write_synced(path: Path, text: str) -> None:
    """Replace `path`, mode 0600, whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_inside(path: str) -> bool:
    return not Path(path).is_absolute() and ".." not in Path(path).parts
