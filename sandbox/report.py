"""What a long job tells while it runs: events, with no idea of how they are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing was done, in `seconds`."""

    name: str
    detail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """`store` has moved on to `rows` and `bytes` of the totals (0: unknown)."""

    task: str
    store: str
    rows: int
    total_rows: int = 0
    bytes: int = 0
    done: bool = False


@dataclass(frozen=True, kw_only=True)
class Warned:
    """Something a person should know that does not stop the job."""

    message: str


Event = Step | Progress | Warned
Report = Callable[[Event], None]


def silent(_: Event) -> None:
    """Tell nobody."""
