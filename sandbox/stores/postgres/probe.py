"""Tries to cross from the playground into production and back, and from the reader into writing.

Every trial runs first at home, then in a transaction that is rolled back, with a short lock
timeout. Where the catalogs say already that a right exists, that alone fails the attempt and
nothing is run.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from sandbox.contract import Access
from sandbox.errors import Unreachable
from sandbox.model import Attempt
from sandbox.stores.postgres import narrowing, powers, sweeps, targets, trials
from sandbox.stores.postgres.session import Connection, connect, one, read_marker, space_of
from sandbox.stores.postgres.trials import Table, Trial
from sandbox.stores.postgres.trying import NOTHING, run, timed, try_
from sandbox.stores.postgres.windows import SHARED_VIEWS
from sandbox.trying import Found

HOME = "make, fill and read a table at home"


class PostgresProber:
    """The probes of one playground; each identity has one connection."""

    def __init__(self, *, playground: Access, production: Access, reader: Access) -> None:
        self._playground, self._production, self._reader = playground, production, reader
        self._own, self._theirs = space_of(playground), space_of(production)
        self._views = self._own.schema + SHARED_VIEWS
        self._connections: list[Connection] = []

    def attempts(self) -> Iterator[Attempt]:
        together = self._playground.endpoint == self._production.endpoint
        own = self._connect(self._playground)
        reader = self._connect(self._reader)
        with self._canary(own) as (home, first):
            yield first
            if home is not None:
                other = self._across(own, reader, home) if together else self._apart(reader, home)
                yield from other
        yield from self._from_reader(reader)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    # --- the playground --------------------------------------------------------------------------

    def _across(self, own: Connection, reader: Connection, home: Table) -> Iterator[Attempt]:
        """One server: rights are all that is between."""
        who = self._playground.identity.name
        production, logged_in = self._login_of_production()
        yield logged_in
        for trial in self._of_playground(own, reader, production, home):
            yield try_(own, who, trial)
        yield timed(who, "reach into another database of the server", NOTHING,
                     lambda: self._other_databases(reader))  # fmt: skip
        yield from self._canaries(reader, production, home)

    def _of_playground(
        self, own: Connection, reader: Connection, production: Connection | None, home: Table
    ) -> Iterator[Trial]:
        me, theirs = self._playground.identity.name, self._theirs
        others = [self._production.identity.name, self._reader.identity.name]
        version = own.info.server_version
        for table in targets.tables(reader, theirs):
            yield from trials.readings(table, home)
            yield from trials.writings(table, home, maintain=version >= 170000)
        for view in targets.views(own, self._views)[:1]:
            yield from trials.view_writings(view)
        for oid, name in targets.sequences(reader, theirs.schema)[:1]:
            yield from trials.sequences(oid, name)
        for schema in dict.fromkeys((theirs.schema, "public")):
            yield from trials.making(schema, self._own.schema)
        yield from powers.roles(me, others)
        yield from powers.server(self._own.database, self._own.schema)
        yield from powers.statistics(theirs.schema, theirs.isolated)
        if production is not None:
            pid = production.info.backend_pid
            yield from powers.sessions(pid, self._production.identity.name)
        for extension_schema in targets.statement_records(own):
            yield powers.recorded(extension_schema)
        yield from sweeps.of_playground((self._own.schema, self._views), version)
        yield from sweeps.of_everybody((self._own.schema,), version)
        yield sweeps.notifying(theirs.schema)
        yield from narrowing.hidden(own, theirs, self._views)
        yield narrowing.first_schema(self._own.schema)

    def _other_databases(self, reader: Connection) -> Found:
        """Everybody may connect to every database by default: what could be reached in it?"""
        for database in targets.databases(reader):
            try:
                connection = connect(self._playground, database=database)
            except Unreachable:
                continue
            version = connection.info.server_version
            with connection:
                for trial in sweeps.of_playground((self._own.schema,), version):
                    happened, ok = run(connection, trial)
                    if not ok:
                        return f"{trial.tried} in database {database}: {happened}", False
        return NOTHING, True

    def _apart(self, reader: Connection, home: Table) -> Iterator[Attempt]:
        """Servers of their own: no login may work on the other's, and no canary be there."""
        for server, login, where in (
            (self._production, self._playground, "production's"),
            (self._playground, self._production, "the playground's"),
            (self._playground, self._reader, "the playground's"),
        ):
            tried = f"log in to {where} server"
            access = replace(server, identity=login.identity)
            yield timed(login.identity.name, tried, "login refused", partial(_refused, access))
        tried = "find a canary of the playground's on production's server"
        yield try_(reader, self._reader.identity.name, targets.planted(home, "", tried))

    # --- canaries --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _canary(self, own: Connection) -> Iterator[tuple[Table | None, Attempt]]:
        """A table at home for as long as the block lasts; the marker is read before it is made."""
        who, schema = self._playground.identity.name, self._own.schema
        name = f"{trials.CANARY}_{secrets.token_hex(4)}"
        made: list[Table] = []

        def plant() -> Found:
            marker = read_marker(own, schema)
            if marker is None or marker.environment != "playground":
                return "its schema is not marked as a playground's; nothing was tried", False
            made.append(targets.plant(own, schema, name))
            return "works", one(own, f"SELECT v FROM {made[0].full}") == 1

        attempt = timed(who, HOME, "works", plant)
        try:
            yield (made[0] if made else None), attempt
        finally:
            if made and not own.closed:
                own.execute(f"DROP TABLE {made[0].full}")

    def _canaries(
        self, reader: Connection, production: Connection | None, home: Table
    ) -> Iterator[Attempt]:
        """The playground's canary, looked for and tried from the other side."""
        who = self._playground.identity.name
        yield try_(
            reader,
            self._reader.identity.name,
            targets.planted(
                home, self._theirs.schema, f"find a canary of {who} in production's schema"
            ),
        )
        if production is None:
            return
        login = self._production.identity.name
        for trial in targets.backwards(home, who):
            yield try_(production, login, trial)
        yield try_(production, login, powers.become(who, login))
        for trial in sweeps.of_production(self._own.schema):
            yield try_(production, login, trial)

    def _login_of_production(self) -> tuple[Connection | None, Attempt]:
        """Its own login, to plant and to look; it changes nothing."""
        kept: list[Connection] = []

        def log_in() -> Found:
            kept.append(self._connect(self._production))
            kept[0].execute("SELECT 'sandbox_canary'")  # what pg_stat_activity would show
            return "works", True

        attempt = timed(self._production.identity.name, "log in", "works", log_in)
        return (kept[0] if kept else None), attempt

    # --- the reader ------------------------------------------------------------------------------

    def _from_reader(self, reader: Connection) -> Iterator[Attempt]:
        who, schema = self._reader.identity.name, self._theirs.schema
        found = targets.tables(reader, self._theirs)
        yield timed(who, "read production", "works", lambda: _looked(reader, found))
        yield try_(reader, who, Trial(
            tried="write in a session as it begins",
            statement="SELECT lo_create(0)",
            as_is=True,
            denials=("25006",),  # read_only_sql_transaction
        ))  # fmt: skip
        version = reader.info.server_version
        for table in found[:1]:
            for trial in trials.writings(table, table, maintain=version >= 170000):
                yield try_(reader, who, replace(trial, home=""))
        for oid, name in targets.sequences(reader, schema)[:1]:
            for trial in trials.sequences(oid, name):
                if not trial.tried.startswith("read"):
                    yield try_(reader, who, trial)
        for trial in self._powers_of_reader(schema, version):
            yield try_(reader, who, trial)

    def _powers_of_reader(self, schema: str, version: int) -> Iterator[Trial]:
        who = self._reader.identity.name
        for trial in trials.making(schema, schema):
            yield replace(trial, home="")
        # Row security would filter what it copies, so it goes past it.
        # Of an external production the reader is the only login that is known.
        others = [name for name in (self._production.identity.name,) if name != who]
        yield from powers.roles(who, others, has=["BYPASSRLS"])
        yield from powers.server(self._theirs.database, "")
        yield from sweeps.of_reader(schema, version)
        yield from sweeps.of_everybody((), version)

    def _connect(self, access: Access) -> Connection:
        connection = connect(access)
        connection.execute("SET lock_timeout = '200ms'; SET statement_timeout = '5s'")
        self._connections.append(connection)
        return connection


def _refused(access: Access) -> Found:
    try:
        connect(access).close()
    except Unreachable as error:
        refused = "authentication failed" in error.message or "does not exist" in error.message
        return ("login refused" if refused else error.message), refused
    return "the login works there", False


def _looked(reader: Connection, found: list[Table]) -> Found:
    for table in found:
        reader.execute(f"SELECT 1 FROM {table.full} LIMIT 1")
    return ("works", True) if found else ("production has no table to read", True)
