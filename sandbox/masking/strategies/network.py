"""ip: two addresses that share their first bits share as many afterwards."""

from __future__ import annotations

import ipaddress
import re

from sandbox.masking.pseudonyms import Limits
from sandbox.masking.rules import Rule
from sandbox.masking.strategies.base import Function, OverText, Strategy, Tools

UNIT = {4: 1, 6: 2}  # bytes that are masked together: IPv4 by 8 bits, IPv6 by 16
_ADDRESS = re.compile(r"\[?([0-9A-Fa-f:.]+)\]?((?:/\d+|:\d+)?)")


def masked_bytes(tools: Tools, packed: bytes) -> bytes:
    """Each unit XORed with a pad that depends on the version and all units before it."""
    unit = UNIT[4 if len(packed) == 4 else 6]
    version = b"4" if unit == 1 else b"6"
    out = bytearray()
    for start in range(0, len(packed), unit):
        pad = tools.pseudonyms.digest("ip", version + packed[:start])
        out += bytes(a ^ b for a, b in zip(packed[start : start + unit], pad, strict=False))
    return bytes(out)


def _ip(rule: Rule, tools: Tools, limits: Limits) -> Function:
    token = tools.pseudonyms.function("token", limits)

    def make(value: str) -> str:
        try:
            address = ipaddress.ip_address(value)
            return str(ipaddress.ip_address(masked_bytes(tools, address.packed)))
        except ValueError:
            return _with_rest(value)

    def _with_rest(value: str) -> str:
        match = _ADDRESS.fullmatch(value.strip())
        if (
            match is None
            or not match[2]
            or (":" in match[1] and "[" not in value[:1] and match[2][0] == ":")
        ):
            return token(value) if value.strip() else value
        try:
            address = ipaddress.ip_address(match[1])
        except ValueError:
            return token(value)
        masked = str(ipaddress.ip_address(masked_bytes(tools, address.packed)))
        return value.strip().replace(match[1], masked, 1)

    return OverText(tools.pseudonyms.remember("ip", make))


STRATEGIES = {"ip": Strategy(make=_ip)}
