"""Redis: a space is a key prefix; identities are ACL users."""

from sandbox.contract import Backend
from sandbox.stores.redis.admin import RedisAdmin
from sandbox.stores.redis.probe import RedisProber
from sandbox.stores.redis.source import RedisSource
from sandbox.stores.redis.store import RedisStore

BACKEND = Backend(source=RedisSource, store=RedisStore, admin=RedisAdmin, prober=RedisProber)
