"""Runs a plan: every service starts as soon as what it depends on is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

import docker
from docker.errors import APIError, NotFound

from sandbox.compose import Service
from sandbox.engine import containers, labels, watching
from sandbox.engine.ports import Ports, bound
from sandbox.engine.resources import made_once, make
from sandbox.errors import ConfigError, LoginRefused, Refused, SandboxError, Unreachable
from sandbox.images import ImageFacts, ensure
from sandbox.plan import Plan, Step
from sandbox.report import Report
from sandbox.report import Step as Done

SECRETS = ("PASSWORD", "API_KEY")
TAKEN = ("port is already allocated", "address already in use", "ports are not available")
AMBIGUOUS = "is ambiguous"
ATTEMPTS = 3  # where somebody may come in between


class Starting:
    """One `up` of one project. `instead`: service -> the id of an image to run in its place."""

    def __init__(
        self,
        client: docker.DockerClient,
        plan: Plan,
        report: Report,
        *,
        ports: Ports,
        instead: Mapping[str, str],
    ) -> None:
        self._client = client
        self._plan = plan
        self._report = report
        self._ports = ports
        self._instead = instead
        self._root = Path(plan.file.root)
        self._images: dict[str, ImageFacts] = {}
        self._up = {name: threading.Event() for name in plan.file.services}
        self._stop = threading.Event()

    def run(self) -> None:
        """Raises the first failure; the containers that run by then stay, the next run goes on."""
        steps = [step for step in self._plan.steps if step.service in self._up]
        if self._plan.changes:
            self._check_passwords()
            self._check_ports()
            self._ensure_images()
            make(self._client, self._plan)
            for orphan in self._plan.orphans:
                containers.remove(self._client, orphan.id)
        with ThreadPoolExecutor(max(len(steps), 1)) as pool:
            futures = [pool.submit(self._one, step) for step in steps if step.kind == "container"]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            except BaseException:
                self._stop.set()
                raise
        errors = [e for f in futures if (e := f.exception()) is not None]
        for error in [e for e in errors if not isinstance(e, _Stopped)] or errors:
            raise error

    def _label(self, service: Service) -> str:
        return f"{service.name} of {self._plan.project}"

    def _where(self, service: Service, key: str) -> str:
        return f"{self._plan.file.file}:{service.line}: services.{service.name}.{key}".rstrip(".")

    def _one(self, step: Step) -> None:
        service = self._plan.file.services[step.service]
        try:
            for name, condition in service.depends_on.items():
                self._await_other(name, condition)
            began = time.monotonic()
            identifier = self._bring(step, service)
            self._up[service.name].set()
            watching.healthy(
                self._client,
                identifier,
                self._label(service),
                self._check_stop,
                settles=0.0 if step.action == "keep" else watching.SETTLES,
            )
            if step.action != "keep":
                name, seconds = f"{self._plan.project} {service.name}", time.monotonic() - began
                self._report(Done(name=name, detail=step.action, seconds=seconds))
        except BaseException as error:
            if isinstance(error, LoginRefused):
                error.service = service.name
            self._stop.set()
            raise

    def _bring(self, step: Step, service: Service) -> str:
        """The id of a container that runs."""
        present = self._plan.present.get(service.name)
        if present is not None and step.action == "keep":
            return present.id
        if present is not None and step.action == "start":
            if present.state == "paused":
                self._client.api.unpause(present.id)
            return self._start(present.id, service)
        old: Mapping[int, int] = {}
        if present is not None:
            old = bound(self._client.api.inspect_container(present.id))
            containers.remove(self._client, present.id)
        for port in old.values():
            self._ports.release(port)
        for attempt in range(ATTEMPTS):
            try:
                return self._start(self._create(service, old if attempt == 0 else {}), service)
            except _Again as error:
                if attempt == ATTEMPTS - 1 or not error.worth_it(service):
                    raise
                self._remove_leftover(self._name(service))
                made_once(self._client, self._plan)
        raise AssertionError("unreachable")

    def _create(self, service: Service, old_ports: Mapping[int, int]) -> str:
        self._remove_leftover(self._name(service))
        project, file = self._plan.project, self._plan.file
        networks = containers.networks(file, service, project)
        facts = self._images[service.image]
        tags = labels.of_container(
            self._plan,
            service,
            facts.id,
            config_files=str(self._root / file.file),
            working_dir=str(self._root),
            networks=networks,
        )
        ports = {
            port.target: port.published or self._free(service, port.target, old_ports)
            for port in service.ports
        }
        try:
            return containers.create(
                self._client,
                service,
                image=self._instead.get(service.name) or facts.tag,
                name=self._name(service),
                labels=tags,
                ports=ports,
                networks=networks,
                binds=containers.binds(file, service, project),
            )
        except APIError as error:
            kind = _Again if error.status_code == 409 else SandboxError  # its name came up just now
            message = f"{self._label(service)} cannot be made: {error.explanation}"
            raise kind(message, where=self._where(service, "")) from None

    def _free(self, service: Service, target: int, old: Mapping[int, int]) -> int:
        """Where the file says 0: the port that it had, else one that is always the same."""
        if target in old and not self._ports.holder(old[target]):
            return old[target]
        return self._ports.free(f"{self._plan.project}/{service.name}/{target}")

    def _start(self, identifier: str, service: Service) -> str:
        try:
            self._client.api.start(identifier)
        except APIError as error:
            text = str(error.explanation or error)
            if any(words in text.lower() for words in TAKEN):
                made = bound(self._client.api.inspect_container(identifier))
                numbers = ", ".join(map(str, made.values()))
                raise _PortTaken(
                    f"a port that {self._label(service)} needs is taken: {numbers}",
                    where=self._where(service, "ports"),
                    hint="free it, or set another one (0: any free one)",
                ) from None
            kind = _Ambiguous if AMBIGUOUS in text else SandboxError
            raise kind(f"{self._label(service)} does not start: {text}") from None
        return identifier

    def _name(self, service: Service) -> str:
        return containers.container_name(self._plan.project, service.name)

    def _remove_leftover(self, name: str) -> None:
        """A container of this name that `observe` did not show: made a moment ago, or not ours."""
        try:
            found = self._client.api.inspect_container(name)
        except NotFound:
            return
        if (found["Config"]["Labels"] or {}).get(labels.PROJECT) != self._plan.project:
            raise Refused(
                f"a container called {name} is there and is not ours",
                hint=f"docker rm {name}, if nobody needs it",
            )
        containers.remove(self._client, found["Id"])

    # --- waiting ---------------------------------------------------------------------------------

    def _await_other(self, name: str, condition: str) -> None:
        while not self._up[name].wait(watching.FIRST_POLL):
            self._check_stop()
        identifier = containers.container_name(self._plan.project, name)
        label = f"{name} of {self._plan.project}"
        if condition == "service_healthy":
            watching.healthy(self._client, identifier, label, self._check_stop)
        elif condition == "service_completed_successfully":
            watching.ended(self._client, identifier, label, self._check_stop)

    # --- before anything changes -----------------------------------------------------------------

    def _check_passwords(self) -> None:
        """An empty password would make a server that anyone may enter."""
        for service in self._plan.file.services.values():
            for name, value in service.environment.items():
                if not value and name.endswith(SECRETS) and service.ports:
                    raise ConfigError(
                        f"{name} is empty: anyone could enter",
                        where=self._where(service, f"environment.{name}"),
                        hint="./inv env writes passwords",
                    )

    def _check_ports(self) -> None:
        """A taken port is named before anything changes."""
        own = {port for one in self._plan.present.values() for port in one.ports.values()}
        own |= {port for one in self._plan.orphans for port in one.ports.values()}
        for step in self._plan.changes:
            service = self._plan.file.services.get(step.service)
            if service is None or step.kind != "container":
                continue
            for port in service.ports:
                holder = "" if port.published in own else self._ports.holder(port.published)
                if port.published and holder:
                    raise Unreachable(
                        f"port {port.published}, which {self._label(service)} needs, is taken by "
                        f"{holder}",
                        where=self._where(service, "ports"),
                        hint="free it, or set another one (0: any free one) in the env file",
                    )

    def _ensure_images(self) -> None:
        """The images of what will be made; those that run are not looked for again."""
        fresh = [
            self._plan.file.services[step.service]
            for step in self._plan.changes
            if step.action in ("create", "recreate")
        ]
        wanted = {service.image: self._where(service, "image") for service in fresh}
        with ThreadPoolExecutor(4) as pool:
            found = pool.map(
                lambda pair: ensure(
                    self._client, pair[0], service_hint=pair[1], report=self._report
                ),
                wanted.items(),
            )
            self._images = {facts.reference: facts for facts in found}

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise _Stopped("another service failed")


class _Stopped(SandboxError):
    """Another service failed first."""


class _Again(SandboxError):
    """Something that may go well the next time."""

    def worth_it(self, service: Service) -> bool:
        return True


class _PortTaken(_Again, Unreachable):
    """Between the look and the start somebody took the port."""

    def worth_it(self, service: Service) -> bool:
        return not all(port.published for port in service.ports)


class _Ambiguous(_Again):
    """A killed run's request made a network while we made the same one."""
