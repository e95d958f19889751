"""The playground's own key names for a login that may run neither KEYS nor SCAN: a sorted set that
it may read (ZRANGE, ZSCAN ... MATCH), kept up to date by the keeper."""

from __future__ import annotations

from collections.abc import Iterable

from sandbox.stores.redis.session import Names, Wire, need_own

BATCH = 1000  # names in one command


def refresh(wire: Wire, names: Names, present: Iterable[bytes]) -> list[bytes]:
    """Bring the sorted set to the names that there are now; returns them, sorted.

    Whoever reads meanwhile finds every name that was there before and after: new ones get a higher
    score first, and then those that kept the old one go.
    """
    need_own(wire, names)
    listed = names.keys()
    top = wire.ask(b"ZREVRANGE", listed, b"0", b"0", b"WITHSCORES")
    score = b"%d" % (int(float(top[1])) + 1 if top else 1)
    found = sorted(set(present))
    for at in range(0, len(found), BATCH):
        pairs = [part for name in found[at : at + BATCH] for part in (score, name)]
        wire.ask(b"ZADD", listed, *pairs)
    wire.ask(b"ZREMRANGEBYSCORE", listed, b"-inf", b"(" + score)
    return found
