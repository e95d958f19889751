"""One transaction that brings a schema back to its baseline: catalog, rows, sequences, settings.

It is left open: the store commits it when every other store has what it needs.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from sandbox.errors import NoBaseline, SandboxError
from sandbox.model import Change, Identity, Marker
from sandbox.stores.postgres import fingerprint, keeping, mending, rewind, watching
from sandbox.stores.postgres.session import Connection, base, name, one

LOCK_WITHIN = "1s"
HOLDERS = """
SELECT DISTINCT a.pid, a.usename = %(owner)s AND a.usename <> current_user
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
JOIN pg_class c ON c.oid = l.relation
WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = %(schema)s)
  AND l.granted AND a.pid <> pg_backend_pid()
"""


class Rewinder:
    """A schema and the pristine copy that belongs to `marker`."""

    def __init__(
        self, connection: Connection, schema: str, owner: Identity, marker: Marker
    ) -> None:
        self._connection, self._schema, self._owner = connection, schema, owner
        self._marker = marker
        self._kept: keeping.Kept | None = None

    def changes(self) -> list[Change]:
        """What differs; nothing is locked against writers and nothing is written."""
        self._find()
        self._begin()
        try:
            return self._look()
        finally:
            self._connection.execute("ROLLBACK")

    def begin(self) -> list[Change]:
        """Bring it back, and leave the transaction open."""
        self._find()
        try:
            self._lock()
            found = self._back()
            self._connection.execute(
                sql.SQL("UPDATE {} SET pending = true").format(name(base(self._schema), "record"))
            )
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        return found

    def _find(self) -> None:
        reason = watching.lacking(self._connection)
        if reason:
            raise NoBaseline(reason, where="postgres")
        self._kept = keeping.find(self._connection, self._schema, self._marker.baseline)

    def _begin(self) -> None:
        self._connection.execute("BEGIN")
        self._connection.execute("SELECT set_config('search_path', '', true)")
        self._connection.execute(f"SET LOCAL lock_timeout = '{LOCK_WITHIN}'")
        self._connection.execute("SET LOCAL extra_float_digits = 1; SET LOCAL work_mem = '64MB'")

    def _lock(self) -> None:
        """Writers wait from here on, and readers as well where objects must be made again.

        A session of the playground that holds a lock for longer is
        ended: what it has not committed is thrown away by a reset anyway."""
        found = mending.difference(self._now(), self._known().catalog)
        mode = "ACCESS EXCLUSIVE" if found else "EXCLUSIVE"
        for attempt in (1, 2):
            self._begin()
            try:
                present = keeping.leaves(self._connection, self._schema)
                if present:
                    listed = sql.SQL(", ").join(name(self._schema, one_) for one_ in present)
                    query = sql.SQL(f"LOCK TABLE {{}} IN {mode} MODE").format(listed)
                    self._connection.execute(query)
                return
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                self._connection.execute("ROLLBACK")
                if attempt == 1:
                    self._end_holders()
        raise SandboxError(
            "another session holds a lock on its tables",
            where=f"postgres {self._schema}",
            hint="end its transaction, and reset again",
        )

    def _end_holders(self) -> None:
        values = {"owner": self._owner.name, "schema": self._schema}
        found = self._connection.execute(HOLDERS, values).fetchall()
        for pid in (pid for pid, is_ours in found if is_ours):
            self._connection.execute("SELECT pg_terminate_backend(%s, 1000)", [pid])

    def _extensions_in_sight(self) -> None:
        """Types of extensions are compared by their own operators."""
        self._connection.execute("SELECT set_config('search_path', 'public', true)")

    # --- looking ---------------------------------------------------------------------------------

    def _look(self) -> list[Change]:
        kept = self._known()
        now = self._now()
        catalog = mending.difference(now, kept.catalog)
        found = mending.changes(catalog)
        remade = _remade(catalog)
        present = keeping.leaves(self._connection, self._schema)
        self._extensions_in_sight()
        for relation in kept.tables.keys() & present.keys() - remade:
            try:
                table = rewind.table(
                    self._connection, self._schema, kept, relation, present[relation]
                )
            except NoBaseline as error:
                found.append(
                    Change(store="postgres", dataset=relation, what="rows", detail=error.message)
                )
                continue
            count = rewind.compare(self._connection, table) if table else 0
            if count:
                found.append(Change(store="postgres", dataset=relation, what="rows", rows=count))
        return found + self._moved_sequences()

    def _moved_sequences(self) -> list[Change]:
        now = fingerprint.sequences(self._connection, self._schema)
        return [
            Change(store="postgres", dataset=sequence, what="altered", detail=f"at {position[0]}")
            for sequence, position in now.items()
            if self._known().positions.get(sequence, position) != position
        ]

    def _now(self) -> fingerprint.Fingerprint:
        self._connection.execute("SELECT set_config('search_path', '', false)")
        return fingerprint.take(self._connection, self._schema, self._owner.name)

    def _known(self) -> keeping.Kept:
        assert self._kept is not None
        return self._kept

    # --- going back ------------------------------------------------------------------------------

    def _back(self) -> list[Change]:
        kept = self._known()
        self._connection.execute(f"SET LOCAL {watching.QUIET} = 'replica'")
        self._password_back()
        now = self._now()
        catalog = mending.difference(now, kept.catalog)
        found = mending.changes(catalog)
        filled: set[str] = set()
        if catalog:
            self._mend(catalog, kept, filled)
        present = keeping.leaves(self._connection, self._schema)
        self._extensions_in_sight()
        for relation in sorted(kept.tables.keys() - filled):
            found += self._rows_back(relation, present[relation])
        found += self._moved_sequences()
        for sequence, position in kept.positions.items():
            self._connection.execute(
                "SELECT setval(format('%%I.%%I', %s::text, %s::text)::regclass, %s, %s)",
                [self._schema, sequence, *position],
            )
        return found

    def _password_back(self) -> None:
        """The playground may change its own; without the one that we know, nothing would run."""
        if password_holds(self._connection, self._owner):
            return
        name_, secret = self._owner.name.encode(), self._owner.secret.encode()
        encrypted = self._connection.pgconn.encrypt_password(secret, name_, b"scram-sha-256")
        owner, password = name(self._owner.name), sql.Literal(encrypted.decode())
        self._connection.execute(sql.SQL("SET LOCAL ROLE {}").format(owner))
        self._connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(owner, password))
        self._connection.execute("RESET ROLE")

    def _rows_back(self, relation: str, oid: int) -> list[Change]:
        table = rewind.table(self._connection, self._schema, self._known(), relation, oid)
        if table is None:
            return []
        count = rewind.compare(self._connection, table)
        if not count:
            return []
        rewind.put_back(self._connection, table)
        return [Change(store="postgres", dataset=relation, what="rows", rows=count)]

    def _mend(self, catalog: mending.Difference, kept: keeping.Kept, filled: set[str]) -> None:
        owner = sql.SQL("SET LOCAL ROLE {}").format(name(self._owner.name))

        def fill(relation: str) -> None:
            """As keeper, who alone may read the copy."""
            filled.add(relation)
            oid = keeping.leaves(self._connection, self._schema).get(relation)
            if oid is None:  # a partitioned root: its partitions hold the rows
                return
            keeping.leave_alone(self._connection, name(self._schema, relation))
            self._connection.execute("RESET ROLE")
            copy, _ = kept.tables[relation]
            at = name(base(self._schema), copy)
            size = one(self._connection, "SELECT pg_table_size(%s::regclass)", [at.as_string()])
            if int(size) > rewind.COMPARED_WHOLE:
                raise NoBaseline(f"table {relation} is large and was changed by DDL")
            rewind.fill(
                self._connection,
                rewind.Table(
                    name=relation,
                    oid=oid,
                    source=name(self._schema, relation),
                    copy=at,
                    columns=keeping.columns(self._connection, oid),
                    pages=None,
                ),
            )
            self._connection.execute(owner)

        self._connection.execute(owner)
        try:
            mender = mending.Mender(self._connection, self._schema, self._owner.name, kept)
            mender.mend(catalog, fill)
        except psycopg.Error as error:
            text = (error.diag.message_primary or str(error)).splitlines()[0]
            raise NoBaseline(f"the schema's changes could not be undone: {text}") from None
        self._connection.execute("RESET ROLE")


def _remade(found: mending.Difference) -> set[str]:
    """Tables whose rows are not compared: their columns differ."""
    items = (*found.added, *found.missing, *found.altered)
    return {item.relation or item.name for item in items if item.kind in ("table", "column")}


def password_holds(connection: Connection, owner: Identity) -> bool:
    """Whether the playground's password is still the one that we know: it may change its own."""
    host, port = connection.info.host, connection.info.port
    try:
        psycopg.connect(
            host=host, port=port, user=owner.name, password=owner.secret,
            dbname=connection.info.dbname, connect_timeout=5, application_name="sandbox",
        ).close()  # fmt: skip
    except psycopg.OperationalError:
        return False
    return True
