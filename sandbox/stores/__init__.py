"""Maps a store's kind to its four classes; a store is one package here and nothing else."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from sandbox.contract import Backend
from sandbox.model import Kind


def backend(kind: Kind) -> Backend:
    """The backend of `kind`, imported when it is first asked for: drivers are slow to import."""
    return cast(Backend, import_module(f"sandbox.stores.{kind}").BACKEND)
