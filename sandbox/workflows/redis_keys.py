"""The playground's own Redis keys, for those who may not SCAN a server that production shares."""

from __future__ import annotations

from fnmatch import fnmatchcase

from sandbox.stores.redis import Store
from sandbox.stores.redis.session import Names
from sandbox.workflows.credentials import changing
from sandbox.workflows.guards import check_own
from sandbox.workflows.session import Session


def redis_keys(session: Session, pattern: str = "*") -> tuple[str, list[str]]:
    """The sorted set that the application may read them from, and the live names without their
    prefix that match `pattern` (as in a shell)."""
    prefix = session.place("redis").playground.name
    with changing(session):
        store = session.store("redis")
        assert isinstance(store, Store)
        check_own(session.project, "redis", store)
        found = [name.decode(errors="backslashreplace")[len(prefix) :] for name in store.names()]
    listed = Names(prefix=prefix.encode()).keys().decode()
    return listed, [name for name in found if fnmatchcase(name, pattern)]
