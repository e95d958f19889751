"""Images: local, else pulled, else an equivalent built here from Debian and PyPI packages.

What is built is tagged by its content, so that it is built once and again only when `images/`
changes. `images/images.toml` says which offline image stands in for which official one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, BuildError, DockerException, ImageNotFound

from sandbox.errors import ConfigError, SandboxError, Unreachable
from sandbox.report import Report, Step

FOLDER = Path(__file__).parent.parent / "images"
REPOSITORY = "sandbox-offline"
LABEL = "sandbox.stands-in-for"
PULL_WITHIN = 5.0  # seconds for a registry to begin answering
PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_28", "manylinux_2_34")

_silent_registries = threading.Event()  # none answered: do not wait again in this process
_locks: dict[str, threading.Lock] = {}
_locks_guard = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """Which image really runs for a reference. `offline`: it was built here."""

    reference: str
    id: str
    tag: str
    offline: bool
    product: str


def ensure(
    client: docker.DockerClient, reference: str, *, service_hint: str = "", report: Report
) -> ImageFacts:
    """The image for `reference`. Raises Unreachable when it can neither be had nor built."""
    with _lock(reference):
        local = _local(client, reference)
        if local is not None:
            return local
        kind = kind_of(reference)
        if kind is not None:
            built = _built(client, reference, kind)
            if built is not None:
                return built
        if _pulled(client, reference):
            report(Step(name=f"pulled {reference}"))
            found = _local(client, reference)
            if found is not None:
                return found
        if kind is None:
            raise Unreachable(
                f"image {reference} is not here and no registry answers",
                where=service_hint,
                hint="docker load it, or name one that images/images.toml can build",
            )
        return _build(client, reference, kind, report)


def kind_of(reference: str) -> str | None:
    """The offline image that can stand in for `reference`, if any."""
    for kind, entry in _catalogue().items():
        if isinstance(entry, dict) and any(fnmatchcase(reference, p) for p in entry["references"]):
            return kind
    return None


def product(image_tag: str, reference: str) -> str:
    """What a person should read for an image: the stand-in's name, or the reference itself."""
    kind = kind_of(reference)
    if kind is None or not image_tag.startswith(f"{REPOSITORY}/"):
        return reference
    return f"{_catalogue()[kind]['product']} (built here)"


def content_tag(kind: str) -> str:
    """`sandbox-offline/<kind>:<version>-<hash>`, the hash over all that the image is made of."""
    entry = _catalogue()[kind]
    digest = hashlib.sha256(repr(sorted(entry.items())).encode())
    digest.update(repr((_catalogue()["base"], _catalogue()["suite"], platform.machine())).encode())
    folders = [FOLDER / kind] + ([FOLDER.parent / entry["also"]] if "also" in entry else [])
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return f"{REPOSITORY}/{kind}:{entry['version']}-{digest.hexdigest()[:12]}"


def _catalogue() -> Mapping[str, Any]:
    return tomllib.loads((FOLDER / "images.toml").read_text())


def _local(client: docker.DockerClient, reference: str) -> ImageFacts | None:
    try:
        image = client.images.get(reference)
    except ImageNotFound:
        return None
    return ImageFacts(
        reference=reference, id=str(image.id), tag=reference, offline=False, product=reference
    )


def _built(client: docker.DockerClient, reference: str, kind: str) -> ImageFacts | None:
    tag = content_tag(kind)
    try:
        image = client.images.get(tag)
    except ImageNotFound:
        return None
    return ImageFacts(
        reference=reference,
        id=str(image.id),
        tag=tag,
        offline=True,
        product=product(tag, reference),
    )


def _pulled(client: docker.DockerClient, reference: str) -> bool:
    """Whether a pull worked. The daemon may wait long for a registry: we do not."""
    if _silent_registries.is_set() or os.environ.get("SANDBOX_OFFLINE", "") not in ("", "0"):
        return False
    done = threading.Event()
    outcome: list[bool] = []
    moved = threading.Event()

    def pull() -> None:
        try:
            for _ in client.api.pull(reference, stream=True, decode=True):
                moved.set()
            client.images.get(reference)
            outcome.append(True)
        except DockerException:
            outcome.append(False)
        finally:
            done.set()

    threading.Thread(target=pull, daemon=True).start()
    began = time.monotonic()
    while not done.wait(0.05):
        if not moved.is_set() and time.monotonic() - began > PULL_WITHIN:
            break
    if not outcome or not outcome[0]:
        _silent_registries.set()
        return False
    return True


