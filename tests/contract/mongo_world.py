"""One MongoDB with both spaces isolated, emptied again before each use."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import pymongo
from pymongo.database import Database

from sandbox.contract import Access
from sandbox.masking.keep import KEEP
from sandbox.model import Endpoint, Identity, Marker, MongoSpace, Role
from sandbox.stores.mongo import Admin, Source, Store
from sandbox.stores.mongo.session import LOSSLESS, MARKER, marker_document

ROLES: tuple[Role, ...] = ("reader", "keeper", "playground", "production")
OURS = Marker(project="demo", environment="playground", snapshot="s1")
Ttl = Literal["hold", "shift", "keep"]


@dataclass(frozen=True, kw_only=True)
class World:
    """Two databases of one server, their logins, and the administrator's client."""

    endpoint: Endpoint
    admin: Identity
    client: Any
    identities: dict[Role, Identity]
    stem: str

    @property
    def production(self) -> Database[dict[str, Any]]:
        return self.client.get_database(self.stem, codec_options=LOSSLESS)

    @property
    def playground(self) -> Database[dict[str, Any]]:
        return self.client.get_database(f"{self.stem}_dev", codec_options=LOSSLESS)

    def space(self, database: str, names: Sequence[str] | None = None, ttl: Ttl = "hold") -> Any:
        listed = self.client[self.stem].list_collection_names()
        return MongoSpace(database=database, collections=tuple(names or listed), ttl=ttl)

    def access(self, role: Role, space: MongoSpace) -> Access:
        return Access(endpoint=self.endpoint, identity=self.identities[role], space=space)

    def source(
        self, names: Sequence[str] | None = None, ttl: Ttl = "hold", *, listeners: Any = ()
    ) -> Source:
        access = self.access("reader", self.space(self.stem, names, ttl))
        options: Any = {"event_listeners": list(listeners)} if listeners else {}
        return Source(replace(access, endpoint=replace(self.endpoint, options=options)))

    def store(self, production: str = "") -> Store:
        return Store(
            self.access("keeper", self.space(f"{self.stem}_dev")),
            owner=self.identities["playground"],
            production=self.space(production or self.stem),
        )

    def administrator(self, role_names: Sequence[Role] = ROLES) -> Admin:
        return Admin(
            Access(endpoint=self.endpoint, identity=self.admin, space=self.space(self.stem)),
            production=self.space(self.stem),
            playground=self.space(f"{self.stem}_dev"),
            identities={role: self.identities[role] for role in role_names},
            project="demo",
        )

    def load(
        self, *, mask: Any = KEEP, ttl: Ttl = "hold", swap: bool = True, settle: bool = True
    ) -> Sequence[str]:
        """Production into the playground; returns what could not be carried."""
        source, store = self.source(ttl=ttl), self.store()
        try:
            with source.cut() as cut:
                datasets = source.datasets(cut)
                store.stage(datasets, source.catalog(cut))
                for dataset in datasets:
                    store.write(dataset, (p for _, p in source.read(cut, dataset, mask)))
            notes = store.finish(replace(OURS, counts={d.name: d.rows for d in datasets}))
            if swap:
                store.swap()
            if settle:
                store.settle()
        finally:
            source.close()
            store.close()
        return notes

    def empty(self) -> None:
        """Everything but the markers, which are as `isolate` left them."""
        theirs = Marker(project="demo", environment="production")
        ours = Marker(project="demo", environment="playground")
        for base, marker in ((self.production, theirs), (self.playground, ours)):
            for found in sorted(base.list_collections(), key=lambda one: one["type"] != "view"):
                if found["name"] != MARKER and not found["name"].startswith("system."):
                    base.drop_collection(found["name"])
            base[MARKER].delete_many({})
            base[MARKER].insert_one({"_id": "marker", **marker_document(marker)})


def client_of(server: Any, **options: Any) -> Any:
    return pymongo.MongoClient(
        server.host,
        server.port,
        username=server.admin_user,
        password=server.admin_password,
        directConnection=True,
        **options,
    )


@contextmanager
def isolated(server: Any) -> Iterator[World]:
    client = client_of(server)
    stem = f"t{secrets.token_hex(4)}"
    made = World(
        endpoint=Endpoint(host=server.host, port=server.port),
        admin=Identity(role="admin", name=server.admin_user, secret=server.admin_password),
        client=client,
        identities={r: Identity(role=r, name=f"{stem}_{r}", secret=f"s-{r}") for r in ROLES},
        stem=stem,
    )
    made.administrator().isolate()
    yield made
    for base in (made.production, made.playground):
        client.drop_database(base.name)
    client.close()
