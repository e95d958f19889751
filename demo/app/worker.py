"""Momentry's worker: takes jobs from the stream `jobs` and marks their videos as ready.

Does nothing when MOMENTRY_WORKER_ENABLED is not `true`. `python3 -m app.worker`.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from typing import Any

import redis

from .server import level
from .stores import Stores, from_environment

log = logging.getLogger("momentry.worker")
GROUP, CONSUMER = "workers", "worker-app"
PAUSE = 1.0  # seconds that a job takes, and between two tries


def main() -> None:
    logging.basicConfig(level=level(os.environ.get("RUST_LOG", "info")), format="%(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if os.environ.get("MOMENTRY_WORKER_ENABLED", "").lower() != "true":
        log.info("switched off by MOMENTRY_WORKER_ENABLED")
        stop.wait()  # alive, so that nothing starts it again and again
        return
    run(from_environment(), stop)


def run(stores: Stores, stop: threading.Event, *, pause: float = PAUSE) -> None:
    """Job by job until `stop` is set; a store that fails is tried again."""
    client = stores.redis()
    while not stop.is_set():
        try:
            work(stores, client)
        except Exception as error:  # whatever it is, the next try may do
            log.warning("%s; trying again", type(error).__name__)
        stop.wait(pause)


def work(stores: Stores, client: redis.Redis) -> bool:
    """Whether there was a job. Its video is ready then; a job without a video is skipped."""
    key = stores.key("jobs")
    try:
        found: Any = client.xreadgroup(GROUP, CONSUMER, {key: ">"}, count=1)
    except redis.ResponseError as error:
        if not str(error).startswith("NOGROUP"):
            raise
        client.xgroup_create(key, GROUP, id="0", mkstream=True)
        return False
    if not found:
        return False
    entry, fields = found[0][1][0]
    video = fields.get("video_id", "")
    done = video.isdecimal() and stores.set_status(int(video), "ready")
    client.xack(key, GROUP, entry)
    log.info("job %s: video %s %s", entry, video, "is ready" if done else "is not there")
    return True


if __name__ == "__main__":
    main()
