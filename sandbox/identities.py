"""Every login's secret: made at random on first use, kept in one 0600 file, shown nowhere."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from sandbox.envfiles import fingerprint
from sandbox.errors import ConfigError


def new_secret() -> str:
    """32 URL-safe characters (192 bits): fits an URL, a shell and every store's password rules."""
    return secrets.token_urlsafe(24)


def write_private(path: Path, text: str) -> None:
    """Replace `path` by `text`, mode 0600, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:  # mkstemp made it 0600
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


class Vault:
    """Secrets by name (`postgres/reader`, `masking`), in one JSON file of mode 0600.

    A variable `SANDBOX_SECRET_POSTGRES_READER` wins over the file. Beside it lie fingerprints of
    what each login was last made with: a secret is known again under whatever name it stands.
    """

    def __init__(self, path: Path, environment: Mapping[str, str]) -> None:
        self._path, self._marks = path, path.with_name("fingerprints.json")
        self._environment = environment
        self._secrets = self._load()
        self._rehearsing = False

    @contextlib.contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Secrets that are made inside are forgotten at its end: for `--dry-run` and checks."""
        before = self._secrets, self._rehearsing
        self._secrets, self._rehearsing = dict(self._secrets), True
        try:
            yield
        finally:
            self._secrets, self._rehearsing = before

    def secret(self, name: str) -> str:
        """The secret called `name`, made now if there is none."""
        given = self._environment.get(_variable(name))
        if given:
            return given
        if name not in self._secrets:
            with self._changing() as known:
                known.setdefault(name, new_secret())
        return self._secrets[name]

    def known(self, name: str) -> str:
        """The secret called `name`, or "" when it was never made."""
        return self._environment.get(_variable(name)) or self._secrets.get(name, "")

    def where(self, name: str) -> str:
        """Where the secret called `name` is read from, in words."""
        variable = _variable(name)
        given = self._environment.get(variable)
        return (
            f"the environment: {variable}"
            if given
            else f"{self._path.parent.name}/{self._path.name}"
        )

    def note(self, secrets: Mapping[str, str]) -> None:
        """The servers have these now: remember their fingerprints."""
        known = self.noted()
        new = known | {name: fingerprint(value) for name, value in secrets.items()}
        if new != known:
            write_private(self._marks, json.dumps(new, indent=1, sort_keys=True) + "\n")

    def noted(self) -> dict[str, str]:
        """Name -> fingerprint of what was noted last."""
        return _read_private(self._marks)

    def set(self, name: str, value: str) -> None:
        with self._changing() as known:
            known[name] = value

    def names(self, wanted: Callable[[str], bool]) -> tuple[str, ...]:
        """The secrets that were made, without their values."""
        return tuple(sorted(name for name in self._load() if wanted(name)))

    def given(self, wanted: Callable[[str], bool]) -> tuple[str, ...]:
        """Those of them that the environment gives: not ours to change."""
        return tuple(n for n in self.names(wanted) if self._environment.get(_variable(n)))

    def rotate(self, wanted: Callable[[str], bool]) -> list[str]:
        """Make new secrets for all these names, in one write; returns the names."""
        with self._changing() as known:
            names = sorted(name for name in known if wanted(name))
            known.update({name: new_secret() for name in names})
        return names

    def forget(self, doomed: Callable[[str], bool]) -> None:
        with self._changing() as known:
            for name in [name for name in known if doomed(name)]:
                del known[name]
        marks = {name: mark for name, mark in self.noted().items() if not doomed(name)}
        if marks != self.noted():
            write_private(self._marks, json.dumps(marks, indent=1, sort_keys=True) + "\n")

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, str]]:
        if self._rehearsing:
            yield self._secrets
            return
        known = self._load()  # another command may have written since
        yield known
        write_private(self._path, json.dumps(known, indent=1, sort_keys=True) + "\n")
        self._secrets = known

    def _load(self) -> dict[str, str]:
        return _read_private(self._path)


def _read_private(path: Path) -> dict[str, str]:
    """A JSON file of names and texts; {} where there is none. Raises ConfigError when others than
    its owner may read it."""
    try:
        mode = path.stat().st_mode & 0o777
        text = path.read_text()
    except FileNotFoundError:
        return {}
    if mode & 0o077:
        raise ConfigError(
            f"other users can read it (mode {mode:04o})",
            where=str(path),
            hint=f"chmod 600 {path}; other users may have read the passwords",
        )
    try:
        known = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"not valid JSON: {error}", where=str(path)) from None
    return {str(name): str(value) for name, value in known.items()}


def _variable(name: str) -> str:
    return "SANDBOX_SECRET_" + "".join(c if c.isalnum() else "_" for c in name).upper()
