"""MongoDB: a space is a database; identities are users with a role of their own in it."""

from sandbox.contract import Backend
from sandbox.stores.mongo.admin import Admin
from sandbox.stores.mongo.probe import MongoProber
from sandbox.stores.mongo.script import script
from sandbox.stores.mongo.source import Source
from sandbox.stores.mongo.store import Store

BACKEND = Backend(source=Source, store=Store, admin=Admin, prober=MongoProber, script=script)
