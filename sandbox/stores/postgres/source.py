"""Reads a schema at one exported snapshot, masked inside the server where SQL can say it.

The session is read-only, and row-level security that would hide rows is an error, not a gap.
"""

from __future__ import annotations

import json
import queue
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from psycopg import sql

from sandbox.contract import Access, Cut, Mask, Tool
from sandbox.errors import ConfigError, Refused, SandboxError
from sandbox.model import Dataset, Kind, Marker, Start
from sandbox.stores.postgres import catalog, copytext, watching
from sandbox.stores.postgres.chosen import WHOLE, Chosen
from sandbox.stores.postgres.dump import pattern
from sandbox.stores.postgres.references import references
from sandbox.stores.postgres.sampling import sample
from sandbox.stores.postgres.session import (
    Connection,
    connect,
    doing,
    failed,
    name,
    one,
    read_marker,
    rows,
    space_of,
)
from sandbox.stores.postgres.streaming import MANY, pieces

LOCK_WITHIN = "30s"
LENGTH = re.compile(r"(?<=character varying)\(\d+\)$")  # the mask keeps to it; a cast costs time
LINES = 1 << 17  # bytes of a piece of `lines`
READ_ONLY = (
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY; SET row_security = off; "
    "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; "
    "SET extra_float_digits = 3; SET DateStyle = ISO; SET IntervalStyle = postgres; "
    "SET TimeZone = 'UTC'; SET bytea_output = hex"
)


@dataclass(frozen=True, kw_only=True)
class Shared:
    """A cut's token: the exported snapshot, and connections that stand in it and are free."""

    snapshot: str
    holder: Connection
    free: queue.SimpleQueue[Connection]
    made: list[Connection]
    chosen: dict[str, Chosen] = field(default_factory=dict)  # by table; others are read whole


