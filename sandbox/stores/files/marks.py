"""Whose a directory is. The playground's marker lies inside and is swapped with it; production's
lies beside, because nothing is ever written into production."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sandbox.errors import Refused
from sandbox.model import FilesSpace, Marker, Space

NAME = ".sandbox.json"
STAGED = "staged"  # in the marker of a directory that a load made, until the load is settled


def inside(directory: Path) -> Path:
    return directory / NAME


def beside(directory: Path) -> Path:
    """Where production's marker lies: /data/output -> /data/.output.sandbox.json."""
    return directory.with_name(f".{directory.name}{NAME}")


def read(directory: Path) -> Marker | None:
    """The marker inside, else the one beside; None when there is neither."""
    for path in (inside(directory), beside(directory)):
        found = read_raw(path)
        if found:
            found.pop(STAGED, None)
            try:
                return Marker(**found)
            except TypeError:
                raise Refused("its marker cannot be read", where=str(path)) from None
    return None


def read_raw(path: Path) -> dict[str, Any]:
    """A marker as it stands; {} when the file is missing or empty (an adopted directory's)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return {}
    except OSError:
        raise Refused("its marker is no plain file", where=str(path)) from None
    with os.fdopen(descriptor) as file:
        text = file.read()
    if not text.strip():
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Refused("its marker cannot be read", where=str(path))
    return found


def write(path: Path, marker: Marker, *, staged: bool = False) -> None:
    """Replace the marker, whole or not at all."""
    values: Mapping[str, Any] = asdict(marker) | ({STAGED: True} if staged else {})
    temporary = path.with_name(f"{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "w") as file:
        file.write(json.dumps(values, ensure_ascii=False))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def is_staged(directory: Path) -> bool:
    return bool(read_raw(inside(directory)).get(STAGED))


def of_space(space: FilesSpace) -> Marker | None:
    """One marker for all directories: None when one has none, and the strangest when they differ.

    Production's wins: a space with one directory of production is production's.
    """
    found = [read(directory) for directory in space.directories.values()]
    known = [marker for marker in found if marker is not None]
    for marker in known:
        if marker.environment == "production":
            return marker
    if len(known) < len(found) or not known:
        return None
    whose = {(marker.project, marker.playground) for marker in known}
    if len(whose) > 1:
        raise Refused(
            f"its directories are marked as those of {len(whose)} playgrounds", where=space.name
        )
    counts = {key: value for marker in known for key, value in marker.counts.items()}
    one = known[0]
    return Marker(
        project=one.project,
        environment=one.environment,
        playground=one.playground,
        snapshot=one.snapshot,
        counts=counts,
        baseline=one.baseline,
    )


def overlap(one: Path, other: Path) -> str:
    """How two directories touch, in words; "" when they do not. Symlinks are followed."""
    a, b = Path(os.path.realpath(one)), Path(os.path.realpath(other))
    try:
        same = os.path.samestat(a.stat(), b.stat())
    except OSError:
        same = False
    if a == b or same:
        return "is the same directory as"
    if a.is_relative_to(b):
        return "lies inside"
    return "holds" if b.is_relative_to(a) else ""


def check_apart(playground: FilesSpace, production: Space) -> None:
    """Raises Refused when a playground's directory touches one of production's."""
    assert isinstance(production, FilesSpace)
    for own in playground.directories.values():
        for theirs in production.directories.values():
            how = overlap(own, theirs)
            if how:
                raise Refused(
                    f"the playground's directory {how} production's {theirs}",
                    where=str(own),
                    hint="give the playground a directory of its own in sandbox.toml",
                )
