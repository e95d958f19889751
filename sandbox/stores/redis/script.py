"""What the administrator of a production that is not ours runs in redis-cli to make its reader."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.contract import Statement
from sandbox.model import Marker, RedisSpace
from sandbox.stores.redis.rules import rules
from sandbox.stores.redis.session import Names, marker_text

PASSWORD = "#<SHA-256 of the password, in hexadecimal>"


def script(space: RedisSpace, name: str, marker: Marker) -> Sequence[Statement]:
    """Safe to run again: the user is set anew each time."""
    held = rules("reader", production=space, playground=space, categories=())
    words = " ".join(f'"{word}"' if "~" in word else word for word in held)
    key = Names(prefix=space.prefix.encode()).marker().decode()
    return [
        Statement(
            text=f'ACL SETUSER {name} reset "{PASSWORD}" {words}',
            why="reads production's keys and can write nothing; the hash: printf %s PASSWORD | "
            "sha256sum",
        ),
        Statement(text="ACL SAVE", why="where an aclfile is configured, else: CONFIG REWRITE"),
        Statement(
            text=f"SET {key} '{marker_text(marker).decode()}'", why="marks the prefix as production"
        ),
    ]
