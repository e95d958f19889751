"""Files on disk: directories by purpose, copied as tar streams, swapped by one rename."""

from sandbox.contract import Backend
from sandbox.stores.files.admin import Admin
from sandbox.stores.files.probe import Prober
from sandbox.stores.files.script import script
from sandbox.stores.files.source import Source
from sandbox.stores.files.store import Store

BACKEND = Backend(source=Source, store=Store, admin=Admin, prober=Prober, script=script)

__all__ = ["BACKEND", "Admin", "Prober", "Source", "Store"]
