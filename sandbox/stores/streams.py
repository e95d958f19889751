"""Several streams of a server as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
END = object()


def side_by_side(
    streams: Sequence[Iterator[T]], meanwhile: Callable[[], object] = lambda: None
) -> Iterator[T]:
    """What all of them give, as it comes: one item of each is on its way or waits here. Something
    else can be done while the first are on their way."""
    with ThreadPoolExecutor(len(streams), thread_name_prefix="stream") as pool:
        waiting: dict[Future[T], Iterator[T]] = {
            pool.submit(next, stream, END): stream  # type: ignore[arg-type]
            for stream in streams
        }
        meanwhile()
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                stream, item = waiting.pop(future), future.result()
                if item is not END:
                    waiting[pool.submit(next, stream, END)] = stream  # type: ignore[arg-type]
                    yield item
