"""MongoDB: a space is a database; identities are users."""

from sandbox.contract import Backend
from sandbox.stores.mongo.admin import MongoAdmin
from sandbox.stores.mongo.probe import MongoProber
from sandbox.stores.mongo.source import MongoSource
from sandbox.stores.mongo.store import MongoStore

BACKEND = Backend(source=MongoSource, store=MongoStore, admin=MongoAdmin, prober=MongoProber)
