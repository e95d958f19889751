"""What the keeper needs of the server to see which pages changed and to put rows back: the
visibility map, which a write clears and only a vacuum sets, and the right to hold triggers still.

https://www.postgresql.org/docs/17/pgvisibility.html; nothing here slows a write.
"""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from sandbox.model import Identity
from sandbox.stores.postgres.session import Connection, name, one

EXTENSION = "pg_visibility"
SCHEMA = "sandbox_keeper"  # of the extension: nobody but keepers looks into it
MAP = f"{SCHEMA}.pg_visibility_map(regclass)"
QUIET = "session_replication_role"  # 'replica': foreign keys and triggers rest
GRANTS_PARAMETERS = 150000  # PostgreSQL 15 can grant a setting


def missing(
    connection: Connection, keeper: Identity, known: bool
) -> Iterator[tuple[sql.Composed, str]]:
    """Statements for an administrator, with why; none where the server cannot have it."""
    role = name(keeper.name)
    if one(connection, "SELECT true FROM pg_available_extensions WHERE name = %s", [EXTENSION]):
        if not one(connection, "SELECT true FROM pg_extension WHERE extname = %s", [EXTENSION]):
            query = sql.SQL("CREATE SCHEMA IF NOT EXISTS {}; CREATE EXTENSION {} SCHEMA {}")
            yield (
                query.format(name(SCHEMA), name(EXTENSION), name(SCHEMA)),
                "a reset sees which pages changed",
            )
        found = "SELECT to_regprocedure(%s) IS NOT NULL"
        if one(connection, found, [MAP]):
            may = """SELECT has_schema_privilege(%s, %s, 'USAGE')
                     AND has_function_privilege(%s, %s, 'EXECUTE')"""
            if not known or not one(connection, may, [keeper.name, SCHEMA, keeper.name, MAP]):
                grant = sql.SQL(
                    f"GRANT USAGE ON SCHEMA {SCHEMA} TO {{}}; "
                    f"GRANT EXECUTE ON FUNCTION {MAP} TO {{}}"
                )
                yield grant.format(role, role), "the keeper sees which pages changed"
    if connection.info.server_version >= GRANTS_PARAMETERS:
        query_ = "SELECT has_parameter_privilege(%s, %s, 'SET')"
        if not known or not one(connection, query_, [keeper.name, QUIET]):
            yield (
                sql.SQL(f"GRANT SET ON PARAMETER {QUIET} TO {{}}").format(role),
                "a reset puts rows back without firing the playground's triggers",
            )


def lacking(connection: Connection) -> str:
    """Why this login cannot see or put back what changed; "" when it can."""
    if connection.info.server_version < GRANTS_PARAMETERS:
        return "PostgreSQL before 15 cannot let the keeper put rows back without firing triggers"
    if not one(connection, "SELECT has_parameter_privilege(%s, 'SET')", [QUIET]):
        return f"the keeper may not set {QUIET} (./inv isolate grants it)"
    query = "SELECT to_regnamespace(%s) IS NOT NULL AND has_schema_privilege(%s, 'USAGE')"
    if not one(connection, query, [SCHEMA, SCHEMA]) or not one(
        connection,
        "SELECT to_regprocedure(%s) IS NOT NULL AND has_function_privilege(%s, 'EXECUTE')",
        [MAP, MAP],
    ):
        return f"the server lets the keeper see no {EXTENSION} (./inv isolate installs it)"
    return ""
