"""A playground with servers of its own: what was loaded is kept as images of them, and a reset puts
new containers of these images in place of the present ones, together with the files, all or none.

How far an interrupted reset came is told by the containers; the files follow them.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sandbox.contract import Source
from sandbox.engine import Baseline
from sandbox.errors import Refused, SandboxError, Unreachable
from sandbox.layout import Place
from sandbox.model import FilesSpace, Kind, Marker
from sandbox.project import Project
from sandbox.report import Step, Warned, silent
from sandbox.stores import backend
from sandbox.stores.files import pristine
from sandbox.workflows.guards import check_marker
from sandbox.workflows.session import Session

LOADED = "loaded"  # the baseline that a load leaves
READY_WITHIN = 60.0  # seconds for a new server to answer
POLL = 0.01  # seconds
LOOK = 0.5  # seconds between two looks whether a new server still runs
LOOPBACK = "127.0.0.1"


def project_of(session: Session) -> str:
    """The Compose project of the playground's own servers."""
    return session.project.compose_project("playground")


def services(session: Session, kinds: Sequence[Kind] = ()) -> dict[str, Kind]:
    """Service -> store, of those that have a server."""
    return {place.service: place.kind for place in session.places(kinds) if place.service}


def files_folder(project: Project) -> Path:
    """Where the files of baselines lie, by generation."""
    return project.baselines / "files"


def baselines(session: Session, *, measured: bool = False) -> tuple[Baseline, ...]:
    """The whole ones, oldest first: every server's image, and the files of the same moment."""
    known = session.engine.baselines(project_of(session), measured=measured)
    if _files(session) is None:
        return known
    kept = pristine.generations(files_folder(session.project))
    return tuple(one for one in known if one.generation in kept)


def find(session: Session, to: str = "") -> Baseline | None:
    """The baseline called `to`, or that of the snapshot `to`; by default what is loaded."""
    wanted = to or session.project.state().loaded
    known = baselines(session) if wanted else ()
    by_name = [one for one in known if one.name == wanted]
    return next(iter(by_name or [one for one in known[::-1] if _is_of(one, wanted)]), None)


def _is_of(baseline: Baseline, snapshot: str) -> bool:
    return bool(baseline.snapshot) and baseline.snapshot.startswith(snapshot)


def keep(session: Session, name: str, *, snapshot: str = "") -> Baseline:
    """Keep the playground as it is now. Call with the project locked."""
    began = time.monotonic()
    made = session.engine.freeze(
        project_of(session),
        list(services(session)),
        name=name,
        snapshot=snapshot,
        meanwhile=lambda generation: _keep_files(session, generation),
        report=silent,
    )
    sweep_files(session)
    if name == LOADED:
        session.engine.stand_by(project_of(session), made.images)
    seconds = time.monotonic() - began
    session.report(Step(name=f"kept as baseline {name}", seconds=seconds))
    return made


def sweep_files(session: Session) -> None:
    """Remove the files of baselines that have no name any more, and of unfinished ones."""
    folder = files_folder(session.project)
    if not folder.is_dir():
        return
    named = {one.generation for one in session.engine.baselines(project_of(session))}
    for child in folder.iterdir():
        if child.name not in named:
            shutil.rmtree(child)


def put_back(session: Session, baseline: Baseline, kinds: Sequence[Kind] = ()) -> None:
    """Put `baseline` in place, of all stores or of `kinds`, and nothing where one of them is marked
    as another's: Refused. A whole one is what the next reset returns to. Call with the project
    locked, and after `mend`."""
    target = session.project.state().loaded if kinds else baseline.snapshot or baseline.name
    wanted = services(session, kinds)
    images = {service: baseline.images[service] for service in wanted}
    with ThreadPoolExecutor(len(wanted) + 2) as pool:
        change = _Change(session, baseline, target, tuple(wanted.values()), kinds, pool)
        try:
            change.prepare()
            if images:
                session.engine.swap_in(
                    project_of(session),
                    images,
                    begin=change.begin,
                    ready=change.ready,
                    report=silent,
                )
            else:
                change.begin("")
                change.ready()
        except BaseException:
            change.leave()
            raise
        change.end()


def mend(session: Session, *, quietly: bool = False) -> bool:
    """After an interruption: servers and files are both the old ones or both the new ones.
    Returns whether an unfinished reset of servers was found."""
    report = silent if quietly else session.report
    session.engine.recover(project_of(session), report)
    state = session.project.state()
    if not state.swap:
        return False
    done = session.engine.swapped(project_of(session), state.swap)
    if "files" in state.swapping:
        files = session.store("files")
        if not done:
            files.undo()
        files.settle()
    loaded = {"loaded": state.resetting} if done else {}
    session.project.remember(swap="", swapping=(), resetting="", **loaded)
    how = "finished" if done else "undone"
    report(Warned(message=f"an interrupted reset was {how}; the playground is whole"))
    return True


