"""What invoke lacks: words after a command that may be left out, and exit code 2 for a call
that cannot be understood. `inv` in an activated environment is invoke's own program, so the parser
itself is taught, when tasks.py is read and before the commands are parsed."""

from __future__ import annotations

import re
from functools import partialmethod
from typing import Any, NoReturn

from invoke.exceptions import Exit
from invoke.parser.parser import ParseMachine

WRONG_USAGE = 2
NUMBERS = {int: "a whole number", float: "a number"}


def teach() -> None:
    """Safe to call twice."""
    parser: Any = ParseMachine
    if not getattr(parser, "taught", False):
        parser.taught = True
        parser.handle = partialmethod(_handle, parser.handle)
        parser.error = _error


def _handle(machine: Any, invokes_own: Any, token: str) -> None:
    word = _word(machine, token)
    if word is not None:
        word.value = token
        return
    try:
        invokes_own(machine, token)
    except ValueError:
        flag = machine.flag
        _error(machine, f"--{flag.name} takes {NUMBERS.get(flag.kind, 'a value')}, not {token!r}")


def _word(machine: Any, token: str) -> Any | None:
    """The optional word that this token fills: `show` in `snapshots show ID`.

    A command's name begins that command, except where an action is expected (`snapshots verify`).
    """
    context = machine.context
    if not context or token.startswith("-") or machine.waiting_for_flag_value:
        return None
    if context.missing_positional_args:  # those that must be there are invoke's own matter
        return None
    for argument in context.positional_args:
        if argument.raw_value is None:
            return argument if argument.name == "action" or token not in machine.contexts else None
    return None


def _error(machine: Any, message: str) -> NoReturn:
    name = getattr(machine.context, "name", None)
    message = re.sub(r"<Argument: (\w+).*?>", r"--\1", message)  # invoke shows its own object
    hint = f"inv --help {name}" if name else "inv --list"
    raise Exit(f"error {message[0].lower()}{message[1:]}\n  {hint} says what there is", WRONG_USAGE)
