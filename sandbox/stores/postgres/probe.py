"""Tries to cross from the playground into production and from the reader into writing.

Every attempt is a transaction that is rolled back, with a short lock timeout. Where the catalogs
say already that a right to write exists, the attempt fails by that alone and nothing is written.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import psycopg

from sandbox.contract import Access
from sandbox.errors import Unreachable
from sandbox.model import Attempt
from sandbox.stores.postgres.admin import SHARED_VIEWS
from sandbox.stores.postgres.session import Connection, connect, one, rows, space_of

ROW = "PostgreSQL"
DENIED = "42501"  # insufficient_privilege
EXPECTED = "permission denied"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """`right`: a query that says whether the right exists; then `statement` is not run."""

    tried: str
    statement: str
    right: str = ""
    none: bool = False  # it may run, and must find nothing


class PostgresProber:
    """The probes of one playground; each identity has one connection."""

    def __init__(self, *, playground: Access, production: Access, reader: Access) -> None:
        self._playground = playground
        self._production = production
        self._reader = reader
        self._connections: list[Connection] = []

    def attempts(self) -> Iterator[Attempt]:
        yield from self._from_playground()
        yield from self._from_reader()

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    # --- the playground --------------------------------------------------------------------------

    def _from_playground(self) -> Iterator[Attempt]:
        who = self._playground.identity.name
        connection = self._connect(self._playground)
        yield self._home(connection, who)
        if self._playground.endpoint != self._production.endpoint:
            yield self._elsewhere(who)
            return
        reader = self._connect(self._reader)
        table, shared = self._targets(reader)
        for probe in [
            *self._readings(table, shared),
            *self._powers(),
            *self._writings(table, shared),
        ]:
            yield self._try(connection, who, probe)
        yield self._canary(connection, reader, who)

    def _home(self, connection: Connection, who: str) -> Attempt:
        """Make, fill and read a table in the own schema: the connection lives."""
        schema = quoted(space_of(self._playground).schema)
        canary = f"{schema}.sandbox_home_{secrets.token_hex(4)}"
        statement = (
            f"CREATE TABLE {canary} (v int); INSERT INTO {canary} VALUES (1); "
            f"SELECT v FROM {canary}"
        )
        return _allowed(connection, who, "make, fill and read a table at home", statement)

    def _elsewhere(self, who: str) -> Attempt:
        """A server of its own: the playground's login must not work on production's."""
        began = time.perf_counter()
        access = replace(self._production, identity=self._playground.identity)
        try:
            connect(access).close()
            happened, ok = "the login works there", False
        except Unreachable as error:
            ok = "authentication failed" in error.message or "does not exist" in error.message
            happened = "login refused" if ok else error.message
        return Attempt(
            row=ROW,
            identity=who,
            tried="log in to production's server",
            expected="login refused",
            happened=happened,
            ok=ok,
            seconds=time.perf_counter() - began,
        )

    def _targets(self, reader: Connection) -> tuple[str, str]:
        """A production table that is isolated and one that is shared, quoted; "" when none is."""
        space = space_of(self._production)
        schema = space.schema
        query = """SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                   WHERE n.nspname = %s AND c.relkind IN ('r', 'p') AND NOT c.relispartition
                   ORDER BY c.relname"""
        names = [row[0] for row in rows(reader, query, [schema])]
        isolated = next((n for n in names if n in space.isolated), "")
        shared = next((n for n in names if n in space.narrowed), "")
        shared = shared or next((n for n in names if n not in space.isolated), "")
        return tuple(f"{quoted(schema)}.{quoted(n)}" if n else "" for n in (isolated, shared))  # type: ignore[return-value]

    def _readings(self, table: str, shared: str) -> Iterator[Probe]:
        schema = space_of(self._production).schema
        for what, target in (("an isolated", table), ("a shared", shared)):
            if not target:
                continue
            bare = target.split(".", 1)[1]
            right = f"SELECT has_any_column_privilege(current_user, '{target}', 'SELECT')"
            yield Probe(
                tried=f"read {what} table by its full name",
                right=right,
                statement=f"SELECT * FROM {target} LIMIT 1",
            )
            yield Probe(
                tried=f"read {what} table through search_path",
                right=right,
                statement=f"SET LOCAL search_path = {quoted(schema)}; SELECT * FROM {bare} LIMIT 1",
            )
            yield Probe(
                tried=f"copy {what} table out",
                right=right,
                statement=f"SELECT query_to_xml('SELECT * FROM {target} LIMIT 1', true, true, '')",
            )
        yield Probe(
            tried="read production's values from planner statistics",
            statement=f"SELECT 1 FROM pg_stats WHERE schemaname = {literal(schema)} "
            f"AND tablename = ANY({literal_list(space_of(self._production).isolated)}) LIMIT 1",
            none=True,
        )
        yield Probe(
            tried="call production's SECURITY DEFINER functions",
            statement="SELECT 1 FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
            f"WHERE p.prosecdef AND n.nspname = {literal(schema)} "
            "AND has_function_privilege(current_user, p.oid, 'EXECUTE') LIMIT 1",
            none=True,
        )
        yield from self._narrowed()

    def _narrowed(self) -> Iterator[Probe]:
        """Rows that a narrowed table hides must not be in the playground's view of it."""
        views = space_of(self._playground).schema + SHARED_VIEWS
        present = {
            row[0]
            for row in rows(
                self._connections[0],
                "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                "WHERE n.nspname = %s",
                [views],
            )
        }
        for table, narrowed in space_of(self._production).narrowed.items():
            if table in present:
                yield Probe(
                    tried=f"see hidden rows of {table}",
                    statement=f"SET LOCAL search_path = {quoted(views)}; "
                    f"SELECT 1 FROM {quoted(table)} WHERE NOT ({narrowed.where}) LIMIT 1",
                    none=True,
                )

    def _writings(self, table: str, shared: str) -> Iterator[Probe]:
        schema = quoted(space_of(self._production).schema)
        views = space_of(self._playground).schema + SHARED_VIEWS
        targets = [("an isolated", table), ("a shared", shared)]
        if shared:
            targets.append(("the view of a shared", f"{quoted(views)}.{shared.split('.', 1)[1]}"))
        for what, target in targets:
            if target:
                yield from _table_writings(what, target)
        canary = f"{schema}.sandbox_canary"
        may = (
            f"SELECT has_schema_privilege(current_user, {literal(schema.strip(chr(34)))}, 'CREATE')"
        )
        yield Probe(
            tried="create a table in production's schema",
            right=may,
            statement=f"CREATE TABLE {canary} (v int)",
        )
        yield Probe(
            tried="create a function in production's schema",
            right=may,
            statement=f"CREATE FUNCTION {canary}() RETURNS int LANGUAGE sql RETURN 1",
        )
        yield Probe(
            tried="forge production's marker",
            right="SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace "
            f"WHERE nspname = {literal(schema.strip(chr(34)))}",
            statement=f"COMMENT ON SCHEMA {schema} IS 'sandbox: mine'",
        )

    def _powers(self) -> Iterator[Probe]:
        """Ways around rights: other roles, programs, files, large objects, sessions."""
        for other in (self._production.identity, self._reader.identity):
            yield Probe(
                tried=f"become {other.name}",
                statement=f"SET LOCAL ROLE {quoted(other.name)}",
            )
        me = quoted(self._playground.identity.name)
        yield Probe(
            tried="give itself superuser",
            statement=f"ALTER ROLE {me} SUPERUSER",
            right="SELECT rolsuper FROM pg_roles WHERE rolname = current_user",
        )
        yield Probe(
            tried="give itself production's role",
            statement=f"GRANT {quoted(self._production.identity.name)} TO {me}",
        )
        yield Probe(
            tried="make a role",
            statement="CREATE ROLE sandbox_canary",
            right="SELECT rolcreaterole FROM pg_roles WHERE rolname = current_user",
        )
        programs = "SELECT pg_has_role('pg_execute_server_program', 'USAGE')"
        yield Probe(
            tried="run a program with COPY",
            right=programs,
            statement="COPY (SELECT 1) TO PROGRAM 'true'",
        )
        yield Probe(
            tried="write a file on the server",
            right="SELECT pg_has_role('pg_write_server_files', 'USAGE')",
            statement="COPY (SELECT 1) TO '/tmp/sandbox_canary'",
        )
        yield Probe(
            tried="read a file of the server", statement="SELECT pg_read_file('PG_VERSION')"
        )
        yield Probe(tried="read large objects", statement="SELECT loid FROM pg_largeobject LIMIT 1")
        yield Probe(tried="import a large object", statement="SELECT lo_import('/etc/hostname')")
        yield Probe(
            tried="end production's sessions",
            statement="SELECT 1 WHERE pg_has_role('pg_signal_backend', 'USAGE') OR "
            f"pg_has_role({literal(self._production.identity.name)}, 'MEMBER')",
            none=True,
        )
        yield Probe(
            tried="make databases",
            statement="SELECT 1 FROM pg_roles WHERE rolname = current_user AND rolcreatedb",
            none=True,
        )
        yield Probe(
            tried="inherit any role that can read all data",
            statement="SELECT 1 FROM pg_roles WHERE rolname IN ('pg_read_all_data', "
            "'pg_write_all_data', 'pg_monitor', 'pg_read_server_files') "
            "AND pg_has_role(oid, 'MEMBER') LIMIT 1",
            none=True,
        )

    def _canary(self, connection: Connection, reader: Connection, who: str) -> Attempt:
        """A table made at home must not appear in production's schema."""
        began = time.perf_counter()
        canary = f"sandbox_canary_{secrets.token_hex(4)}"
        home = f"{quoted(space_of(self._playground).schema)}.{canary}"
        connection.execute(f"CREATE TABLE {home} (v int)")
        try:
            query = "SELECT to_regclass(%s) IS NOT NULL"
            schema = quoted(space_of(self._production).schema)
            seen = one(reader, query, [f"{schema}.{canary}"])
        finally:
            connection.execute(f"DROP TABLE {home}")
        return Attempt(
            row=ROW,
            identity=self._reader.identity.name,
            tried=f"find a canary of {who} in production's schema",
            expected="not there",
            happened="it is there" if seen else "not there",
            ok=not seen,
            seconds=time.perf_counter() - began,
        )

    # --- the reader ------------------------------------------------------------------------------

    def _from_reader(self) -> Iterator[Attempt]:
        who = self._reader.identity.name
        connection = self._connect(self._reader)
        table, shared = self._targets(connection)
        target = table or shared
        statement = (
            f"SELECT count(*) FROM (SELECT 1 FROM {target} LIMIT 1) t" if target else "SELECT 1"
        )
        yield _allowed(connection, who, "read production", statement)
        began = time.perf_counter()
        mode = str(one(connection, "SHOW default_transaction_read_only"))
        yield Attempt(
            row=ROW,
            identity=who,
            tried="begin a transaction",
            expected="read-only",
            happened="read-only" if mode == "on" else "it may write",
            ok=mode == "on",
            seconds=time.perf_counter() - began,
        )
        schema = quoted(space_of(self._production).schema)
        may = (
            f"SELECT has_schema_privilege(current_user, {literal(schema.strip(chr(34)))}, 'CREATE')"
        )
        probes = [
            Probe(
                tried="create a table in production's schema",
                right=may,
                statement=f"CREATE TABLE {schema}.sandbox_canary (v int)",
            )
        ]
        if target:
            probes += _table_writings("production's", target)
        for probe in probes:
            yield self._try(connection, who, probe)

    # --- one attempt -----------------------------------------------------------------------------

    def _try(self, connection: Connection, who: str, probe: Probe) -> Attempt:
        began = time.perf_counter()
        expected = "nothing to be seen" if probe.none else EXPECTED
        if probe.right and _holds(connection, probe.right):
            happened, ok = "it has the right to; not tried", False
        else:
            happened, ok = _happened(connection, probe)
        return Attempt(
            row=ROW,
            identity=who,
            tried=probe.tried,
            expected=expected,
            happened=happened,
            ok=ok,
            seconds=time.perf_counter() - began,
        )

    def _connect(self, access: Access) -> Connection:
        connection = connect(access)
        connection.execute("SET lock_timeout = '500ms'; SET statement_timeout = '5s'")
        self._connections.append(connection)
        return connection


