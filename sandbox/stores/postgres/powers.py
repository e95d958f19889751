"""Ways around the rights on tables: other roles, programs, files, sessions, the whole server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sandbox.stores.postgres.trials import CANARY, Trial, literal, quoted

ATTRIBUTES = {
    "SUPERUSER": "rolsuper",
    "CREATEROLE": "rolcreaterole",
    "CREATEDB": "rolcreatedb",
    "REPLICATION": "rolreplication",
    "BYPASSRLS": "rolbypassrls",
}
SUPER = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"


def roles(me: str, others: Sequence[str], *, has: Sequence[str] = ()) -> Iterator[Trial]:
    """To be somebody else, or more. `has`: attributes that this login needs and may have."""
    for other in others:
        yield become(other, me)
        yield Trial(
            tried=f"log in as {other} within the session",
            right=SUPER,
            statement=f"SET LOCAL SESSION AUTHORIZATION {quoted(other)}",
            home=f"SET LOCAL SESSION AUTHORIZATION {quoted(me)}",
        )
        yield Trial(
            tried=f"give itself the role {other}",
            right=f"SELECT pg_has_role({literal(other)}, 'MEMBER WITH ADMIN OPTION')",
            statement=f"GRANT {quoted(other)} TO {quoted(me)}",
        )
        yield Trial(
            tried=f"change the settings of {other}",
            right=f"SELECT rolsuper OR (rolcreaterole AND pg_has_role({literal(other)}, "
            "'MEMBER WITH ADMIN OPTION')) FROM pg_roles WHERE rolname = current_user",
            statement=f"ALTER ROLE {quoted(other)} SET application_name = 'sandbox'",
            home=f"ALTER ROLE {quoted(me)} SET application_name = 'sandbox'",
        )
        yield Trial(
            tried=f"say what {other} gives away later",
            right=f"SELECT pg_has_role({literal(other)}, 'USAGE')",
            statement=f"ALTER DEFAULT PRIVILEGES FOR ROLE {quoted(other)} "
            f"GRANT SELECT ON TABLES TO {quoted(me)}",
            home=f"ALTER DEFAULT PRIVILEGES FOR ROLE {quoted(me)} "
            f"GRANT SELECT ON TABLES TO {quoted(me)}",
        )
    for word, column in ATTRIBUTES.items():
        if word not in has:
            yield Trial(
                tried=f"give itself {word}",
                right=f"SELECT {column} FROM pg_roles WHERE rolname = current_user",
                statement=f"ALTER ROLE {quoted(me)} {word}",
            )
    yield Trial(
        tried="make a role",
        right="SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user",
        statement=f"CREATE ROLE {CANARY}",
    )


def become(other: str, me: str) -> Trial:
    return Trial(
        tried=f"become {other}",
        right=f"SELECT pg_has_role({literal(other)}, 'MEMBER')",
        statement=f"SET LOCAL ROLE {quoted(other)}",
        home=f"SET LOCAL ROLE {quoted(me)}",
    )


def server(database: str, home: str) -> Iterator[Trial]:
    """Programs, files and whatever belongs to the whole database or server. `home`: the schema
    where the login may make things, "" where there is none."""
    yield _member("run a program with COPY ... TO", "pg_execute_server_program",
                  "COPY (SELECT 1) TO PROGRAM 'true'")  # fmt: skip
    yield _member("run a program with COPY ... FROM", "pg_execute_server_program",
                  f"CREATE TEMP TABLE {CANARY} (v text); "
                  f"COPY {CANARY} FROM PROGRAM 'true'")  # fmt: skip
    yield _member("write a file of the server with COPY", "pg_write_server_files",
                  f"COPY (SELECT 1) TO '/tmp/{CANARY}'")  # fmt: skip
    yield _member("read a file of the server with COPY", "pg_read_server_files",
                  f"CREATE TEMP TABLE {CANARY} (v text); "
                  f"COPY {CANARY} FROM '/etc/hostname'")  # fmt: skip
    for tried, function, call in (
        ("read a file of the server", "pg_read_file(text)", "pg_read_file('PG_VERSION')"),
        ("list a directory of the server", "pg_ls_dir(text)", "count(*) FROM pg_ls_dir('.')"),
        ("import a large object", "lo_import(text)", "lo_import('/etc/hostname')"),
        ("export a large object", "lo_export(oid, text)", f"lo_export(0, '/tmp/{CANARY}')"),
        ("switch the server's log", "pg_rotate_logfile()", "pg_rotate_logfile()"),
        ("make the server read its files again", "pg_reload_conf()", "pg_reload_conf()"),
    ):
        yield Trial(
            tried=tried,
            right=f"SELECT has_function_privilege('{function}', 'EXECUTE')",
            statement=f"SELECT {call}",
        )
    for catalog, column in {
        "pg_authid": "rolpassword",
        "pg_largeobject": "data",
        "pg_statistic": "stavalues1",
        "pg_user_mapping": "umoptions",
    }.items():
        yield Trial(
            tried=f"read {catalog}.{column}",
            right=f"SELECT has_column_privilege('{catalog}', '{column}', 'SELECT')",
            statement=f"SELECT {column} FROM {catalog} LIMIT 1",
        )
    yield Trial(
        tried="take part in replication",
        right="SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user",
        statement=f"SELECT pg_create_physical_replication_slot('{CANARY}', false, true)",
    )
    yield Trial(
        tried="switch everybody's triggers off for itself",
        statement="SET LOCAL session_replication_role = replica",
        home="SET LOCAL statement_timeout = '5s'",
    )
    yield Trial(
        tried="make a schema in the database",
        right="SELECT has_database_privilege(current_database(), 'CREATE')",
        statement=f"CREATE SCHEMA {CANARY}",
    )
    yield Trial(
        tried="change the database's settings",
        right="SELECT pg_has_role(datdba, 'USAGE') FROM pg_database "
        "WHERE datname = current_database()",
        statement=f"ALTER DATABASE {quoted(database)} SET application_name = 'sandbox'",
    )
    yield Trial(
        tried="make a foreign-data wrapper",
        right=SUPER,
        statement=f"CREATE FOREIGN DATA WRAPPER {CANARY}",
    )
    if home:
        own = f"{quoted(home)}.{CANARY}"
        yield Trial(
            tried="make an event trigger",
            right=SUPER,
            statement=f"CREATE FUNCTION {own}() RETURNS event_trigger LANGUAGE plpgsql "
            f"AS $$ BEGIN END $$; CREATE EVENT TRIGGER {CANARY} ON ddl_command_start "
            f"EXECUTE FUNCTION {own}()",
        )
        yield Trial(
            tried="make a function in C",
            right=SUPER,
            statement=f"CREATE FUNCTION {own}() RETURNS int LANGUAGE c AS 'nowhere', 'none'",
            home=f"CREATE FUNCTION {own}() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        )


def sessions(other_pid: int, other: str) -> Iterator[Trial]:
    """Another login's session: `other_pid` is one of this prober's own, logged in as `other`."""
    may = f"pg_has_role('pg_signal_backend', 'USAGE') OR pg_has_role({literal(other)}, 'USAGE')"
    yield Trial(
        tried="stop a statement of production's",
        statement=f"SELECT pg_cancel_backend({other_pid})",
        home="SELECT count(*) FROM pg_stat_activity WHERE pid = pg_backend_pid()",
        right=f"SELECT {may}",
    )
    yield Trial(
        tried="end a session of production's",
        statement=f"SELECT pg_terminate_backend({other_pid})",
        right=f"SELECT {may}",
    )
    yield Trial(
        tried="see what other sessions run (pg_stat_activity)",
        statement="SELECT 1 FROM pg_stat_activity WHERE usename <> current_user "
        "AND query NOT IN ('', '<insufficient privilege>') LIMIT 1",
        none=True,
    )


def statistics(schema: str, isolated: Sequence[str]) -> Iterator[Trial]:
    """Production's values in the planner's statistics."""
    names = ", ".join(map(literal, isolated)) or "NULL"
    for view in ("pg_stats", "pg_stats_ext"):
        yield Trial(
            tried=f"read production's values from {view}",
            statement=f"SELECT 1 FROM {view} WHERE schemaname = {literal(schema)} "
            f"AND tablename IN ({names}) LIMIT 1",
            none=True,
        )


def recorded(extension_schema: str) -> Trial:
    """Statements that pg_stat_statements keeps; where it is not loaded it shows none."""
    return Trial(
        tried="see what others ran (pg_stat_statements)",
        statement=f"SELECT 1 FROM {quoted(extension_schema)}.pg_stat_statements "
        "WHERE userid <> (SELECT oid FROM pg_roles WHERE rolname = current_user) "
        "AND query <> '<insufficient privilege>' LIMIT 1",
        none=True,
        denials=("55000",),
    )


def _member(tried: str, role: str, statement: str) -> Trial:
    return Trial(tried=tried, right=f"SELECT pg_has_role('{role}', 'USAGE')", statement=statement)
