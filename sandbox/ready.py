"""Compiles every loop now, unless that was done before: some seconds, once for a checkout."""

from __future__ import annotations

from contextlib import suppress

from sandbox.masking.loops import ready as masking


def ready() -> None:
    """Nothing where there is no compiler."""
    masking.ready()
    with suppress(ImportError):  # no compiler
        from sandbox.stores.qdrant import vectors

        vectors.apart(b"[]")
    with suppress(ImportError):  # the same, or a psycopg without a libpq of its own
        from sandbox.stores.postgres import receiving

        receiving.ready()


if __name__ == "__main__":  # `./inv` starts it when it has installed everything
    ready()
