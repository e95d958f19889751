"""Tries to cross between prefixes with the real logins; what it tries is in `trials`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from redis.exceptions import NoPermissionError

from sandbox.contract import Access
from sandbox.errors import SandboxError, Unreachable
from sandbox.model import Attempt
from sandbox.stores.redis import trials
from sandbox.stores.redis.session import Names, Wire, space_of
from sandbox.stores.redis.trials import Targets, Trial, at_home
from sandbox.trying import Found, timed

ROW = "Redis"
DENIED = "no permission"
DENIALS = (
    "NOPERM",
    "ACL failure",  # a call in a script
    "insufficient ACL permissions",  # SORT's BY and GET
    "command not allowed",  # to nobody: the server's own settings
)
LIFETIME = b"60000"  # ms: a canary that a killed run leaves goes by itself
CANARY = b"sandbox_canary_"


class Prober:
    """The probes of one playground. A canary lives for a minute at most."""

    def __init__(self, *, playground: Access, production: Access, reader: Access) -> None:
        self._playground, self._production, self._reader = playground, production, reader
        self._wires: list[Wire] = []
        token = CANARY + secrets.token_hex(6).encode()
        ours, theirs = (space_of(a).prefix.encode() for a in (playground, production))
        self._targets = Targets(
            theirs=theirs + token,
            absent=theirs + token + b"_absent",
            home=ours + token + b"_absent",
            production=theirs,
            playground=ours,
            other_database=1 if space_of(production).database == 0 else 0,
        )
        self._ours = ours + token

    def attempts(self) -> Iterator[Attempt]:
        who = self._playground.identity.name
        with _closing(self._wires):
            playground = self._connect(self._playground)
            yield self._home(playground, self._playground, self._ours)
            if self._playground.endpoint != self._production.endpoint:
                yield from self._elsewhere()
                return
            planted = self._plant()
            for trial in self._across():
                yield _try(playground, who, trial, at_home(trial, self._targets))
            yield from self._listening(who)
            yield from self._from_reader(planted)
            yield from self._from_production(planted)

    def close(self) -> None:
        for wire in self._wires:
            wire.close()
        self._wires.clear()

    # --- the playground ----------------------------------------------------------------------

    def _across(self) -> Iterator[Trial]:
        yield from trials.reads(self._targets)
        yield from trials.writes(self._targets)
        yield from trials.powers(self._targets)

    def _listening(self, who: str) -> Iterator[Attempt]:
        """Each on a connection of its own: one that is allowed answers nothing else any more."""
        for trial in (*trials.channels(self._targets), trials.watching()):
            wire = self._connect(self._playground)
            yield _try(wire, who, trial, at_home(trial, self._targets))
            wire.close()

    def _home(self, wire: Wire, access: Access, key: bytes) -> Attempt:
        """Write, read and delete: the connection lives and its rights at home are there."""

        def run() -> Found:
            wire.ask(b"SET", key, key, b"PX", LIFETIME)
            same = wire.ask(b"GET", key) == key
            wire.ask(b"DEL", key)
            return ("works", True) if same else ("what was written is not there", False)

        return _attempt(access.identity.name, "write, read and delete a key at home", "works", run)

    def _elsewhere(self) -> Iterator[Attempt]:
        """Servers of their own: neither login may work on the other's."""
        yield self._login("log in to production's server", self._production, self._playground)
        yield self._login("log in to the playground's server", self._playground, self._production)
        yield self._login("log in to the playground's server", self._playground, self._reader)
        yield self._read_home(self._connect(self._reader), None)

    def _login(self, tried: str, server: Access, login: Access) -> Attempt:
        def run() -> Found:
            try:
                Wire(replace(server, identity=login.identity)).close()
            except Unreachable as error:
                refused = any(word in error.message for word in ("WRONGPASS", "invalid username"))
                return ("login refused" if refused else error.message), refused
            return "the login works there", False

        return _attempt(login.identity.name, tried, "login refused", run)

    # --- the reader and production -----------------------------------------------------------

    def _from_reader(self, planted: Wire | None) -> Iterator[Attempt]:
        wire = self._connect(self._reader)
        yield self._read_home(wire, planted)
        for trial in trials.reader_writes(self._targets):
            yield _try(wire, self._reader.identity.name, trial)

    def _read_home(self, wire: Wire, planted: Wire | None) -> Attempt:
        """Production's canary where one could be planted, else its marker."""
        marker = Names(prefix=self._targets.production).marker()

        def run() -> Found:
            key = self._targets.theirs if planted else marker
            value = wire.ask(b"GET", key)
            if planted and value != self._targets.theirs:
                return "production's canary is not there", False
            return "works", True

        return _attempt(self._reader.identity.name, "read production", "works", run)

    def _plant(self) -> Wire | None:
        """Production's canary; none where this tool has no login of production's own."""
        try:
            wire = self._connect(self._production)
            key = self._targets.theirs
            wire.ask(b"SET", key, key, b"PX", LIFETIME)
        except SandboxError:
            return None
        return wire

    def _from_production(self, planted: Wire | None) -> Iterator[Attempt]:
        """The other way round: a canary of the playground's, looked for as production."""
        if planted is None:
            return
        who = self._production.identity.name
        yield self._home(planted, self._production, self._targets.theirs)
        ours = self._wires[0]  # where it may not even write at home, that is red already
        ours.many([(b"SET", self._ours, b"x", b"PX", LIFETIME)])
        for tried, right, args in (
            ("find a canary of the playground's", "get", (b"GET", self._ours)),
            ("delete a canary of the playground's", "del", (b"DEL", self._ours)),
        ):
            yield _try(planted, who, Trial(tried=tried, right=right, args=args))
        ours.many([(b"DEL", self._ours)])

    def _connect(self, access: Access) -> Wire:
        wire = Wire(access)
        self._wires.append(wire)
        return wire


class _closing:
    """Ends every connection, also when the caller stops half-way."""

    def __init__(self, wires: list[Wire]) -> None:
        self._wires = wires

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        for wire in self._wires:
            wire.close()
        self._wires.clear()


def _try(wire: Wire, who: str, trial: Trial, at_home: tuple[bytes, ...] | None = None) -> Attempt:
    """At home first: where the command is denied there, that it is elsewhere proves nothing."""

    def run() -> Found:
        *home, answer = wire.many([trial.args] if at_home is None else [at_home, trial.args])
        if any(_denied(one) for one in home):
            return f"{DENIED} at home", False
        if _denied(answer):
            return DENIED, True
        text = _text(answer)
        return (f"it has the right to ({text})" if text else "it worked"), False

    return _attempt(who, trial.tried, DENIED, run)


def _denied(answer: Any) -> bool:
    text = _text(answer)
    return isinstance(answer, NoPermissionError) or any(word in text for word in DENIALS)


def _text(answer: Any) -> str:
    return str(answer).splitlines()[0] if isinstance(answer, Exception) else ""


def _attempt(who: str, tried: str, expected: str, run: Callable[[], Found]) -> Attempt:
    return timed(ROW, who, tried, expected, run)
