"""A snapshot on disk: zstd streams, a manifest with checksums; finished or not there at all.

    <root>/20261123T101500Z-1f2e/manifest.json
                                 postgres/videos.zst, postgres/catalog.zst, ...

It is written as `<id>.partial`, every file synced, and renamed last (P4). A part's bytes are those
of `Source.read`, in the store's documented format (docs/artifact.md). The snapshot itself never
changes; what is learned of it later stands beside it in `results.json`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

import zstandard

from sandbox.errors import ConfigError, SnapshotBroken
from sandbox.model import Dataset, Field, Kind

FORMAT = 1
MANIFEST = "manifest.json"
RESULTS = "results.json"
LOCK = ".writing"
CATALOG = "catalog"
PIECE = 1 << 20  # bytes
LEVEL = 1  # zstd: a copy must not wait for its compression


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A finished snapshot. `manifest`: id, created, facts, parts, catalogs."""

    id: str
    folder: Path
    manifest: Mapping[str, Any] = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes on disk, compressed."""
        return sum(part["bytes"] for part in self.manifest["parts"])

    def datasets(self, kind: Kind) -> tuple[Dataset, ...]:
        """What was read from one store; `rows` are exact, `bytes` those of the raw stream."""
        return tuple(
            _dataset(part["dataset"], rows=part["rows"], size=part["raw_bytes"])
            for part in self.manifest["parts"]
            if part["kind"] == kind
        )

    def catalog(self, kind: Kind) -> bytes:
        entry = self.manifest["catalogs"].get(kind)
        if entry is None:
            return b""
        return b"".join(_pieces(self.folder / entry["path"], entry["sha256"]))

    def pieces(self, kind: Kind, dataset: Dataset) -> Iterator[bytes]:
        """A part's raw stream in pieces; the checksum is verified on the way.

        Raises SnapshotBroken at its end when it does not match.
        """
        for part in self.manifest["parts"]:
            if part["kind"] == kind and part["dataset"]["name"] == dataset.name:
                return _pieces(self.folder / part["path"], part["sha256"])
        raise SnapshotBroken(f"there is no part for {dataset.name}", where=f"{self.id}: {kind}")

    def verify(self) -> None:
        """Read every part. Raises SnapshotBroken naming the first that is missing or damaged."""
        for part in [*self.manifest["parts"], *self.manifest["catalogs"].values()]:
            for _ in _pieces(self.folder / part["path"], part["sha256"]):
                pass


class Part:
    """One stream being written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._compressor = zstandard.ZstdCompressor(level=LEVEL).compressobj()
        self.rows = self.raw_bytes = self.bytes = 0

    def write(self, rows: int, piece: bytes) -> None:
        self.rows += rows
        self.raw_bytes += len(piece)
        self._put(self._compressor.compress(piece))

    def end(self) -> None:
        self._put(self._compressor.flush())
        self._file.flush()
        os.fsync(self._file.fileno())

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def _put(self, data: bytes) -> None:
        if data:
            self._hash.update(data)
            self._file.write(data)
            self.bytes += len(data)


