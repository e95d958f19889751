"""A separate user of the machine for the playground's files: looked up, made, and acted as, all of
which only root may do. Raises Refused for everybody else: a right that cannot be tried is no proof.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from pathlib import Path

from sandbox.errors import ConfigError, Refused, SandboxError
from sandbox.model import Identity

WITHIN = 30  # seconds for one small program


def of(identity: Identity) -> pwd.struct_passwd | None:
    """The separate user of an identity; None where none is configured."""
    if not identity.name:
        return None
    need_root(identity)
    found = known(identity.name)
    if found is None:
        raise ConfigError(
            f"there is no user {identity.name!r}",
            where="files.user",
            hint="./inv isolate, as root, makes it",
        )
    return found


def known(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def need_root(identity: Identity) -> None:
    if os.geteuid() != 0:
        raise Refused(
            f"only root can give files to {identity.name!r} and try its rights",
            where="files.user",
            hint="run this as root, or remove `user` from sandbox.toml: the directories are then "
            "kept apart by path",
        )


def make(name: str, comment: str) -> list[str]:
    """The program that makes the user: without a password, a shell or a home."""
    shell = "/usr/sbin/nologin"
    return ["useradd", "--system", "--user-group", "--no-create-home", "--shell", shell,
            "--comment", comment, name]  # fmt: skip


def run(argv: Sequence[str]) -> None:
    """Run a program of the system's, as root. Raises SandboxError with its own words."""
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            check=False,
            timeout=WITHIN,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxError(
            f"{argv[0]} cannot be run: {type(error).__name__}", where="files.user"
        ) from None
    if done.returncode:
        words = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
        raise SandboxError(f"{argv[0]} says: {words}", where="files.user")


def may(user: pwd.struct_passwd, script: str, path: Path) -> bool:
    """Whether a shell script over `path` succeeds as this user, in a process of its own."""
    done = subprocess.run(
        ["sh", "-c", script, "sh", str(path)],
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=os.getgrouplist(user.pw_name, user.pw_gid),
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=WITHIN,
    )
    return done.returncode == 0


def give(directory: Path, user: pwd.struct_passwd) -> None:
    """All that is in a directory, and last the directory itself, which tells that it is done."""
    for folder, folders, files in os.walk(directory):
        for name in (*folders, *files):
            os.chown(Path(folder, name), user.pw_uid, user.pw_gid, follow_symlinks=False)
    os.chown(directory, user.pw_uid, user.pw_gid)


def check_reach(user: pwd.struct_passwd, directory: Path) -> None:
    """Raises Refused where a folder above keeps the user from its own directory."""
    for folder in (*reversed(directory.parents), directory):
        if not may(user, 'cd "$1"', folder):
            raise Refused(
                f"the user {user.pw_name} may not go through it to its own directory",
                where=str(folder),
                hint=f"chmod o+x {folder}, or set files.root to where it may go",
            )
