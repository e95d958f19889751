"""Several streams of a server as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
END = object()


def side_by_side(streams: Sequence[Iterator[T]]) -> Iterator[T]:
    """What all of them give, as it comes: one item of each is on its way or waits here."""
    with ThreadPoolExecutor(len(streams), thread_name_prefix="stream") as pool:
        waiting: dict[Future[T], Iterator[T]] = {
            pool.submit(next, stream, END): stream  # type: ignore[arg-type]
            for stream in streams
        }
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                stream, item = waiting.pop(future), future.result()
                if item is not END:
                    waiting[pool.submit(next, stream, END)] = stream  # type: ignore[arg-type]
                    yield item
