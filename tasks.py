"""The commands: arguments -> workflow -> exit code, nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

from invoke import Context, task

ROOT = Path(__file__).parent


def _python(context: Context, *arguments: str) -> None:
    with context.cd(str(ROOT)):
        context.run(" ".join([sys.executable, "-m", *arguments]), pty=False)


@task(help={"yes": "install and start a Docker engine where there is none, without asking"})
def test(context: Context, yes: bool = False) -> None:
    """Run every test."""
    _python(context, "pytest")
