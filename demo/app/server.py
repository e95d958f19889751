"""Momentry's API, as far as the demo needs it: `/health` asks every store, `/videos` lists some.

Listens on MOMENTRY_SERVER_PORT, on 127.0.0.1 only. `python3 -m app.server`.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .stores import Stores, from_environment

log = logging.getLogger("momentry.api")
MOST = 100  # videos in one answer
LEVELS = {"trace": "DEBUG", "warn": "WARNING"}


def main() -> None:
    logging.basicConfig(level=level(os.environ.get("RUST_LOG", "info")), format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # its lines hold addresses
    stores = from_environment()
    server = serve(stores, int(os.environ.get("MOMENTRY_SERVER_PORT") or 3002))
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    log.info("listening on port %s", server.server_address[1])
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(130)


def level(name: str) -> str:
    """RUST_LOG's word as Python's; `info` for what is none."""
    wanted = LEVELS.get(name.lower(), name.upper())
    return wanted if wanted in logging.getLevelNamesMapping() else "INFO"


def serve(stores: Stores, port: int) -> ThreadingHTTPServer:
    """A bound server; port 0 finds a free one."""
    handler = type("Handler", (_Handler,), {"stores": stores})
    return ThreadingHTTPServer(("127.0.0.1", port), handler)


class _Handler(BaseHTTPRequestHandler):
    stores: Stores
    server_version = "momentry-demo"
    sys_version = ""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/health":
            found = self.stores.health()
            # The directory may not be mounted in a container: it does not decide.
            well = all(v == "ok" for store, v in found.items() if store != "files")
            self._answer(200 if well else 503, {"healthy": well, "stores": found})
        elif parts.path == "/videos":
            self._videos(parse_qs(parts.query).get("limit", ["20"])[0])
        else:
            self._answer(404, {"error": "there are /health and /videos"})

    def _videos(self, limit: str) -> None:
        if not limit.isdecimal() or not 1 <= int(limit) <= MOST:
            self._answer(400, {"error": f"limit is a number from 1 to {MOST}"})
            return
        try:
            self._answer(200, {"videos": self.stores.videos(limit=int(limit))})
        except Exception as error:
            log.warning("videos: %s", type(error).__name__)
            self._answer(503, {"error": type(error).__name__})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json; charset=utf-8")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        log.debug(format, *arguments)


if __name__ == "__main__":
    main()
