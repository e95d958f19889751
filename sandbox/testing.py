"""A private, masked copy of production for a test run: servers of its own, by testcontainers,
from compose.dev.yaml and filled from a snapshot. Production is not contacted (docs/testing.md).

    from sandbox.testing import Copy

    @pytest.fixture(scope="session")
    def copy():
        with Copy(stores=["postgres", "redis"]) as copy:
            yield copy

    def test_titles(copy):
        copy.reset()  # as it was loaded; a moment, since what changed goes back
        connect(copy.variables["DATABASE_URL"])
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from sandbox import artifact as artifacts
from sandbox import transfer
from sandbox.compose import Service
from sandbox.contract import Store
from sandbox.engine import labels
from sandbox.errors import ConfigError, NoBaseline, Unreachable
from sandbox.identities import Vault
from sandbox.images import ensure
from sandbox.model import Environment, Kind, Marker
from sandbox.project import Project, open_project
from sandbox.report import Report, silent
from sandbox.settings import Settings
from sandbox.workflows import servers
from sandbox.workflows.env import application
from sandbox.workflows.session import Session


class Copy:
    """Use as a context manager. `stores`: all that sandbox.toml declares when none are given.

    Raises SandboxError, as the commands do: no engine, no such snapshot, a port that is taken.
    """

    def __init__(
        self,
        config: str | Path = "",
        *,
        snapshot: str = "latest",
        stores: Sequence[Kind] = (),
        report: Report = silent,
    ) -> None:
        self._open = ExitStack()
        self._given = (config, snapshot, tuple(stores), report)
        self.variables: Mapping[str, str] = {}  # what an application's env file would hold
        self.project = ""  # the Compose project that its containers carry as label

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def reset(self) -> None:
        """Every store as it was loaded, all or none: what changed goes back, and a store that
        cannot tell what changed is loaded anew."""
        whole: dict[Kind, Store] = {}
        lock = threading.Lock()

        def rewind(kind: Kind, store: Store) -> None:
            try:
                store.rewind()
            except NoBaseline:
                with lock:
                    whole[kind] = store

        jobs = [(1, partial(rewind, kind, store)) for kind, store in self._stores.items()]
        transfer.run_all(jobs, threading.Event())
        if whole:
            self._stage(whole)
        self._swap()

    # --- starting --------------------------------------------------------------------------------

    def _start(self) -> None:
        config, snapshot, kinds, report = self._given
        home = Path(tempfile.mkdtemp(prefix="sandbox-copy-"))
        self._open.callback(shutil.rmtree, home, ignore_errors=True)
        project = _borrowed(open_project(config), home, kinds)
        self._artifact = artifacts.open(project.snapshots, snapshot)
        self._report, self._baseline = report, secrets.token_hex(8)
        self._session = self._open.enter_context(Session(project, report))
        self.project = project.compose_project("playground")
        self._leave_nothing_behind()
        starting = [(1, partial(self._serve, one)) for one in self._services()]
        transfer.run_all(starting, threading.Event())
        servers.ready(self._session)
        for place in project.places():
            self._session.admin(place.kind, "playground").isolate()
        self._stores = self._session.stores()
        self._session.prepare({kind: self._artifact.catalog(kind) for kind in self._stores})
        self._stage(self._stores)
        self._swap()
        self.variables = application(self._session, "playground")

    def _services(self) -> list[Service]:
        """The services of compose.dev.yaml that serve a store."""
        file = servers.read(self._session, "playground", app=False)
        wanted = {place.service for place in self._session.places()}
        return [service for name, service in file.services.items() if name in wanted]

    def _leave_nothing_behind(self) -> None:
        """testcontainers' reaper removes what a killed run leaves, where its image can be had."""
        image = testcontainers_config.ryuk_image
        try:
            ensure(self._session.engine.client, image, report=self._report)
        except (ConfigError, Unreachable):
            testcontainers_config.ryuk_disabled = True

    def _serve(self, service: Service) -> None:
        image = ensure(self._session.engine.client, service.image, report=self._report)
        container = DockerContainer(image.tag)
        container.with_envs(**service.environment)
        if service.command is not None:
            container.with_command(list(service.command))
        for port in service.ports:
            container.ports[f"{port.target}/tcp"] = ("127.0.0.1", None)  # type: ignore[assignment]
        for mount in service.mounts:  # what the image declares; the data stands elsewhere
            if mount.type == "tmpfs":
                container.with_tmpfs_mount(mount.target)
        container.with_kwargs(
            labels=labels.of_copy(self.project, service),
            shm_size=service.shm_size or None,
        )
        self._open.callback(_stopped, container)
        container.start()

    # --- loading ---------------------------------------------------------------------------------

    def _stage(self, stores: Mapping[Kind, Store]) -> None:
        transfer.load(self._artifact, stores, self._marker, report=self._report)

    def _marker(self, kind: Kind) -> Marker:
        project = self._session.project
        counts = {dataset.name: dataset.rows for dataset in self._artifact.datasets(kind)}
        return Marker(
            project=project.settings.project,
            environment="playground",
            playground=project.playground,
            snapshot=self._artifact.id,
            counts=counts,
            baseline=self._baseline,
        )

    def _swap(self) -> None:
        """Nothing to go on with after an interruption: the servers end with the run."""
        transfer.swap(self._stores, begin=lambda _: None, end=lambda: None, last="postgres")


@dataclass(frozen=True, kw_only=True)
class Borrowed(Project):
    """A project whose snapshots are read, and whose own files and names are another's."""

    home: Path
    run: str

    @property
    def folder(self) -> Path:
        return self.home

    def compose_project(self, environment: Environment) -> str:
        return f"{self.settings.project}-copy-{self.run}"

    def env_file(self, environment: Environment) -> Path:
        return self.home / environment


def _borrowed(project: Project, home: Path, kinds: Sequence[Kind]) -> Borrowed:
    given = {
        project.admin_variable(kind, "playground")
        for kind in project.settings.kinds()
        if kind != "files"
    }
    return Borrowed(
        settings=_narrowed(project.settings, home, kinds),
        config=project.config,
        playground="",
        vault=Vault(home / "identities.json", {}),
        environ={name: v for name, v in project.environ.items() if name not in given},
        home=home,
        run=secrets.token_hex(4),
    )


def _narrowed(settings: Settings, home: Path, kinds: Sequence[Kind]) -> Settings:
    """Dedicated servers, files below `home`, the wanted stores only, and a production that is out
    of reach."""
    both = settings.environments
    away = both.production.model_copy(update={"external": True, "urls": {}})
    environments = both.model_copy(update={"production": away})
    changes: dict[str, object] = {"layout": "dedicated", "environments": environments}
    changes |= {kind: None for kind in settings.kinds() if kinds and kind not in kinds}
    if settings.files is not None and "files" not in changes:
        changes["files"] = settings.files.model_copy(
            update={"root": str(home / "files"), "user": ""}
        )
    return settings.model_copy(update=changes)


def _stopped(container: DockerContainer) -> None:
    container.stop()
