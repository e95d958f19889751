"""Who may do what: the api-key, or a token (HS256) signed with it, as the real server checks it.

https://qdrant.tech/documentation/guides/security/: `access` in a token is "r" or "m" for the whole
server, or a list of {"collection": name, "access": "r" | "rw" | "prw"}. An alias carries no rights:
the token must name what the request names.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field
from typing import Any

LEEWAY = 30  # seconds
READ, WRITE, MANAGE = 1, 2, 3


@dataclass(frozen=True)
class Rights:
    """`server`: 0, READ or MANAGE. `collections`: name -> READ or WRITE. `exists`: the claim
    `value_exists`: valid only while its collection has a point with these values."""

    server: int = 0
    collections: dict[str, int] = field(default_factory=dict)
    exists: dict[str, Any] | None = None

    def on(self, collection: str) -> int:
        return max(self.server, self.collections.get(collection, 0))


class Denied(Exception):
    """`status` 401: no or a bad key; 403: known, but not allowed."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def rights(headers: dict[str, str], key: str, *, tokens: bool) -> Rights:
    """The rights of one request. Raises Denied."""
    if not key:
        return Rights(server=MANAGE)
    given = headers.get("api-key", "")
    bearer = headers.get("authorization", "")
    if not given and bearer.lower().startswith("bearer "):
        given = bearer[7:]
    if not given:
        raise Denied(401, "Must provide an API key or an Authorization bearer token")
    if hmac.compare_digest(given.encode(), key.encode()):
        return Rights(server=MANAGE)
    if not tokens:
        raise Denied(401, "Invalid API key or JWT")
    return _claims(given, key)


def _claims(token: str, key: str) -> Rights:
    try:
        head, body, signature = token.split(".")
        expected = hmac.new(key.encode(), f"{head}.{body}".encode(), hashlib.sha256).digest()
        if json.loads(_decoded(head)).get("alg") != "HS256":
            raise ValueError("algorithm")
        if not hmac.compare_digest(expected, _decoded(signature)):
            raise ValueError("signature")
        claims = json.loads(_decoded(body))
    except ValueError:
        raise Denied(401, "Invalid API key or JWT") from None
    if "exp" in claims and claims["exp"] + LEEWAY < time.time():
        raise Denied(401, "Invalid JWT, expired")
    access, exists = claims.get("access", "m"), claims.get("value_exists")
    if access in ("r", "m"):
        return Rights(server=READ if access == "r" else MANAGE, exists=exists)
    if not isinstance(access, list):
        raise Denied(403, "Unknown access in the JWT")
    levels = {"r": READ, "rw": WRITE, "prw": WRITE}
    named = {e["collection"]: levels.get(e["access"], 0) for e in access}
    return Rights(collections=named, exists=exists)


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
