"""Attempts and settings -> the isolation matrix. Pure.

A row is isolated only when it has attempts, all of them came out as isolation demands, and the
playground's space is not production's own (P7).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from sandbox.layout import Place
from sandbox.model import Attempt, FilesSpace
from sandbox.urls import holds

TITLES = {"postgres": "PostgreSQL", "mongo": "MongoDB", "qdrant": "Qdrant", "redis": "Redis"}
HOW = {
    "postgres": "schema",
    "mongo": "database",
    "qdrant": "collection",
    "redis": "key prefix",
    "files": "directory",
}
SERVER_ROW = "API server"
SECRET, DIRECTORY = "password", "directory"  # how such a value's description begins


@dataclass(frozen=True, kw_only=True)
class Row:
    """One resource of the matrix. `why` says what is shared or which attempt crossed."""

    resource: str
    production: str
    playground: str
    how: str
    shared: bool
    attempts: tuple[Attempt, ...]

    @property
    def isolated(self) -> bool:
        return bool(self.attempts) and not self.shared and all(a.ok for a in self.attempts)

    @property
    def failed(self) -> tuple[Attempt, ...]:
        return tuple(attempt for attempt in self.attempts if not attempt.ok)

    @property
    def why(self) -> str:
        if self.shared:
            return "the playground uses production's own space"
        if not self.attempts:
            return "nothing was tried"
        return "; ".join(f"{a.tried}: {a.happened}" for a in self.failed)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The whole matrix, and how long the probes took, in seconds."""

    rows: tuple[Row, ...]
    seconds: float = 0.0

    @property
    def isolated(self) -> bool:
        return bool(self.rows) and all(row.isolated for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        return {
            "isolated": self.isolated,
            "seconds": round(self.seconds, 3),
            "rows": [_row_json(row) for row in self.rows],
        }

    def as_junit(self) -> str:
        """JUnit XML: a suite per row, a case per attempt."""
        suites = "\n".join(_suite(row) for row in self.rows)
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n{suites}\n</testsuites>\n'


def judge(
    places: Sequence[Place],
    server: tuple[str, str],
    attempts: Iterable[Attempt],
    *,
    beside: Sequence[tuple[str, Place, Place]] = (),
    seconds: float = 0.0,
) -> Verdict:
    """The matrix's rows: the server's port, each store, each directory, with its attempts.

    `server`: production's and the playground's port. `beside`: another playground's name, this
    one's place and the other's, where they were probed against one another. An attempt of a row
    that is not in the matrix makes a row of its own, so that nothing which was tried can go unseen.
    """
    by_row: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        by_row.setdefault(attempt.row, []).append(attempt)
    rows = [_server_row(server, by_row.pop(SERVER_ROW, []))]
    for place in places:
        for title, production, playground in _titles(place):
            rows.append(
                Row(
                    resource=title,
                    production=production,
                    playground=playground,
                    how=HOW[place.kind] + (", own server" if place.server == "playground" else ""),
                    shared=place.shared,
                    attempts=tuple(by_row.pop(title, ())),
                )
            )
    for name, ours, theirs in beside:
        pairs = zip(_titles(ours), _titles(theirs), strict=True)
        for (title, _, playground), (_, _, other) in pairs:
            resource = beside_row(title, name)
            rows.append(
                Row(
                    resource=resource,
                    production=other,
                    playground=playground,
                    how=HOW[ours.kind],
                    shared=False,
                    attempts=tuple(by_row.pop(resource, ())),
                )
            )
    rows += [
        Row(resource=t, production="", playground="", how="", shared=False, attempts=tuple(a))
        for t, a in by_row.items()
    ]
    return Verdict(rows=tuple(rows), seconds=seconds)


def beside_row(title: str, playground: str) -> str:
    """The row of a store against another playground's space; "" is the one without a name."""
    return f"{title}, beside {playground or 'the first playground'}"


def settings_attempts(
    production: Mapping[str, str],
    playground: Mapping[str, str],
    wanted: Mapping[str, str],
    *,
    where: str,
) -> list[Attempt]:
    """Whether the playground's variables (of an env file or a running container, `where`) are the
    wanted ones and none holds a value that is production's alone. Values are never shown."""
    found = []
    for name in sorted(wanted):
        if name not in playground:
            happened, ok = "not set", False
        elif playground[name] == wanted[name]:
            happened, ok = "the playground's own", True
        elif playground[name] == production.get(name):
            happened, ok = f"{name} holds production's value", False
        else:
            happened, ok = f"{name} differs from what the layout says", False
        found.append(
            Attempt(
                row=SERVER_ROW,
                identity="settings",
                tried=f"{name} in {where}",
                expected="the playground's own",
                happened=happened,
                ok=ok,
            )
        )
    return found


def foreign_attempts(
    known: Mapping[str, str], environment: Mapping[str, str], *, where: str
) -> list[Attempt]:
    """Whether any variable at all, of whatever name, holds a value that is production's alone.
    `known`: what it is -> production's value: a secret is looked for inside of values, a directory
    as their beginning, anything else as the whole value. Values are never shown."""
    found = []
    for name in sorted(environment):
        held = next(
            (what for what, value in known.items() if _holds(environment[name], value, what)), ""
        )
        if held:
            found.append(
                Attempt(
                    row=SERVER_ROW,
                    identity="settings",
                    tried=f"{name} in {where}",
                    expected="no value of production's",
                    happened=f"{name} holds production's {held}",
                    ok=False,
                )
            )
    if not found:
        found.append(
            Attempt(
                row=SERVER_ROW,
                identity="settings",
                tried=f"production's values in any of {len(environment)} variables of {where}",
                expected="none",
                happened="none",
                ok=True,
            )
        )
    return found


def _holds(value: str, production: str, what: str) -> bool:
    if what.startswith(SECRET):
        return holds(value, production)
    if what.startswith(DIRECTORY):
        return value == production or value.startswith(f"{production}/")
    return value == production


def _titles(place: Place) -> list[tuple[str, str, str]]:
    if isinstance(place.production, FilesSpace) and isinstance(place.playground, FilesSpace):
        return [
            (f"{purpose.capitalize()} files", str(path), str(place.playground.directories[purpose]))
            for purpose, path in place.production.directories.items()
        ]
    return [(TITLES[place.kind], place.production.name, place.playground.name)]


def _server_row(ports: tuple[str, str], attempts: Sequence[Attempt]) -> Row:
    return Row(
        resource=SERVER_ROW,
        production=f"port {ports[0]}",
        playground=f"port {ports[1]}",
        how="environment variable",
        shared=ports[0] == ports[1],
        attempts=tuple(attempts),
    )


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "resource": row.resource,
        "production": row.production,
        "playground": row.playground,
        "how": row.how,
        "isolated": row.isolated,
        "why": row.why,
        "attempts": [
            {
                "identity": attempt.identity,
                "tried": attempt.tried,
                "expected": attempt.expected,
                "happened": attempt.happened,
                "ok": attempt.ok,
                "seconds": round(attempt.seconds, 4),
            }
            for attempt in row.attempts
        ],
    }


def _suite(row: Row) -> str:
    cases = [_case(attempt) for attempt in row.attempts]
    failures = len(row.failed)
    if row.shared or not row.attempts:
        cases.append(
            f'<testcase name="isolated"><failure message={quoteattr(row.why)}/></testcase>'
        )
        failures += 1
    return (
        f'<testsuite name={quoteattr(row.resource)} tests="{len(cases)}" '
        f'failures="{failures}">\n' + "\n".join(cases) + "\n</testsuite>"
    )


def _case(attempt: Attempt) -> str:
    name = quoteattr(f"{attempt.identity}: {attempt.tried}")
    head = f'<testcase name={name} time="{attempt.seconds:.3f}"'
    if attempt.ok:
        return f"{head}/>"
    return (
        f"{head}><failure message={quoteattr(attempt.happened)}>"
        f"expected {escape(attempt.expected)}</failure></testcase>"
    )
