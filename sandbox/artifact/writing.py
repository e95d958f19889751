"""A snapshot being made, in `<id>.partial`: finished by a rename, or not there at all (P4)."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import zstandard

from sandbox.artifact.reading import (
    FORMAT,
    MANIFEST,
    PARTIAL,
    Artifact,
    names,
    read,
    sync_folder,
    write_synced,
)
from sandbox.errors import ConfigError, Refused, SnapshotBroken
from sandbox.model import Dataset, Kind

LOCK = ".writing"
JOURNAL = ".journal"
LEVEL = 1  # zstd: a copy must not wait for its compression
FORMATS: Mapping[Kind, str] = {
    "postgres": "COPY",
    "mongo": "BSON",
    "qdrant": "points 1",
    "redis": "entries 1",
    "files": "pax tar",
}


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
        with _writing():
            self._file.flush()
            os.fsync(self._file.fileno())

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def _put(self, data: bytes) -> None:
        if data:
            self._hash.update(data)
            with _writing():
                self._file.write(data)
            self.bytes += len(data)


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """A full disk, or one that fails, in one line."""
    try:
        yield
    except OSError as error:
        raise SnapshotBroken(
            f"the snapshot cannot be written: {error.strerror}",
            hint="make room, then ./inv snapshot --resume goes on with what is finished",
        ) from None


class Writer:
    """A snapshot being made. Thread-safe: several parts are written at once.

    Finished parts are kept in a journal, so that `resume` can go on from them.
    """

    def __init__(self, root: Path, identifier: str, lock: IO[str], facts: Mapping[str, Any]):
        self.id = identifier
        self._final = root / identifier
        self._folder = root / f"{identifier}{PARTIAL}"
        self._lock_file = lock
        self._facts = dict(facts)
        self._parts: list[dict[str, Any]] = []
        self._catalogs: dict[str, dict[str, Any] | None] = {}
        self._lock = threading.Lock()

    def finished(self, kind: Kind) -> frozenset[str]:
        """The names of the datasets of one store that are written already, after `resume`."""
        return frozenset(p["dataset"]["name"] for p in self._parts if p["kind"] == kind)

    def has_catalog(self, kind: Kind) -> bool:
        """Whether a store's catalog is written already, after `resume`."""
        return kind in self._catalogs

    def forget(self, kind: Kind) -> None:
        """Write a store's parts anew: those that are finished are of another moment."""
        with self._lock:
            for part in self._parts:
                if part["kind"] == kind:
                    (self._folder / part["path"]).unlink(missing_ok=True)
            self._parts = [part for part in self._parts if part["kind"] != kind]
            if entry := self._catalogs.pop(kind, None):
                (self._folder / entry["path"]).unlink(missing_ok=True)
            self._keep_journal()

    @contextlib.contextmanager
    def part(self, kind: Kind, dataset: Dataset) -> Iterator[Part]:
        """A stream for one dataset; it counts when the block ends without an error."""
        number = f"@{dataset.options['slice']}" if "slice" in dataset.options else ""
        path = self._path(kind, f"{file_name(dataset.name)}{number}.zst")
        with _private(path) as file:
            part = Part(file)
            yield part
            part.end()
        self._add(
            {
                "kind": kind,
                "number": len(self._parts),
                "dataset": asdict(dataset),
                "format": dataset.options.get("format", FORMATS[kind]),
                "path": self._relative(path),
                "rows": part.rows,
                "raw_bytes": part.raw_bytes,
                "bytes": part.bytes,
                "sha256": part.sha256,
            }
        )

    def catalog(self, kind: Kind, data: bytes) -> None:
        """What is not data in one store; b"" where its datasets say it all."""
        entry = None
        if data:
            path = self._path(kind, "@catalog.zst")  # no dataset's file name begins with @
            with _private(path) as file:
                part = Part(file)
                part.write(0, data)
                part.end()
            entry = {"path": self._relative(path), "bytes": part.bytes, "sha256": part.sha256}
        with self._lock:
            self._catalogs[kind] = entry
            _append_synced(self._folder / JOURNAL, {"catalog": kind, "entry": entry})

    def commit(self, facts: Mapping[str, Any]) -> Artifact:
        """Write the manifest, sync all, rename: from here on the snapshot exists."""
        manifest = {
            "format": FORMAT,
            "id": self.id,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "facts": {**self._facts, **facts},
            "catalogs": {kind: entry for kind, entry in self._catalogs.items() if entry},
            "parts": sorted(self._parts, key=lambda part: (part["kind"], part["number"])),
        }
        write_synced(self._folder / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False))
        for hidden in (LOCK, JOURNAL):
            (self._folder / hidden).unlink(missing_ok=True)
        for folder in [*self._folder.iterdir(), self._folder]:
            if folder.is_dir():
                sync_folder(folder)
        self._folder.rename(self._final)
        sync_folder(self._final.parent)
        self._lock_file.close()
        return read(self._final)

    def discard(self) -> None:
        """Remove everything unfinished; safe to call after anything."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._lock_file.close()

    def leave(self) -> None:
        """Stop here and keep what is finished, for `resume`."""
        self._lock_file.close()

    def _path(self, kind: Kind, name: str) -> Path:
        folder = self._folder / kind
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder / name

    def _add(self, entry: dict[str, Any]) -> None:
        with self._lock:
            entry["number"] = len(self._parts)
            self._parts.append(entry)
            _append_synced(self._folder / JOURNAL, entry)

    def _keep_journal(self) -> None:
        """Write it anew: what is left out must not count next time."""
        catalogs = [{"catalog": kind, "entry": entry} for kind, entry in self._catalogs.items()]
        lines: list[dict[str, Any]] = [{"facts": self._facts}, *catalogs, *self._parts]
        write_synced(self._folder / JOURNAL, "".join(map(_line, lines)))

    def _take_up(self, entries: list[dict[str, Any]]) -> None:
        """Go on after the journal's entries; files that they do not name were cut off, and go."""
        self._parts = _whole([entry for entry in entries if "catalog" not in entry])
        self._catalogs = {e["catalog"]: e["entry"] for e in entries if "catalog" in e}
        self._keep_journal()
        written = [*self._parts, *filter(None, self._catalogs.values())]
        known = {self._folder / entry["path"] for entry in written}
        for path in self._folder.glob("*/*"):
            if path not in known:
                path.unlink()

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self._folder))


