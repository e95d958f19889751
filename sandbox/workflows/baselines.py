"""Named baselines: the playground as it was at a moment that somebody wants to come back to.

In servers of its own they are images of them (see dedicated.py). On production's servers each is
an artifact, kept apart from the snapshots because its values are the playground's own; which name
means which one stands in one file that is replaced whole.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sandbox import artifact as artifacts
from sandbox import transfer
from sandbox.artifact import Artifact
from sandbox.engine.baselines import check_name
from sandbox.errors import ConfigError
from sandbox.identities import write_private
from sandbox.masking.keep import KEEP
from sandbox.project import Project
from sandbox.stores.files import pristine
from sandbox.workflows import dedicated
from sandbox.workflows.credentials import changing
from sandbox.workflows.recovery import recover
from sandbox.workflows.session import Session

ACTIONS = ("list", "save", "tag", "prune")
LOADED = dedicated.LOADED
NAMES = "names.json"


def check_action(action: str) -> str:
    if action not in ACTIONS:
        raise ConfigError(
            f"baseline cannot {action!r}", where="action", hint=f"one of {', '.join(ACTIONS)}"
        )
    return action


def listing(session: Session) -> list[dict[str, Any]]:
    """Oldest first: name, created, the snapshot it is the loaded state of, the bytes that it adds
    on disk to those before it, and whether `reset` returns to it."""
    if session.project.layout == "dedicated":
        return _images(session)
    project = session.project
    loaded, found, counted = project.state().loaded, [], set[int]()
    for name, artifact in _named(project).items():
        found.append(
            {
                "name": name,
                "created": artifact.manifest["created"],
                "snapshot": artifact.id if (project.snapshots / artifact.id).is_dir() else "",
                "bytes": _added(artifact.folder, counted),
                "current": artifact.id == loaded,
            }
        )
    return sorted(found, key=lambda one: str(one["created"]))


def save(session: Session, name: str) -> dict[str, Any]:
    """Keep the playground as it is now; a baseline of this name is replaced when that is done."""
    _check_free(name)
    with changing(session):
        recover(session)
        if session.project.layout == "dedicated":
            dedicated.keep(session, name)
        else:
            _write(session, name)
    return next(one for one in listing(session) if one["name"] == name)


def tag(session: Session, name: str, new: str) -> dict[str, Any]:
    """Give a baseline one more name, under which a later load or save does not replace it."""
    _check_free(new)
    with changing(session):
        if session.project.layout == "dedicated":
            session.engine.tag(dedicated.project_of(session), name, new)
        else:
            _link(session.project, name, new)
    return next(one for one in listing(session) if one["name"] == new)


def prune(
    session: Session, name: str = "", *, dry_run: bool = False, confirm: Callable[[str], None]
) -> list[str]:
    """Remove the baseline `name`, or every one that `reset` does not return to."""
    known = listing(session)
    kept = {one["name"] for one in known if one["current"] or one["name"] == LOADED}
    doomed = [one["name"] for one in known if one["name"] not in kept and name in ("", one["name"])]
    if name and not doomed:
        why = "`reset` returns to it" if name in kept else "there is no such baseline"
        raise ConfigError(f"{name!r} is not removed: {why}", hint="./inv baseline lists them")
    if not doomed or dry_run:
        return doomed
    confirm(f"Delete {', '.join(doomed)}?")
    with changing(session):
        if session.project.layout == "dedicated":
            keep = [one["name"] for one in known if one["name"] not in doomed]
            session.engine.prune(dedicated.project_of(session), keep=keep)
            dedicated.sweep_files(session)
        else:
            names = {k: v for k, v in _names(session.project).items() if k not in doomed}
            _remember(session.project, names)
    return doomed


def artifact_of(project: Project, target: str) -> Artifact:
    """What `reset` can load: a named baseline, by name or by what a marker says, or a snapshot."""
    known = _names(project)
    identifier = known.get(target, target)
    if identifier in known.values():
        return artifacts.open(_root(project), identifier)
    return artifacts.open(project.snapshots, target)


def _check_free(name: str) -> None:
    if check_name(name) == LOADED:
        raise ConfigError(
            f"{LOADED!r} is the name of what was loaded", where="baseline", hint="take another"
        )


# --- in servers of its own ------------------------------------------------------------------------


def _images(session: Session) -> list[dict[str, Any]]:
    folder, loaded = dedicated.files_folder(session.project), session.project.state().loaded
    found, counted = [], set[str]()
    for one in dedicated.baselines(session, measured=True):
        files = 0 if one.generation in counted else pristine.size(folder / one.generation)
        counted.add(one.generation)
        found.append(
            {
                "name": one.name,
                "created": one.created,
                "snapshot": one.snapshot,
                "bytes": one.bytes + files,
                "current": loaded in (one.name, one.snapshot),
            }
        )
    return found


# --- on production's servers ----------------------------------------------------------------------


def _root(project: Project) -> Path:
    return project.baselines / "artifacts"


def _names(project: Project) -> dict[str, str]:
    """Name -> id of its artifact."""
    try:
        found: dict[str, str] = json.loads((_root(project) / NAMES).read_text())
    except FileNotFoundError:
        return {}
    return found


def _named(project: Project) -> Mapping[str, Artifact]:
    return {name: artifacts.open(_root(project), one) for name, one in _names(project).items()}


def _remember(project: Project, names: Mapping[str, str]) -> None:
    """From here on these are the names; what none of them means any more goes."""
    root = _root(project)
    write_private(root / NAMES, json.dumps(names, indent=1, sort_keys=True) + "\n")
    artifacts.clean(root)
    for one in artifacts.listing(root):
        if one.id not in names.values():
            artifacts.remove(root, one.id)


def _write(session: Session, name: str) -> None:
    """Read the playground, all of it, as it is."""
    project = session.project
    session.stores()  # Refused where a space is production's
    sources = {place.kind: session.home(place.kind) for place in session.places()}
    facts = {"baseline": name, "snapshot": project.state().loaded}
    writer = artifacts.create(_root(project), facts=facts)
    try:
        cuts = transfer.take(
            sources,
            KEEP,
            writer,
            check=lambda held: None,
            after=lambda held: None,
            report=session.report,
        )
        made = writer.commit({"cuts": cuts})
    except BaseException:
        writer.discard()
        raise
    _remember(project, {**_names(project), name: made.id})


def _link(project: Project, name: str, new: str) -> None:
    """One more name for an artifact. A snapshot is taken in by hard links, which cost nothing: its
    files never change, and it stays when the snapshot is pruned."""
    known, root = _names(project), _root(project)
    if name in known:
        _remember(project, {**known, new: known[name]})
        return
    loaded = project.state().loaded
    if name != LOADED or not loaded:
        raise ConfigError(f"there is no baseline {name!r}", hint="./inv baseline lists them")
    artifact = artifact_of(project, loaded)
    if artifact.id not in known.values():
        partial = root / f"{artifact.id}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(artifact.folder, partial, copy_function=os.link)
        partial.rename(root / artifact.id)
    _remember(project, {**known, new: artifact.id})


def _added(folder: Path, counted: set[int]) -> int:
    """Bytes on disk of the files that were not counted yet, or are a snapshot's already."""
    added = 0
    for path in folder.rglob("*"):
        facts = path.stat()
        if path.is_file() and facts.st_ino not in counted and facts.st_nlink == 1:
            added += facts.st_size
        counted.add(facts.st_ino)
    return added
