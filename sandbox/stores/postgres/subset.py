"""Chooses rows so that nothing dangles: some rows, all that they refer to, and what refers to them.

The closure runs over foreign keys in rounds, in the server, at the cut's snapshot. Only keys of new
rows come here and go back, as 64-bit integers; a table that nothing refers to needs none at all.
Rows are taken in two ways: `down`, with the rows that refer to them, and only because something
refers to them. That difference is why a subset of ten videos is not all of production.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg

from sandbox.errors import ConfigError, SandboxError
from sandbox.model import Dataset, Start
from sandbox.stores.postgres.chosen import Chosen
from sandbox.stores.postgres.keysets import NONE, Keys, fetch, give, member, together, without
from sandbox.stores.postgres.references import KeyForms, Reference, followed, identifier, reach
from sandbox.stores.postgres.session import Connection, failed


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of one table to go on from."""

    table: str
    where: str
    keys: tuple[Keys, ...] = ()


class Closure:
    """`Closure(...).run()` -> what is chosen, by table; other tables are read whole."""

    def __init__(
        self,
        connection: Connection,
        schema: str,
        datasets: Sequence[Dataset],
        references: Sequence[Reference],
        starts: Mapping[str, Start],
    ) -> None:
        self._connection = connection
        self._datasets = {dataset.name: dataset for dataset in datasets}
        self._schema, self._starts = schema, starts
        self._forms = KeyForms(datasets)
        self._up: dict[str, list[Reference]] = {}
        self._down: dict[str, list[Reference]] = {}
        self._beside: dict[str, set[str]] = {}
        self._key: dict[str, tuple[str, ...]] = {}  # what the rows of a referred table are known by
        for reference in references:
            self._up.setdefault(reference.child, []).append(reference)
            self._beside.setdefault(reference.child, set()).add(reference.parent)
            self._beside.setdefault(reference.parent, set()).add(reference.child)
            self._choose_key(reference)
        for reference in self._followed(references):
            self._down.setdefault(reference.parent, []).append(reference)
        self._all: dict[str, Keys] = {}
        self._with: dict[str, Keys] = {}  # those whose children come along
        self._new: dict[tuple[str, bool], Keys] = {}  # by table and `down`: not gone on from yet
        self._narrowed = {
            table
            for table, start in starts.items()
            if start.where is not None and self._comes_as_child(table)
        }

    def run(self) -> dict[str, Chosen]:
        touched = dict.fromkeys([*self._starts, *reach(self._starts, self._beside)])
        for table in touched:
            start = self._starts.get(table)
            if start is not None and start.where is not None and table not in self._narrowed:
                self._begin(table, start)
        while self._new:
            (table, down), keys = next(iter(self._new.items()))
            del self._new[table, down]
            rows = Rows(table=table, where=member(self._own(table), 0), keys=(keys,))
            self._parents(rows)
            for reference in self._down.get(table, ()) if down else ():
                self._children(rows, reference)
        return {table: self._chosen(table) for table in touched}

    # --- which tables -----------------------------------------------------------------------------

    def _choose_key(self, reference: Reference) -> None:
        table, target = reference.parent, reference.target
        known = self._key.get(table)
        if known is None or (
            self._forms.plain(table, target) and not self._forms.plain(table, known)
        ):
            self._key[table] = target

    def _followed(self, references: Sequence[Reference]) -> list[Reference]:
        found: dict[Reference, None] = {}
        for start in self._starts.values():
            if start.children:
                only = start.children if isinstance(start.children, tuple) else None
                found |= dict.fromkeys(followed(references, only))
        return list(found)

    def _descendants(self, table: str) -> set[str]:
        edges = {name: [r.child for r in found] for name, found in self._down.items()}
        return reach([table], edges)

    def _comes_as_child(self, table: str) -> bool:
        """Whether rows come as children of another rule's, so that the filter only narrows them.
        Two tables that come as one another's children both begin by their own."""
        mine = self._descendants(table) if self._starts[table].children else set()
        return any(
            start.children
            and start.where is not None
            and other != table
            and table in self._descendants(other)
            and other not in mine
            for other, start in self._starts.items()
        )

    # --- steps ------------------------------------------------------------------------------------

    def _begin(self, table: str, start: Start) -> None:
        if table in self._key:
            keys = self._fetch(table, self._own(table), f"({start.where})", ())
            self._add(table, keys, down=bool(start.children))
            return
        self._fetch(table, "1", f"({start.where}) AND false", ())  # the policy's SQL is right
        self._parents(Rows(table=table, where=f"({start.where})"))

    def _parents(self, rows: Rows) -> None:
        """What rows refer to comes along, always."""
        for reference in self._up.get(rows.table, ()):
            self._parent(rows, reference)

    def _parent(self, rows: Rows, reference: Reference) -> None:
        table = reference.parent
        expression = self._forms.referring(reference)
        keys = self._fetch(rows.table, expression, rows.where, rows.keys)
        if reference.target != self._key[table]:
            there = member(self._forms.own(table, reference.target), 0)
            keys = self._fetch(table, self._own(table), there, (keys,))
        self._add(table, keys, down=self._is_pulled(table))

    def _is_pulled(self, table: str) -> bool:
        """A rule with children and without a filter is for whatever rows come from elsewhere."""
        start = self._starts.get(table)
        return start is not None and start.where is None and bool(start.children)

    def _children(self, rows: Rows, reference: Reference) -> None:
        known = rows.keys[0]
        if reference.target != self._key[rows.table]:
            own = self._forms.own(rows.table, reference.target)
            known = self._fetch(rows.table, own, rows.where, rows.keys)
        table = reference.child
        where = self._filtered(table, member(self._forms.referring(reference), 0))
        if table not in self._key:
            self._parents(Rows(table=table, where=where, keys=(known,)))
        else:
            self._add(table, self._fetch(table, self._own(table), where, (known,)), down=True)

    def _add(self, table: str, keys: Keys, *, down: bool) -> None:
        """Rows that are new, or new as those whose children come along, are gone on from."""
        into = self._with if down else self._all
        new = without(keys, into.get(table, NONE))
        if not len(new):
            return
        for one in (self._all, self._with) if down else (self._all,):
            one[table] = together(one.get(table, NONE), new)
        self._new[table, down] = together(self._new.get((table, down), NONE), new)

    # --- what is read -----------------------------------------------------------------------------

    def _chosen(self, table: str) -> Chosen:
        if table in self._key:
            return Chosen(where=member(self._own(table), 0), keys=(self._all.get(table, NONE),))
        wheres: list[str] = []
        sets: list[Keys] = []
        start = self._starts.get(table)
        if start is not None and start.where is not None and table not in self._narrowed:
            wheres.append(f"({start.where})")
        for reference in self._up.get(table, ()):
            known = self._with.get(reference.parent)
            if known is not None and reference in self._down.get(reference.parent, ()):
                known = self._targets(reference, known)
                inside = member(self._forms.referring(reference), len(sets))
                wheres.append(f"({self._filtered(table, inside)})")
                sets.append(known)
        return Chosen(where=" OR ".join(wheres) or "false", keys=tuple(sets))

    def _targets(self, reference: Reference, known: Keys) -> Keys:
        table = reference.parent
        if reference.target == self._key[table]:
            return known
        own = self._forms.own(table, reference.target)
        return self._fetch(table, own, member(self._own(table), 0), (known,))

    # --- SQL --------------------------------------------------------------------------------------

    def _own(self, table: str) -> str:
        return self._forms.own(table, self._key[table])

    def _filtered(self, table: str, where: str) -> str:
        return f"{where} AND ({self._starts[table].where})" if table in self._narrowed else where

    def _from(self, table: str) -> str:
        only = "" if self._datasets[table].options.get("partitioned") else "ONLY "
        return f"{only}{identifier(self._schema)}.{identifier(table)}"

    def _fetch(self, table: str, expression: str, where: str, keys: tuple[Keys, ...]) -> Keys:
        if any(not len(one) for one in keys):
            return NONE
        query = (
            f"SELECT DISTINCT ({expression})::pg_catalog.int8 FROM {self._from(table)} "
            f"WHERE ({expression}) IS NOT NULL AND ({where})"
        )
        try:
            give(self._connection, keys)
            return fetch(self._connection, query, f"the subset's rows of {table}")
        except psycopg.Error as error:
            raise self._wrong(table, error) from None

    def _wrong(self, table: str, error: psycopg.Error) -> SandboxError:
        """A filter that PostgreSQL does not understand is the policy's mistake, with its line."""
        start = self._starts.get(table)
        told = failed(error, f"choosing rows of {table}")
        if start is None or start.where is None or not (error.sqlstate or "").startswith("42"):
            return told
        return ConfigError(told.message, where=start.line)
