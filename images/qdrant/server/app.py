"""The routes, and who may take them. One process, one event loop: one request at a time."""

from __future__ import annotations

import os
import shutil
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from server import convert, points
from server.access import MANAGE, READ, WRITE, Denied, Rights, rights
from server.storage import Missing, Storage

VERSION = "1.15.0"
MAX_BODY = int(os.environ.get("QDRANT__SERVICE__MAX_REQUEST_SIZE_MB", "32")) << 20
POINTS: dict[tuple[str, str], tuple[int, Callable[..., Any]]] = {
    ("PUT", ""): (WRITE, points.upsert),
    ("POST", ""): (READ, points.retrieve),
    ("POST", "delete"): (WRITE, points.delete),
    ("POST", "payload"): (WRITE, lambda c, b: points.payload(c, b, "set")),
    ("PUT", "payload"): (WRITE, lambda c, b: points.payload(c, b, "overwrite")),
    ("POST", "payload/delete"): (WRITE, lambda c, b: points.payload(c, b, "delete")),
    ("POST", "payload/clear"): (WRITE, lambda c, b: points.payload(c, b, "clear")),
    ("PUT", "vectors"): (WRITE, lambda c, b: points.vectors(c, b, "update")),
    ("POST", "vectors/delete"): (WRITE, lambda c, b: points.vectors(c, b, "delete")),
    ("POST", "batch"): (WRITE, points.batch),
    ("POST", "scroll"): (READ, points.scroll),
    ("POST", "count"): (READ, points.count),
    ("POST", "search"): (READ, points.search),
    ("POST", "query"): (READ, points.query),
}


