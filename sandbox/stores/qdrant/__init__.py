"""Qdrant: a space is a collection; identities are tokens signed with the api-key."""

from sandbox.contract import Backend
from sandbox.stores.qdrant.access import token
from sandbox.stores.qdrant.admin import QdrantAdmin
from sandbox.stores.qdrant.probe import QdrantProber
from sandbox.stores.qdrant.source import QdrantSource
from sandbox.stores.qdrant.store import QdrantStore

BACKEND = Backend(source=QdrantSource, store=QdrantStore, admin=QdrantAdmin, prober=QdrantProber)

__all__ = ["BACKEND", "token"]
