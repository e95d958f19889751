"""Which rows of a table are read. Apart from `subset`, which finds them: that needs numpy, and most
commands start without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sandbox.stores.postgres.session import Connection

if TYPE_CHECKING:
    from sandbox.stores.postgres.keysets import Keys


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A predicate, and the key sets and settings that it reads."""

    where: str
    keys: tuple[Keys, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)

    def give(self, connection: Connection) -> None:
        """Its key sets, for this transaction."""
        if self.keys:
            from sandbox.stores.postgres.keysets import give

            give(connection, self.keys)


WHOLE = Chosen(where="")
