"""Qdrant's REST interface over kept connections, fenced: a request that the fence does not know
is never sent."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

import httpx
import orjson

from sandbox.contract import Access
from sandbox.errors import ConfigError, Refused, SandboxError, Unreachable
from sandbox.model import Endpoint

TIMEOUT = httpx.Timeout(120, connect=5)  # seconds; building a payload index takes a while
AT_A_TIME = 3  # requests on their way: one is read, one is sent, one is stored
READS = {"scroll", "count", "query"}


class Fence(Protocol):
    """Raises Refused for a request that must not be sent. `path` is split at slashes."""

    def __call__(self, method: str, path: Sequence[str], body: Any) -> None: ...


class Answered(SandboxError):
    """The server refused a request; `status` is HTTP's."""

    def __init__(self, message: str, *, status: int, where: str) -> None:
        super().__init__(message, where=where)
        self.status = status


class Rest:
    """One login at one server. Thread-safe."""

    def __init__(self, endpoint: Endpoint, secret: str, *, fence: Fence) -> None:
        options = endpoint.options
        scheme = "https" if options.get("tls") else "http"
        self._where = f"qdrant {endpoint.host}:{endpoint.port}"
        self._fence = fence
        self._http = httpx.Client(
            base_url=f"{scheme}://{endpoint.host}:{endpoint.port}",
            # Compressed answers cost both sides more than they save on one machine.
            headers={"accept-encoding": "identity"} | ({"api-key": secret} if secret else {}),
            timeout=TIMEOUT,
            verify=_trusted(options) if scheme == "https" else False,
            trust_env=False,
        )

    def result(self, method: str, path: Sequence[str], body: Any = None, **query: str) -> Any:
        """The `result` of a request. Raises Answered, Refused or Unreachable."""
        return orjson.loads(self.raw(method, path, body, **query))["result"]

    def raw(self, method: str, path: Sequence[str], body: Any = None, **query: str) -> bytes:
        """A successful answer as it came. A body of bytes is JSON already."""
        response = self.send(method, path, body, **query)
        if response.status_code < 300:
            return response.content
        where = f"{self._where} /{'/'.join(path)}"
        if response.status_code in (401, 403):
            raise Refused(
                "the login is not accepted" if response.status_code == 401 else "no right to it",
                where=where,
                hint="./inv isolate gives each login its rights; is service.jwt_rbac on?",
            )
        raise Answered(_reason(response), status=response.status_code, where=where)

    def send(
        self, method: str, path: Sequence[str], body: Any = None, **query: str
    ) -> httpx.Response:
        """Any answer. Raises Unreachable when there is none."""
        self._fence(method, path, body)
        content = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        request = self._http.build_request(
            method,
            "/" + "/".join(quote(part, safe="") for part in path),
            content=content,
            params=query,
            headers={"content-type": "application/json"} if content is not None else {},
        )
        try:
            try:
                response = self._http.send(request)
            except httpx.RemoteProtocolError:
                # A kept connection was closed meanwhile. Every request here may be sent twice.
                response = self._http.send(request)
            # A response and its stream refer to one another: its body, a MiB that is read already,
            # would stay until the garbage collector next comes by.
            response.stream = httpx.ByteStream(b"")
            return response
        except httpx.TransportError as error:
            raise Unreachable(
                f"the server does not answer: {_cause(error)}",
                where=self._where,
                hint="./inv up starts it",
            ) from None

    def found(self, path: Sequence[str]) -> Any:
        """The result of a GET, or None where there is nothing."""
        try:
            return self.result("GET", path)
        except Answered as error:
            if error.status == 404:
                return None
            raise

    def close(self) -> None:
        self._http.close()


def _trusted(options: Mapping[str, str]) -> ssl.SSLContext | bool:
    """Whose certificates are believed; reading the machine's own takes longer than many requests,
    so it is done for TLS only."""
    if "ca" not in options:
        return True
    try:
        return ssl.create_default_context(cafile=options["ca"])
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"its certificates cannot be read: {error.strerror or type(error).__name__}",
            where=f"qdrant: ca = {options['ca']}",
        ) from None


def opened(access: Access, fence: Fence) -> Rest:
    return Rest(access.endpoint, access.identity.secret, fence=fence)


def version(rest: Rest) -> str:
    """The server's product and version, after a query that needs a running engine."""
    rest.result("GET", ["collections"])
    answer = orjson.loads(rest.raw("GET", []))
    name = "Qdrant" if "qdrant" in str(answer.get("title", "")) else "unknown"
    return f"{name} {answer.get('version', '')}".strip()


def aliases(rest: Rest) -> Mapping[str, str]:
    """Alias -> collection, of those that this login may see."""
    return {
        one["alias_name"]: one["collection_name"]
        for one in rest.result("GET", ["aliases"])["aliases"]
    }


def read_only(method: str, path: Sequence[str], body: Any) -> None:
    """The fence of a source: only what cannot change anything (P1)."""
    if method == "GET" and "snapshots" not in path:
        return
    if method == "POST" and len(path) == 4 and path[2] == "points" and path[3] in READS:
        return
    raise Refused(f"{method} /{'/'.join(path)} is not for reading; it was not sent")


def own_only(name: str, marker: str, production: str) -> Fence:
    """The fence of the keeper and the administrator, whose key opens the whole server: changes go
    to `name__1`, `name__2`, ..., to their pristine copies, to the marker collection and to the
    alias `name`, to nothing else, and nothing at all names production's collection."""
    numbered = re.compile(rf"{re.escape(name)}__[0-9]+")
    changed = re.compile(rf"{re.escape(name)}__[0-9]+(__base)?")
    if production == name or changed.fullmatch(production):
        raise Refused(
            "the playground's collection is production's own",
            where=production,
            hint="give the playground a name of its own in sandbox.toml",
        )

    def is_own(collection: str) -> bool:
        return bool(changed.fullmatch(collection)) or collection == marker

    def fence(method: str, path: Sequence[str], body: Any) -> None:
        sent = f"{method} /{'/'.join(path)}"
        if production in path:
            raise Refused(f"{sent} names production's collection; it was not sent")
        if list(path) == ["collections", "aliases"]:
            _check_alias_changes(body, name, numbered)
            return
        try:
            read_only(method, path, body)
        except Refused:
            if len(path) >= 2 and path[0] == "collections" and is_own(path[1]):
                return
            raise Refused(f"{sent} is not the playground's own; it was not sent") from None

    return fence


def _check_alias_changes(body: Any, name: str, numbered: re.Pattern[str]) -> None:
    for action in body["actions"]:
        for kind, one in action.items():
            known = kind in ("create_alias", "delete_alias") and one["alias_name"] == name
            if not known or not numbered.fullmatch(one.get("collection_name", f"{name}__0")):
                raise Refused(f"{kind} is not of the playground's alias; it was not sent")


def _cause(error: httpx.TransportError) -> str:
    """Why no connection came about, in the words of the system or of TLS."""
    words = str(error).splitlines() if isinstance(error, httpx.ConnectError) else []
    return words[0] if words else type(error).__name__


def _reason(response: httpx.Response) -> str:
    """The server's own words, without what was sent."""
    try:
        status = orjson.loads(response.content)["status"]
        text = status["error"] if isinstance(status, dict) else str(status)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        text = response.text
    return f"HTTP {response.status_code}: {text[:200]}"