def _table_writings(what: str, target: str) -> Iterator[Probe]:
    """Every way to change one table; UPDATE and DELETE with a condition that no row meets."""
    is_view = what.startswith("the view")
    statements = {
        "INSERT": f"INSERT INTO {target} DEFAULT VALUES",
        "DELETE": f"DELETE FROM {target} WHERE false",
    }
    if not is_view:
        statements["TRUNCATE"] = f"TRUNCATE {target}"
    for verb, statement in statements.items():
        yield Probe(
            tried=f"{verb} on {what} table",
            right=f"SELECT has_table_privilege(current_user, {literal(target)}, '{verb}')",
            statement=statement,
        )
    owns = (
        "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class "
        f"WHERE oid = {literal(target)}::regclass"
    )
    kind = "VIEW" if is_view else "TABLE"
    yield Probe(tried=f"drop {what} table", right=owns, statement=f"DROP {kind} {target}")
    yield Probe(
        tried=f"UPDATE {what} table",
        right=f"SELECT has_any_column_privilege(current_user, {literal(target)}, 'UPDATE')",
        statement="DO $$ DECLARE c text; BEGIN "
        "SELECT quote_ident(attname) INTO c FROM pg_attribute "
        f"WHERE attrelid = {literal(target)}::regclass AND attnum > 0 AND attgenerated = '' "
        f"AND attidentity = '' AND NOT attisdropped LIMIT 1; "
        f"EXECUTE 'UPDATE {target} SET ' || c || ' = ' || c || ' WHERE false'; END $$",
    )


