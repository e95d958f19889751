"""The masking key: from a variable, from a command, or made on first use. It is never shown."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from typing import Any

from sandbox import artifact as artifacts
from sandbox.errors import ConfigError, Refused
from sandbox.identities import new_secret
from sandbox.masking.pseudonyms import key_id, read_key
from sandbox.project import Project, locked

KEY = "masking/key"  # the vault's name of it
VARIABLE = "SANDBOX_SECRET_MASKING_KEY"
WITHIN = 60  # seconds that the command may take


def masking_key(project: Project) -> str:
    """The key's text. Raises ConfigError when the command that should print it does not."""
    given = project.environ.get(VARIABLE)
    if given:
        return given
    command = project.settings.masking_key_command
    return _printed(project, command) if command else project.vault.secret(KEY)


def origin(project: Project) -> str:
    """Where the key comes from, in words."""
    if project.environ.get(VARIABLE):
        return f"the variable {VARIABLE}"
    if project.settings.masking_key_command:
        return f"masking_key_command in {project.config.name}"
    return ".sandbox/identities.json"


def show(project: Project) -> dict[str, Any]:
    """The key's id, where it is from, and the snapshots that were made with another."""
    present = key_id(read_key(masking_key(project)))
    return {"key": present, "from": origin(project), "old": made_with_others(project, present)}


def rotate(project: Project, *, dry_run: bool, confirm: Callable[[str], None]) -> dict[str, Any]:
    """A new key in the old one's place. Raises Refused where the key is kept elsewhere."""
    if origin(project) != ".sandbox/identities.json":
        raise Refused(
            f"the masking key comes from {origin(project)}",
            hint="change it there; ./inv key shows its id and what must be taken anew",
        )
    before = show(project)
    if dry_run:
        return {"before": before["key"], "key": "", "old": before["old"]}
    confirm("Make a new masking key? Every pseudonym will be another one; the old key is not kept.")
    with locked(project):
        project.vault.set(KEY, new_secret())
    return {"before": before["key"], **show(project)}


def made_with_others(project: Project, present: str) -> list[dict[str, Any]]:
    """Snapshots whose pseudonyms the present key does not make; `loaded` is in the playground."""
    loaded = project.state().loaded
    return [
        {"id": one.id, "key": key, "loaded": one.id == loaded}
        for one in artifacts.listing(project.snapshots)
        if (key := one.manifest["facts"].get("masking", {}).get("key", "")) != present
    ]


def _printed(project: Project, command: str) -> str:
    """What it writes to standard error may hold the key, too: nothing of it is shown."""
    where = f"{project.config.name}: masking_key_command"
    try:
        done = subprocess.run(
            shlex.split(command),
            capture_output=True,
            check=False,
            cwd=project.root,
            env=dict(project.environ),
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=WITHIN,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"cannot be run: {type(error).__name__}", where=where) from None
    key = done.stdout.strip()
    if done.returncode or not key:
        raise ConfigError(
            f"ended with {done.returncode} and {'a' if key else 'no'} key",
            where=where,
            hint="run it by hand; it must print the key and nothing else",
        )
    return key
