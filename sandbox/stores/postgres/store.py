"""Loads a schema beside the present one and renames the two in one transaction."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg
from psycopg import sql

from sandbox.contract import BINARY_COPY, Access, Tool
from sandbox.errors import SandboxError
from sandbox.model import Change, Dataset, Identity, Marker, Space
from sandbox.stores.postgres import catalog as present
from sandbox.stores.postgres import ddl, keeping, watching
from sandbox.stores.postgres.building import Builder
from sandbox.stores.postgres.rewinding import Rewinder
from sandbox.stores.postgres.session import (
    OLD,
    STAGED,
    Connection,
    base,
    connect,
    failed,
    name,
    need_own,
    one,
    rows,
    schema_exists,
    write_marker,
)
from sandbox.stores.postgres.source import PostgresSource

LOADING = (
    "SET maintenance_work_mem = '256MB'; SET check_function_bodies = off; SET xmloption = content; "
    "SET DateStyle = ISO; SET IntervalStyle = postgres; SET TimeZone = 'UTC'"
)
LOCK_WITHIN = "5s"
COPIED_TOGETHER = 2  # tables that are kept side by side


class PostgresStore(PostgresSource):
    """The playground's schema, as keeper, a member of the role that owns it."""

    def __init__(
        self, access: Access, *, owner: Identity, production: Space, tool: Tool | None = None
    ) -> None:
        super().__init__(access, tool=tool)
        self._owner = owner
        self._production = production.name
        self._schema = self._space.schema
        self._staged = self._schema + STAGED
        self._old = self._schema + OLD
        self._builder: Builder | None = None
        self._entries: list[keeping.Ddl] = []
        self._sizes: dict[str, int] = {}  # bytes by quoted, qualified table
        self._lost: list[str] = []
        self._open: list[Connection] = []
        self._lock = threading.Lock()
        self._local = threading.local()
        self._rewinding = False

    @property
    def connection(self) -> Connection:
        """The keeper's session; unlike a source's it may write."""
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        return self._connection

    def stage(self, datasets: Sequence[Dataset], catalog: bytes) -> None:
        marker = self._need_own()
        if self._tool is None:
            raise SandboxError("pg_dump of the server's version is needed")
        template = ddl.template_name(marker.project)
        design = ddl.move(self._access, catalog, self._staged, self._tool, template)
        self._sizes = {self._name(one_.name): one_.bytes for one_ in datasets}
        with self._doing("staging"):
            self._drop(self._staged)
            statement = sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}")
            self.connection.execute(statement.format(name(self._staged), name(self._owner.name)))
            self._entries = keeping.entries(
                design, self._quoted(self._staged), self._quoted(self._schema)
            )
            self._builder = Builder(design, self._staged, self._loader)
            self._builder.before()
            self._lost = [*design.lost, *self._builder.lost]

    def write(self, dataset: Dataset, pieces: Iterable[bytes]) -> int:
        rest = iter(pieces)
        first = next(rest, b"")
        with self._doing(f"loading {dataset.name}"), self._loader().transaction():
            frozen = not dataset.options.get("partitioned") and "slice" not in dataset.options
            if frozen:  # rows of a table that is new in this transaction need no later look
                table = name(self._staged, dataset.name)
                self._loader().execute(sql.SQL("TRUNCATE ONLY {}").format(table))
            query = self._copy(dataset, binary=first.startswith(BINARY_COPY), frozen=frozen)
            with self._loader().cursor() as cursor:
                with cursor.copy(query) as copy:
                    copy.write(first)
                    for piece in rest:
                        copy.write(piece)
                return cursor.rowcount

    def _copy(self, dataset: Dataset, *, binary: bool, frozen: bool) -> sql.Composed:
        columns = [name(field.name) for field in dataset.fields if not field.generated]
        options = [*(["FORMAT binary"] if binary else []), *(["FREEZE"] if frozen else [])]
        return sql.SQL("COPY {}{} FROM STDIN{}").format(
            name(self._staged, dataset.name),
            sql.SQL(" ({})").format(sql.SQL(", ").join(columns)) if columns else sql.SQL(""),
            sql.SQL(f" ({', '.join(options)})" if options else ""),
        )

    def finish(self, marker: Marker) -> Sequence[str]:
        """Keys and indexes side by side, then foreign keys and triggers, then the marker."""
        builder = self._builder
        assert builder is not None, "stage() comes first"
        with self._doing("building keys and indexes"):
            builder.lost.clear()
            builder.after(self._sizes)
            if marker.baseline and not watching.lacking(self.connection):
                keeping.keep(
                    self._side_by_side,
                    self.connection,
                    self._staged,
                    marker.baseline,
                    self._entries,
                )
            write_marker(self.connection, self._staged, marker)
        return [*self._lost, *builder.lost]

    def swap(self) -> None:
        if self._rewinding:
            self._commit()
            return
        with self._doing("swapping"), self.connection.transaction():
            self.connection.execute(f"SET LOCAL lock_timeout = '{LOCK_WITHIN}'")
            if not schema_exists(self.connection, self._staged):
                return
            need_own(self.connection, self._staged, self._production)
            if schema_exists(self.connection, self._schema):
                need_own(self.connection, self._schema, self._production)
                self._drop(self._old)
                self._rename(self._schema, self._old)
            self._rename(self._staged, self._schema)
            self.connection.execute("SELECT set_config('search_path', '', true)")
            keeping.note_catalog(self.connection, self._schema, self._owner.name)

    def undo(self) -> None:
        self._roll_back()
        with self._doing("undoing"), self.connection.transaction():
            if not schema_exists(self.connection, self._old):
                return
            if schema_exists(self.connection, self._schema):
                need_own(self.connection, self._schema, self._production)
                self._drop(self._staged)
                self._rename(self._schema, self._staged)
            self._rename(self._old, self._schema)

    def settle(self) -> None:
        self._roll_back()
        with self._doing("cleaning up"):
            self._drop(self._old)
            self._drop(self._staged)
            self._settled()

    def changes(self) -> Sequence[Change]:
        marker = self._need_own()
        with self._doing("comparing"):
            return Rewinder(self.connection, self._schema, self._owner, marker).changes()

    def rewind(self) -> Sequence[Change]:
        """The transaction stays open, and writers wait, until `swap`, `undo` or `settle`."""
        marker = self._need_own()
        with self._doing("going back"):
            rewinder = Rewinder(self.connection, self._schema, self._owner, marker)
            found = rewinder.begin()
        self._rewinding = True
        return found

    def swapped(self) -> bool:
        return schema_exists(self.connection, self._old) or self._is_pending()

    def search(self, needles: Sequence[str]) -> Sequence[str]:
        """`table.column` of every text-like value that holds one of the needles."""
        found = []
        for table in present.tables(self.connection, self._schema):
            quoted = one(
                self.connection,
                "SELECT format('%%I.%%I', %s::text, %s::text)",
                [self._schema, table],
            )
            query = (
                "SELECT attname FROM pg_attribute "
                "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
            )
            for (column,) in rows(self.connection, query, [quoted]):
                hit = one(
                    self.connection,
                    sql.SQL(
                        "SELECT true FROM {} WHERE EXISTS (SELECT FROM unnest(%s::text[]) needle "
                        "WHERE strpos(lower({}::text), lower(needle)) > 0) LIMIT 1"
                    ).format(name(self._schema, table), name(column)),
                    [list(needles)],
                )
                if hit:
                    found.append(f"{table}.{column}")
        return found

    def close(self) -> None:
        super().close()
        for connection in self._open:
            connection.close()

    # --- connections -----------------------------------------------------------------------------

    def _connect(self) -> Connection:
        connection = connect(self._access)
        connection.execute("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
        connection.execute("SET client_min_messages = warning; SET synchronous_commit = off")
        with self._lock:
            self._open.append(connection)
        return connection

    def _loader(self) -> Connection:
        """This thread's own connection, acting as the owner of what is loaded."""
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None or connection.closed:
            connection = self._connect()
            connection.execute(sql.SQL("SET ROLE {}").format(name(self._owner.name)))
            connection.execute(LOADING)
            # A function that a check or an index calls may name its own schema's tables bare.
            path = sql.SQL("SET search_path = {}, public").format(name(self._staged))
            connection.execute(path)
            self._local.connection = connection
        return connection

    @contextlib.contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise failed(error, what) from None

    # --- a rewind, which is one transaction ------------------------------------------------------

    def _commit(self) -> None:
        """A connection that breaks now leaves open whether it happened: the server is asked."""
        self._rewinding = False
        try:
            self.connection.execute("COMMIT")
        except psycopg.Error as error:
            if not self._is_pending():
                raise failed(error, "going back") from None

    def _roll_back(self) -> None:
        if self._rewinding:
            self._rewinding = False
            with contextlib.suppress(psycopg.Error):
                self.connection.execute("ROLLBACK")

    def _is_pending(self) -> bool:
        kept = base(self._schema)
        if not schema_exists(self.connection, kept):
            return False
        query = sql.SQL("SELECT pending FROM {}").format(name(kept, "record"))
        return bool(one(self.connection, query))

    def _settled(self) -> None:
        if self._is_pending():
            record = name(base(self._schema), "record")
            self.connection.execute(sql.SQL("UPDATE {} SET pending = false").format(record))

    # --- steps -----------------------------------------------------------------------------------

    def _need_own(self) -> Marker:
        return need_own(self.connection, self._schema, self._production)

    def _name(self, relation: str) -> str:
        return name(self._staged, relation).as_string(self.connection)

    def _quoted(self, schema: str) -> str:
        """As pg_dump writes it: without quotes where none are needed."""
        return str(one(self.connection, "SELECT quote_ident(%s)", [schema]))

    def _side_by_side(self, jobs: Sequence[Callable[[Connection], None]]) -> None:
        """As keeper, each job on a connection that is its own meanwhile."""

        def run(job: Callable[[Connection], None]) -> None:
            connection = self._connect()
            try:
                job(connection)
            finally:
                connection.close()

        with ThreadPoolExecutor(COPIED_TOGETHER) as pool:
            for future in [pool.submit(run, job) for job in jobs]:
                future.result()

    def _drop(self, schema: str) -> None:
        """Only ever a staged or an old schema of ours."""
        assert schema in (self._staged, self._old)
        for one_ in (schema, base(schema)):
            self.connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(name(one_)))

    def _rename(self, old: str, new: str) -> None:
        """A schema, and its pristine copy where one is kept."""
        query = sql.SQL("ALTER SCHEMA {} RENAME TO {}")
        self.connection.execute(query.format(name(old), name(new)))
        if schema_exists(self.connection, base(old)):
            self.connection.execute(query.format(name(base(old)), name(base(new))))