def create(root: Path, *, facts: Mapping[str, Any]) -> Writer:
    """Begin a snapshot. Its id sorts by time: 20261123T101500Z-1f2e."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    identifier = f"{stamp}-{secrets.token_hex(2)}"
    folder = new_partial(root, identifier)
    writer = Writer(root, identifier, lock_partial(folder), facts)
    _append_synced(folder / JOURNAL, {"facts": dict(facts)})
    return writer


def resume(root: Path, identifier: str, *, facts: Mapping[str, Any]) -> Writer:
    """Go on with an interrupted snapshot, after its last finished part.

    `facts` must be those that it was begun with (the policy and the key among them): parts that
    were masked in two ways do not belong together. Parts read before and after the interruption
    are of two moments; the caller says so in the manifest.
    """
    folder = root / f"{identifier}{PARTIAL}"
    if not folder.is_dir():
        raise ConfigError(f"there is no interrupted snapshot {identifier!r}", where=root.name)
    writer = Writer(root, identifier, lock_partial(folder), facts)
    begun, *entries = _journal(folder)
    if begun.get("facts") != json.loads(json.dumps(dict(facts))):
        writer.leave()
        raise Refused(
            "it was begun with another policy, key or layout",
            where=identifier,
            hint="begin a new snapshot",
        )
    writer._take_up(entries)
    return writer


def interrupted(root: Path) -> list[str]:
    """The ids of unfinished snapshots that `resume` could go on with, newest last."""
    return sorted(
        path.parent.name.removesuffix(PARTIAL) for path in root.glob(f"*{PARTIAL}/{JOURNAL}")
    )


def clean(root: Path, *, keep: str = "") -> list[str]:
    """Remove what interrupted snapshots and imports left, but for `keep`; one that is being
    written now, by whatever process, stays."""
    removed = []
    for folder in sorted(root.glob(f"*{PARTIAL}")):
        if folder.name == f"{keep}{PARTIAL}":
            continue
        try:
            lock = lock_partial(folder)
        except Refused:
            continue
        with lock:
            shutil.rmtree(folder)
        removed.append(folder.name)
    return removed


def remove(root: Path, identifier: str) -> None:
    """Delete a snapshot: renamed first, so that an interruption leaves no half of it."""
    doomed = root / f"{identifier}{PARTIAL}"
    (root / identifier).rename(doomed)
    shutil.rmtree(doomed)


def prune(root: Path, *, keep: int, spare: frozenset[str] = frozenset()) -> list[str]:
    """Delete all but the `keep` newest and those of `spare`; returns what went, oldest first."""
    if keep < 0:
        raise ConfigError("cannot keep fewer than none", where="keep")
    known = names(root)
    doomed = [name for name in known[: max(0, len(known) - keep)] if name not in spare]
    for name in doomed:
        remove(root, name)
    return doomed


def new_partial(root: Path, identifier: str) -> Path:
    folder = root / f"{identifier}{PARTIAL}"
    folder.mkdir(parents=True, mode=0o700)
    return folder


def lock_partial(folder: Path) -> IO[str]:
    """Hold `folder` as being written. Raises Refused while another process does."""
    file = os.fdopen(os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600), "w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise Refused("it is being written by another command", where=folder.name) from None
    return file


def file_name(name: str) -> str:
    """A dataset's name as a file name: readable, and unique by its hash where it must change.

    Upper case changes too: some file systems do not tell it from lower case.
    """
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in name)
    safe = safe[:80].lower().lstrip(".")
    if safe == name:
        return safe
    return f"{safe}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _whole(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the slices of datasets of which some are missing: rows move between ranges, so
    slices of two moments do not belong together."""
    seen = Counter((part["kind"], part["dataset"]["name"]) for part in parts)
    return [
        part
        for part in parts
        if seen[part["kind"], part["dataset"]["name"]] == part["dataset"]["options"].get("of", 1)
    ]


def _private(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"


def _append_synced(path: Path, entry: Mapping[str, Any]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "a") as file:
        file.write(_line(entry))
        file.flush()
        os.fsync(file.fileno())


def _journal(folder: Path) -> list[dict[str, Any]]:
    """The journal's entries; a last line that was cut off does not count."""
    entries: list[dict[str, Any]] = []
    try:
        lines = (folder / JOURNAL).read_text().splitlines()
    except FileNotFoundError:
        lines = []
    for number, line in enumerate(lines):
        try:
            entries.append(json.loads(line))
        except ValueError:
            if number < len(lines) - 1:
                raise SnapshotBroken("its journal cannot be read", where=folder.name) from None
    if not entries:
        raise SnapshotBroken("it has no journal", where=folder.name, hint="begin a new snapshot")
    return entries
