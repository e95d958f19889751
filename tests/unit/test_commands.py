"""What a command says when something nobody expected happens: where, and never what was read."""

from __future__ import annotations

import pytest
from invoke.context import Context

from sandbox.commands import command

SECRET = "ann@x.com"


@command
def broken(context: Context) -> None:
    raise ValueError(f"invalid input: {SECRET}")


@pytest.mark.parametrize("debug", ["", "1"])
def test_an_unexpected_error_is_one_line_without_what_was_read(
    debug: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SANDBOX_DEBUG", debug)
    with pytest.raises(SystemExit) as stopped:
        broken(Context())
    shown = capsys.readouterr()
    assert stopped.value.code == 1
    assert "unexpected ValueError in test_commands.py, line" in shown.err
    assert SECRET not in shown.err + shown.out
    assert (", in broken" in shown.err) == bool(debug)
