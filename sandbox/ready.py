"""Compiles every loop now, unless that was done before: some seconds, once for a checkout."""

from __future__ import annotations

from importlib import import_module

from sandbox.masking.loops import available


def ready() -> None:
    """Nothing where there is no compiler."""
    if not available():
        return
    import_module("sandbox.masking.loops.ready").ready()
    try:
        import_module("sandbox.stores.postgres.receiving").ready()
    except ImportError:  # a psycopg without a libpq of its own
        return


if __name__ == "__main__":  # `./inv` starts it when it has installed everything
    ready()
