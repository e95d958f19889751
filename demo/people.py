"""The demo's people: the same ones for the same seed. Address, username and phone name one person;
full names may be shared, as in life.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

from demo.names import LOCALES, Locale

HOSTS = ("example.com", "example.org", "example.net", "mail.example.com")


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """One of the people, numbered from 1. `latitude` and `longitude` are near the city's."""

    number: int
    name: str
    email: str
    username: str
    phone: str
    birthday: date
    street: str
    city: str
    latitude: float
    longitude: float
    ip: str
    language: str  # zh, ja or en


@lru_cache(maxsize=4)
def people(count: int, random_seed: int) -> tuple[Person, ...]:
    """`count` people. One more in the count changes none of the others."""
    taken: set[str] = set()
    return tuple(_person(number, random_seed, taken) for number in range(1, count + 1))


def _person(number: int, random_seed: int, taken: set[str]) -> Person:
    draw = random.Random(f"person {random_seed} {number}")
    locale = LOCALES[number % len(LOCALES)]
    family, family_latin = _pair(draw.choice(locale.families))
    given, given_latin = _pair(draw.choice(locale.givens))
    stem = f"{given_latin}.{family_latin}".lower().replace("'", "").replace("-", "")
    username = f"{given_latin[0]}{family_latin}".lower().replace("'", "").replace("-", "")
    if stem in taken:
        stem = f"{stem}{number}"
    taken.add(stem)
    city, latitude, longitude = draw.choice(locale.cities).split("/")
    return Person(
        number=number,
        name=locale.template.format(family=family, given=given),
        email=f"{stem}@{HOSTS[draw.randrange(len(HOSTS))]}",
        username=f"{username}_{number:03d}",
        phone=_phone(locale, number),
        birthday=date(1950, 1, 1) + timedelta(days=draw.randrange(20_000)),
        street=locale.street.format(road=draw.choice(locale.roads), number=draw.randrange(1, 400)),
        city=city,
        latitude=round(float(latitude) + draw.uniform(-0.05, 0.05), 6),
        longitude=round(float(longitude) + draw.uniform(-0.05, 0.05), 6),
        ip=_ip(number),
        language=locale.language,
    )


def _pair(text: str) -> tuple[str, str]:
    native, _, latin = text.partition("/")
    return native, latin or native


def _phone(locale: Locale, number: int) -> str:
    """No two people of a locale share one, up to ten thousand of them times a hundred."""
    if locale.code == "en":  # 555 01xx: for fiction
        return locale.phone.format(a=201 + number // 100 % 780, b=100 + number % 100)
    scattered = number * 7919 % 9973  # 9973 is prime: a permutation
    return locale.phone.format(a=10 + number // 9973 % 80, b=scattered)


def _ip(number: int) -> str:
    """From the ranges for benchmarks and documentation; every seventh person has IPv6."""
    if number % 7 == 0:
        return f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::{1 + number % 251:x}"
    return f"198.{18 + (number >> 16) % 2}.{number >> 8 & 255}.{number & 255}"
