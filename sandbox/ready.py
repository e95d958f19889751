"""Compiles every loop now, unless that was done before: some seconds, once for a checkout."""

from __future__ import annotations

from sandbox.masking.loops import ready as masking


def ready() -> None:
    """Nothing where there is no compiler."""
    masking.ready()
    try:
        from sandbox.stores.postgres import receiving
    except ImportError:  # no compiler, or a psycopg without a libpq of its own
        return
    receiving.ready()


if __name__ == "__main__":  # `./inv` starts it when it has installed everything
    ready()
