"""Waits until containers are healthy, faster than the engine's own checks begin."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import docker
from docker.errors import APIError

from sandbox.engine import programs
from sandbox.errors import LoginRefused, SandboxError, Unreachable

FIRST_POLL, LAST_POLL = 0.1, 0.5  # seconds
WITHIN = 180.0  # seconds for a service to become healthy
SETTLES = 0.15  # seconds after which a container without a check is believed to run
# What a health check says when the server is up and the password is wrong: waiting mends nothing.
WRONG_PASSWORD = ("password authentication failed", "authentication failed", "wrongpass")
CRASHES = 2  # restarts that are no accident any more
# To have the engine start a program takes 50 ms of processor time, a shell there far less: one asks
# again and again, for about a second, and ends with the first good answer.
AGAIN = 'n=0; until "$@"; do n=$((n + 1)); [ $n -lt 10 ] || exit 1; sleep 0.1; done'
SHELLS = ("/bin/sh", "/bin/bash", "sh", "bash")

Check = Callable[[], None]


def healthy(
    client: docker.DockerClient,
    identifier: str,
    label: str,
    check: Check = lambda: None,
    *,
    settles: float = SETTLES,
) -> None:
    """Return when the container's health check passes; run here, because the engine's first run
    comes only after the check's interval. Raises Unreachable when it stops or takes too long,
    LoginRefused when the server does not take the check's own password.

    A container without a check is ready when it still runs after `settles` seconds, or has ended
    well.
    """
    began, pause = time.monotonic(), FIRST_POLL
    while True:
        attributes = client.api.inspect_container(identifier)
        state = attributes["State"]
        settled = time.monotonic() - began >= settles
        ready, said = _ready(client, identifier, attributes, settled)
        if ready:
            return
        if any(words in said.lower() for words in WRONG_PASSWORD):
            raise LoginRefused(f"{label} does not take its password", hint=said.splitlines()[-1])
        crashed = attributes.get("RestartCount", 0) >= CRASHES
        if state["Status"] in ("exited", "dead") or crashed:
            raise Unreachable(
                f"{label} stopped (exit {state['ExitCode']})", hint=last_line(client, identifier)
            )
        if time.monotonic() - began > WITHIN:
            raise Unreachable(
                f"{label} is not healthy after {WITHIN:.0f} s", hint=last_line(client, identifier)
            )
        check()
        time.sleep(pause)
        pause = min(pause * 1.6, LAST_POLL)


def ended(client: docker.DockerClient, identifier: str, label: str, check: Check) -> None:
    """Return when the container has ended well."""
    while True:
        state = client.api.inspect_container(identifier)["State"]
        if state["Status"] == "exited":
            if state["ExitCode"]:
                raise SandboxError(
                    f"{label} ended with exit code {state['ExitCode']}",
                    hint=last_line(client, identifier),
                )
            return
        check()
        time.sleep(LAST_POLL)


def last_line(client: docker.DockerClient, identifier: str) -> str:
    """The last thing that a container said."""
    text = client.api.logs(identifier, tail=5).decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "its log is empty"


def _ready(
    client: docker.DockerClient, identifier: str, attributes: Mapping[str, Any], settled: bool
) -> tuple[bool, str]:
    """Whether it is, and what its health check said."""
    state = attributes["State"]
    test = (attributes["Config"].get("Healthcheck") or {}).get("Test") or ["NONE"]
    if test[0] == "NONE":
        well = state["Status"] == "exited" and state["ExitCode"] == 0
        return well or (state["Status"] == "running" and settled), ""
    if state["Status"] != "running":
        return False, ""
    if (state.get("Health") or {}).get("Status") == "healthy":
        return True, ""
    try:
        return programs.tried(client, identifier, _asking(test))
    except APIError as error:
        if error.status_code in (400, 404, 409, 500):  # it has just stopped, or has no such program
            return False, ""
        raise


def _asking(test: Sequence[str]) -> Sequence[str]:
    """What runs a check, again and again where it is written for a shell: that one repeats it."""
    argv = ["/bin/sh", "-c", *test[1:]] if test[0] == "CMD-SHELL" else test[1:]
    return [argv[0], "-c", AGAIN, argv[0], *argv] if argv and argv[0] in SHELLS else argv
