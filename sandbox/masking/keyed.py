"""Keyed pseudonyms: the same value and key give the same pseudonym in every store (P3).

Every pseudonym comes from HMAC-SHA256(key, domain || 0x00 || normalised value), so that without the
key it cannot be recomputed. docs/masking.md says how each domain normalises and holds test vectors.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Callable
from datetime import date, timedelta
from functools import lru_cache

LATIN_FIRST = (
    "Alma",
    "Arno",
    "Bela",
    "Cora",
    "Dario",
    "Edda",
    "Emil",
    "Fenja",
    "Gero",
    "Hanna",
    "Ivo",
    "Jona",
    "Kira",
    "Lars",
    "Mira",
    "Nils",
    "Oda",
    "Paul",
    "Quin",
    "Runa",
    "Sven",
    "Tilda",
    "Ugo",
    "Vera",
    "Wim",
    "Xenia",
    "Yara",
    "Zeno",
    "Ada",
    "Boris",
    "Clea",
    "Dora",
)
LATIN_LAST = (
    "Abel",
    "Birk",
    "Conrad",
    "Dorn",
    "Eder",
    "Falk",
    "Gast",
    "Hahn",
    "Imhof",
    "Jung",
    "Kern",
    "Lang",
    "Moor",
    "Nagel",
    "Opitz",
    "Pohl",
    "Quast",
    "Rau",
    "Seidl",
    "Thoma",
    "Ulm",
    "Vogt",
    "Wirth",
    "Xander",
    "Yorck",
    "Zorn",
    "Brandt",
    "Cordes",
    "Drexel",
    "Engel",
    "Funk",
    "Gross",
)
CHINESE_FIRST = "安博辰达恩飞光浩佳凯兰明宁平清然思涛维晓雅泽志中文英华玉雪云阳新"
CHINESE_LAST = "丁万于马方毛孔尹白石左甘冯田叶汤江许严吴何陆邱邵余金孟卓尚易项盛"
CITIES = (
    "Altdorf",
    "Birkau",
    "Calden",
    "Dornbach",
    "Eichen",
    "Felden",
    "Grünau",
    "Hagen",
    "Isental",
    "Jägerhof",
)
STREETS = (
    "Ahornweg",
    "Birkenallee",
    "Buchenweg",
    "Dorfstrasse",
    "Eichenring",
    "Feldgasse",
    "Gartenweg",
    "Hauptallee",
)
CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
Function = Callable[[str], str | None]


class Pseudonyms:
    """All domains under one key (bytes). Recent results are kept, a bounded number of them."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.email = lru_cache(1 << 16)(self._email)
        self.username = lru_cache(1 << 16)(self._username)
        self.person = lru_cache(1 << 16)(self._person)
        self.phone = lru_cache(1 << 16)(self._phone)
        self.ip = lru_cache(1 << 16)(self._ip)

    def digest(self, domain: str, value: str) -> bytes:
        message = domain.encode() + b"\0" + value.encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, message, hashlib.sha256)

    def hex(self, domain: str, value: str, length: int = 16) -> str:
        return self.digest(domain, value).hex()[:length]

    def token(self, value: str) -> str:
        return "tok_" + self.hex("token", value, 32)

    def city(self, value: str) -> str:
        return CITIES[self._number("city", value) % len(CITIES)]

    def street(self, value: str) -> str:
        number = self._number("street", value)
        return f"{STREETS[number % len(STREETS)]} {number // 7 % 200 + 1}"

    def birthday(self, value: str) -> str | None:
        """A day within a year of the true one."""
        try:
            day = date.fromisoformat(value[:10])
        except ValueError:
            return None
        shift = self._number("birthday", value[:10]) % 730 - 365
        return (day + timedelta(days=shift or 1)).isoformat()

    def url(self, value: str) -> str:
        return f"https://masked.example/{self.hex('url', value)}"

    def _email(self, value: str) -> str:
        return f"u{self.hex('email', value.strip().lower())}@masked.example"

    def _username(self, value: str) -> str:
        return f"u_{self.hex('username', value.strip().lower(), 12)}"

    def _person(self, value: str) -> str:
        """A made-up name that keeps its script: Chinese characters or Latin letters."""
        number = self._number("person", " ".join(value.split()).lower())
        if CJK.search(value):
            last = CHINESE_LAST[number % len(CHINESE_LAST)]
            first = CHINESE_FIRST[number // 37 % len(CHINESE_FIRST)]
            return last + first + CHINESE_FIRST[number // 1369 % len(CHINESE_FIRST)]
        first = LATIN_FIRST[number % len(LATIN_FIRST)]
        last = LATIN_LAST[number // 37 % len(LATIN_LAST)]
        return f"{first} {last}-{LATIN_LAST[number // 1369 % len(LATIN_LAST)]}"

    def _phone(self, value: str) -> str:
        """Digits only count: +49 30 1 and +49-30-1 are one number. 555-01 is for fiction."""
        digits = re.sub(r"\D", "", value)
        return f"+1555{self._number('phone', digits) % 10**10:010d}"

    def _ip(self, value: str) -> str:
        """Within the ranges that are reserved for documentation and tests."""
        bare, slash, bits = value.partition("/")
        try:
            address = ipaddress.ip_address(bare)
        except ValueError:
            return "192.0.2.1"
        number = self._number("ip", str(address))
        if address.version == 4:
            masked = str(ipaddress.IPv4Address(0xC6130000 + number % (1 << 16)))  # 198.19.0.0/16
        else:
            masked = str(ipaddress.IPv6Address((0x20010DB8FFFF << 80) + number % (1 << 64)))
        return masked + slash + bits

    def _number(self, domain: str, value: str) -> int:
        return int.from_bytes(self.digest(domain, value)[:8], "big")
