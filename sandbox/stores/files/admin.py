"""Makes the playground's directories and plants the markers; production's lies beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.contract import Access, Statement
from sandbox.errors import Refused
from sandbox.model import FilesSpace, Identity, Marker, Role, Space
from sandbox.stores.files import marks
from sandbox.stores.files.rewind import base
from sandbox.stores.files.store import beside, owner_ids, remove_tree

MODE = 0o750  # the playground's directories: their user and group, nobody else


@dataclass(frozen=True, kw_only=True)
class _Missing:
    """One thing that is not there yet."""

    directory: Path
    marker: Marker
    make: bool
    mark: bool


class Admin:
    """Directories have no login: the roles are modes and, where one is named, a separate user."""

    def __init__(
        self,
        access: Access,
        *,
        production: Space,
        playground: Space,
        identities: Mapping[Role, Identity],
        project: str,
        playground_name: str = "",
    ) -> None:
        assert isinstance(production, FilesSpace) and isinstance(playground, FilesSpace)
        self._production, self._playground = production, playground
        # Production's marker is planted only where production is this project's to administer.
        self._has_production = not identities or "production" in identities
        self._owner = owner_ids(identities.get("playground", Identity(role="playground", name="")))
        self._theirs = Marker(project=project, environment="production")
        self._ours = Marker(project=project, environment="playground", playground=playground_name)

    def statements(self) -> Sequence[Statement]:
        return [statement for one in self._missing() for statement in _statements(one)]

    def isolate(self) -> Sequence[Statement]:
        """Raises Refused for a directory that touches production's, is marked as another's, or
        holds files and no marker."""
        done = []
        for one in list(self._missing()):
            done += _statements(one)
            is_ours = one.marker.environment == "playground"
            if one.make:
                one.directory.mkdir(parents=True, exist_ok=True)
                if is_ours:
                    one.directory.chmod(MODE)
            if one.mark:
                place = marks.inside if is_ours else marks.beside
                marks.write(place(one.directory), one.marker)
            if is_ours and self._owner:
                os.chown(one.directory, *self._owner)
        return done

    def prepare(self, catalog: bytes) -> Sequence[Statement]:
        return ()

    def remove(self) -> Sequence[Statement]:
        """Drop the playground's directories; those that are not marked as ours stay."""
        marks.check_apart(self._playground, self._production)
        done = []
        for directory in self._playground.directories.values():
            if not directory.exists():
                continue
            found = marks.read(directory)
            if found is None or _whose(found) != _whose(self._ours):
                raise Refused("it is not marked as this playground's", where=str(directory))
        for directory in self._playground.directories.values():
            for doomed in (beside(directory), base(directory), directory):
                if doomed.exists():
                    remove_tree(doomed)
                    done.append(Statement(text=f"rm -r {doomed}", why="the playground's files"))
        return done

    def close(self) -> None:
        """Nothing is held open."""

    def _missing(self) -> Iterator[_Missing]:
        marks.check_apart(self._playground, self._production)
        for directory in self._production.directories.values() if self._has_production else ():
            yield from _check(directory, self._theirs)
        for directory in self._playground.directories.values():
            yield from _check(directory, self._ours)


def _check(directory: Path, wanted: Marker) -> Iterator[_Missing]:
    """What `directory` lacks. Raises Refused when it is somebody else's."""
    exists = directory.exists()
    found = marks.read(directory) if exists else None
    if found is not None and _whose(found) != _whose(wanted):
        raise Refused(
            f"it is marked as {found.environment} {found.playground or ''}of {found.project}, "
            f"not as {wanted.environment} of {wanted.project}",
            where=str(directory),
        )
    is_ours = wanted.environment == "playground"
    adopted = marks.inside(directory).exists()
    if is_ours and exists and found is None and not adopted and any(directory.iterdir()):
        raise Refused(
            "it holds files and no marker; a load would replace them",
            where=str(directory),
            hint=f"if they are the playground's: touch {marks.inside(directory)}",
        )
    if not exists or found is None:
        yield _Missing(directory=directory, marker=wanted, make=not exists, mark=found is None)


def _whose(marker: Marker) -> tuple[str, str, str]:
    return marker.project, marker.environment, marker.playground


def _statements(one: _Missing) -> list[Statement]:
    is_ours = one.marker.environment == "playground"
    found = []
    if one.make:
        mode = f"-m {MODE:04o} " if is_ours else ""
        found.append(
            Statement(
                text=f"mkdir {mode}-p {one.directory}",
                why=f"the {one.marker.environment}'s directory",
            )
        )
    if one.mark:
        path = (marks.inside if is_ours else marks.beside)(one.directory)
        found.append(
            Statement(
                text=f"write {path}",
                why=f"marks the directory as {one.marker.environment} of {one.marker.project}",
            )
        )
    return found