class Writer:
    """A snapshot being made. Thread-safe: several parts are written at once."""

    def __init__(self, root: Path, identifier: str, facts: Mapping[str, Any]) -> None:
        self.id = identifier
        self._final = root / identifier
        self._folder = root / f"{identifier}.partial"
        self._folder.mkdir(parents=True, mode=0o700)
        self._lock_file = (self._folder / LOCK).open("w")
        fcntl.flock(self._lock_file, fcntl.LOCK_EX)  # `clean` leaves it alone while we live
        self._facts = dict(facts)
        self._parts: list[dict[str, Any]] = []
        self._catalogs: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def part(self, kind: Kind, dataset: Dataset) -> Iterator[Part]:
        """A stream for one dataset; it counts when the block ends without an error."""
        path = self._path(kind, dataset.name)
        with path.open("xb") as file:
            part = Part(file)
            yield part
            part.end()
        self._add(kind, dataset, path, part)

    def catalog(self, kind: Kind, data: bytes) -> None:
        path = self._path(kind, CATALOG)
        with path.open("xb") as file:
            part = Part(file)
            part.write(0, data)
            part.end()
        with self._lock:
            self._catalogs[kind] = {"path": self._relative(path), "sha256": part.sha256}

    def commit(self, facts: Mapping[str, Any]) -> Artifact:
        """Write the manifest, sync all, rename: from here on the snapshot exists."""
        manifest = {
            "format": FORMAT,
            "id": self.id,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "facts": {**self._facts, **facts},
            "catalogs": self._catalogs,
            "parts": sorted(self._parts, key=lambda part: (part["kind"], part["number"])),
        }
        _write_synced(self._folder / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False))
        (self._folder / LOCK).unlink()
        for folder in [*self._folder.iterdir(), self._folder]:
            if folder.is_dir():
                _sync_folder(folder)
        self._folder.rename(self._final)
        _sync_folder(self._final.parent)
        self._lock_file.close()
        return Artifact(id=self.id, folder=self._final, manifest=manifest)

    def discard(self) -> None:
        """Remove everything; safe to call after anything."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._lock_file.close()

    def _path(self, kind: Kind, name: str) -> Path:
        folder = self._folder / kind
        folder.mkdir(mode=0o700, exist_ok=True)
        suffix = ".catalog.zst" if name == CATALOG else ".zst"
        return folder / f"{_file_name(name)}{suffix}"

    def _add(self, kind: Kind, dataset: Dataset, path: Path, part: Part) -> None:
        with self._lock:
            self._parts.append(
                {
                    "kind": kind,
                    "number": len(self._parts),
                    "dataset": asdict(dataset),
                    "path": self._relative(path),
                    "rows": part.rows,
                    "raw_bytes": part.raw_bytes,
                    "bytes": part.bytes,
                    "sha256": part.sha256,
                }
            )

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self._folder))


def create(root: Path, *, facts: Mapping[str, Any]) -> Writer:
    """Begin a snapshot. Its id sorts by time: 20261123T101500Z-1f2e."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return Writer(root, f"{stamp}-{secrets.token_hex(2)}", facts)


def clean(root: Path) -> list[str]:
    """Remove what interrupted snapshots and imports left; one that is being written stays."""
    removed = []
    for folder in sorted(root.glob("*.partial")):
        try:
            with (folder / LOCK).open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
                removed.append(folder.name)
        except BlockingIOError:
            continue
    return removed


def open(root: Path, name: str = "latest") -> Artifact:
    """A finished snapshot by id, by the beginning of its id, or the `latest`.

    Raises ConfigError when there is none or several, SnapshotBroken when it cannot be read.
    """
    names = _names(root)
    matching = names[-1:] if name == "latest" else [n for n in names if n.startswith(name)]
    if not matching:
        what = "no snapshot yet" if name == "latest" else f"there is no snapshot {name!r}"
        raise ConfigError(what, where=root.name, hint="./inv snapshots lists them")
    if len(matching) > 1:
        raise ConfigError(f"{name!r} could be {' or '.join(matching)}", where=root.name)
    return _read(root / matching[0])


def listing(root: Path) -> list[Artifact]:
    """All finished snapshots, newest first."""
    return [_read(root / name) for name in reversed(_names(root))]


def remove(root: Path, identifier: str) -> None:
    """Delete a snapshot: renamed first, so that an interruption leaves no half of it."""
    doomed = root / f"{identifier}.partial"
    (root / identifier).rename(doomed)
    shutil.rmtree(doomed)


def update_facts(artifact: Artifact, facts: Mapping[str, Any]) -> None:
    """Keep what was learned after the snapshot was finished (the leak search's result)."""
    known = {**results(artifact), **facts}
    _write_synced(artifact.folder / RESULTS, json.dumps(known, indent=1, ensure_ascii=False))


def results(artifact: Artifact) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((artifact.folder / RESULTS).read_text())
    except FileNotFoundError:
        return {}
    return found


def diff(one: Artifact, other: Artifact) -> Iterator[str]:
    """What differs, in words: policy and key, datasets, their fields, their row counts."""
    masking = [a.manifest["facts"].get("masking", {}) for a in (one, other)]
    for name in ("policy", "key"):
        if masking[0].get(name) != masking[1].get(name):
            yield f"{name}: {masking[0].get(name)} -> {masking[1].get(name)}"
    parts = [
        {(p["kind"], p["dataset"]["name"]): p for p in a.manifest["parts"]} for a in (one, other)
    ]
    for key in sorted(parts[0].keys() | parts[1].keys()):
        yield from _part_diff(" ".join(key), parts[0].get(key), parts[1].get(key))


