"""The snapshots on disk: list, show, check, compare, prune, export and import."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sandbox import artifact as artifacts
from sandbox.artifact import Artifact
from sandbox.errors import ConfigError
from sandbox.model import KINDS
from sandbox.project import Project, locked
from sandbox.stores.mongo import dumping

SHORTEST = 12  # characters of a passphrase
FORMATS = ("", "mongodump")  # of an export
ACTIONS = ("list", "show", "verify", "diff", "prune", "export", "import")


def check_action(action: str) -> str:
    if action not in ACTIONS:
        raise ConfigError(
            f"snapshots cannot {action!r}", where="action", hint=f"one of {', '.join(ACTIONS)}"
        )
    return action


def check_format(wanted: str) -> str:
    if wanted not in FORMATS:
        raise ConfigError(
            f"there is no format {wanted!r}", where="--format", hint="mongodump, or none"
        )
    return wanted


def listing(project: Project) -> list[dict[str, Any]]:
    """Finished snapshots, newest first, with what is loaded marked."""
    loaded = project.loaded()
    return [
        {"loaded": one.id in loaded, **summary(one)} for one in artifacts.listing(project.snapshots)
    ]


def summary(artifact: Artifact) -> dict[str, Any]:
    """One snapshot in a line: id, when, rows by store, bytes on disk."""
    return {
        "id": artifact.id,
        "created": artifact.manifest["created"],
        "rows": {kind: artifact.rows(kind) for kind in KINDS if artifact.datasets(kind)},
        "bytes": artifact.size,
    }


def prune(
    project: Project, keep: int, *, dry_run: bool, confirm: Callable[[str], None]
) -> list[str]:
    """Delete all but the `keep` newest, never the loaded one."""
    if keep < 0:
        raise ConfigError("cannot keep fewer than none", where="--keep")
    loaded = project.loaded()
    old = [one.id for one in artifacts.listing(project.snapshots)[keep:] if one.id not in loaded]
    if old and not dry_run:
        confirm(f"Delete {len(old)} snapshots?")
        with locked(project):
            for name in old:
                artifacts.remove(project.snapshots, name)
    return old


def export(
    project: Project, name: str, target: str, *, passphrase: Callable[[], str] | None = None
) -> dict[str, Any]:
    """Write one snapshot as one file to give to a colleague, encrypted with a `passphrase`."""
    if not target:
        raise ConfigError("say which file to write", where="export", hint="export ID FILE")
    artifact = artifacts.open(project.snapshots, name)
    secret = ""
    if passphrase is not None:
        secret = passphrase()
        if len(secret) < SHORTEST:
            raise ConfigError(
                f"a passphrase has at least {SHORTEST} characters", where="SANDBOX_PASSPHRASE"
            )
    artifacts.export(project.snapshots, artifact.id, Path(target), passphrase=secret)
    size = Path(target).stat().st_size
    return {"id": artifact.id, "file": target, "bytes": size, "encrypted": bool(secret)}


def dump(project: Project, name: str, target: str) -> dict[str, Any]:
    """Write one snapshot's MongoDB as a folder that `mongorestore` reads, whole or not at all."""
    if not target:
        raise ConfigError("say which folder to make", where="export", hint="export ID FOLDER")
    folder = Path(target)
    if folder.exists():
        raise ConfigError("it is there already", where=target, hint="name a folder that is not")
    declared = project.settings.mongo
    artifact = artifacts.open(project.snapshots, name)
    datasets = artifact.datasets("mongo")
    if declared is None or not datasets:
        raise ConfigError("there is no MongoDB in it", where=artifact.id)
    beside = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        notes = dumping.dump(
            beside / declared.production,
            datasets,
            artifact.catalog("mongo"),
            partial(artifact.pieces, "mongo"),
        )
        beside.chmod(0o700)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {"id": artifact.id, "folder": target, "bytes": written, "notes": notes}


def import_(project: Project, file: str, *, passphrase: Callable[[], str]) -> dict[str, Any]:
    """Take in a file that `export` wrote; its checksums are verified first."""
    path = Path(file)
    secret = passphrase() if artifacts.is_encrypted(path) else ""
    with locked(project):
        return summary(artifacts.import_(project.snapshots, path, passphrase=secret))


def show(project: Project, name: str) -> dict[str, Any]:
    """One snapshot's receipt: what, when, by which policy and key, its parts and checksums."""
    artifact = artifacts.open(project.snapshots, name)
    manifest = artifact.manifest
    return {
        "id": artifact.id,
        "created": manifest["created"],
        "facts": {**manifest["facts"], **artifacts.results(artifact)},
        "parts": [
            {
                "kind": part["kind"],
                "dataset": part["dataset"]["name"],
                "rows": part["rows"],
                "bytes": part["bytes"],
                "sha256": part["sha256"],
            }
            for part in manifest["parts"]
        ],
    }


def verify(project: Project, name: str) -> dict[str, Any]:
    """Check every part against its checksum. Raises SnapshotBroken naming the first bad one."""
    artifact = artifacts.open(project.snapshots, name)
    artifact.verify()
    return {"id": artifact.id, "parts": len(artifact.manifest["parts"])}


def diff(project: Project, first: str, second: str) -> dict[str, Any]:
    """What differs between two snapshots: schema, counts, policy."""
    one = artifacts.open(project.snapshots, first)
    other = artifacts.open(project.snapshots, second)
    return {"from": one.id, "to": other.id, "differences": list(artifacts.diff(one, other))}
