"""Roles, schemas, shared views and markers, as statements that are shown before they are run.

A statement's text never holds a password: roles get theirs as SCRAM verifiers made on this side, so
that no log of the server sees one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from sandbox.contract import Access, Statement
from sandbox.errors import Refused
from sandbox.model import Identity, Marker, PostgresSpace, Role, Space
from sandbox.stores.postgres import roles, watching, windows
from sandbox.stores.postgres.changes import Change, MarkerQuery
from sandbox.stores.postgres.ddl import template_name
from sandbox.stores.postgres.session import (
    OLD,
    STAGED,
    Connection,
    base,
    connect,
    failed,
    name,
    one,
    read_marker,
    rows,
    schema_exists,
    write_marker,
)


class PostgresAdmin:
    """`isolate` makes what is missing; twice is as once."""

    def __init__(
        self,
        access: Access,
        *,
        production: Space,
        playground: Space,
        identities: Mapping[Role, Identity],
        project: str,
        playground_name: str = "",
    ) -> None:
        assert isinstance(production, PostgresSpace) and isinstance(playground, PostgresSpace)
        self._access = access
        self._production = production
        self._playground = playground
        self._identities = identities
        self._project = project
        self._playground_name = playground_name
        self._theirs = Marker(project=project, environment="production")
        self._ours = Marker(project=project, environment="playground", playground=playground_name)
        self._views = playground.schema + windows.SHARED_VIEWS
        self._connections: dict[str, Connection] = {}

    def statements(self) -> Sequence[Statement]:
        try:
            return [self._shown(change) for change in self._changes()]
        finally:
            self._leave_template()

    def isolate(self) -> Sequence[Statement]:
        """Runs each change as it is found, since later ones build on earlier ones."""
        done = []
        try:
            for change in self._changes():
                self._run(change)
                done.append(self._shown(change))
        except psycopg.Error as error:
            raise failed(error, "isolating") from None
        finally:
            self._leave_template()
        return done

    def prepare(self, catalog: bytes) -> Sequence[Statement]:
        """The extensions that the catalog uses, in the database and its template."""
        wanted = [(one_[0], one_[1]) for one_ in json.loads(catalog).get("extensions", ())]
        template = template_name(self._project)
        done = []
        try:
            for database in ("", template):
                for change in self._extensions(wanted, database):
                    self._run(change)
                    done.append(self._shown(change))
        except psycopg.Error as error:
            raise failed(error, "making extensions") from None
        finally:
            self._leave_template()
        return done

    def remove(self) -> Sequence[Statement]:
        """Drop the playground's schemas and roles, after a look at its marker (P6)."""
        schema = self._playground.schema
        connection = self._connection()
        marker = read_marker(connection, schema)
        if schema_exists(connection, schema) and (
            marker is None
            or (marker.project, marker.environment, marker.playground)
            != (self._project, "playground", self._playground_name)
        ):
            raise Refused(f"schema {schema} is not marked as this playground", where="postgres")
        done = []
        for query, why in self._removals(connection):
            connection.execute(query)
            done.append(Statement(text=query.as_string(connection), why=why))
        return done

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()

    # --- what is missing -------------------------------------------------------------------------

    def _changes(self) -> Iterator[Change]:
        """Everything that isolation needs and is not there yet, in the order of need."""
        self._check_marks()
        connection, schema = self._connection(), self._production.schema
        for identity in self._identities.values():
            yield from self._login(identity)
        if reader := self._identities.get("reader"):
            yield from roles.reads(connection, reader, schema)
        if application := self._identities.get("production"):
            yield from roles.uses(connection, application, schema)
        if keeper := self._identities.get("keeper"):
            playground = self._identities["playground"]
            yield from self._space(keeper, playground)
            if reader:
                yield from windows.shared(
                    connection, self._production, self._views, reader, playground
                )
        if reader:
            yield from self._mark(schema, self._theirs)

    def _login(self, identity: Identity) -> Iterator[Change]:
        connection, settings = self._connection(), {}
        if identity.role == "reader":
            settings = roles.READ_ONLY
        elif identity.role == "playground":
            own = (self._playground.schema, self._views)
            settings = roles.playgrounds_settings(connection, *own)
        access = Access(endpoint=self._access.endpoint, identity=identity, space=self._production)
        yield from roles.login(connection, identity, settings, access)

    def _space(self, keeper: Identity, owner: Identity) -> Iterator[Change]:
        connection, schema = self._connection(), self._playground.schema
        member = "SELECT pg_has_role(%s, %s, 'MEMBER')"
        if not roles.exists(connection, keeper) or not one(
            connection, member, [keeper.name, owner.name]
        ):
            yield Change(
                query=sql.SQL("GRANT {} TO {}").format(name(owner.name), name(keeper.name)),
                why="the keeper loads what the playground owns",
            )
        may = "SELECT has_database_privilege(%s, current_database(), 'CREATE')"
        if not roles.holds(connection, keeper, may, [keeper.name], missing=False):
            database = name(self._playground.database)
            yield Change(
                query=sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(
                    database, name(keeper.name)
                ),
                why="the keeper makes a new schema for each load",
            )
        for query, why in watching.missing(connection, keeper, roles.exists(connection, keeper)):
            yield Change(query=query, why=why)
        yield from roles.usage(connection, "public", owner)
        makes = "SELECT has_schema_privilege(%s, 'public', 'CREATE')"
        if roles.holds(connection, owner, makes, [owner.name], missing=False):
            yield Change(
                query=sql.SQL("REVOKE CREATE ON SCHEMA public FROM PUBLIC"),
                why="the playground makes nothing in public",
            )
        if not schema_exists(connection, schema):
            yield Change(
                query=sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(
                    name(schema), name(owner.name)
                ),
                why="the playground's schema",
            )
        yield from self._mark(schema, self._ours)
        yield from self._template()

    def _template(self) -> Iterator[Change]:
        """The database that scratch databases are copies of: it has the extensions."""
        template = template_name(self._project)
        connection = self._connection()
        query = "SELECT datistemplate FROM pg_database WHERE datname = %s"
        if one(connection, query, [template]) is None:
            yield Change(
                query=sql.SQL("CREATE DATABASE {} TEMPLATE template0 IS_TEMPLATE true").format(
                    name(template)
                ),
                why="schemas are moved in a scratch database, a copy of this one",
            )
        wanted = rows(
            connection,
            "SELECT extname, nspname FROM pg_extension e JOIN pg_namespace n "
            "ON n.oid = e.extnamespace WHERE extname NOT IN ('plpgsql', %s) ORDER BY 1",
            [watching.EXTENSION],
        )
        if wanted:
            yield from self._extensions(wanted, template)

    def _extensions(self, wanted: Sequence[tuple[Any, ...]], database: str) -> Iterator[Change]:
        present: set[str] = set()
        query = "SELECT true FROM pg_database WHERE datname = %s"
        if not database or one(self._connection(), query, [database]):  # else this is a dry run
            there = self._connection(database)
            present = {row[0] for row in rows(there, "SELECT extname FROM pg_extension")}
        for extension, schema in wanted:
            if extension not in present:
                if schema not in ("public", "pg_catalog"):
                    query_ = sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name(schema))
                    yield Change(query=query_, why=f"for {extension}", database=database)
                yield Change(
                    query=sql.SQL("CREATE EXTENSION IF NOT EXISTS {} SCHEMA {} CASCADE").format(
                        name(extension), name(schema)
                    ),
                    why=f"{'the scratch' if database else 'the'} database has {extension}",
                    database=database,
                )

    def _check_marks(self) -> None:
        """Both markers, before anything is done: names that were swapped end here."""
        if "reader" in self._identities:
            list(self._mark(self._production.schema, self._theirs))
        if "keeper" in self._identities:
            list(self._mark(self._playground.schema, self._ours))

    def _mark(self, schema: str, marker: Marker) -> Iterator[Change]:
        present = (
            read_marker(self._connection(), schema)
            if schema_exists(self._connection(), schema)
            else None
        )
        if present is None:
            yield Change(
                query=MarkerQuery(schema, marker), why=f"whose {schema} is, as a comment on it"
            )
        elif (present.project, present.environment, present.playground) != (
            marker.project,
            marker.environment,
            marker.playground,
        ):
            raise Refused(
                f"schema {schema} is marked as {present.environment} of {present.project}",
                where="postgres",
                hint="another project's space; nothing was changed there",
            )

    # --- doing -----------------------------------------------------------------------------------

    def _removals(self, connection: Connection) -> Iterator[tuple[sql.Composed, str]]:
        schema = self._playground.schema
        kept = [base(one_) for one_ in (schema, schema + STAGED, schema + OLD)]
        for one_ in (schema, schema + STAGED, schema + OLD, self._views, *kept):
            yield sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(name(one_)), f"schema {one_}"
        for role in ("keeper", "playground"):
            identity = self._identities.get(role)
            if identity is not None and roles.exists(connection, identity):
                yield sql.SQL("DROP OWNED BY {} CASCADE").format(name(identity.name)), "its rights"
                yield sql.SQL("DROP ROLE {}").format(name(identity.name)), f"the {role}'s login"

    def _run(self, change: Change) -> None:
        connection = self._connection(change.database)
        if isinstance(change.query, MarkerQuery):
            write_marker(connection, change.query.schema, change.query.marker)
            return
        connection.execute(change.query.as_string(connection).encode())
        if change.secret is not None:
            encrypted = connection.pgconn.encrypt_password(
                change.secret.secret.encode(), change.secret.name.encode(), b"scram-sha-256"
            )
            connection.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    name(change.secret.name), sql.Literal(encrypted.decode())
                )
            )

    def _shown(self, change: Change) -> Statement:
        text = change.query.as_string(self._connection())
        if change.secret is not None:
            text += " PASSWORD '...'"
        prefix = f"\\connect {change.database}\n" if change.database else ""
        return Statement(text=f"{prefix}{text};", why=change.why)

    def _leave_template(self) -> None:
        """Nobody may be connected to a database that is copied."""
        for database in [one_ for one_ in self._connections if one_]:
            self._connections.pop(database).close()

    def _connection(self, database: str = "") -> Connection:
        found = self._connections.get(database)
        if found is None or found.closed:
            found = connect(self._access, database=database)
            found.execute("SET client_min_messages = warning")
            self._connections[database] = found
        return found
