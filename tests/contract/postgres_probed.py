"""One PostgreSQL with both spaces isolated, for the suites that probe it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from sandbox.contract import Access
from sandbox.model import Attempt, Endpoint, Identity, Narrowed, PostgresSpace, Role
from sandbox.stores.postgres import BACKEND, PostgresAdmin, PostgresProber

NARROWED = {
    "keys": Narrowed(where="environment = 'development'", columns=("id", "environment")),
}
PRODUCTION = PostgresSpace(
    database="momentry",
    schema="public",
    isolated=("videos", "people"),
    shared=("keys", "notes"),
    narrowed=NARROWED,
)
PLAYGROUND = replace(PRODUCTION, schema="dev")
ROLES: tuple[Role, ...] = ("reader", "keeper", "playground", "production")
TABLES = """
CREATE TABLE videos (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, title text, size int);
CREATE TABLE people (id serial PRIMARY KEY, name text);
CREATE TABLE keys (id int PRIMARY KEY, environment text, key text);
CREATE TABLE notes (note text);
INSERT INTO videos (title, size) SELECT 'title ' || n % 7, n % 7 FROM generate_series(1, 100) n;
INSERT INTO people (name) SELECT 'name ' || n FROM generate_series(1, 10) n;
INSERT INTO keys VALUES (1, 'production', 'secret'), (2, 'development', 'open');
INSERT INTO notes VALUES ('a note');
CREATE STATISTICS both_of_videos ON title, size FROM videos;
ANALYZE;
"""
CHECKSUM = """
SELECT md5(string_agg(t, '|' ORDER BY t)) FROM (
  SELECT 'v' || v::text FROM videos v UNION ALL SELECT 'p' || p::text FROM people p
  UNION ALL SELECT 'k' || k::text FROM keys k UNION ALL SELECT 'n' || n::text FROM notes n
  UNION ALL SELECT c.relname || c.relkind::text || coalesce(c.relacl::text, '') || c.relowner
    FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
  UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
  UNION ALL SELECT rolname || rolsuper || rolcanlogin || rolcreaterole
    || coalesce(nullif(rolconfig, CASE WHEN rolname = 't_playground' THEN rolconfig END)::text, '')
    FROM pg_roles
  UNION ALL SELECT tgname FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid
    WHERE c.relnamespace = 'public'::regnamespace
  UNION ALL SELECT polname FROM pg_policy JOIN pg_class c ON c.oid = polrelid
    WHERE c.relnamespace = 'public'::regnamespace
  UNION ALL SELECT 's' || last_value || is_called FROM people_id_seq
  UNION ALL SELECT description FROM pg_description WHERE objoid IN
    (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
  UNION ALL SELECT nspname || coalesce(nspacl::text, '') FROM pg_namespace WHERE nspname = 'public'
) every (t)
"""


@dataclass(frozen=True, kw_only=True)
class World:
    """One server with both spaces isolated, and the administrator's connection."""

    endpoint: Endpoint
    login: Identity
    admin: Any
    identities: dict[Role, Identity]

    def access(self, role: Role) -> Access:
        space = PLAYGROUND if role in ("playground", "keeper") else PRODUCTION
        return Access(endpoint=self.endpoint, identity=self.identities[role], space=space)

    def prober(self, **changed: Access) -> PostgresProber:
        roles: tuple[Role, ...] = ("playground", "production", "reader")
        return PostgresProber(**{**{role: self.access(role) for role in roles}, **changed})

    def attempts(self) -> list[Attempt]:
        prober = self.prober()
        try:
            return list(prober.attempts())
        finally:
            prober.close()

    def failed(self) -> set[tuple[str, str]]:
        return {(a.identity, a.tried) for a in self.attempts() if not a.ok}

    def isolate(self) -> None:
        made = PostgresAdmin(
            Access(endpoint=self.endpoint, identity=self.login, space=PRODUCTION),
            production=PRODUCTION,
            playground=PLAYGROUND,
            identities=self.identities,
            project="demo",
        )
        made.isolate()
        made.close()

    def checksum(self) -> str:
        return str(self.admin.execute(CHECKSUM).fetchone()[0])


@contextmanager
def isolated(server: Any) -> Iterator[World]:
    """A fresh database with production's tables, logins and markers; all of it goes afterwards."""
    assert BACKEND.prober is PostgresProber
    login = Identity(role="admin", name=server.admin_user, secret=server.admin_password)

    def open_(database: str) -> Any:
        return psycopg.connect(
            host=server.host,
            port=server.port,
            user=login.name,
            password=login.secret,
            dbname=database,
            autocommit=True,
        )

    with open_("postgres") as root:
        root.execute("DROP DATABASE IF EXISTS momentry WITH (FORCE)")
        root.execute("CREATE DATABASE momentry")
    admin = open_("momentry")
    admin.execute(TABLES)
    made = World(
        endpoint=Endpoint(host=server.host, port=server.port),
        login=login,
        admin=admin,
        identities={r: Identity(role=r, name=f"t_{r}", secret=f"s-{r}") for r in ROLES},
    )
    made.isolate()
    yield made
    admin.close()
    with open_("postgres") as root:
        root.execute("ALTER DATABASE demo_sandbox_template IS_TEMPLATE false")
        for database in ("momentry", "demo_sandbox_template"):
            root.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        for identity in made.identities.values():
            root.execute(f"DROP OWNED BY {identity.name} CASCADE; DROP ROLE {identity.name}")
        root.execute("CREATE DATABASE momentry")
