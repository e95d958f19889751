"""date: moved by whole days. By subject, so that intervals and order are kept; else by the day."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import Any

from sandbox.masking.pseudonyms import Limits, Pseudonyms, number
from sandbox.masking.rules import Rule
from sandbox.masking.strategies.base import Function, Strategy, Tools

DAYS = 180
UNREADABLE = "1970-01-01"
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?!\d)")


def offset(pseudonyms: Pseudonyms, seed: str, days: int) -> int:
    """From -days to days, never 0."""
    place = number(pseudonyms.digest("date", seed), 0, 4) % (2 * days)
    return place - days if place < days else place - days + 1


def _date(rule: Rule, tools: Tools, limits: Limits) -> Function:
    """Over one value, or over (value, subject) where the rule names a subject."""
    days = rule.option("days", DAYS)
    by_subject = rule.option("subject") is not None

    def shift(value: date, subject: str | None) -> date:
        seed = f"{value:%Y-%m-%d}" if subject is None else f"subject {subject}"
        if subject is None:
            seed = f"{value.year:04d}-{value.month:02d}-{value.day:02d}"
        try:
            return value + timedelta(days=offset(tools.pseudonyms, seed, days))
        except OverflowError:
            return value.replace(year=1970)

    def of_text(value: str, subject: str | None) -> str:
        match = _DATE.match(value)
        try:
            found = date(int(match[1]), int(match[2]), int(match[3])) if match else None
        except ValueError:
            found = None
        if match is None or found is None or value.endswith(" BC"):
            return UNREADABLE if value and value not in ("infinity", "-infinity") else value
        return shift(found, subject).isoformat() + value[match.end() :]

    def masked(value: Any, subject: str | None = None) -> Any:
        if isinstance(value, (datetime, date)):
            return shift(value, subject)
        if isinstance(value, bytes):
            return of_text(value.decode("utf-8", "replace"), subject).encode()
        if isinstance(value, str):
            return of_text(value, subject)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return _seconds(value, subject)
        return None

    def _seconds(value: Any, subject: str | None) -> Any:
        unit = 1000 if abs(value) >= 10**11 else 1  # milliseconds or seconds since 1970
        day = date(1970, 1, 1) + timedelta(days=min(int(value // (86400 * unit)), 2_000_000))
        return type(value)(value + (shift(day, subject) - day).days * 86400 * unit)

    if not by_subject:
        return masked

    def by(value: Any, subject: Any = None) -> Any:
        return masked(value, "" if subject is None else str(subject))

    return by


STRATEGIES = {
    name: Strategy(make=_date, options={"days": (int,), "subject": (str,)})
    for name in ("date", "timestamp")
}
