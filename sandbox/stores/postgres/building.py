"""Builds a designed schema: what the rows need, then what needs the rows, side by side.

A failure names the object, and nothing that was built counts: it all stands in a staged schema.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psycopg
from psycopg import sql

from sandbox.stores.postgres import catalog
from sandbox.stores.postgres.ddl import Design
from sandbox.stores.postgres.dump import Item, statements
from sandbox.stores.postgres.session import Connection, failed, name, one

WORKERS = 4
LARGE = 256 << 20  # bytes of a table whose indexes are worth helpers of their own
HARD = ("TABLE", "TABLE ATTACH", "SEQUENCE", "SEQUENCE OWNED BY", "TYPE", "DOMAIN", "DEFAULT")
Job = Callable[[], None]


class Builder:
    """`loader` gives this thread's own connection, acting as the owner of what is built."""

    def __init__(self, design: Design, schema: str, loader: Callable[[], Connection]) -> None:
        self._design = design
        self._schema = schema
        self._loader = loader
        self._lock = threading.Lock()
        self._late: list[Item] = []
        self.lost: list[str] = []

    def before(self) -> None:
        """Types, functions, tables, views. What the tables do not need may be lost, in words: a
        function of a language that is not here, for one."""
        for item in self._design.before:
            try:
                self._run(item.text)
            except psycopg.OperationalError:
                raise
            except psycopg.Error as error:
                if item.type in HARD:
                    raise failed(error, item.title) from None
                self.lost.append(f"{item.title}: {error.diag.message_primary}")

    def after(self, sizes: Mapping[str, int]) -> None:
        """Keys and indexes, foreign keys, statistics of the planner, and then all that would only
        be in the way of these: triggers, policies. `sizes`: bytes by table, the largest first."""
        with ThreadPoolExecutor(WORKERS) as pool:  # one, so that its connections serve twice
            self._side_by_side(pool, sizes)
        waiting = list(self._late)
        for item in self._design.after:
            self._need(item)
            if item.type in ("MATERIALIZED VIEW", "VIEW"):  # an index on it could not be made yet
                waiting = [one_ for one_ in waiting if not self._made(one_)]
        for item in waiting:
            self._need(item)
        self._refresh(list(self._design.materialized))
        self._number(self._design.sequences)

    # --- steps -----------------------------------------------------------------------------------

    def _side_by_side(self, pool: ThreadPoolExecutor, sizes: Mapping[str, int]) -> None:
        self._late = self._together(pool, self._design.keyed, sizes)
        for item in (*self._design.attached, *self._foreign()):
            self._need(item)
        checks = [partial(self._query, query) for query in self._checks()]
        analyses = [
            partial(self._query, sql.SQL("ANALYZE {}").format(name(self._schema, table)))
            for table in catalog.tables(self._loader(), self._schema)
        ]
        _all(pool, [*checks, *analyses])

    def _together(
        self, pool: ThreadPoolExecutor, items: Sequence[Item], sizes: Mapping[str, int]
    ) -> list[Item]:
        """Make the items side by side, those of large tables first; returns what has to wait."""
        waiting: list[Item] = []

        def size(item: Item) -> int:
            return max((bytes_ for table, bytes_ in sizes.items() if table in item.text), default=0)

        def make(item: Item) -> None:
            if size(item) < LARGE:  # many builds side by side leave no processor for helpers
                self._run("SET max_parallel_maintenance_workers = 0")
            else:
                self._run("RESET max_parallel_maintenance_workers")
            if not self._made(item):
                with self._lock:
                    waiting.append(item)

        _all(pool, [partial(make, item) for item in sorted(items, key=size, reverse=True)])
        return sorted(waiting, key=items.index)

    def _made(self, item: Item) -> bool:
        """Make it, unless what it is made on is not there yet."""
        try:
            self._need(item, soft=True)
        except psycopg.errors.UndefinedTable:
            return False
        return True

    def _need(self, item: Item, *, soft: bool = False) -> None:
        try:
            # Each statement alone: a second one that needs a stronger lock on the same table could
            # wait for another thread that waits for this one.
            single = item.type not in ("VIEW", "RULE", "FUNCTION", "PROCEDURE")
            for statement in statements(item.text) if single else [item.text]:
                self._with_less_memory(statement)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            if soft and isinstance(error, psycopg.errors.UndefinedTable):
                raise
            raise failed(error, item.title) from None

    def _with_less_memory(self, statement: str) -> None:
        """Parallel builds share memory of the machine's /dev/shm, which a container has little of;
        without helpers it is not needed."""
        try:
            self._run(statement)
        except psycopg.errors.DiskFull as error:
            if "shared memory" not in str(error.diag.message_primary):
                raise
            self._run("SET max_parallel_maintenance_workers = 0")
            self._run(statement)

    def _foreign(self) -> list[Item]:
        """Foreign keys without their check, where that can be done apart and side by side."""
        return [
            Item(name=item.name, type=item.type, text=_unchecked(item.text))
            for item in self._design.foreign
        ]

    def _checks(self) -> list[sql.Composed]:
        """The checks that were put off; those that production had not made either stay so."""
        found = []
        for item in self._design.foreign:
            if _unchecked(item.text) != item.text:
                table, constraint = _of_key(item.text)
                query = sql.SQL(f"ALTER TABLE ONLY {table} VALIDATE CONSTRAINT {constraint}")
                found.append(sql.Composed([query]))
        return found

    def _refresh(self, views: list[str]) -> None:
        """Again and again, since one may read another that was not filled yet."""
        while views:
            left = []
            for view in views:
                query = sql.SQL("REFRESH MATERIALIZED VIEW {}").format(name(self._schema, view))
                try:
                    self._query(query)
                except psycopg.errors.ObjectNotInPrerequisiteState:
                    left.append(view)
                except psycopg.OperationalError:
                    raise
                except psycopg.Error as error:
                    self.lost.append(
                        f"rows of materialized view {view}: {error.diag.message_primary}"
                    )
            if left == views:
                self.lost += [
                    f"rows of materialized view {view}: it reads an empty one" for view in left
                ]
                return
            views = left

    def _number(self, sequences: Mapping[str, Sequence[object]]) -> None:
        connection = self._loader()
        for sequence, (value, called) in sequences.items():
            quoted = name(self._schema, sequence).as_string(connection)
            one(connection, "SELECT setval(%s::regclass, %s, %s)", [quoted, value, called])

    # --- running ---------------------------------------------------------------------------------

    def _run(self, text: str) -> None:
        self._loader().execute(text.encode())

    def _query(self, query: sql.Composed) -> None:
        self._loader().execute(query)


def _all(pool: ThreadPoolExecutor, jobs: Sequence[Job]) -> None:
    """Run the jobs; the first failure keeps those that have not begun from beginning."""
    futures = [pool.submit(job) for job in jobs]
    try:
        for future in futures:
            future.result()
    except BaseException:
        for future in futures:
            future.cancel()
        raise


def _unchecked(text: str) -> str:
    """A foreign key as NOT VALID. Not one of a partitioned table: pg_dump writes no ONLY there."""
    body = text.strip()
    if "ALTER TABLE ONLY" not in body or body.endswith("NOT VALID;") or not body.endswith(";"):
        return text
    return f"{body[:-1]} NOT VALID;"


def _of_key(text: str) -> tuple[str, str]:
    """Table and constraint, quoted as they are in `ALTER TABLE ONLY t ADD CONSTRAINT c FOREIGN`."""
    head, rest = text.split("ALTER TABLE ONLY ", 1)[1].split("\n    ADD CONSTRAINT ", 1)
    return head, rest.split(" FOREIGN KEY (", 1)[0]