def export(root: Path, identifier: str, target: Path) -> None:
    """One tar file of a checked snapshot; its parts are compressed already."""
    artifact = open(root, identifier)
    artifact.verify()
    temporary = target.with_name(f".{target.name}.partial")
    try:
        with tarfile.open(temporary, "w") as tar:
            for path in sorted(artifact.folder.rglob("*")):
                if path.is_file():
                    tar.add(path, arcname=f"{artifact.id}/{path.relative_to(artifact.folder)}")
        temporary.chmod(0o600)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def import_(root: Path, source: Path) -> Artifact:
    """Take in what `export` wrote. Names are checked, then checksums, then it counts."""
    try:
        with tarfile.open(source) as tar:
            identifier = _imported_id(tar, source)
            if (root / identifier).exists():
                raise ConfigError(f"snapshot {identifier} is here already", where=source.name)
            folder = root / f"{identifier}.partial"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, mode=0o700)
            for member in tar:
                _extract(tar, member, folder, source)
    except (tarfile.TarError, EOFError, FileNotFoundError, IsADirectoryError) as error:
        raise ConfigError(f"not a snapshot file: {error}", where=str(source)) from None
    try:
        _read(folder).verify()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    folder.rename(root / identifier)
    return _read(root / identifier)


def _imported_id(tar: tarfile.TarFile, source: Path) -> str:
    tops = {PurePosixPath(name).parts[0] for name in tar.getnames() if name}
    if len(tops) != 1:
        raise ConfigError("not a snapshot file: it holds no single snapshot", where=source.name)
    name = tops.pop()
    if not name.replace("-", "").isalnum():
        raise ConfigError(f"not a snapshot file: {name!r} is no id", where=source.name)
    return name


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, source: Path) -> None:
    path = PurePosixPath(member.name)
    if not member.isfile() or path.is_absolute() or ".." in path.parts:
        raise ConfigError(f"{member.name!r} does not belong in a snapshot", where=source.name)
    target = folder.joinpath(*path.parts[1:])
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    data = tar.extractfile(member)
    assert data is not None
    with target.open("xb") as file:
        shutil.copyfileobj(data, file, PIECE)


def _part_diff(
    name: str, one: Mapping[str, Any] | None, other: Mapping[str, Any] | None
) -> Iterator[str]:
    if one is None or other is None:
        yield f"{name}: only in the {'second' if one is None else 'first'}"
        return
    fields = [{f["name"]: f["type"] for f in part["dataset"]["fields"]} for part in (one, other)]
    for column in sorted(fields[0].keys() | fields[1].keys()):
        before, after = fields[0].get(column, "-"), fields[1].get(column, "-")
        if before != after:
            yield f"{name}.{column}: {before} -> {after}"
    if one["rows"] != other["rows"]:
        yield f"{name}: {one['rows']:,} -> {other['rows']:,} rows"


def _names(root: Path) -> list[str]:
    return sorted(
        path.parent.name for path in root.glob(f"*/{MANIFEST}") if path.parent.suffix == ""
    )


def _read(folder: Path) -> Artifact:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise SnapshotBroken(f"its manifest cannot be read: {error}", where=folder.name) from None
    if manifest.get("format") != FORMAT:
        raise SnapshotBroken(
            f"it has format {manifest.get('format')}, this program reads {FORMAT}",
            where=folder.name,
        )
    return Artifact(id=manifest["id"], folder=folder, manifest=manifest)


def _pieces(path: Path, sha256: str) -> Iterator[bytes]:
    """Decompressed pieces of one file; its checksum is over the compressed bytes."""
    where = f"{path.parent.parent.name}: {path.parent.name}/{path.name}"
    digest = hashlib.sha256()
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    try:
        with path.open("rb") as file:
            while data := file.read(PIECE):
                digest.update(data)
                piece = decompressor.decompress(data)
                for start in range(0, len(piece), PIECE):
                    yield piece[start : start + PIECE]
    except FileNotFoundError:
        raise SnapshotBroken("the file is missing", where=where) from None
    except zstandard.ZstdError:
        raise SnapshotBroken("the file is damaged", where=where) from None
    if digest.hexdigest() != sha256:
        raise SnapshotBroken("the checksum does not match", where=where)


def _dataset(raw: Mapping[str, Any], *, rows: int, size: int) -> Dataset:
    fields: Sequence[Field] = [
        Field(**{**one, "values": tuple(one["values"])}) for one in raw["fields"]
    ]
    made = Dataset(store=raw["store"], name=raw["name"], options=raw["options"])
    return replace(made, fields=tuple(fields), rows=rows, bytes=size)


def _file_name(name: str) -> str:
    """A dataset's name as a file name: readable, and unique by its hash where it must change."""
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[:80].lstrip(".")
    if safe == name:
        return safe
    return f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _write_synced(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
