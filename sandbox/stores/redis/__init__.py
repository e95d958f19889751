"""Redis: a space is a key prefix; identities are ACL users."""

from sandbox.contract import Backend
from sandbox.stores.redis.admin import Admin
from sandbox.stores.redis.probe import Prober
from sandbox.stores.redis.script import script
from sandbox.stores.redis.source import Source
from sandbox.stores.redis.store import Store

BACKEND = Backend(source=Source, store=Store, admin=Admin, prober=Prober, script=script)

__all__ = ["BACKEND", "Admin", "Prober", "Source", "Store"]
