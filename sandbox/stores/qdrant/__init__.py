"""Qdrant: a collection under an alias, copied as JSON batches, swapped by moving the alias."""

from sandbox.contract import Backend
from sandbox.stores.qdrant.admin import Admin
from sandbox.stores.qdrant.probe import Prober
from sandbox.stores.qdrant.script import script
from sandbox.stores.qdrant.source import Source
from sandbox.stores.qdrant.store import Store
from sandbox.stores.qdrant.tokens import token

BACKEND = Backend(source=Source, store=Store, admin=Admin, prober=Prober, script=script)

__all__ = ["BACKEND", "Admin", "Prober", "Source", "Store", "token"]
