"""Compose YAML -> what to run. Pure: it is given text and variables, it returns frozen values.

A key that is not supported is an error with its file, line and path, never ignored.
https://docs.docker.com/reference/compose-file/
"""

from sandbox.compose.document import load
from sandbox.compose.model import (
    ComposeFile,
    Health,
    Mount,
    Port,
    Resource,
    Service,
    Ulimit,
)
from sandbox.compose.reading import EnvReader, parse

__all__ = [
    "ComposeFile",
    "EnvReader",
    "Health",
    "Mount",
    "Port",
    "Resource",
    "Service",
    "Ulimit",
    "load",
    "parse",
]
