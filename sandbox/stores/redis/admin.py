"""Logins and markers: ACL users with a prefix each; production's `default` user stays as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sandbox.contract import Access, Statement
from sandbox.errors import Refused
from sandbox.model import Identity, Marker, RedisSpace, Role, Space
from sandbox.stores.redis.encoding import fields
from sandbox.stores.redis.reading import scan
from sandbox.stores.redis.rules import differs, hashed, rules
from sandbox.stores.redis.session import Names, Wire, check_apart, marker_text, read_marker

WHY: Mapping[Role, str] = {
    "reader": "reads production's keys and can write nothing",
    "keeper": "this tool's login for the playground's keys",
    "playground": "the playground's application: its own keys and channels only",
    "production": "production's application: its own keys and channels only",
}
SHOWN = "#<sha256 of the password>"
SAVE = Statement(text="ACL SAVE", why="logins outlive a restart of the server")


@dataclass(frozen=True, kw_only=True)
class _Change:
    statement: Statement
    command: tuple[bytes, ...]


class Admin:
    """Works on one server: which roles it was given says which environments live there."""

    def __init__(
        self,
        access: Access,
        *,
        production: Space,
        playground: Space,
        identities: Mapping[Role, Identity],
        project: str,
        playground_name: str = "",
    ) -> None:
        assert isinstance(production, RedisSpace) and isinstance(playground, RedisSpace)
        self._access = access
        self._production, self._playground = production, playground
        self._identities = {r: i for r, i in identities.items() if r != "admin"}
        self._theirs = Marker(project=project, environment="production")
        self._ours = Marker(project=project, environment="playground", playground=playground_name)
        self._kept: Wire | None = None

    @property
    def _wire(self) -> Wire:
        if self._kept is None:
            self._kept = Wire(self._access)
        return self._kept

    def statements(self) -> Sequence[Statement]:
        return [change.statement for change in self._changes()]

    def isolate(self) -> Sequence[Statement]:
        done = []
        for change in list(self._changes()):
            self._wire.ask(*change.command)
            done.append(change.statement)
        return done + self._save(any(s.text.startswith("ACL") for s in done))

    def prepare(self, catalog: bytes) -> Sequence[Statement]:
        return ()

    def remove(self) -> Sequence[Statement]:
        """Drop the playground's keys and logins; Refused when its marker is not ours (P6)."""
        check_apart(self._playground, self._production)
        names = Names(prefix=self._playground.prefix.encode())
        marker = read_marker(self._wire, names.marker())
        if marker is None or _whose(marker) != _whose(self._ours):
            raise Refused("it is not marked as this playground's", where=self._where)
        for prefix in (names.prefix, names.new, names.old, names.base):
            for name in scan(self._wire, prefix):
                self._wire.ask(b"UNLINK", name)
        for state in (b"", b"-new", b"-old", b"-base"):
            self._wire.ask(b"UNLINK", names.marker(state), names.keys(state))
        shown = self._playground.prefix
        done = [Statement(text=f"UNLINK {shown}*", why="the playground's keys")]
        for role in ("keeper", "playground"):
            identity = self._identities.get(role)
            if identity and self._wire.ask(b"ACL", b"DELUSER", identity.name.encode()):
                done.append(Statement(text=f"ACL DELUSER {identity.name}", why="its login"))
        return done + self._save(True)

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    # --- the parts ---------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return f"redis {self._playground.prefix}"

    def _changes(self) -> Iterator[_Change]:
        check_apart(self._playground, self._production)
        markers = list(self._markers())  # refuses before anything is done
        categories = [name.decode() for name in self._wire.ask(b"ACL", b"CAT")]
        for role, identity in self._identities.items():
            wanted = rules(
                role,
                production=self._production,
                playground=self._playground,
                categories=categories,
            )
            password = hashed(identity)
            present = self._wire.ask(b"ACL", b"GETUSER", identity.name.encode())
            if present is None or differs(wanted, password, fields(present)):
                yield _setuser(identity.name, password, wanted, WHY[role])
        yield from markers

    def _markers(self) -> Iterator[_Change]:
        """One for each environment that has a login here."""
        if "production" in self._identities or "reader" in self._identities:
            yield from self._mark(self._production, self._theirs)
        if "playground" in self._identities:
            yield from self._mark(self._playground, self._ours)

    def _mark(self, space: RedisSpace, wanted: Marker) -> Iterator[_Change]:
        key = Names(prefix=space.prefix.encode()).marker()
        found = read_marker(self._wire, key)
        if found is not None and _whose(found) != _whose(wanted):
            raise Refused(
                f"it is marked as {found.environment} {found.playground or ''}of {found.project}, "
                f"not as {wanted.environment} of {wanted.project}",
                where=f"redis {space.prefix}",
            )
        if found is None:
            text = marker_text(wanted)
            yield _Change(
                statement=Statement(
                    text=f"SET {key.decode()} '{text.decode()}'",
                    why=f"marks the prefix as {wanted.environment} of {wanted.project}",
                ),
                command=(b"SET", key, text),
            )

    def _save(self, changed: bool) -> list[Statement]:
        """Users live in memory where no ACL file is configured; the next `isolate` makes them."""
        if not changed:
            return []
        answer = self._wire.many([(b"CONFIG", b"GET", b"aclfile")])[0]
        if not isinstance(answer, list) or not answer or not answer[1]:
            return []
        self._wire.ask(b"ACL", b"SAVE")
        return [SAVE]


def _setuser(name: str, password: str, wanted: Sequence[str], why: str) -> _Change:
    words = ["ACL", "SETUSER", name, "reset", password, *wanted]
    shown = " ".join(SHOWN if word == password else word for word in words)
    return _Change(
        statement=Statement(text=shown, why=why), command=tuple(word.encode() for word in words)
    )


def _whose(marker: Marker) -> tuple[str, str, str]:
    return marker.project, marker.environment, marker.playground
