"""What this machine lacks, and a Docker engine for it where that is possible."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from sandbox.engine import connect
from sandbox.errors import SandboxError, Unreachable
from sandbox.report import Report, Step

LOG = Path("/var/log/sandbox-dockerd.log")
STARTS_WITHIN = 60.0  # seconds
FREE_NEEDED = 5 << 30  # bytes
PACKAGES = ("docker.io", "iptables", "ca-certificates")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that the commands need (`needed`) or are better with."""

    name: str
    ok: bool
    found: str
    hint: str
    needed: bool = True


def checks() -> tuple[Check, ...]:
    """Everything that `./inv doctor` looks at."""
    return (_python(), _engine(), _disk(), _debootstrap(), _git())


def can_install() -> bool:
    """Whether an engine can be installed and started here: Debian or Ubuntu, as root."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install_engine(report: Report) -> None:
    """Install docker.io where it is missing and start dockerd; safe to run twice."""
    began = time.monotonic()
    if not shutil.which("dockerd"):
        report(Step(name="installing docker.io"))
        _run(["apt-get", "update", "-q"])
        _run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *PACKAGES])
    for options in ([], ["--storage-driver=vfs"]):
        if _start(options):
            report(Step(name="the Docker engine answers", seconds=time.monotonic() - began))
            return
    lines = LOG.read_text(errors="replace").splitlines() if LOG.exists() else []
    raise Unreachable("dockerd does not start", where=str(LOG), hint=lines[-1] if lines else "")


def _start(options: list[str]) -> bool:
    """Start dockerd directly, not through an init system: not every machine has one."""
    with LOG.open("ab") as log:
        server = subprocess.Popen(
            ["dockerd", *options], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    began = time.monotonic()
    while time.monotonic() - began < STARTS_WITHIN:
        try:
            connect(environment={})
            return True
        except Unreachable:
            if server.poll() is not None:
                return False
            time.sleep(0.2)
    server.terminate()
    return False


def _run(argv: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise SandboxError(f"{' '.join(argv[:2])} failed", hint=lines[-1] if lines else "")


def _python() -> Check:
    version = platform.python_version()
    ok = (3, 11) <= sys.version_info < (3, 14)
    return Check(name="Python", ok=ok, found=version, hint="3.11, 3.12 or 3.13")


def _engine() -> Check:
    try:
        engine = connect(environment=os.environ)
    except SandboxError as error:
        hint = "./inv up --yes installs one" if can_install() else error.hint
        return Check(name="Docker engine", ok=False, found="none answers", hint=hint)
    facts = engine.client.info()
    return Check(
        name="Docker engine",
        ok=True,
        found=f"{facts['ServerVersion']}, {facts['Driver']}",
        hint="",
    )


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free
    found = f"{free / 1e9:.0f} GB free"
    return Check(name="disk", ok=free > FREE_NEEDED, found=found, hint="images and data need 5 GB")


def _debootstrap() -> Check:
    found = shutil.which("mmdebstrap")
    return Check(
        name="mmdebstrap",
        ok=found is not None,
        found="installed" if found else "not installed",
        hint="apt-get install mmdebstrap; needed only where no registry answers",
        needed=False,
    )


def _git() -> Check:
    found = shutil.which("git")
    return Check(
        name="git",
        ok=found is not None,
        found="installed" if found else "not installed",
        hint="apt-get install git",
        needed=False,
    )
