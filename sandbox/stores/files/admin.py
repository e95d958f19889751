"""Makes the playground's directories and plants the markers; production's lies beside it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.contract import Access, Statement
from sandbox.errors import Refused
from sandbox.model import FilesSpace, Identity, Marker, Role, Space
from sandbox.stores.files import marks, users
from sandbox.stores.files.rewind import base
from sandbox.stores.files.store import beside, remove_tree

MODE = 0o750  # the playground's directories: their user and group, nobody else
NOBODY_YET = -1  # the number of a user that is still to be made


@dataclass(frozen=True, kw_only=True)
class _Missing:
    """One thing that is not there yet."""

    directory: Path
    marker: Marker
    make: bool
    mark: bool
    give: bool


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
        self._owner = identities.get("playground", Identity(role="playground", name=""))
        self._comment = f"sandbox playground of {project}"
        self._theirs = Marker(project=project, environment="production")
        self._ours = Marker(project=project, environment="playground", playground=playground_name)

    def statements(self) -> Sequence[Statement]:
        found = [statement for one in self._missing() for statement in self._statements(one)]
        return [*self._user_statements(), *found]

    def isolate(self) -> Sequence[Statement]:
        """Raises Refused for a directory that touches production's, is marked as another's, or
        holds files and no marker; and, where a separate user is named, for everybody but root."""
        missing = list(self._missing())
        done = list(self._user_statements())
        if done:
            users.run(users.make(self._owner.name, self._comment))
        user = users.of(self._owner)
        for one in missing:
            done += self._statements(one)
            is_ours = one.marker.environment == "playground"
            if one.make:
                one.directory.mkdir(parents=True, exist_ok=True)
                if is_ours or user:
                    one.directory.chmod(MODE)
            if one.mark:
                place = marks.inside if is_ours else marks.beside
                marks.write(place(one.directory), one.marker)
            if one.give and user:
                users.give(one.directory, user)
        if user:
            for directory in self._playground.directories.values():
                users.check_reach(user, directory)
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
        user = users.known(self._owner.name) if self._owner.name else None
        if user is not None and user.pw_gecos == self._comment:  # made by `isolate`
            users.need_root(self._owner)
            users.run(["userdel", user.pw_name])
            done.append(Statement(text=f"userdel {user.pw_name}", why="the playground's user"))
        return done

    def close(self) -> None:
        """Nothing is held open."""

    def _missing(self) -> Iterator[_Missing]:
        marks.check_apart(self._playground, self._production)
        for directory in self._production.directories.values() if self._has_production else ():
            yield from _check(directory, self._theirs, None)
        owner = None
        if self._owner.name:
            users.need_root(self._owner)
            user = users.known(self._owner.name)
            owner = user.pw_uid if user else NOBODY_YET
        for directory in self._playground.directories.values():
            yield from _check(directory, self._ours, owner)

    def _user_statements(self) -> Iterator[Statement]:
        if self._owner.name and users.known(self._owner.name) is None:
            argv = users.make(self._owner.name, self._comment)
            yield Statement(text=shlex.join(argv), why="a user for the playground's files")

    def _statements(self, one: _Missing) -> list[Statement]:
        found = _statements(one, closed=bool(self._owner.name))
        if one.give:
            text = f"chown -R {self._owner.name} {one.directory}"
            found.append(Statement(text=text, why="the directory is the playground's user's"))
        return found


def _check(directory: Path, wanted: Marker, owner: int | None) -> Iterator[_Missing]:
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
    give = owner is not None and (not exists or directory.stat().st_uid != owner)
    if not exists or found is None or give:
        yield _Missing(
            directory=directory, marker=wanted, make=not exists, mark=found is None, give=give
        )


def _whose(marker: Marker) -> tuple[str, str, str]:
    return marker.project, marker.environment, marker.playground


def _statements(one: _Missing, *, closed: bool) -> list[Statement]:
    """`closed`: production's directories are made with the mode of the playground's, too."""
    is_ours = one.marker.environment == "playground"
    found = []
    if one.make:
        mode = f"-m {MODE:04o} " if is_ours or closed else ""
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
