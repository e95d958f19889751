"""The roles of both environments and their rights on schemas, as changes that are still missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from psycopg import sql

from sandbox.contract import Access
from sandbox.errors import Unreachable
from sandbox.model import Identity
from sandbox.stores.postgres.changes import Change
from sandbox.stores.postgres.session import Connection, connect, name, one, rows, schema_exists

CONNECTIONS = 50  # of the playground at a time
STATEMENT_TIMEOUT = "5min"
IDLE_TIMEOUT = "10min"
READ_ONLY = {"default_transaction_read_only": "on"}  # what a reader's sessions begin with


def playgrounds_settings(connection: Connection, *schemas: str) -> dict[str, str]:
    """What the playground's sessions begin with. public comes last, for the types and operators of
    extensions; no table right there."""
    quoted = [one(connection, "SELECT quote_ident(%s)", [schema]) for schema in schemas]
    return {
        "search_path": ", ".join([*quoted, "public"]),
        "statement_timeout": STATEMENT_TIMEOUT,
        "idle_in_transaction_session_timeout": IDLE_TIMEOUT,
    }


def login(
    connection: Connection, identity: Identity, settings: Mapping[str, str], access: Access
) -> Iterator[Change]:
    """A role with just the attributes it needs, the password we know, and its settings.
    `access`: where the password is tried, as this identity."""
    role = name(identity.name)
    known = rows(
        connection,
        "SELECT rolsuper OR rolcreaterole OR rolreplication, rolconnlimit, rolcreatedb, "
        "rolbypassrls, rolconfig FROM pg_roles WHERE rolname = %s",
        [identity.name],
    )
    options, wanted = _attributes(identity)
    if not known:
        statement = sql.SQL("CREATE ROLE {} {}").format(role, options)
        yield Change(query=statement, why=f"the {identity.role}'s login", secret=identity)
    elif known[0][:4] != wanted:
        statement = sql.SQL("ALTER ROLE {} {}").format(role, options)
        yield Change(query=statement, why=f"the {identity.role} has other rights than it needs")
    if known and not _password_fits(access):
        statement = sql.SQL("ALTER ROLE {} LOGIN").format(role)
        why = f"a new password for the {identity.role}"
        yield Change(query=statement, why=why, secret=identity)
    present = set(known[0][4] or ()) if known else set()
    for setting, value in settings.items():
        if f"{setting}={value}" not in present:
            text = sql.SQL(value) if setting == "search_path" else sql.Literal(value)
            statement = sql.SQL("ALTER ROLE {} SET {} = {}").format(role, sql.SQL(setting), text)
            yield Change(query=statement, why=f"the {identity.role}'s {setting}")


def _attributes(identity: Identity) -> tuple[sql.SQL, tuple[object, ...]]:
    """As CREATE ROLE says them, and as pg_roles does."""
    limit = CONNECTIONS if identity.role == "playground" else -1
    creates = identity.role == "keeper"
    # A reader that row-level security filters would copy a part and call it whole.
    bypasses = identity.role == "reader"
    options = (
        f"LOGIN NOSUPERUSER NOCREATEROLE NOREPLICATION {'' if creates else 'NO'}CREATEDB "
        f"{'' if bypasses else 'NO'}BYPASSRLS CONNECTION LIMIT {limit}"
    )
    return sql.SQL(options), (False, limit, creates, bypasses)


def _password_fits(access: Access) -> bool:
    try:
        connect(access).close()
    except Unreachable as error:
        return "password authentication failed" not in str(error)
    return True


# --- rights ---------------------------------------------------------------------------------------


def reads(connection: Connection, reader: Identity, schema: str) -> Iterator[Change]:
    """SELECT on production's schema, now and for tables to come; nothing else anywhere."""
    yield from usage(connection, schema, reader)
    query = """
        SELECT count(*) FROM pg_class c WHERE c.relnamespace = quote_ident(%s)::regnamespace
        AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
        AND NOT has_table_privilege(%s, c.oid, 'SELECT')
    """
    if holds(connection, reader, query, [schema, reader.name], missing=True):
        for kind in ("TABLES", "SEQUENCES"):
            statement = sql.SQL(f"GRANT SELECT ON ALL {kind} IN SCHEMA {{}} TO {{}}")
            yield Change(
                query=statement.format(name(schema), name(reader.name)),
                why="the reader reads production",
            )
    query = """
        SELECT true FROM pg_default_acl d
        WHERE d.defaclnamespace = quote_ident(%s)::regnamespace
        AND d.defaclacl::text LIKE '%%' || %s || '%%'
    """
    if not one(connection, query, [schema, reader.name]):
        for kind in ("TABLES", "SEQUENCES"):
            statement = sql.SQL(
                f"ALTER DEFAULT PRIVILEGES IN SCHEMA {{}} GRANT SELECT ON {kind} TO {{}}"
            )
            yield Change(
                query=statement.format(name(schema), name(reader.name)),
                why="the reader reads tables that production makes later",
            )


def uses(connection: Connection, application: Identity, schema: str) -> Iterator[Change]:
    """The stand-in's own application: reads and writes production's rows."""
    yield from usage(connection, schema, application)
    query = """
        SELECT count(*) FROM pg_class c WHERE c.relnamespace = quote_ident(%s)::regnamespace
        AND c.relkind IN ('r', 'p') AND NOT has_table_privilege(%s, c.oid, 'INSERT')
    """
    if holds(connection, application, query, [schema, application.name], missing=True):
        for kind in ("TABLES", "SEQUENCES"):
            rights = "SELECT, INSERT, UPDATE, DELETE" if kind == "TABLES" else "SELECT, USAGE"
            statement = sql.SQL(f"GRANT {rights} ON ALL {kind} IN SCHEMA {{}} TO {{}}")
            yield Change(
                query=statement.format(name(schema), name(application.name)),
                why="production's application uses its tables",
            )


def usage(connection: Connection, schema: str, identity: Identity) -> Iterator[Change]:
    query = "SELECT has_schema_privilege(%s, %s, 'USAGE')"
    known = exists(connection, identity) and schema_exists(connection, schema)
    if not known or not one(connection, query, [identity.name, schema]):
        statement = sql.SQL("GRANT USAGE ON SCHEMA {} TO {}")
        yield Change(
            query=statement.format(name(schema), name(identity.name)),
            why=f"the {identity.role} looks into {schema}",
        )


def holds(
    connection: Connection,
    identity: Identity,
    query: str,
    values: Sequence[object],
    *,
    missing: bool,
) -> bool:
    """The query's answer about a role; `missing` while the role is not there yet."""
    return bool(one(connection, query, values)) if exists(connection, identity) else missing


def exists(connection: Connection, identity: Identity) -> bool:
    query = "SELECT true FROM pg_roles WHERE rolname = %s"
    return bool(one(connection, query, [identity.name]))
