"""A Compose project of its own for one test of the engine, gone afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import APIError, NotFound
from docker.models.networks import Network

from sandbox import compose
from sandbox.engine import Engine, connect
from sandbox.images import ensure
from sandbox.plan import Plan, plan
from sandbox.report import silent

ROOT = Path(__file__).parents[2]
BASE = "redis:8"  # small, and there without a registry too
SLEEP = f"image: {BASE}, command: sleep 600, stop_signal: SIGKILL"
TWO = f"""
services:
  db:
    {SLEEP.replace(", ", chr(10) + "    ")}
    environment: {{DB_PASSWORD: s3cret}}
    volumes: ["data:/data"]
    ports: ["127.0.0.1:0:5432"]
    healthcheck: {{test: test -e /tmp/ready || touch /tmp/ready, interval: 1s}}
  app:
    {SLEEP.replace(", ", chr(10) + "    ")}
    depends_on: {{db: {{condition: service_healthy}}}}
volumes:
  data:
"""
HOME = "/var/lib/sandbox/redis"
TWO_STORES = f"""
x-store: &store
  image: {BASE}
  command: >-
    sh -c 'mkdir -p {HOME} && exec redis-server --dir {HOME} --appendonly yes --protected-mode no'
  tmpfs: [/data]
  ports: ["127.0.0.1:0:6379"]
  stop_grace_period: 30s
  healthcheck: {{test: redis-cli ping | grep -q PONG, interval: 1s}}
services:
  one: {{<<: *store}}
  two: {{<<: *store}}
"""
APPLY = """
import json, os, sys
from sandbox import compose
from sandbox.engine import connect
from sandbox.plan import plan
from sandbox.report import silent
given = json.loads(sys.argv[1])
engine = connect(environment=os.environ)
print("go", flush=True)
"""
UP = """
file = compose.parse(given["text"], file="compose.yaml", variables={}, root=given["root"])
engine.apply(plan(file, engine.observe(given["project"]), project=given["project"]), silent)
"""
TWO_SLEEPERS = f"""
x-sleeper: &sleeper
  image: {BASE}
  command: >-
    sh -c 'mkdir -p /var/lib/sandbox; trap "test ! -e /data/slow || sleep 1; exit" TERM;
    while :; do sleep 600 & wait; done'
  tmpfs: [/data]
  healthcheck: {{test: test -d /var/lib/sandbox, interval: 30s}}
services:
  one: {{<<: *sleeper, ports: ["127.0.0.1:0:6379"]}}
  two: {{<<: *sleeper, depends_on: [one]}}
"""
DYING = """
import threading, time
calls, lock = [0], threading.Lock()
def dying(name):
    real = getattr(type(engine.client.api), name)
    def call(*arguments, **options):
        with lock:
            calls[0] += 1
            if calls[0] == given["at"]:
                time.sleep(0.2)  # by then the engine has heard of the calls before
                os.kill(os.getpid(), 9)
        return real(*arguments, **options)
    setattr(type(engine.client.api), name, call)
for name in ("create_container_from_config", "rename", "pause", "start", "stop", "commit", "tag",
             "disconnect_container_from_network", "connect_container_to_network", "remove_image"):
    dying(name)
"""
FREEZE = """
engine.freeze(given["project"], ["one", "two"], name="base", report=silent)
"""
SWAP = """
engine.swap_in(given["project"], given["images"], ready=lambda: None, report=silent)
"""


@dataclass(frozen=True, kw_only=True)
class World:
    """`engine` and the name of a project that nobody else has. `image`: what BASE really is."""

    engine: Engine
    image: str
    project: str
    root: Path

    def plan(self, text: str) -> Plan:
        file = compose.parse(text, file="compose.yaml", variables={}, root=str(self.root))
        return plan(file, self.engine.observe(self.project), project=self.project)

    def up(self, text: str) -> Plan:
        made = self.plan(text)
        self.engine.apply(made, silent)
        return made

    def container(self, service: str) -> docker.models.containers.Container:
        return self.engine.client.containers.get(f"{self.project}-{service}-1")

    def names(self) -> list[str]:
        found = self.engine.client.api.containers(all=True, filters=self._filters())
        return sorted(one["Names"][0].lstrip("/") for one in found)

    def ready(self) -> list[str]:
        """What is made ahead."""
        return [one for one in self.names() if ".ready-" in one]

    def present(self) -> list[str]:
        """Without what the background makes ahead, at some moment after a swap."""
        return [one for one in self.names() if ".ready-" not in one and ".warm-" not in one]

    def killed_after(self, seconds: float, program: str, **given: object) -> bool:
        """Run `program` in a process of its own and kill it; whether it was still running."""
        facts = {"project": self.project, "root": str(self.root), **given}
        running = subprocess.Popen(
            [sys.executable, "-c", APPLY + program, json.dumps(facts)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert running.stdout is not None
        assert running.stdout.readline() == b"go\n"
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(seconds)
        alive = running.poll() is None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        running.stdout.close()
        return alive

    def killed_at(self, call: int, program: str, **given: object) -> bool:
        """Run `program` in a process that kills itself before its `call`-th change; whether it
        came to that."""
        facts = {"project": self.project, "root": str(self.root), "at": call, **given}
        argv = [sys.executable, "-c", APPLY + DYING + program, json.dumps(facts)]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.returncode != 0

    def settle(self) -> None:
        """Wait until the containers that were put aside are gone."""
        self.engine.sweep(self.project)
        began = time.monotonic()
        while len(self.present()) != len(self.engine.observe(self.project)):
            assert time.monotonic() - began < 60, self.present()
            time.sleep(0.1)
            self.engine.recover(self.project)  # what a killed process had asked for may come late

    def clear(self) -> None:
        client = self.engine.client
        while found := client.api.containers(all=True, filters=self._filters()):
            for container in found:  # until none is left: in the background one may be made
                with contextlib.suppress(NotFound, APIError):
                    client.api.remove_container(container["Id"], force=True, v=True)
        for network in client.networks.list(filters=self._filters()):
            gone(network)
        for volume in client.volumes.list(filters=self._filters()):
            volume.remove(force=True)
        baselines = client.api.images(filters={"label": f"sandbox.project={self.project}"})
        for image in sorted(baselines, key=lambda one: one["Labels"]["sandbox.created"])[::-1]:
            with contextlib.suppress(NotFound, APIError):  # without a name, too; the newest first
                client.api.remove_image(image["Id"], force=True)

    def _filters(self) -> Mapping[str, str]:
        return {"label": f"com.docker.compose.project={self.project}"}


@contextlib.contextmanager
def a_world(root: Path) -> Iterator[World]:
    engine = connect(environment=os.environ)
    image = ensure(engine.client, BASE, report=silent).tag
    world = World(engine=engine, image=image, project=f"sbtest-{secrets.token_hex(4)}", root=root)
    try:
        yield world
    finally:
        world.clear()


def gone(network: Network) -> None:
    """Remove it once the engine has let go of its last, removed, container. Docker 20.10 miscounts
    now and then, where several containers come and go at once or one cannot join: such a network
    is empty, has "active endpoints", and goes with the engine's next start."""
    for last in [False] * 49 + [True]:
        try:
            network.remove()
        except NotFound:
            return
        except APIError:
            if last and network.client.networks.get(network.id).containers:
                raise
            time.sleep(0.1)
        else:
            return
