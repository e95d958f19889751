"""One class per outcome, each with the exit code that a command ends with.

An error is one line for a person: what is wrong, where, and a hint that names the next step.
"""

from __future__ import annotations


class SandboxError(Exception):
    """Something stopped a command; `hint` says what to do next."""

    exit_code = 1

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text} ({self.hint})" if self.hint else text


class ConfigError(SandboxError):
    """A file, a value or an argument is wrong; nothing was changed."""

    exit_code = 2


class NoBaseline(ConfigError):
    """A store keeps no pristine copy that the present space could be compared with, or only a whole
    load is a sound way back; the message says why."""


class Unreachable(SandboxError):
    """The Docker engine or a store does not answer."""

    exit_code = 3


class LoginRefused(Unreachable):
    """A server answers and does not know the password; `service` is its name in a Compose file,
    where the server was just started from one."""

    service = ""


class Refused(SandboxError):
    """Going on would not be safe."""

    exit_code = 4


class IsolationBroken(SandboxError):
    """A probe crossed the line between production and playground."""

    exit_code = 5


class LeakFound(SandboxError):
    """An original of a masked value was found in the playground."""

    exit_code = 6


class SnapshotBroken(SandboxError):
    """A snapshot is incomplete or damaged."""

    exit_code = 7
