"""Runs a plan: every service starts as soon as what it depends on is there."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

import docker
from docker.errors import APIError, NotFound

from sandbox.compose import Service
from sandbox.engine import containers, labels
from sandbox.errors import Refused, SandboxError, Unreachable
from sandbox.images import ImageFacts, ensure
from sandbox.plan import Plan, Step
from sandbox.report import Report
from sandbox.report import Step as Done

POLL = 0.1  # seconds
WITHIN = 180.0  # seconds for a service to become healthy


class Starting:
    """One `up` of one project."""

    def __init__(self, client: docker.DockerClient, plan: Plan, report: Report) -> None:
        self._client = client
        self._plan = plan
        self._report = report
        self._root = Path(plan.file.root)
        self._images: dict[str, ImageFacts] = {}
        self._ended = {name: threading.Event() for name in plan.file.services}
        self._stop = threading.Event()

    def run(self) -> None:
        """Raises the first failure; the containers that run by then stay, the next run goes on."""
        steps = {step.service: step for step in self._plan.steps}
        fresh = [step for step in self._plan.changes if step.action in ("create", "recreate")]
        if self._plan.changes:
            self._check_passwords()
            self._check_ports()
            self._ensure_images({self._service(step).image for step in fresh})
            self._ensure_networks()
            self._ensure_volumes()
        with ThreadPoolExecutor(len(steps)) as pool:
            futures = [pool.submit(self._one, step) for step in steps.values()]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                if any(f.done() and f.exception() for f in futures):
                    self._stop.set()
        errors = [e for f in futures if (e := f.exception()) is not None]
        for error in [e for e in errors if not isinstance(e, _Stopped)] or errors:
            raise error

    def _service(self, step: Step) -> Service:
        return self._plan.file.services[step.service]

    def _one(self, step: Step) -> None:
        service = self._service(step)
        try:
            for name, condition in service.depends_on.items():
                self._await_other(name, condition)
            began = time.monotonic()
            identifier = self._bring(step, service)
            self._ended[service.name].set()
            if service.health is not None:
                self._await_health(identifier, service)
            if step.action != "keep":
                self._report(
                    Done(
                        name=f"{self._plan.project} {service.name}",
                        detail=step.action,
                        seconds=time.monotonic() - began,
                    )
                )
        except BaseException:
            self._stop.set()
            raise

    def _bring(self, step: Step, service: Service) -> str:
        """The id of a container that runs."""
        present = self._plan.present.get(service.name)
        if step.action == "keep" and present is not None:
            return present.id
        if step.action == "start" and present is not None:
            identifier = present.id
        else:
            if present is not None:
                self._take_away(present.id)
            identifier = self._create(service, present.ports if present else {})
        try:
            self._client.api.start(identifier)
        except APIError as error:
            raise _start_error(error, service, self._plan) from None
        return identifier

    def _create(self, service: Service, old_ports: Mapping[int, int]) -> str:
        name = containers.container_name(self._plan.project, service.name)
        self._take_away(name)  # a half-made one of an interrupted run
        facts = self._images[service.image]
        tags = labels.of_container(
            self._plan,
            service,
            facts.id,
            config_files=str(self._root / self._plan.file.file),
            working_dir=str(self._root),
        )
        ports = {
            port.target: port.published or old_ports.get(port.target, 0) for port in service.ports
        }
        return containers.create(
            self._client,
            service,
            project=self._plan.project,
            image=facts.id,
            name=name,
            labels=tags,
            ports=ports,
            root=self._root,
        )

    def _take_away(self, identifier: str) -> None:
        with contextlib.suppress(NotFound):
            found = self._client.containers.get(identifier)
            if found.labels.get(labels.PROJECT) != self._plan.project:
                raise Refused(
                    f"a container called {found.name} is there and is not ours",
                    hint=f"docker rm {found.name}, if nobody needs it",
                )
            found.stop(timeout=containers.stop_seconds(found.attrs))
            found.remove(force=True)

    # --- waiting ---------------------------------------------------------------------------------

    def _await_other(self, name: str, condition: str) -> None:
        while not self._ended[name].wait(POLL):
            self._check_stop()
        other = self._plan.file.services[name]
        identifier = containers.container_name(self._plan.project, name)
        if condition == "service_healthy":
            if other.health is None:
                raise SandboxError(f"{name} has no healthcheck to wait for")
            self._await_health(identifier, other)
        elif condition == "service_completed_successfully":
            self._await_exit(identifier, name)

    def _await_health(self, identifier: str, service: Service) -> None:
        began = time.monotonic()
        while True:
            state = self._client.api.inspect_container(identifier)["State"]
            if state.get("Health", {}).get("Status") == "healthy":
                return
            if state["Status"] in ("exited", "dead"):
                raise Unreachable(
                    f"{service.name} of {self._plan.project} stopped (exit {state['ExitCode']})",
                    hint=self._last_line(identifier),
                )
            if time.monotonic() - began > WITHIN:
                raise Unreachable(
                    f"{service.name} of {self._plan.project} is not healthy after {WITHIN:.0f} s",
                    hint=self._last_line(identifier),
                )
            self._check_stop()
            time.sleep(POLL)

    def _await_exit(self, identifier: str, name: str) -> None:
        while True:
            state = self._client.api.inspect_container(identifier)["State"]
            if state["Status"] == "exited":
                if state["ExitCode"]:
                    raise SandboxError(f"{name} ended with exit code {state['ExitCode']}")
                return
            self._check_stop()
            time.sleep(POLL)

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise _Stopped("another service failed")

    def _last_line(self, identifier: str) -> str:
        text = self._client.api.logs(identifier, tail=5).decode("utf-8", "replace")
        lines = [line for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else "its log is empty"

    # --- what services need ----------------------------------------------------------------------

    def _check_passwords(self) -> None:
        """An empty password would make a server that anyone may enter."""
        for service in self._plan.file.services.values():
            for name, value in service.environment.items():
                if not value and name.endswith(("PASSWORD", "API_KEY")):
                    raise Refused(
                        f"{name} is empty",
                        where=f"{self._plan.file.file}: services.{service.name}.environment",
                        hint="./inv env writes passwords",
                    )

    def _check_ports(self) -> None:
        """A taken port is named before anything changes."""
        for step in self._plan.changes:
            present = self._plan.present.get(step.service)
            held = set(present.ports.values()) if present and present.state == "running" else set()
            for port in self._service(step).ports:
                if port.published and port.published not in held and _taken(port.published):
                    raise Unreachable(
                        f"port {port.published} is taken, and {step.service} of "
                        f"{self._plan.project} needs it",
                        where=f"{self._plan.file.file}: services.{step.service}.ports",
                        hint="free it, or set another one (0: any free one) in the env file",
                    )

    def _ensure_images(self, references: set[str]) -> None:
        with ThreadPoolExecutor(4) as pool:
            found = pool.map(
                lambda reference: ensure(self._client, reference, report=self._report), references
            )
            self._images = {facts.reference: facts for facts in found}

    def _ensure_networks(self) -> None:
        wanted = {name for s in self._plan.file.services.values() for name in s.networks}
        for name in sorted(wanted):
            full = f"{self._plan.project}_{name}"
            if not self._client.networks.list(names=[f"^{full}$"]):
                self._client.networks.create(
                    full, labels=dict(labels.of_network(self._plan.project, name))
                )

    def _ensure_volumes(self) -> None:
        wanted = {
            mount.source
            for service in self._plan.file.services.values()
            for mount in service.mounts
            if mount.type == "volume"
        }
        for name in sorted(wanted):
            full = f"{self._plan.project}_{name}"
            try:
                self._client.volumes.get(full)
            except NotFound:
                self._client.volumes.create(
                    full, labels=dict(labels.of_volume(self._plan.project, name))
                )


class _Stopped(Exception):
    """Another service failed first."""


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _start_error(error: APIError, service: Service, plan: Plan) -> SandboxError:
    text = str(error.explanation or error)
    if "port is already allocated" in text or "address already in use" in text:
        ports = ", ".join(str(port.published) for port in service.ports)
        return Unreachable(
            f"a port of {service.name} of {plan.project} is taken: {ports}",
            hint="free it, or set another one (0: any free one) in the env file",
        )
    return SandboxError(f"{service.name} of {plan.project} does not start: {text}")
