"""The playground's own database as it is now: a developer's new collections belong to it."""

from __future__ import annotations

from dataclasses import replace

from sandbox.contract import Access
from sandbox.stores.mongo.session import connect, database, doing, is_own_name, space_of


def everything(access: Access) -> Access:
    """`access` at a space that names every collection and view of its database."""
    space = space_of(access)
    client = connect(access)
    try:
        with doing("listing collections"):
            names = database(client, space.database).list_collection_names()
    finally:
        client.close()
    own = tuple(sorted(name for name in names if not is_own_name(name)))
    return replace(access, space=replace(space, collections=own))
