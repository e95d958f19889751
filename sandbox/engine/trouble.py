"""Docker's exceptions -> one line for a person."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import requests
from docker.errors import APIError, DockerException

from sandbox.errors import SandboxError, Unreachable

P = ParamSpec("P")
T = TypeVar("T")


def told(call: Callable[P, T]) -> Callable[P, T]:
    """Whatever goes wrong between us and the engine leaves `call` as a SandboxError."""

    @wraps(call)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except APIError as error:
            raise SandboxError(
                f"the Docker engine refused: {error.explanation or error}", hint="./inv doctor"
            ) from error
        except (requests.exceptions.RequestException, DockerException) as error:
            raise Unreachable(
                f"the Docker engine stopped answering ({type(error).__name__})",
                hint="./inv doctor looks what is wrong; run the command again afterwards",
            ) from error

    return run
