"""One keyed pseudonym per value and domain, the same in every store (docs/pseudonyms.md).

    domain key = HMAC-SHA256(key, "sandbox masking 1: " + domain)
    digest     = HMAC-SHA256(domain key, normalised value as UTF-8)

A pseudonym is read off the digest by `FORMS`. Everything here can be said in SQL with the same
result (`sql.py`), so normalisation is made of ASCII operations only.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field

from sandbox.errors import ConfigError
from sandbox.masking.words import FAMILY_FIRST, UNSPACED, script_of, words

SPACE = " \t\n\r\v\f"
UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
HOST = "masked.example"  # RFC 2606 reserves the domain: no mail can arrive there
PHONE = "999"  # ITU reserves the country code: no telephone can ring there
HOUSES = 300  # in a street
# What is deleted from a value, and whether A-Z become a-z, by domain. Others: nothing, no.
REMOVED = {"phone": SPACE + "-.()/+", "uuid": SPACE + "-{}", "mac": SPACE + ":-."}
REMOVED |= dict.fromkeys(("email", "username", "person", "street", "city", "company"), SPACE)
_LOWER = bytes.maketrans(UPPER.encode(), UPPER.lower().encode())
GMAIL = (b"@gmail.com", b"@googlemail.com")  # their local parts have no meaningful dots

Record = Callable[[str, str, str], None]  # (domain, original, pseudonym)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a column demands of a result: at most `length` characters, `unique`, or a `number`."""

    length: int | None = None
    unique: bool = False
    exact: bool = False  # the value is not normalised: no two values share a pseudonym
    number: bool = False


FREE = Limits()


def normaliser(domain: str) -> Callable[[str], bytes]:
    """What two spellings of one value have in common, as UTF-8. All of it is done to ASCII bytes,
    and those are no part of another character in UTF-8."""
    removed = REMOVED.get(domain)
    if removed is None:
        return encoded
    drop = removed.encode()

    def plain(value: str) -> bytes:
        return value.encode("utf-8", "surrogatepass").translate(_LOWER, drop)

    def address(value: str) -> bytes:
        made = plain(value)
        if made.endswith(GMAIL):
            local, _, host = made.rpartition(b"@")
            return local.replace(b".", b"") + b"@" + host
        return made

    return address if domain == "email" else plain


def normalise(domain: str, value: str) -> str:
    """See `normaliser`."""
    return normaliser(domain)(value).decode("utf-8", "surrogatepass")


def encoded(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")


def hmac_sha256(key: bytes) -> Callable[[bytes], bytes]:
    """HMAC-SHA256 under one key of at most 64 bytes (RFC 2104). The two padded keys are hashed once
    and copied for each message: several times as fast as `hmac.digest`."""
    padded = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in padded)).copy
    outer = hashlib.sha256(bytes(b ^ 0x5C for b in padded)).copy

    def digest(message: bytes) -> bytes:
        first = inner()
        first.update(message)
        second = outer()
        second.update(first.digest())
        return second.digest()

    return digest


def read_key(text: str) -> bytes:
    """32 bytes from 64 hexadecimal digits; any other text of 24 or more characters is hashed."""
    if len(text) == 64:
        try:
            return bytes.fromhex(text)
        except ValueError:
            pass
    if len(text) < 24:
        raise ConfigError(
            "the masking key is too short", hint="64 hexadecimal digits: openssl rand -hex 32"
        )
    return hashlib.sha256(text.encode()).digest()


def domain_key(key: bytes, domain: str) -> bytes:
    return hmac.digest(key, b"sandbox masking 1: " + domain.encode(), "sha256")


def key_id(key: bytes) -> str:
    """Says which key it was, and nothing about it."""
    return hmac.digest(key, b"sandbox masking 1: key id", "sha256")[:6].hex()


def number(digest: bytes, start: int, size: int) -> int:
    """Big-endian, unsigned."""
    return int.from_bytes(digest[start : start + size], "big")


# --- forms: digest and value -> pseudonym --------------------------------------------------------


def _email(digest: bytes, value: str, limits: Limits) -> str:
    local = 17 if limits.length is None else min(17, limits.length - len(HOST) - 1)
    return f"{('u' + digest[:8].hex())[:local]}@{HOST}"


def _username(digest: bytes, value: str, limits: Limits) -> str:
    return "user_" + digest[:8].hex()


def _phone(digest: bytes, value: str, limits: Limits) -> str:
    digits = f"{number(digest, 0, 6) % 10**12:012d}"
    if limits.unique:  # too long for a telephone, but no two are the same
        digits += f"{number(digest, 6, 2):05d}"[-3:]
    return ("" if limits.number else "+") + PHONE + digits


def _pick(kind: str, script: str, digest: bytes, start: int) -> str:
    known = words(kind, script)
    return known[(digest[start] << 8 | digest[start + 1]) % len(known)]


def joined_name(script: str, first: str, last: str) -> str:
    if script in UNSPACED:
        return last + first
    return f"{last} {first}" if script in FAMILY_FIRST else f"{first} {last}"