class PostgresSource:
    """A schema that is read and never written."""

    kind: Kind = "postgres"

    def __init__(self, access: Access, *, tool: Tool | None = None) -> None:
        self._access = access
        self._space = space_of(access)
        self._tool = tool
        self._connection: Connection | None = None
        self._many = False

    @property
    def connection(self) -> Connection:
        """The session's own connection: autocommit, read-only."""
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._access)
            self._connection.execute(READ_ONLY)
        return self._connection

    def ready(self) -> str:
        version = one(self.connection, "SHOW server_version")
        one(self.connection, "SELECT count(*) FROM pg_class")
        return f"PostgreSQL {str(version).split()[0]}"

    def marker(self) -> Marker | None:
        return read_marker(self.connection, self._space.schema)

    def can_write(self) -> str:
        """By the catalogs: rights count that it holds itself or through a role."""
        query = """
            SELECT CASE WHEN (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
                   THEN 'it is a superuser' ELSE (
              SELECT what FROM (
                SELECT 1, 'it may write ' || c.relname AS what FROM pg_class c
                WHERE c.relnamespace = quote_ident(%(schema)s)::regnamespace
                  AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND (
                    has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
                    OR has_any_column_privilege(c.oid, 'INSERT, UPDATE')
                    OR pg_has_role(c.relowner, 'MEMBER'))
                UNION ALL
                SELECT 2, 'it may advance ' || c.relname FROM pg_class c
                WHERE c.relnamespace = quote_ident(%(schema)s)::regnamespace
                  AND CASE WHEN c.relkind = 'S'  -- asked of a sequence only, in whatever order
                      THEN has_sequence_privilege(c.oid, 'USAGE, UPDATE') END
                UNION ALL
                SELECT 3, 'it may make things in ' || %(schema)s
                WHERE has_schema_privilege(%(schema)s, 'CREATE')
                UNION ALL
                SELECT 4, 'it may make roles' FROM pg_roles
                WHERE rolname = current_user AND rolcreaterole
                UNION ALL
                SELECT 5, 'it may become ' || r.rolname FROM pg_roles r
                WHERE r.rolname IN ('pg_write_all_data', 'pg_write_server_files',
                  'pg_execute_server_program') AND pg_has_role(r.oid, 'MEMBER')
              ) found ORDER BY 1 LIMIT 1) END
        """
        with doing("asking for this login's rights"):
            found = self.connection.execute(query, {"schema": self._space.schema}).fetchone()
        return str((found and found[0]) or "")

    @contextmanager
    def cut(self) -> Iterator[Cut]:
        """One exported, repeatable-read, read-only snapshot for every worker.

        The tables are locked against ALTER, DROP and TRUNCATE before the snapshot is taken, as
        pg_dump does: a table that is rewritten later would look empty to the snapshot.
        """
        holder = connect(self._access, autocommit=False)
        made: list[Connection] = [holder]
        try:
            holder.execute(READ_ONLY)
            holder.commit()
            self._hold(holder)
            facts = rows(
                holder,
                "SELECT pg_export_snapshot(), now()::text, current_setting('server_version'), "
                "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() "
                "ELSE pg_current_wal_lsn() END::text",
            )[0]
            token = Shared(snapshot=facts[0], holder=holder, free=queue.SimpleQueue(), made=made)
            yield Cut(facts={"time": facts[1], "version": facts[2], "lsn": facts[3]}, token=token)
        finally:
            for connection in made:
                connection.close()

    def _hold(self, holder: Connection) -> None:
        """Begin the transaction with the locks; its snapshot is taken by the next query."""
        try:
            tables = self._lockable()
            holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            holder.execute(f"SET LOCAL lock_timeout = '{LOCK_WITHIN}'")
            if tables:
                names = sql.SQL(", ").join(name(self._space.schema, table) for table in tables)
                holder.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))
            if self._lockable(holder) != tables:
                raise _changed()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.UndefinedTable):
            raise _changed() from None
        except psycopg.Error as error:
            raise failed(error, "locking the tables") from None

    def _lockable(self, connection: Connection | None = None) -> list[str]:
        found = catalog.lockable(connection or self.connection, self._space.schema)
        return [table for table in found if table in self._space.isolated]

    @doing("listing the tables")
    def datasets(self, cut: Cut) -> Sequence[Dataset]:
        found = catalog.datasets(cut.token.holder, self._space)
        self._many = sum(dataset.rows for dataset in found) >= MANY
        return found

    @doing("reading the schema")
    def catalog(self, cut: Cut) -> bytes:
        """The schema's DDL by the server's own pg_dump, and where every sequence stands."""
        if self._tool is None:
            raise SandboxError(
                "pg_dump of the server's version is needed", hint="docs/postgres.md says how"
            )
        dump = self._tool(
            [
                "pg_dump",
                "--schema-only",
                "--no-owner",
                "--no-privileges",
                "--no-publications",
                "--no-subscriptions",
                "--no-security-labels",
                "--no-tablespaces",
                f"--username={self._access.identity.name}",
                f"--snapshot={cut.token.snapshot}",
                f"--dbname={self._space.database}",
                "--schema=" + pattern(self._space.schema),
            ],
            environment={"PGPASSWORD": self._access.identity.secret},
        )
        holder: Connection = cut.token.holder
        positions = {
            sequence: rows(
                holder,
                sql.SQL("SELECT last_value, is_called FROM {}").format(
                    name(self._space.schema, sequence)
                ),
            )[0]
            for sequence in catalog.sequences(holder, self._space.schema)
        }
        extensions = rows(
            holder,
            "SELECT extname, nspname FROM pg_extension e JOIN pg_namespace n "
            "ON n.oid = e.extnamespace WHERE extname NOT IN ('plpgsql', %s) ORDER BY 1",
            [watching.EXTENSION],
        )
        record = {
            "schema": self._space.schema,
            "isolated": self._space.isolated,
            "shared": self._space.shared,
            "sequences": positions,
            "extensions": extensions,
            "present": [row[1] for row in catalog.check(holder, self._space)],
            "populated": catalog.populated(holder, self._space.schema),
            "lost": catalog.lost(holder, self._space),
            "dump": dump.decode(),
        }
        return json.dumps(record).encode()

    def read(self, cut: Cut, dataset: Dataset, mask: Mask) -> Iterator[tuple[int, bytes]]:
        expressions, bulk = mask.columns(dataset), mask.bulk(dataset)
        texts = {} if bulk else mask.texts(dataset)
        columns = [field.name for field in dataset.fields if not field.generated]
        text = bool(texts) or bool(dataset.options.get("text"))
        chosen = cut.token.chosen.get(dataset.name, WHOLE)
        where = _both(mask.where(dataset), chosen.where)
        query = self._query(dataset, columns, expressions, where, text)
        change = copytext.changer(columns, texts) if texts else bulk
        with self._worker(cut, {**chosen.settings, **mask.settings}) as connection:
            chosen.give(connection)
            try:
                yield from pieces(connection, query, change, many=self._many)
            except psycopg.Error as error:
                raise failed(error, f"reading {dataset.name}") from None

    def originals(self, cut: Cut, dataset: Dataset, fields: Sequence[str]) -> Iterator[str]:
        """Distinct values of the fields as text; those of arrays and JSON as they are written."""
        only = sql.SQL("" if dataset.options.get("partitioned") else "ONLY ")
        with doing(f"reading {dataset.name}"), self._worker(cut, {}) as connection:
            for field in fields:
                query = sql.SQL("SELECT DISTINCT {}::text FROM {}{}").format(
                    name(field), only, name(self._space.schema, dataset.name)
                )
                with connection.cursor(name="sandbox_originals") as cursor:
                    cursor.itersize = 5000
                    cursor.execute(query)
                    for (value,) in cursor:
                        if value is not None:
                            yield value

    def lines(self, cut: Cut, dataset: Dataset, fields: Sequence[str]) -> Iterator[bytes]:
        """See `contract.Columnar`."""
        table, bounds = self._range(dataset)
        columns = sql.SQL(", ").join(map(name, fields))  # a cast would write 10.1.2.3/32
        query = sql.SQL("COPY (SELECT {} FROM {}{}{}) TO STDOUT").format(
            columns, table, sql.SQL(" WHERE " if bounds else ""), sql.SQL(" AND ").join(bounds)
        )
        with self._worker(cut, {}) as connection:
            try:
                for _, piece in pieces(connection, query, None, size=LINES, many=self._many):
                    yield piece
            except psycopg.Error as error:
                raise failed(error, f"reading {dataset.name}") from None

    def repeats(self, cut: Cut, dataset: Dataset, expression: str) -> bool:
        """See `contract.Columnar`."""
        query = sql.SQL(
            "SELECT EXISTS (SELECT FROM {} WHERE ({}) IS NOT NULL GROUP BY {} HAVING count(*) > 1)"
        ).format(self._from(dataset), sql.SQL(expression), sql.SQL(expression))
        with doing(f"reading {dataset.name}"), self._worker(cut, {}) as connection:
            return bool(one(connection, query))

    def subset(
        self,
        cut: Cut,
        starts: Mapping[str, Start],
        *,
        loose: Mapping[str, Sequence[str]],
        settings: Mapping[str, str],
    ) -> Sequence[str]:
        """See `contract.Subsetting`. Held in the cut, as keys of 8 bytes."""
        from sandbox.stores.postgres.subset import Closure  # needs numpy

        datasets = self.datasets(cut)
        names = [dataset.name for dataset in datasets]
        for table, start in starts.items():
            if table not in names:
                raise ConfigError(f"there is no table {table} that is copied", where=start.line)
        with self._worker(cut, settings) as connection:
            found = references(connection, self._space.schema, names, loose)
            closure = Closure(connection, self._space.schema, datasets, found, starts)
            chosen = closure.run()
        cut.token.chosen.update({t: replace(one, settings=settings) for t, one in chosen.items()})
        return tuple(cut.token.chosen)

    def chosen(self, cut: Cut, dataset: Dataset, field: str) -> Iterator[str]:
        query = sql.SQL("SELECT DISTINCT {}::text").format(name(field))
        return (value for value in self._ask(cut, dataset, query) if value is not None)

    @doing("counting rows")
    def expected(self, cut: Cut, dataset: Dataset) -> int:
        return int(*self._ask(cut, dataset, sql.SQL("SELECT count(*)")))

    def sample(self, cut: Cut, dataset: Dataset, rows: int) -> Iterator[Mapping[str, str | None]]:
        """See `contract.Sampling`."""
        with self._worker(cut, {}) as connection:
            yield from sample(connection, self._space.schema, dataset, rows)

    def _ask(self, cut: Cut, dataset: Dataset, select: sql.Composable) -> Iterator[Any]:
        """The only column of a query over the rows of a table that are read in this cut."""
        chosen = cut.token.chosen.get(dataset.name, WHOLE)
        query = select + sql.SQL(" FROM ") + self._from(dataset)
        query += sql.SQL(f" WHERE {chosen.where or 'true'}")
        with doing(f"reading {dataset.name}"), self._worker(cut, chosen.settings) as connection:
            chosen.give(connection)
            with connection.cursor(name="sandbox_chosen") as cursor:
                cursor.itersize = 5000
                cursor.execute(query)
                for (value,) in cursor:
                    yield value

    def _from(self, dataset: Dataset) -> sql.Composed:
        only = sql.SQL("" if dataset.options.get("partitioned") else "ONLY ")
        return only + name(self._space.schema, dataset.name)

    @doing("counting rows")
    def count(self) -> Mapping[str, int]:
        return {
            table: one(
                self.connection,
                sql.SQL("SELECT count(*) FROM {}").format(name(self._space.schema, table)),
            )
            for table in catalog.tables(self.connection, self._space.schema)
            if table in self._space.isolated
        }

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _query(
        self,
        dataset: Dataset,
        columns: Sequence[str],
        expressions: Mapping[str, str],
        where: str,
        text: bool,
    ) -> sql.Composed:
        types = {field.name: LENGTH.sub("", field.type) for field in dataset.fields}
        selected = [
            sql.SQL("({})::{} AS {}").format(
                sql.SQL(expressions[column]),
                sql.SQL(types[column]),
                name(column),
            )
            if column in expressions
            else name(column)
            for column in columns
        ]
        table, bounds = self._range(dataset)
        conditions = [*bounds, *([sql.SQL(f"({where})")] if where else [])]
        return sql.SQL("COPY (SELECT {} FROM {}{}{}) TO STDOUT{}").format(
            sql.SQL(", ").join(selected),
            table,
            sql.SQL(" WHERE " if conditions else ""),
            sql.SQL(" AND ").join(conditions),
            sql.SQL("" if text else " (FORMAT binary)"),
        )

    def _range(self, dataset: Dataset) -> tuple[sql.Composed, list[sql.Composable]]:
        """What is read, and which of its blocks; a table's children are datasets of their own."""
        found = dataset.options.get("range")
        if not found:
            only = "" if dataset.options.get("partitioned") else "ONLY "
            return sql.SQL(only) + name(self._space.schema, dataset.name), []
        schema, leaf, first, last = found
        bounds: list[sql.Composable] = []
        if first:
            bounds.append(sql.SQL("ctid >= {}").format(sql.Literal(f"({first},0)")))
        if last is not None:
            bounds.append(sql.SQL("ctid < {}").format(sql.Literal(f"({last},0)")))
        leaf_ = name(schema or self._space.schema, leaf)
        return sql.SQL("ONLY {} AS {}").format(leaf_, name(dataset.name)), bounds

    @contextmanager
    def _worker(self, cut: Cut, settings: Mapping[str, str]) -> Iterator[Connection]:
        """A connection that stands in the cut's snapshot, its transaction open."""
        shared: Shared = cut.token
        try:
            connection = shared.free.get_nowait()
        except queue.Empty:
            connection = connect(self._access, autocommit=False)
            shared.made.append(connection)
            connection.execute(READ_ONLY)
            connection.commit()
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            connection.execute(
                sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(shared.snapshot))
            )
            # For masking rules it compiles 0.6 s on each connection, and saves 0.4 us a row.
            connection.execute("SET LOCAL jit = off")
            # Types and functions are named without their schema in expressions and casts.
            connection.execute(
                sql.SQL("SET LOCAL search_path = {}, pg_catalog").format(name(self._space.schema))
            )
        for setting, value in settings.items():
            connection.execute("SELECT set_config(%s, %s, true)", [setting, value])
        yield connection
        shared.free.put(connection)  # not after an error: its transaction is broken


def _both(where: str, more: str) -> str:
    return f"({where}) AND ({more})" if where and more else where or more


def _changed() -> Refused:
    return Refused(
        "the tables are being changed right now; nothing was read",
        where="postgres",
        hint="try again when the migration is through",
    )
