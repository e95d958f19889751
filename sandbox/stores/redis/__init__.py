"""Redis: a space is a key prefix; identities are ACL users."""

from sandbox.stores.redis.admin import Admin
from sandbox.stores.redis.source import Source
from sandbox.stores.redis.store import Store

__all__ = ["Admin", "Source", "Store"]