def _holds(connection: Connection, right: str) -> bool:
    try:
        return bool(one(connection, right))
    except psycopg.errors.InsufficientPrivilege:
        return False  # it may not even look there


def _happened(connection: Connection, probe: Probe) -> tuple[str, bool]:
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SET TRANSACTION READ WRITE")  # the right is tried, not the mode
            cursor = connection.execute(probe.statement.encode())
            while cursor.nextset():  # the last statement's result is the one that counts
                pass
            if probe.none and cursor.description is not None:
                found = cursor.fetchone() is not None
                return ("it is there", False) if found else ("nothing to be seen", True)
            return "it worked (rolled back)", False
    except psycopg.Error as error:
        if error.sqlstate == DENIED:
            return EXPECTED, True
        return (error.diag.message_primary or str(error)).splitlines()[0], False


def _allowed(connection: Connection, who: str, tried: str, statement: str) -> Attempt:
    began = time.perf_counter()
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement.encode())
        happened, ok = "works", True
    except psycopg.Error as error:
        happened, ok = (error.diag.message_primary or str(error)).splitlines()[0], False
    return Attempt(
        row=ROW,
        identity=who,
        tried=tried,
        expected="works",
        happened=happened,
        ok=ok,
        seconds=time.perf_counter() - began,
    )


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def literal_list(texts: tuple[str, ...]) -> str:
    return f"ARRAY[{', '.join(map(literal, texts))}]::text[]"
