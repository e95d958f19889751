"""What this machine lacks, and a Docker engine for it where that is possible."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.engine import connect
from sandbox.engine.connecting import HINT
from sandbox.errors import SandboxError, Unreachable
from sandbox.report import Report, Step, Warned, silent

LOG = Path("/var/log/sandbox-dockerd.log")
ANSWERS_WITHIN = 60.0  # seconds
FREE_NEEDED = 5 << 30  # bytes
PACKAGES = ("docker.io", "iptables", "ca-certificates")
# The first that works: vfs copies whole layers and so makes reset slow, but it runs anywhere.
DRIVERS = ("", "overlay2", "fuse-overlayfs", "vfs")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that the commands need (`needed`) or are better with."""

    name: str
    ok: bool
    found: str
    hint: str
    needed: bool = True


def checks(environment: Mapping[str, str] = os.environ) -> tuple[Check, ...]:
    """Everything that `./inv doctor` looks at; changes nothing."""
    return (
        _python(),
        *_engine(environment),
        _disk(),
        _program("mmdebstrap", "needed only where no registry answers"),
        _program("git", "needed to develop, not to run"),
        _compose(),
    )


def engine_missing_hint() -> str:
    """How this machine gets an engine, in one line."""
    if os.environ.get("DOCKER_HOST"):
        return "start the engine that DOCKER_HOST names, or unset it"
    if can_install():
        return "--yes (or SANDBOX_YES=1) installs docker.io and starts it here"
    if platform.system() == "Linux":
        return "install Docker Engine and start it, or run as root on Debian or Ubuntu with --yes"
    return "start Docker Desktop, or set DOCKER_HOST"


def can_install() -> bool:
    """Whether an engine can be installed and started here: Debian or Ubuntu, as root, and nobody
    has asked for another engine."""
    elsewhere = os.environ.get("DOCKER_HOST") or os.environ.get("DOCKER_CONTEXT")
    return os.geteuid() == 0 and shutil.which("apt-get") is not None and not elsewhere


def install_engine(report: Report = silent) -> None:
    """Install docker.io where it is missing, start dockerd and wait until it answers.

    Safe to run twice. Raises Unreachable with the last line of dockerd's log.
    """
    if _answers():
        return
    began = time.monotonic()
    if not can_install():
        raise Unreachable("no Docker engine can be installed here", hint=engine_missing_hint())
    if not shutil.which("dockerd"):
        report(Step(name="installing docker.io"))
        _run(["apt-get", "update", "-q"])
        _run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *PACKAGES])
        if _answers(within=3.0):  # its package has started it
            return
    for driver in DRIVERS:
        if _start([f"--storage-driver={driver}"] if driver else []):
            if driver == "vfs":
                report(Warned(message="the engine runs without overlay2: resets will be slow"))
            report(Step(name="the Docker engine answers", seconds=time.monotonic() - began))
            return
    raise Unreachable("dockerd does not start", where=str(LOG), hint=_last_line())


def _start(options: Sequence[str]) -> bool:
    """Start dockerd directly, not through an init system: not every machine has one."""
    with LOG.open("ab") as log:
        server = subprocess.Popen(
            ["dockerd", *options],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    began = time.monotonic()
    while time.monotonic() - began < ANSWERS_WITHIN:
        if _answers():
            return True
        if server.poll() is not None:
            return False
        time.sleep(0.2)
    os.killpg(server.pid, signal.SIGTERM)
    server.wait(20)
    return False


def _answers(within: float = 0.0) -> bool:
    began = time.monotonic()
    while True:
        try:
            connect(environment=os.environ)
            return True
        except SandboxError:
            if time.monotonic() - began >= within:
                return False
            time.sleep(0.2)


def _last_line() -> str:
    try:
        lines = [line for line in LOG.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return "its log cannot be read"
    return lines[-1] if lines else "its log is empty"


def _run(argv: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise SandboxError(f"{' '.join(argv[:2])} failed", hint=lines[-1] if lines else "")


# --- checks -------------------------------------------------------------------------------------


def _python() -> Check:
    version = platform.python_version()
    ok = (3, 11) <= sys.version_info < (3, 14)
    return Check(name="Python", ok=ok, found=version, hint="3.11, 3.12 or 3.13")


def _engine(environment: Mapping[str, str]) -> tuple[Check, ...]:
    try:
        engine = connect(environment=environment)
    except SandboxError as error:
        hint = engine_missing_hint() if error.hint == HINT else error.hint
        return (Check(name="Docker engine", ok=False, found=error.message, hint=hint),)
    facts = engine.client.info()
    driver = str(facts["Driver"])
    return (
        Check(name="Docker engine", ok=True, found=str(facts["ServerVersion"]), hint=""),
        Check(
            name="storage driver",
            ok=driver != "vfs",
            found=driver,
            hint="vfs copies every layer: use overlay2, or resets are slow",
            needed=False,
        ),
    )


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free
    found = f"{free / 1e9:.0f} GB free"
    return Check(name="disk", ok=free > FREE_NEEDED, found=found, hint="images and data need 5 GB")


def _program(name: str, why: str) -> Check:
    found = shutil.which(name) is not None
    return Check(
        name=name,
        ok=found,
        found="installed" if found else "not installed",
        hint=f"apt-get install {name}; {why}",
        needed=False,
    )


def _compose() -> Check:
    """Docker Compose is never needed; it works on what is started here."""
    found = shutil.which("docker-compose") or shutil.which("docker")
    return Check(
        name="docker compose",
        ok=True,
        found="installed" if found else "not installed, and not needed",
        hint="",
        needed=False,
    )
