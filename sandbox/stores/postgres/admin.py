"""Roles, schema, shared views and markers, as statements that are shown before they are run.

A statement's text never holds a password: roles get theirs as SCRAM verifiers made on this side, so
that no log of the server sees one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from sandbox.contract import Access, Statement
from sandbox.errors import Refused, Unreachable
from sandbox.model import Identity, Marker, PostgresSpace, Role, Space
from sandbox.stores.postgres import catalog, watching
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

SHARED_VIEWS = "_shared"  # dev_shared: the playground's window on shared tables
CONNECTIONS = 50
STATEMENT_TIMEOUT = "5min"
IDLE_TIMEOUT = "10min"


@dataclass(frozen=True, kw_only=True)
class Change:
    """One missing thing: what would be run, why, and in which database."""

    query: sql.Composable
    why: str
    database: str = ""
    secret: Identity | None = None  # whose password the statement sets


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
        self._views = playground.schema + SHARED_VIEWS
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
        for identity in self._identities.values():
            yield from self._role(identity)
        if "reader" in self._identities:
            yield from self._reader(self._identities["reader"])
        if "production" in self._identities:
            yield from self._application(self._identities["production"])
        if "keeper" in self._identities:
            yield from self._space(self._identities["keeper"], self._identities["playground"])
        if "keeper" in self._identities and "reader" in self._identities:
            yield from self._shared(self._identities["reader"], self._identities["playground"])
        if "reader" in self._identities:
            yield from self._mark(self._production.schema, self._theirs)

    def _role(self, identity: Identity) -> Iterator[Change]:
        role = name(identity.name)
        known = rows(
            self._connection(),
            "SELECT rolsuper OR rolcreaterole OR rolreplication, rolconnlimit, rolconfig, "
            "rolcreatedb, rolbypassrls FROM pg_roles WHERE rolname = %s",
            [identity.name],
        )
        may_create = "CREATEDB" if identity.role == "keeper" else "NOCREATEDB"
        # A reader that row-level security filters would copy a part and call it whole.
        rls = "BYPASSRLS" if identity.role == "reader" else "NOBYPASSRLS"
        limit = CONNECTIONS if identity.role == "playground" else -1
        options = sql.SQL(
            f"LOGIN NOSUPERUSER NOCREATEROLE NOREPLICATION {may_create} {rls} "
            f"CONNECTION LIMIT {limit}"
        )
        wanted = (False, limit, identity.role == "keeper", identity.role == "reader")
        if not known:
            statement = sql.SQL("CREATE ROLE {} {}").format(role, options)
            yield Change(query=statement, why=f"the {identity.role}'s login", secret=identity)
        elif (known[0][0], known[0][1], known[0][3], known[0][4]) != wanted:
            statement = sql.SQL("ALTER ROLE {} {}").format(role, options)
            yield Change(query=statement, why=f"the {identity.role} has other rights than it needs")
        if known and not self._password_fits(identity):
            statement = sql.SQL("ALTER ROLE {} LOGIN").format(role)
            yield Change(
                query=statement, why=f"a new password for the {identity.role}", secret=identity
            )
        present = set(known[0][2] or ()) if known else set()
        for setting, value in self._settings(identity).items():
            if f"{setting}={value}" not in present:
                yield Change(
                    query=sql.SQL("ALTER ROLE {} SET {} = {}").format(
                        role,
                        sql.SQL(setting),
                        sql.SQL(value) if setting == "search_path" else sql.Literal(value),
                    ),
                    why=f"the {identity.role}'s {setting}",
                )

    def _settings(self, identity: Identity) -> dict[str, str]:
        if identity.role == "reader":
            return {"default_transaction_read_only": "on"}
        if identity.role == "playground":
            connection = self._connection()
            schemas = [
                one(connection, "SELECT quote_ident(%s)", [schema])
                for schema in (self._playground.schema, self._views)
            ]
            return {
                # public comes last, for the types and operators of extensions; no table right there
                "search_path": ", ".join([*schemas, "public"]),
                "statement_timeout": STATEMENT_TIMEOUT,
                "idle_in_transaction_session_timeout": IDLE_TIMEOUT,
            }
        return {}

    def _reader(self, reader: Identity) -> Iterator[Change]:
        """SELECT on production's schema, now and for tables to come; nothing else anywhere."""
        schema, role = name(self._production.schema), name(reader.name)
        yield from self._usage(self._production.schema, reader)
        query = """
            SELECT count(*) FROM pg_class c WHERE c.relnamespace = quote_ident(%s)::regnamespace
            AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
            AND NOT has_table_privilege(%s, c.oid, 'SELECT')
        """
        if self._holds(reader, query, [self._production.schema, reader.name], missing=True):
            for kind in ("TABLES", "SEQUENCES"):
                statement = sql.SQL(f"GRANT SELECT ON ALL {kind} IN SCHEMA {{}} TO {{}}")
                yield Change(
                    query=statement.format(schema, role), why="the reader reads production"
                )
        yield from self._defaults(reader)

    def _defaults(self, reader: Identity) -> Iterator[Change]:
        query = """
            SELECT true FROM pg_default_acl d
            WHERE d.defaclnamespace = quote_ident(%s)::regnamespace
            AND d.defaclacl::text LIKE '%%' || %s || '%%'
        """
        if not one(self._connection(), query, [self._production.schema, reader.name]):
            for kind in ("TABLES", "SEQUENCES"):
                statement = sql.SQL(
                    f"ALTER DEFAULT PRIVILEGES IN SCHEMA {{}} GRANT SELECT ON {kind} TO {{}}"
                )
                yield Change(
                    query=statement.format(name(self._production.schema), name(reader.name)),
                    why="the reader reads tables that production makes later",
                )

    def _application(self, application: Identity) -> Iterator[Change]:
        """The stand-in's own application: reads and writes production's rows."""
        yield from self._usage(self._production.schema, application)
        query = """
            SELECT count(*) FROM pg_class c WHERE c.relnamespace = quote_ident(%s)::regnamespace
            AND c.relkind IN ('r', 'p') AND NOT has_table_privilege(%s, c.oid, 'INSERT')
        """
        values = [self._production.schema, application.name]
        if self._holds(application, query, values, missing=True):
            for kind in ("TABLES", "SEQUENCES"):
                rights = "SELECT, INSERT, UPDATE, DELETE" if kind == "TABLES" else "SELECT, USAGE"
                statement = sql.SQL(f"GRANT {rights} ON ALL {kind} IN SCHEMA {{}} TO {{}}")
                yield Change(
                    query=statement.format(name(self._production.schema), name(application.name)),
                    why="production's application uses its tables",
                )

    def _space(self, keeper: Identity, owner: Identity) -> Iterator[Change]:
        connection, schema = self._connection(), self._playground.schema
        member = "SELECT pg_has_role(%s, %s, 'MEMBER')"
        if not self._role_exists(keeper) or not one(connection, member, [keeper.name, owner.name]):
            yield Change(
                query=sql.SQL("GRANT {} TO {}").format(name(owner.name), name(keeper.name)),
                why="the keeper loads what the playground owns",
            )
        may = "SELECT has_database_privilege(%s, current_database(), 'CREATE')"
        if not self._holds(keeper, may, [keeper.name], missing=False):
            database = name(self._playground.database)
            yield Change(
                query=sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(
                    database, name(keeper.name)
                ),
                why="the keeper makes a new schema for each load",
            )
        for query, why in watching.missing(connection, keeper, self._role_exists(keeper)):
            yield Change(query=query, why=why)
        yield from self._usage("public", owner)
        makes = "SELECT has_schema_privilege(%s, 'public', 'CREATE')"
        if self._holds(owner, makes, [owner.name], missing=False):
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

    def _shared(self, reader: Identity, playground: Identity) -> Iterator[Change]:
        """Views over shared tables, owned by the reader, which can write nothing."""
        connection = self._connection()
        if not schema_exists(connection, self._views):
            yield Change(
                query=sql.SQL("CREATE SCHEMA {}").format(name(self._views)),
                why="the playground's window on shared tables",
            )
        yield from self._usage(self._views, playground)
        wanted = {
            relname: self._view(relname)
            for _, relname, _, is_partition, *_ in catalog.relations(
                connection, self._production.schema
            )
            if not is_partition and catalog.is_listed(relname, self._production.shared)
        }
        present = dict(
            rows(
                connection,
                "SELECT c.relname, obj_description(c.oid, 'pg_class') FROM pg_class c "
                "WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = %s) "
                "AND c.relkind = 'v'",
                [self._views],
            )
        )
        for relname in sorted(present.keys() - wanted.keys()):
            yield Change(
                query=sql.SQL("DROP VIEW {} CASCADE").format(name(self._views, relname)),
                why=f"{relname} is no longer shared",
            )
        for relname, select in wanted.items():
            text = select.as_string(connection)
            if present.get(relname) != text:
                yield from self._make_view(relname, select, text, reader, playground)

    def _view(self, relname: str) -> sql.Composable:
        """The rows and columns of a shared table that the playground may see."""
        narrowed = self._production.narrowed.get(relname)
        columns: sql.Composable = sql.SQL("*")
        where: sql.Composable = sql.SQL("")
        if narrowed is not None:
            if narrowed.columns:
                columns = sql.SQL(", ").join(map(name, narrowed.columns))
            where = sql.SQL(f" WHERE {narrowed.where}")
        source = name(self._production.schema, relname)
        return sql.SQL("SELECT {} FROM {}{}").format(columns, source, where)

    def _make_view(
        self,
        relname: str,
        select: sql.Composable,
        text: str,
        reader: Identity,
        playground: Identity,
    ) -> Iterator[Change]:
        view = name(self._views, relname)
        seen = "some rows or columns of " if relname in self._production.narrowed else ""
        statement = sql.SQL(
            "SET search_path = {}; DROP VIEW IF EXISTS {} CASCADE; "
            "CREATE VIEW {} WITH (security_barrier) AS {}; ALTER VIEW {} OWNER TO {}; "
            "GRANT SELECT ON {} TO {}; COMMENT ON VIEW {} IS {}; RESET search_path"
        ).format(
            name(self._production.schema),
            view,
            view,
            select,
            view,
            name(reader.name),
            view,
            name(playground.name),
            view,
            sql.Literal(text),
        )
        yield Change(query=statement, why=f"the playground reads {seen}{relname}")

    def _usage(self, schema: str, identity: Identity) -> Iterator[Change]:
        query = "SELECT has_schema_privilege(%s, %s, 'USAGE')"
        known = self._role_exists(identity) and schema_exists(self._connection(), schema)
        if not known or not one(self._connection(), query, [identity.name, schema]):
            yield Change(
                query=sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(
                    name(schema), name(identity.name)
                ),
                why=f"the {identity.role} looks into {schema}",
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
                query=_MarkerQuery(schema, marker), why=f"whose {schema} is, as a comment on it"
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
            if identity is not None and self._role_exists(identity):
                yield sql.SQL("DROP OWNED BY {} CASCADE").format(name(identity.name)), "its rights"
                yield sql.SQL("DROP ROLE {}").format(name(identity.name)), f"the {role}'s login"

    def _holds(
        self, identity: Identity, query: str, values: Sequence[object], *, missing: bool
    ) -> bool:
        """The query's answer about a role; `missing` while the role is not there yet."""
        if not self._role_exists(identity):
            return missing
        return bool(one(self._connection(), query, values))

    def _role_exists(self, identity: Identity) -> bool:
        query = "SELECT true FROM pg_roles WHERE rolname = %s"
        return bool(one(self._connection(), query, [identity.name]))

    def _password_fits(self, identity: Identity) -> bool:
        """Whether the login works with the password that we know."""
        access = Access(endpoint=self._access.endpoint, identity=identity, space=self._production)
        try:
            connect(access).close()
        except Unreachable as error:
            return "password authentication failed" not in str(error)
        return True

    def _run(self, change: Change) -> None:
        connection = self._connection(change.database)
        if isinstance(change.query, _MarkerQuery):
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


class _MarkerQuery(sql.Composable):
    """A marker as a statement: it keeps the comment that was there, so it is run by itself."""

    def __init__(self, schema: str, marker: Marker) -> None:
        super().__init__(schema)
        self.schema = schema
        self.marker = marker

    def as_bytes(self, context: object = None) -> bytes:
        whose = f"{self.marker.environment} of {self.marker.project}"
        return f"COMMENT ON SCHEMA \"{self.schema}\" IS 'sandbox: {whose}'".encode()
