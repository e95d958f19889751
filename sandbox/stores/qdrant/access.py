"""Tokens, and requests to Qdrant's REST interface.

https://qdrant.tech/documentation/guides/security/: a token is HS256, signed with the api-key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import asdict
from typing import Any

import httpx
import orjson

from sandbox.contract import Access
from sandbox.errors import Refused, SandboxError, Unreachable
from sandbox.model import Marker, QdrantSpace, Role

LEVELS: dict[Role, str] = {"reader": "r", "playground": "rw", "production": "rw"}
MARKER = "sandbox_marker_"


class Denied(SandboxError):
    """The server refused the token."""


def token(api_key: str, role: Role, collection: str) -> str:
    """The token of `role` for one collection; the keeper's and admin's is the api-key itself."""
    if role not in LEVELS:
        return api_key
    claims = {"access": [{"collection": collection, "access": LEVELS[role]}]}
    return mint(api_key, claims)


def mint(api_key: str, claims: dict[str, Any]) -> str:
    """A JSON Web Token (RFC 7519) over `claims`."""
    parts = [
        _encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)
    ]
    signature = hmac.new(api_key.encode(), ".".join(parts).encode(), hashlib.sha256).digest()
    return ".".join([*parts, _encoded(signature)])


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Rest:
    """One login at one server."""

    def __init__(self, access: Access) -> None:
        assert isinstance(access.space, QdrantSpace)
        self._access = access
        scheme = "https" if access.endpoint.options.get("tls") else "http"
        self._client = httpx.Client(
            base_url=f"{scheme}://{access.endpoint.host}:{access.endpoint.port}",
            headers={"api-key": access.identity.secret},
            timeout=120,
        )

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The `result` of an answer. Raises Denied for 401 and 403, SandboxError for the rest."""
        content = body if isinstance(body, bytes) else None if body is None else orjson.dumps(body)
        try:
            answer = self._client.request(
                method, path, content=content, headers={"content-type": "application/json"}
            )
        except httpx.HTTPError as error:
            raise Unreachable(
                f"Qdrant does not answer: {error}",
                where=f"{self._access.endpoint.host}:{self._access.endpoint.port}",
                hint="./inv up starts it",
            ) from None
        if answer.status_code in (401, 403):
            raise Denied(f"Qdrant: forbidden ({answer.status_code})")
        if answer.status_code >= 400:
            raise SandboxError(f"Qdrant: {_reason(answer)}")
        return orjson.loads(answer.content)["result"] if answer.content[:1] == b"{" else None

    def exists(self, collection: str) -> bool:
        return bool(self.ask("GET", f"/collections/{collection}/exists")["exists"])

    def close(self) -> None:
        self._client.close()


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["status"]["error"]).splitlines()[0]
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"


def read_marker(rest: Rest, space: str) -> Marker | None:
    """Qdrant has no comments: a collection of one point holds the marker."""
    name = MARKER + space
    if not rest.exists(name):
        return None
    found = rest.ask("POST", f"/collections/{name}/points", {"ids": [1], "with_payload": True})
    return Marker(**found[0]["payload"]) if found else None


def write_marker(rest: Rest, space: str, marker: Marker) -> None:
    name = MARKER + space
    if not rest.exists(name):
        rest.ask("PUT", f"/collections/{name}", {"vectors": {"size": 1, "distance": "Dot"}})
    point = {"id": 1, "vector": [0.0], "payload": asdict(marker)}
    rest.ask("PUT", f"/collections/{name}/points?wait=true", {"points": [point]})


def need_own(rest: Rest, space: str, production: str) -> Marker:
    """The marker over this connection, before something is deleted (P6)."""
    marker = read_marker(rest, space)
    if space == production or (marker is not None and marker.environment == "production"):
        raise Refused(f"collection {space} is production's; nothing was changed", where="qdrant")
    if marker is None:
        raise Refused(
            f"collection {space} has no marker, so it may not be ours",
            where="qdrant",
            hint="./inv isolate makes it",
        )
    return marker
