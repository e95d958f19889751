"""Pull with short patience: a registry that does not answer is asked once in a process."""

from __future__ import annotations

import os
import threading
import time

import docker
from docker.errors import DockerException, NotFound

ANSWER_WITHIN = 5.0  # seconds for a registry to begin answering
STALLED_AFTER = 120.0  # seconds without any news of a pull that had begun

# What the engine says of a registry that answered, but not with the image.
REFUSALS = ("toomanyrequests", "unauthorized", "access denied", "access forbidden", "manifest")

_silent: set[str] = set()


def pull(client: docker.DockerClient, reference: str) -> str:
    """ "" when the image is here now, else why not, in words for a person."""
    registry = registry_of(reference)
    if registry in _silent or os.environ.get("SANDBOX_OFFLINE", "") not in ("", "0"):
        return "no registry answers"
    attempt = _Pull(client, reference)
    trouble = attempt.outcome()
    if trouble == "no registry answers":
        _silent.add(registry)
    return trouble


def registry_of(reference: str) -> str:
    """The host that a reference names, or "" for the engine's default one."""
    host, slash, _ = reference.partition("/")
    named = slash and ("." in host or ":" in host or host == "localhost")
    return host if named else ""


class _Pull(threading.Thread):
    """The engine may wait minutes for a registry. The thread does; nobody waits for the thread."""

    def __init__(self, client: docker.DockerClient, reference: str) -> None:
        super().__init__(daemon=True, name=f"pull {reference}")
        self._client, self._reference = client, reference
        self._news = threading.Event()
        self._done = threading.Event()
        self._trouble = "no registry answers"
        self.start()

    def run(self) -> None:
        try:
            for line in self._client.api.pull(self._reference, stream=True, decode=True):
                if "error" in line:
                    self._trouble = _said(str(line["error"]))
                    return
                self._news.set()
            self._client.images.get(self._reference)
            self._trouble = ""
        except NotFound:
            self._trouble = "no registry has it"
        except DockerException as error:
            self._trouble = _said(str(getattr(error, "explanation", None) or error))
        except OSError:  # the engine itself went away: the build will say so
            pass
        finally:
            self._done.set()

    def outcome(self) -> str:
        heard, patience = time.monotonic(), ANSWER_WITHIN
        while not self._done.wait(0.02):
            if self._news.is_set():
                self._news.clear()
                heard, patience = time.monotonic(), STALLED_AFTER
            if time.monotonic() - heard > patience:
                return "no registry answers" if patience == ANSWER_WITHIN else "the pull stalled"
        return self._trouble


def _said(message: str) -> str:
    if any(word in message.lower() for word in REFUSALS):
        return "the registry refuses it"
    return "no registry answers"
