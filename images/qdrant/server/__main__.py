"""Reads the real server's QDRANT__... variables, serves, flushes every second and on stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from server.app import Server

FLUSH_EVERY = 1.0  # seconds: what a kill can lose at most


def truth(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "yes")


def main() -> None:
    server = Server(
        Path(os.environ.get("QDRANT__STORAGE__STORAGE_PATH", "/qdrant/storage")),
        os.environ.get("QDRANT__SERVICE__API_KEY", ""),
        tokens=truth("QDRANT__SERVICE__JWT_RBAC"),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async def flush() -> None:
            while True:
                await asyncio.sleep(FLUSH_EVERY)
                server.storage.flush()

        task = asyncio.create_task(flush())
        yield
        task.cancel()
        server.storage.close()

    app = server.app()
    app.router.lifespan_context = lifespan
    uvicorn.run(
        app,
        host=os.environ.get("QDRANT__SERVICE__HOST", "0.0.0.0"),
        port=int(os.environ.get("QDRANT__SERVICE__HTTP_PORT", "6333")),
        log_level="warning",
        access_log=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=1,
    )


main()
