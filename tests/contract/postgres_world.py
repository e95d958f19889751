"""A database with both schemas isolated, for the suites that copy: source, store, pg_dump."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import sql

from sandbox.contract import Access, Mask
from sandbox.engine.programs import run as run_inside
from sandbox.masking.keep import KEEP
from sandbox.model import Dataset, Endpoint, Identity, Marker, PostgresSpace, Role, slices
from sandbox.stores.postgres import PostgresAdmin, PostgresSource, PostgresStore

ROLES: tuple[Role, ...] = ("reader", "keeper", "playground", "production")


@dataclass(kw_only=True)
class World:
    """One new database of a server: production's schema and the playground's."""

    server: Any
    client: Any  # a connection as the administrator, in that database
    identities: dict[Role, Identity]
    production: PostgresSpace
    playground: PostgresSpace
    project: str
    baseline: str = ""  # not empty: a load keeps a pristine copy

    def listing(self, *, isolated: Sequence[str], shared: Sequence[str] = ()) -> World:
        """The same with other lists, after production's tables were made."""
        lists = {"isolated": tuple(isolated), "shared": tuple(shared)}
        self.production = replace(self.production, **lists)
        self.playground = replace(self.playground, **lists)
        self.isolate()
        return self

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(host=self.server.host, port=self.server.port)

    def access(self, role: Role) -> Access:
        at_home = role in ("keeper", "playground")
        space = self.playground if at_home else self.production
        return Access(endpoint=self.endpoint, identity=self.identities[role], space=space)

    def tool(
        self, argv: Sequence[str], *, stdin: bytes = b"", environment: Mapping[str, str] = {}
    ) -> bytes:
        container = self.server.container.get_wrapped_container()
        return run_inside(container.client, container.id, argv, stdin, environment)

    def administrator(self) -> PostgresAdmin:
        login = Identity(
            role="admin", name=self.server.admin_user, secret=self.server.admin_password
        )
        return PostgresAdmin(
            Access(endpoint=self.endpoint, identity=login, space=self.production),
            production=self.production,
            playground=self.playground,
            identities=self.identities,
            project=self.project,
        )

    def isolate(self) -> None:
        """Once more after production's tables were made: the reader's rights follow."""
        admin = self.administrator()
        admin.isolate()
        admin.close()

    def source(self) -> PostgresSource:
        return PostgresSource(self.access("reader"), tool=self.tool)

    def store(self) -> PostgresStore:
        return PostgresStore(
            self.access("keeper"),
            owner=self.identities["playground"],
            production=self.production,
            tool=self.tool,
        )

    def marker(self) -> Marker:
        return Marker(
            project=self.project, environment="playground", snapshot="s", baseline=self.baseline
        )

    def copy(self, mask: Mask = KEEP) -> Sequence[str]:
        """Production into the playground, without an artifact; returns what was lost."""
        taken = self.take(mask)
        return self.put(*taken)

    def take(self, mask: Mask = KEEP) -> tuple[bytes, list[tuple[Dataset, list[bytes]]]]:
        source = self.source()
        try:
            with source.cut() as cut:
                catalog = source.catalog(cut)
                datasets = source.datasets(cut)
                streams = [part for dataset in datasets for part in slices(dataset)]
                return catalog, [
                    (one, [piece for _, piece in source.read(cut, one, mask)]) for one in streams
                ]
        finally:
            source.close()

    def put(
        self, catalog: bytes, streams: Sequence[tuple[Dataset, Sequence[bytes]]]
    ) -> Sequence[str]:
        store = self.store()
        try:
            store.stage([dataset for dataset, _ in streams], catalog)
            for dataset, pieces in streams:
                store.write(dataset, pieces)
            lost = store.finish(self.marker())
            store.swap()
            store.settle()
            return lost
        except BaseException:
            store.settle()
            raise
        finally:
            store.close()


@contextmanager
def database(
    server: Any,
    *,
    isolated: Sequence[str],
    shared: Sequence[str] = (),
    schema: str = "public",
    playground: str = "dev",
    ddl: str | bytes = "",
) -> Iterator[World]:
    """A database of its own with `ddl` run in it; it and its logins are gone afterwards."""
    tag = secrets.token_hex(3)
    names = {"host": server.host, "port": server.port, "user": server.admin_user}
    names["password"] = server.admin_password
    owner = psycopg.connect(dbname="postgres", autocommit=True, **names)
    owner.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(f"db_{tag}")))
    client = psycopg.connect(dbname=f"db_{tag}", autocommit=True, **names)
    space = PostgresSpace(
        database=f"db_{tag}", schema=schema, isolated=tuple(isolated), shared=tuple(shared)
    )
    made = World(
        server=server,
        client=client,
        identities={
            role: Identity(role=role, name=f"{tag}_{role}", secret=f"s-{role}") for role in ROLES
        },
        production=space,
        playground=PostgresSpace(
            database=space.database,
            schema=playground,
            isolated=space.isolated,
            shared=space.shared,
        ),
        project=f"p{tag}",
    )
    try:
        client.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        if ddl:
            client.execute(ddl if isinstance(ddl, bytes) else ddl.encode())
        made.isolate()
        yield made
    finally:
        client.close()
        with suppress(psycopg.OperationalError):  # the server was killed on purpose
            _drop(owner, made)
        owner.close()


def _drop(owner: Any, made: World) -> None:
    template = f"{made.project}_sandbox_template"
    owner.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(template)))
    for name in (template, made.production.database):
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        owner.execute(drop.format(sql.Identifier(name)))
    for identity in made.identities.values():
        owner.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(identity.name)))
        owner.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(identity.name)))
