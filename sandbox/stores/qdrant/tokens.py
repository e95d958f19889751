"""Logins of Qdrant: the api-key, and tokens (HS256) signed with it that name collections.

https://qdrant.tech/documentation/guides/security/#granular-access-control: `access` is "r" or "m"
for the whole server, or a list of {"collection": name, "access": "r" | "rw"}. Rights belong to the
name in the request: a token for an alias says nothing about the collection under it. A token with
`value_exists` counts only while a collection has a point with these values, and can be called back.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from typing import Any, Literal

from sandbox.model import Role

Right = Literal["none", "read", "write", "manage"]
ORDER: tuple[Right, ...] = ("none", "read", "write", "manage")
WHOLE: Mapping[str, Right] = {"r": "read", "m": "manage"}
ONE: Mapping[str, Right] = {"r": "read", "rw": "write", "prw": "write"}


def marker_collection(name: str) -> str:
    """Where the markers of a space are: a point for each of its numbered collections."""
    return f"{name}__sandbox"


def mint(api_key: str, claims: Mapping[str, Any]) -> str:
    """A JSON Web Token (RFC 7519), signed with HMAC-SHA256."""
    head = _encoded(json.dumps({"alg": "HS256", "typ": "JWT"}, separators=(",", ":")).encode())
    body = _encoded(json.dumps(claims, separators=(",", ":"), ensure_ascii=False).encode())
    signature = hmac.new(api_key.encode(), f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{_encoded(signature)}"


def token(api_key: str, role: Role, collection: str, *, revision: str = "") -> str:
    """The login of `role` at the space called `collection`; with a `revision`, only while the
    space's marker collection names the same one.

    Admin and keeper get the api-key itself: Qdrant has no right between one collection's points
    and the whole server (docs/decisions/0002-keeper.md).
    """
    if role in ("admin", "keeper"):
        return api_key
    if role == "reader":
        access = [
            {"collection": collection, "access": "r"},
            {"collection": marker_collection(collection), "access": "r"},
        ]
    else:
        access = [{"collection": collection, "access": "rw"}]
    claims: dict[str, Any] = {"sub": role, "access": access}
    if revision:
        values = {"login": role, "revision": revision}
        claims["value_exists"] = {
            "collection": marker_collection(collection),
            "matches": [{"key": key, "value": value} for key, value in values.items()],
        }
    return mint(api_key, claims)


def wanted_point(secret: str) -> tuple[str, dict[str, Any]] | None:
    """The point that a token asks for: its id (one for each role) and payload; None for none."""
    claim = (read_claims(secret) or {}).get("value_exists")
    if claim is None:
        return None
    payload = {one["key"]: one["value"] for one in claim["matches"]}
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"sandbox:{payload['login']}")), payload


def right(secret: str, collection: str) -> Right:
    """What a login says that it may do with a collection; a key that is no token may do all."""
    claims = read_claims(secret)
    if claims is None:
        return "manage"
    access = claims.get("access", "m")
    if isinstance(access, str):
        return WHOLE.get(access, "manage")
    found: Right = "none"
    for entry in access:
        if entry.get("collection") == collection:
            found = max(found, ONE.get(entry.get("access"), "write"), key=ORDER.index)
    return found


def read_claims(secret: str) -> dict[str, Any] | None:
    """A token's claims, unverified; None when it is no token."""
    parts = secret.split(".")
    if len(parts) != 3:
        return None
    try:
        body = parts[1] + "=" * (-len(parts[1]) % 4)
        found = json.loads(base64.urlsafe_b64decode(body))
    except (ValueError, binascii.Error):
        return None
    return found if isinstance(found, dict) else None


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
