"""The playground's own schema as it is now: a developer's new tables belong to it."""

from __future__ import annotations

from dataclasses import replace

from sandbox.contract import Access
from sandbox.stores.postgres.catalog import relations
from sandbox.stores.postgres.session import connect, space_of


def everything(access: Access) -> Access:
    """`access` at a space that isolates every table and view of its schema and shares none."""
    space = space_of(access)
    connection = connect(access)
    try:
        found = relations(connection, space.schema)
    finally:
        connection.close()
    names = tuple(name for _, name, _, is_partition, *_ in found if not is_partition)
    return replace(access, space=replace(space, isolated=names, shared=(), narrowed={}))