def _build(client: docker.DockerClient, reference: str, kind: str, report: Report) -> ImageFacts:
    entry, tag, began = _catalogue()[kind], content_tag(kind), time.monotonic()
    report(Step(name=f"no registry answers for {reference}: building {entry['product']} here"))
    with _building(kind):
        found = _built(client, reference, kind)  # another process may have been faster
        if found is not None:
            return found
        ensure_base(client, report)
        with tempfile.TemporaryDirectory(prefix="sandbox-image-") as folder:
            context = _context(kind, entry, Path(folder))
            try:
                image, _ = client.images.build(
                    path=str(context), tag=tag, rm=True, forcerm=True, labels={LABEL: reference}
                )
            except BuildError as error:
                lines = [str(line.get("stream", "")).strip() for line in error.build_log]
                last = next((line for line in reversed(lines) if line), "")
                raise SandboxError(
                    f"building {kind} failed: {error.msg}", hint=last or "see docker's own log"
                ) from None
            except APIError as error:
                raise SandboxError(f"building {kind} failed: {error.explanation}") from None
    image.tag(f"{REPOSITORY}/{kind}", "latest")
    report(Step(name=f"built {tag}", seconds=time.monotonic() - began))
    return ImageFacts(
        reference=reference,
        id=str(image.id),
        tag=tag,
        offline=True,
        product=product(tag, reference),
    )


def ensure_base(client: docker.DockerClient, report: Report) -> None:
    """The base file system: mmdebstrap knows its own mirror, so none is named here."""
    base, suite = _catalogue()["base"], _catalogue()["suite"]
    with _building("base"):
        try:
            client.images.get(base)
            return
        except ImageNotFound:
            pass
        began = time.monotonic()
        _need_mmdebstrap(report)
        with tempfile.TemporaryDirectory(prefix="sandbox-base-") as folder:
            tar = Path(folder, "base.tar")
            _command(
                ["mmdebstrap", "--variant=minbase", "--quiet", suite, str(tar)],
                "making the base file system",
            )
            repository, _, version = base.partition(":")
            with tar.open("rb") as data:
                client.api.import_image_from_data(data, repository=repository, tag=version)
        report(Step(name=f"made {base}", seconds=time.monotonic() - began))


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
    _command(
        ["apt-get", "install", "-q", "-y", "--no-install-recommends", "mmdebstrap"],
        "installing mmdebstrap",
    )


def _context(kind: str, entry: Mapping[str, Any], folder: Path) -> Path:
    """The build context: images/<kind>, Python packages as `site`, other sources as `also`."""
    context = folder / kind
    shutil.copytree(FOLDER / kind, context, ignore=shutil.ignore_patterns("__pycache__"))
    for script in context.glob("*.sh"):
        script.chmod(0o755)
    if "python" in entry:
        _packages(entry["python"], context / "site")
    if "also" in entry:
        shutil.copytree(
            FOLDER.parent / entry["also"],
            context / "also",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    return context


def _packages(names: list[str], target: Path) -> None:
    """Wheels for the image's Python, unpacked here: the image needs no pip and no network."""
    wheels = [f"--platform={name}_{platform.machine()}" for name in PLATFORMS]
    _command(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-warn-conflicts",
            "--no-compile",
            "--only-binary=:all:",
            f"--target={target}",
            f"--python-version={_catalogue()['python_version']}",
            *wheels,
            *names,
        ],
        "downloading Python packages",
    )


def _command(argv: list[str], what: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise SandboxError(f"{what} failed", hint=lines[-1] if lines else " ".join(argv[:2]))


@contextmanager
def _building(kind: str) -> Iterator[None]:
    """One process at a time builds one kind; the kernel frees the lock if it is killed."""
    path = Path(tempfile.gettempdir(), f"sandbox-image-{os.getuid()}-{kind}.lock")
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _lock(name: str) -> threading.Lock:
    with _locks_guard:
        return _locks.setdefault(name, threading.Lock())
