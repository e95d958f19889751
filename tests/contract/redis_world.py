"""One Redis with both spaces isolated, for the suites that copy and that probe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis as driver

from sandbox.contract import Access
from sandbox.model import Endpoint, Identity, RedisSpace, Role
from sandbox.stores.redis import Admin, Prober, Source, Store

PRODUCTION, PLAYGROUND = RedisSpace(prefix="momentry:"), RedisSpace(prefix="momentry_dev:")
ROLES: tuple[Role, ...] = ("reader", "keeper", "playground", "production")


@dataclass(frozen=True, kw_only=True)
class World:
    """One server with both spaces isolated, and the administrator's client."""

    endpoint: Endpoint
    admin: Access
    client: Any
    identities: dict[Role, Identity]

    def access(self, role: Role, space: RedisSpace) -> Access:
        return Access(endpoint=self.endpoint, identity=self.identities[role], space=space)

    def source(self) -> Source:
        return Source(self.access("reader", PRODUCTION))

    def prober(self) -> Prober:
        return Prober(
            playground=self.access("playground", PLAYGROUND),
            production=self.access("production", PRODUCTION),
            reader=self.access("reader", PRODUCTION),
        )

    def store(self) -> Store:
        return Store(
            self.access("keeper", PLAYGROUND),
            owner=self.identities["playground"],
            production=PRODUCTION,
        )

    def administrator(self) -> Admin:
        return Admin(
            self.admin,
            production=PRODUCTION,
            playground=PLAYGROUND,
            identities=self.identities,
            project="momentry",
        )


@contextmanager
def isolated(server: Any) -> Iterator[World]:
    """An empty server with logins and markers; everything is gone afterwards."""
    endpoint = Endpoint(host=server.host, port=server.port)
    login = Identity(role="admin", name=server.admin_user, secret=server.admin_password)
    client: Any = driver.Redis(host=server.host, port=server.port, password=server.admin_password)
    client.flushall()
    made = World(
        endpoint=endpoint,
        admin=Access(endpoint=endpoint, identity=login, space=PRODUCTION),
        client=client,
        identities={r: Identity(role=r, name=f"t_{r}", secret=f"s-{r}") for r in ROLES},
    )
    made.administrator().isolate()
    yield made
    client.execute_command("ACL", "DELUSER", *(i.name for i in made.identities.values()))
    client.flushall()
    client.close()
