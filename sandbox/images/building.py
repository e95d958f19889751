"""Build an image without a registry: a base file system from Debian's packages, Python packages
fetched here for the image's Python, and the engine's own builder."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import docker
from docker.errors import APIError, BuildError, ImageNotFound

from sandbox.errors import ConfigError, SandboxError
from sandbox.images.catalogue import Catalogue, Recipe
from sandbox.report import Report, Step

LABEL = "sandbox.stands-in-for"
PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_28", "manylinux_2_34")
SILENT_STEP = 900  # seconds that one build step may print nothing
IGNORED = shutil.ignore_patterns("__pycache__")


def build(
    client: docker.DockerClient, book: Catalogue, recipe: Recipe, reference: str, report: Report
) -> str:
    """Build, tag by content and as `latest`; returns the tag. Another process that builds the same
    kind is waited for and its image used."""
    tag, began = book.tag(recipe), time.monotonic()
    with _alone(recipe.kind):
        if _present(client, tag):
            return tag
        _base(client, book, report)
        with tempfile.TemporaryDirectory(prefix="sandbox-image-") as folder:
            context = _context(book, recipe, Path(folder))
            try:
                image, _ = client.images.build(
                    path=str(context),
                    tag=tag,
                    rm=True,
                    forcerm=True,
                    labels={LABEL: reference},
                    timeout=SILENT_STEP,
                )
            except BuildError as error:
                lines = [str(line.get("stream", "")).strip() for line in error.build_log]
                last = next((line for line in reversed(lines) if line), "")
                raise SandboxError(
                    f"building {recipe.kind} failed: {error.msg}",
                    hint=last or "see the engine's own log",
                ) from None
            except APIError as error:
                raise SandboxError(f"building {recipe.kind} failed: {error.explanation}") from None
        image.tag(f"{book.repository}/{recipe.kind}", "latest")
    report(Step(name=f"built {tag}", seconds=time.monotonic() - began))
    return tag


def _present(client: docker.DockerClient, name: str) -> bool:
    try:
        client.images.get(name)
    except ImageNotFound:
        return False
    return True


def _base(client: docker.DockerClient, book: Catalogue, report: Report) -> None:
    """The base file system. mmdebstrap knows its own mirror, so none is named here."""
    with _alone("base"):
        if _present(client, book.base):
            return
        began = time.monotonic()
        _need_mmdebstrap(report)
        with tempfile.TemporaryDirectory(prefix="sandbox-base-") as folder:
            tar = Path(folder, "base.tar")
            _command(
                ["mmdebstrap", "--variant=minbase", "--quiet", book.suite, str(tar)],
                "making the base file system",
            )
            repository, _, version = book.base.partition(":")
            with tar.open("rb") as data:
                client.api.import_image_from_data(data, repository=repository, tag=version)
        report(Step(name=f"made {book.base}", seconds=time.monotonic() - began))


def _need_mmdebstrap(report: Report) -> None:
    if shutil.which("mmdebstrap"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ConfigError(
            "no registry answers, and mmdebstrap, which makes images without one, is not installed",
            hint="apt-get install mmdebstrap, or make the images reachable",
        )
    report(Step(name="installing mmdebstrap"))
    _command(["apt-get", "update", "-q"], "apt-get update")
    install = ["apt-get", "install", "-q", "-y", "--no-install-recommends"]
    _command([*install, "mmdebstrap", "debian-archive-keyring"], "installing mmdebstrap")


def _context(book: Catalogue, recipe: Recipe, folder: Path) -> Path:
    """The build context: images/<kind>, Python packages as `site`, another source as `also`."""
    context = folder / recipe.kind
    main, *others = book.sources(recipe)
    shutil.copytree(main, context, ignore=IGNORED)
    for script in context.glob("*.sh"):
        script.chmod(0o755)
    for other in others:
        shutil.copytree(other, context / "also", ignore=IGNORED)
    if recipe.python:
        _packages(recipe.python, context / "site", book.python_version)
    return context


def _packages(names: Sequence[str], target: Path, version: str) -> None:
    """Wheels for the image's Python, unpacked here: the image needs no pip and no network."""
    wheels = [f"--platform={name}_{platform.machine()}" for name in PLATFORMS]
    quiet = ["--quiet", "--disable-pip-version-check", "--no-warn-conflicts", "--no-compile"]
    where = ["--only-binary=:all:", f"--target={target}", f"--python-version={version}", *wheels]
    _command(
        [sys.executable, "-m", "pip", "install", *quiet, *where, *names],
        "downloading Python packages",
    )


def _command(argv: Sequence[str], what: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise SandboxError(f"{what} failed", hint=lines[-1] if lines else " ".join(argv[:2]))


@contextmanager
def _alone(kind: str) -> Iterator[None]:
    """One process at a time builds one kind; the kernel frees the lock if it is killed."""
    path = Path(tempfile.gettempdir(), f"sandbox-image-{os.getuid()}-{kind}.lock")
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