def _person(digest: bytes, value: str, limits: Limits) -> str:
    script = script_of(value)
    firsts, lasts = words("first", script), words("last", script)
    first = firsts[(digest[0] << 8 | digest[1]) % len(firsts)]
    last = lasts[(digest[2] << 8 | digest[3]) % len(lasts)]
    return joined_name(script, first, last)


def joined_street(script: str, road: str, house: int) -> str:
    if script == "han":
        return f"{road}{house}号"
    return f"{road}, {house}" if script == "cyrillic" else f"{house} {road}"


def _street(digest: bytes, value: str, limits: Limits) -> str:
    script = script_of(value)
    return joined_street(
        script, _pick("street", script, digest, 0), 1 + number(digest, 2, 2) % HOUSES
    )


def _city(digest: bytes, value: str, limits: Limits) -> str:
    return _pick("city", script_of(value), digest, 0)


def _company(digest: bytes, value: str, limits: Limits) -> str:
    return _pick("company", script_of(value), digest, 0)


def _token(digest: bytes, value: str, limits: Limits) -> str:
    return "masked_" + digest[:16].hex()


def _hash(digest: bytes, value: str, limits: Limits) -> str:
    return digest.hex()


def _uuid(digest: bytes, value: str, limits: Limits) -> str:
    h = digest[:16].hex()
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-a{h[17:20]}-{h[20:]}"


def _mac(digest: bytes, value: str, limits: Limits) -> str:
    """02: locally administered, belongs to no maker."""
    return "02:" + digest[:5].hex(":")


FORMS: dict[str, Callable[[bytes, str, Limits], str]] = {
    "email": _email,
    "username": _username,
    "phone": _phone,
    "person": _person,
    "street": _street,
    "city": _city,
    "company": _company,
    "token": _token,
    "hash": _hash,
    "uuid": _uuid,
    "mac": _mac,
}
# Pseudonyms of these come from short lists, so one may be another person's real value.
FROM_LISTS = frozenset({"person", "street", "city", "company"})
SHORTEST = {"email": len(HOST) + 9, "username": 12, "phone": 16, "token": 15, "uuid": 36, "mac": 17}


def form(domain: str, digest: bytes, value: str, limits: Limits = FREE) -> str:
    """The pseudonym as text, within the limits."""
    made = FORMS[domain](digest, value, limits)
    if limits.unique and domain in FROM_LISTS:
        tail = " " + digest[8:16].hex()
        room = None if limits.length is None else max(limits.length - len(tail), 0)
        made = made[:room] + tail
    return made if limits.length is None else made[: limits.length]


@dataclass(kw_only=True)
class Pseudonyms:
    """Makes pseudonyms under one key; remembers the latest ones. Shared by threads.

    `record` hears of each (domain, original, pseudonym) that is made anew.
    """

    key: bytes = field(repr=False)
    record: Record = field(repr=False, default=lambda domain, original, pseudonym: None)
    remembered: int = 20_000  # by function

    def __post_init__(self) -> None:
        self._keys: dict[str, bytes] = {}
        self._digesters: dict[str, Callable[[bytes], bytes]] = {}

    @property
    def key_id(self) -> str:
        return key_id(self.key)

    def domain_key(self, domain: str) -> bytes:
        known = self._keys.get(domain)
        if known is None:
            known = self._keys[domain] = domain_key(self.key, domain)
        return known

    def digester(self, domain: str) -> Callable[[bytes], bytes]:
        known = self._digesters.get(domain)
        if known is None:
            known = self._digesters[domain] = hmac_sha256(self.domain_key(domain))
        return known

    def digest(self, domain: str, message: str | bytes) -> bytes:
        return self.digester(domain)(encoded(message) if isinstance(message, str) else message)

    def function(
        self, domain: str, limits: Limits = FREE, *, recorded: bool = True
    ) -> Callable[[str], str]:
        """The pseudonym of a text in one domain. Not `recorded`: what is only part of a value."""
        return self.remember(domain, self.maker(domain, limits), recorded=recorded)

    def maker(self, domain: str, limits: Limits = FREE) -> Callable[[str], str]:
        """The same without a memory, and not recorded."""
        digest, made = self.digester(domain), FORMS[domain]
        message = encoded if limits.exact else normaliser(domain)
        free = limits.length is None and not (limits.unique and domain in FROM_LISTS)

        def make(value: str) -> str:
            if not value:
                return value
            if free:
                return made(digest(message(value)), value, limits)
            return form(domain, digest(message(value)), value, limits)

        return make

    def remember(
        self, domain: str, make: Callable[[str], str], *, recorded: bool = True
    ) -> Callable[[str], str]:
        """`make` behind a bounded memory; what is made anew is recorded."""
        latest: dict[str, str] = {}
        record, bound = self.record, self.remembered

        def masked(value: str) -> str:
            known = latest.get(value)
            if known is None:
                known = make(value)
                if len(latest) >= bound:
                    latest.clear()
                latest[value] = known
                if recorded:
                    record(domain, value, known)
            return known

        return masked