class Server:
    """The stand-in's state and its handlers."""

    def __init__(self, folder: Path, key: str, *, tokens: bool) -> None:
        self.storage = Storage(folder)
        self._snapshots = folder.parent / "snapshots"
        self._key, self._tokens = key, tokens

    def app(self) -> Starlette:
        both = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        return Starlette(routes=[Route("/{path:path}", self.handle, methods=both)])

    async def handle(self, request: Request) -> Response:
        began = time.perf_counter()
        path = request.path_params["path"].strip("/")
        if path in ("", "healthz", "readyz", "livez"):
            return _json({"title": "qdrant - vector search engine", "version": VERSION}) \
                if not path else PlainTextResponse("healthz check passed")  # fmt: skip
        try:
            who = rights(dict(request.headers), self._key, tokens=self._tokens)
            if who.exists is not None:
                self._check_exists(who.exists)
        except Denied as error:
            return PlainTextResponse(str(error), status_code=error.status)
        try:
            raw = await request.body()
            if len(raw) > MAX_BODY:
                return _failed(413, f"Payload too large, limit {MAX_BODY} bytes", began)
            body = orjson.loads(raw) if raw else {}
            result = self.route(request.method, path.split("/"), body, who)
        except Denied as error:
            return _failed(403, str(error), began)
        except Missing as error:
            return _failed(404, str(error), began)
        except (convert.Bad, orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            return _failed(400, f"Wrong input: {error}", began)
        if isinstance(result, Response):
            return result
        return _json({"result": result, "status": "ok", "time": time.perf_counter() - began})

    def _check_exists(self, claim: dict[str, Any]) -> None:
        """A token that is valid only while a point says so, as the real server checks it."""
        must = [{"key": m["key"], "match": {"value": m["value"]}} for m in claim["matches"]]
        try:
            collection = self.storage.get(claim["collection"])
            found = points.count(collection, {"filter": {"must": must}})["count"]
        except Missing:
            found = 0
        if not found:
            raise Denied(401, "Invalid JWT, stateful validation failed")

    def route(self, method: str, parts: list[str], body: Any, who: Rights) -> Any:
        if parts[0] == "collections" and len(parts) == 1:
            names = [n for n in self.storage.collections if who.on(n)]
            return {"collections": [{"name": name} for name in names]}
        if parts == ["aliases"]:
            return {"aliases": self._aliases(who)}
        if parts == ["collections", "aliases"] and method == "POST":
            _need(who.server >= MANAGE, "Global manage access is required")
            self.storage.change_aliases(body["actions"])
            return True
        if parts[0] == "collections":
            return self._collection(method, parts[1], parts[2:], body, who)
        _need(who.server >= READ, "Global access is required")
        if parts[0] == "telemetry":
            return {"app": {"name": "qdrant-stand-in", "version": VERSION}}
        raise Missing("Not found")

    def _collection(self, method: str, name: str, rest: list[str], body: Any, who: Rights) -> Any:
        if not rest:
            return self._itself(method, name, body, who)
        level = who.on(name)
        _need(level >= READ, f'Access to collection "{name}" is required')
        if rest == ["exists"]:
            real = self.storage.aliases.get(name, name)
            return {"exists": real in self.storage.collections}
        if rest == ["aliases"]:
            return {"aliases": [a for a in self._aliases(who) if a["collection_name"] == name]}
        if rest[0] == "index":
            _need(level >= WRITE, f'Write access to collection "{name}" is required')
            return self._index(method, name, rest[1:], body)
        if rest[0] == "snapshots":
            return self._snapshot(method, name, rest[1:], level, who)
        if rest[0] == "points":
            return self._points(method, name, rest[1:], body, level)
        raise Missing("Not found")

    def _itself(self, method: str, name: str, body: Any, who: Rights) -> Any:
        if method == "GET":
            _need(who.on(name) >= READ, f'Access to collection "{name}" is required')
            return self.storage.get(name).info()
        _need(who.server >= MANAGE, "Global manage access is required")
        if method == "PUT":
            self.storage.create(name, body)
            return True
        if method == "DELETE":
            return self.storage.delete(name)
        if method == "PATCH":
            collection = self.storage.get(name)
            for key in ("hnsw_config", "optimizers_config", "quantization_config", "metadata"):
                if body.get(key) is not None:
                    old = collection.config.get(key) or {}
                    collection.config[key] = {**old, **body[key]}
            collection.save()
            return True
        raise Missing("Not found")

    def _index(self, method: str, name: str, rest: list[str], body: Any) -> Any:
        collection = self.storage.get(name)
        schema = collection.config.setdefault("payload_schema", {})
        if method == "PUT":
            made, shown = convert.index(body["field_schema"])
            operation = points.Operation.create_field_index(body["field_name"], made)
            collection.shard.update(operation)
            schema[body["field_name"]] = shown
        else:
            collection.shard.update(points.Operation.delete_field_index(rest[0]))
            schema.pop(rest[0], None)
        collection.dirty = True
        collection.save()
        return points.DONE

    def _points(self, method: str, name: str, rest: list[str], body: Any, level: int) -> Any:
        found = POINTS.get((method, "/".join(rest)))
        if found is not None:
            need, call = found
            _need(level >= need, f'Write access to collection "{name}" is required')
            return call(self.storage.get(name), body)
        if method == "GET" and len(rest) == 1:
            identifier = int(rest[0]) if rest[0].isdigit() else rest[0]
            wanted = {"ids": [identifier], "with_vector": True}
            one = points.retrieve(self.storage.get(name), wanted)
            if not one:
                raise Missing(f"Not found: Point with id {identifier} does not exists!")
            return one[0]
        raise Missing("Not found")

    def _snapshot(self, method: str, name: str, rest: list[str], level: int, who: Rights) -> Any:
        """A tar of the collection's folder: enough to list, fetch and delete, not the real form."""
        collection = self.storage.get(name)
        folder = self._snapshots / collection.folder.name
        if method == "GET" and not rest:
            return [_snapshot_facts(path) for path in sorted(folder.glob("*.snapshot"))]
        if method == "GET":
            path = folder / Path(rest[0]).name
            if not path.is_file():
                raise Missing("Not found: snapshot")
            return FileResponse(path)
        _need(level >= WRITE, f'Write access to collection "{name}" is required')
        folder.mkdir(parents=True, exist_ok=True)
        if method == "POST" and not rest:
            collection.shard.flush()
            path = folder / f"{collection.folder.name}-{time.time_ns()}.snapshot"
            with tarfile.open(path, "w") as tar:
                tar.add(collection.folder, arcname=".")
            return _snapshot_facts(path)
        if method == "DELETE" and rest:
            (folder / Path(rest[0]).name).unlink(missing_ok=True)
            return True
        _need(who.server >= MANAGE, "Global manage access is required")
        shutil.rmtree(folder, ignore_errors=True)
        raise convert.Bad("this snapshot request is not supported by the stand-in")

    def _aliases(self, who: Rights) -> list[dict[str, str]]:
        return [
            {"alias_name": alias, "collection_name": collection}
            for alias, collection in self.storage.aliases.items()
            if who.on(collection)
        ]


def _snapshot_facts(path: Path) -> dict[str, Any]:
    return {"name": path.name, "size": path.stat().st_size, "creation_time": None}


def _need(allowed: bool, message: str) -> None:
    if not allowed:
        raise Denied(403, f"Forbidden: {message}")


def _json(value: Any, status: int = 200) -> Response:
    content = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    return Response(content, status_code=status, media_type="application/json")


def _failed(status: int, message: str, began: float) -> Response:
    took = time.perf_counter() - began
    return _json({"status": {"error": message}, "time": took, "result": None}, status)
