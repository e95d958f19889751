"""One connection to Redis that speaks plain bytes in pipelines, and the names of the keys that this
tool keeps beside a space. Replies come back as the server sent them: nothing is decoded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from sandbox.contract import Access
from sandbox.errors import Refused, SandboxError, Unreachable
from sandbox.model import Marker, RedisSpace
from sandbox.stores.redis.replies import Replies, Socket

CONNECT_WITHIN = 5.0  # seconds
ANSWER_WITHIN = 120.0  # seconds: a swap of a million keys is one answer
PAGE = 1000  # what one SCAN looks at
OWN = b"sandbox:"  # keys of this tool, outside every space

FLAGS: dict[str, Any] = {"true": True, "false": False}  # as an URL's options say them

Args = Sequence[bytes]


@dataclass(frozen=True, kw_only=True)
class Names:
    """What belongs to one prefix but stands outside it, so that an application never meets it."""

    prefix: bytes

    @property
    def new(self) -> bytes:
        """Prefix of what `stage` loads."""
        return OWN + b"new:" + self.prefix

    @property
    def old(self) -> bytes:
        """Prefix of what `swap` put aside."""
        return OWN + b"old:" + self.prefix

    @property
    def base(self) -> bytes:
        """Prefix of the pristine copy that a reset returns to."""
        return OWN + b"base:" + self.prefix

    def marker(self, state: bytes = b"") -> bytes:
        """Whose space it is; `-new` and `-old` belong to what is staged and put aside."""
        return OWN + b"marker" + state + b":" + self.prefix

    def keys(self, state: bytes = b"") -> bytes:
        """A sorted set of the space's key names, for an application that may not SCAN."""
        return OWN + b"keys" + state + b":" + self.prefix


def space_of(access: Access) -> RedisSpace:
    assert isinstance(access.space, RedisSpace)
    return access.space


def glob(prefix: bytes) -> bytes:
    """A pattern for every name that begins with `prefix`, which is taken literally."""
    return b"".join(b"\\" + bytes([c]) if c in b"*?[]^\\" else bytes([c]) for c in prefix) + b"*"


def pack(args: Args) -> bytes:
    """One command in RESP."""
    return b"*%d\r\n" % len(args) + b"".join([b"$%d\r\n%b\r\n" % (len(a), a) for a in args])


class Wire:
    """A connection. Use as a context manager, or `close` it."""

    def __init__(self, access: Access) -> None:
        self._where = f"{access.endpoint.host}:{access.endpoint.port}"
        self._user = access.identity.name
        options = {key: FLAGS.get(value, value) for key, value in access.endpoint.options.items()}
        kind: type[redis.Connection] = redis.Connection
        if options.pop("tls", ""):
            kind = redis.SSLConnection
        self._connection = kind(
            host=access.endpoint.host,
            port=access.endpoint.port,
            username=access.identity.name or None,
            password=access.identity.secret or None,
            db=space_of(access).database,
            protocol=2,
            socket_connect_timeout=CONNECT_WITHIN,
            socket_timeout=ANSWER_WITHIN,
            **options,
        )
        try:
            self._connection.connect()  # type: ignore[no-untyped-call]
        except (AuthenticationError, RedisError, OSError) as error:
            raise Unreachable(
                f"Redis does not let {self._user or 'default'} in: {_line(error)}",
                where=self._where,
                hint="./inv up starts it, ./inv isolate makes its logins",
            ) from None
        self._replies = Replies(cast(Socket, self._connection._sock))

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.disconnect()  # type: ignore[no-untyped-call]

    def send(self, commands: bytes) -> None:
        """Packed commands, whose answers `take` returns in the same order."""
        try:
            self._connection.send_packed_command(  # type: ignore[no-untyped-call]
                [commands], check_health=False
            )
        except (RedisError, OSError) as error:
            raise self._lost(error) from None

    def take(self, count: int) -> list[Any]:
        """The next answers; one that is an error stands in the list as an exception."""
        read = self._replies.read
        try:
            return [read() for _ in range(count)]
        except (RedisError, OSError) as error:
            raise self._lost(error) from None

    def many(self, commands: Sequence[Args]) -> list[Any]:
        """One round trip; errors stand in the list."""
        self.send(b"".join(map(pack, commands)))
        return self.take(len(commands))

    def ask(self, *args: bytes) -> Any:
        """One command. Raises SandboxError in the server's own words, Refused without the right."""
        answer = self.many([args])[0]
        check(answer, args[0].decode())
        return answer

    def scan(self, pattern: bytes, *, page: int = PAGE) -> Iterator[list[bytes]]:
        """Pages of matching names, which may come twice."""
        cursor = b"0"
        size = b"%d" % page
        while True:
            cursor, names = self.ask(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", size)
            if names:
                yield names
            if cursor == b"0":
                return

    def _lost(self, error: Exception) -> Unreachable:
        return Unreachable(f"the connection to Redis broke: {_line(error)}", where=self._where)


def check(answer: Any, doing: str) -> None:
    """Raise what an answer says, if it is an error."""
    if isinstance(answer, NoPermissionError):
        raise Refused(f"this login may not {doing}: {_line(answer)}", where="redis")
    if isinstance(answer, Exception):
        raise SandboxError(f"{doing}: {_line(answer)}", where="redis")


def check_all(answers: Iterable[Any], doing: str) -> None:
    for answer in answers:
        if isinstance(answer, Exception):
            check(answer, doing)


def read_marker(wire: Wire, key: bytes) -> Marker | None:
    """Raises Refused where this login may not even look: the key is somebody else's."""
    text = wire.ask(b"GET", key)
    if text is None:
        return None
    try:
        return Marker(**json.loads(text))
    except (ValueError, TypeError):
        raise Refused("the space's marker cannot be read", where=f"redis {key.decode()}") from None


def marker_text(marker: Marker) -> bytes:
    return json.dumps(asdict(marker), sort_keys=True).encode()


def need_own(wire: Wire, names: Names) -> Marker:
    """The marker, over this very connection, before something is destroyed (P6)."""
    where = f"redis {names.prefix.decode(errors='replace')}"
    marker = read_marker(wire, names.marker())
    if marker is None:
        raise Refused(
            "the prefix has no marker, so it may not be ours",
            where=where,
            hint="./inv isolate makes the space and its marker",
        )
    if marker.environment != "playground":
        raise Refused("the prefix is marked as production's; nothing was changed", where=where)
    return marker


def check_apart(playground: RedisSpace, production: RedisSpace) -> None:
    """Refused where one prefix begins with the other: a right on one would be a right on both."""
    ours, theirs = playground.prefix, production.prefix
    inner = OWN.decode()
    if not ours or ours.startswith(theirs) or theirs.startswith(ours):
        raise Refused(f"the prefixes {ours!r} and {theirs!r} overlap", where="redis")
    for prefix in (ours, theirs):
        if prefix.startswith(inner) or inner.startswith(prefix):
            raise Refused(f"the prefix {prefix!r} overlaps this tool's own keys", where="redis")


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