class _Change:
    """One reset: its steps, as the engine's swap calls them."""

    def __init__(
        self,
        session: Session,
        baseline: Baseline,
        target: str,
        servers: tuple[Kind, ...],
        kinds: Sequence[Kind],
        pool: ThreadPoolExecutor,
    ) -> None:
        self._session = session
        self._baseline = baseline
        self._target = target
        self._servers = servers
        self._pool = pool
        space = _files(session)
        self._space = space if not kinds or "files" in kinds else None
        self._looks: list[Future[Any]] = []
        self._copies: list[Future[None]] = []
        self._ports = {kind: session.endpoint(kind, "playground").port for kind in servers}

    def prepare(self) -> None:
        """Look at every marker and copy the files beside while the new containers are made."""
        if self._space is not None:
            look = self._pool.submit(self._look_at_files)
            self._looks = [look]
            self._copies = [self._pool.submit(self._stage, self._space, look)]
        self._looks += [self._pool.submit(self._look, kind) for kind in self._servers]

    def begin(self, swap: str) -> None:
        """The last moment at which nothing has changed."""
        for job in self._looks:
            job.result()
        files: tuple[Kind, ...] = () if self._space is None else ("files",)
        self._session.project.remember(swap=swap, swapping=files, resetting=self._target)

    def ready(self) -> None:
        """Every new server has let the keeper in and shown its marker; then the files follow."""
        answers = [self._pool.submit(self._answer, kind) for kind in self._servers]
        for job in [*answers, *self._copies]:
            job.result()
        if self._space is not None:
            self._session.store("files").swap()

    def leave(self) -> None:
        """It failed: the servers say whether that was before or after the decision."""
        for job in [*self._looks, *self._copies]:
            with contextlib.suppress(Exception):
                job.result()
        if not mend(self._session, quietly=True) and self._space is not None:
            files = self._session.store("files")
            files.undo()
            files.settle()
            self._session.project.remember(swapping=(), resetting="")

    def end(self) -> None:
        if self._space is not None:
            self._session.store("files").settle()
        self._session.project.remember(swap="", swapping=(), resetting="", loaded=self._target)

    def _look(self, kind: Kind) -> None:
        """P6. A server that does not answer, or whose marker was thrown away, may be put back: it
        is known by its container, which has no volume and stands upon this playground's image."""
        try:
            marker = _ask(self._session, kind)
        except Refused:
            raise
        except SandboxError as error:
            self._session.report(Warned(message=f"{kind} is put back unseen: {error.message}"))
            return
        if marker is not None:
            check_marker(self._session.project, kind, marker)

    def _look_at_files(self) -> Marker:
        marker = self._session.store("files").marker()
        return check_marker(self._session.project, "files", marker)

    def _stage(self, space: FilesSpace, look: Future[Marker]) -> None:
        folder = files_folder(self._session.project) / self._baseline.generation
        pristine.stage(space, folder, look.result())

    def _answer(self, kind: Kind) -> None:
        """Wait until the new server lets the keeper in. Raises Unreachable when it has stopped."""
        began = looked = time.monotonic()
        while True:
            try:
                if _takes_connections(self._ports[kind]):
                    marker = _ask(self._session, kind)
                    break
                problem: SandboxError = Unreachable(f"the new {kind} does not answer")
            except SandboxError as error:  # it still reads its data, or has no logins yet
                problem = error
            if time.monotonic() - began > READY_WITHIN:
                raise problem
            if time.monotonic() - looked > LOOK:
                looked = time.monotonic()
                self._session.engine.published(
                    project_of(self._session), self._place(kind).service, self._place(kind).port
                )
            time.sleep(POLL)
        check_marker(self._session.project, kind, marker)

    def _place(self, kind: Kind) -> Place:
        return self._session.place(kind)


def _ask(session: Session, kind: Kind) -> Marker | None:
    """The marker in the playground's own server, over a connection of its own."""
    source: Source = backend(kind).source(session.access(kind, "keeper"), tool=None)
    try:
        return source.marker()
    finally:
        source.close()


def _takes_connections(port: int) -> bool:
    """Whether something behind the engine's proxy does: the proxy itself takes them at once, and
    lets go again while there is nothing behind. Drivers would wait for longer."""
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), 1) as one:
        one.settimeout(POLL)
        try:
            return bool(one.recv(1))
        except TimeoutError:
            return True
    return False


def _files(session: Session) -> FilesSpace | None:
    for place in session.places(("files",)):
        assert isinstance(place.playground, FilesSpace)
        return place.playground
    return None


def _keep_files(session: Session, generation: str) -> None:
    space = _files(session)
    if space is not None:
        pristine.keep(space, files_folder(session.project) / generation)
