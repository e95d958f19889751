"""What each login may do, as ACL rules: one list per role, the same on every server."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from sandbox.errors import ConfigError
from sandbox.model import Identity, RedisSpace, Role
from sandbox.stores.redis.session import Names, glob

# Commands that a login limited to a prefix could still reach other data with: names of all keys,
# whole databases, other clients, scripts and functions of everyone, and the server itself.
APPLICATION_MAY = (
    "+@all", "-@admin", "-@dangerous",
    "+sort", "+sort_ro", "+restore", "+info",
    "-scan", "-randomkey", "-move", "-pubsub", "-function",
    "-script|flush", "-script|kill", "-client|tracking", "-client|unblock",
    "-select",
)  # fmt: skip
CONNECTED = ("+ping", "+hello", "+client|setname", "+client|setinfo", "+select", "+time")
READER_MAY = ("-@all", "+@read", "-@dangerous", "-randomkey", *CONNECTED)
KEEPER_MAY = (
    "-@all", "+@read", "+@write", "+@transaction", "-@dangerous", "-randomkey", "-move",
    "-function|load", "-function|restore", "-function|delete", "-function|flush",
    "+restore", "+eval", *CONNECTED,
)  # fmt: skip
SEARCH = "search"  # a category of servers with the query engine, whose indexes have no prefix


def rules(
    role: Role, *, production: RedisSpace, playground: RedisSpace, categories: Sequence[str]
) -> list[str]:
    """Rules after `reset`, without the password."""
    if role == "reader":
        ours = Names(prefix=production.prefix.encode())
        return ["on", f"%R~{_glob(production)}", _exact("%R", ours.marker()), *READER_MAY]
    if role == "keeper":
        return ["on", *_keeper_keys(playground), *KEEPER_MAY]
    space = playground if role == "playground" else production
    listed = Names(prefix=space.prefix.encode()).keys()
    pattern = _glob(space)
    found = ["on", f"~{pattern}", _exact("%R", listed), f"&{pattern}", *APPLICATION_MAY]
    found.append(f"+select|{space.database}")
    return found + ([f"-@{SEARCH}"] if SEARCH in categories else [])


def _keeper_keys(space: RedisSpace) -> list[str]:
    names = Names(prefix=space.prefix.encode())
    whole = [names.prefix, names.new, names.old, names.base]
    states = (b"", b"-new", b"-old", b"-base")
    alone = [key for state in states for key in (names.marker(state), names.keys(state))]
    return [f"~{glob(prefix).decode()}" for prefix in whole] + [_exact("", key) for key in alone]


def _glob(space: RedisSpace) -> str:
    prefix = space.prefix
    if not prefix or any(c.isspace() or not c.isprintable() for c in prefix):
        raise ConfigError(
            f"the prefix {prefix!r} cannot be held apart by an access rule",
            where="redis",
            hint="choose one of printable characters without spaces",
        )
    return glob(prefix.encode()).decode()


def _exact(permission: str, key: bytes) -> str:
    return f"{permission}~{glob(key).decode()[:-1]}"


def hashed(identity: Identity) -> str:
    """The password as ACL takes it without ever seeing it in plain text."""
    return "#" + hashlib.sha256(identity.secret.encode()).hexdigest()


def differs(wanted: Sequence[str], password: str, present: Mapping[bytes, object]) -> bool:
    """Whether a user, as ACL GETUSER shows it, has other rights than `wanted`."""
    flags = _words(present.get(b"flags"))
    keys = _words(present.get(b"keys"))
    channels = _words(present.get(b"channels"))
    commands = _words(present.get(b"commands"))
    known = _words(present.get(b"passwords"))
    expected = {word for word in wanted if word[0] in "+-"}
    return (
        "on" not in flags
        or "nopass" in flags
        or known != {password.removeprefix("#")}
        or keys != {word for word in wanted if word[0] in "~%"}
        or channels != {word for word in wanted if word[0] == "&"}
        or commands - {"-@all"} != expected - {"-@all"}
        or bool(present.get(b"selectors"))
    )


def _words(value: object) -> set[str]:
    if isinstance(value, bytes):
        return set(value.decode().split())
    if isinstance(value, list):
        return {item.decode() for item in value if isinstance(item, bytes)}
    return set()
