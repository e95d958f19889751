"""Foreign keys between tables that are copied, and the keys that rows are known by in a subset."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sandbox.model import Dataset, Field
from sandbox.stores.postgres.session import Connection, one, rows

WHOLE = ("smallint", "integer", "bigint")
# A constraint of a partition counts for its whole table: that finds too much at worst.
QUERY = """
SELECT c.relname::text, p.relname::text,
  (SELECT array_agg(a.attname::text ORDER BY u.o) FROM unnest(k.conkey) WITH ORDINALITY u(n, o)
   JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n),
  (SELECT array_agg(a.attname::text ORDER BY u.o) FROM unnest(k.confkey) WITH ORDINALITY u(n, o)
   JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n),
  k.confdeltype = 'c' OR NOT EXISTS (
    SELECT FROM pg_attribute a WHERE a.attrelid = k.conrelid AND a.attnum = ANY(k.conkey)
    AND NOT a.attnotnull)
FROM pg_constraint k
JOIN pg_class c ON c.oid = coalesce(pg_partition_root(k.conrelid)::oid, k.conrelid)
JOIN pg_class p ON p.oid = coalesce(pg_partition_root(k.confrelid)::oid, k.confrelid)
WHERE k.contype = 'f' AND k.conparentid = 0
  AND c.relnamespace = %s::regnamespace AND p.relnamespace = c.relnamespace
ORDER BY c.relname, k.conname
"""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """`child.columns` refer to `parent.target`. `owned`: no child can be without its parent."""

    child: str
    columns: tuple[str, ...]
    parent: str
    target: tuple[str, ...]
    owned: bool


def references(
    connection: Connection,
    schema: str,
    tables: Iterable[str],
    loose: Mapping[str, Sequence[str]],
) -> tuple[Reference, ...]:
    """Between these tables; those with a loose column are left out."""
    known = set(tables)
    quoted = one(connection, "SELECT quote_ident(%s)", [schema])
    found = [
        Reference(
            child=child, columns=tuple(columns), parent=parent, target=tuple(target), owned=owned
        )
        for child, parent, columns, target, owned in rows(connection, QUERY, [quoted])
        if child in known and parent in known and not set(columns) & set(loose.get(child, ()))
    ]
    return tuple(dict.fromkeys(found))


def reach(tables: Iterable[str], edges: Mapping[str, Iterable[str]]) -> set[str]:
    """Everything that edges lead to, over any number of steps."""
    found: set[str] = set()
    todo = list(tables)
    while todo:
        for name in edges.get(todo.pop(), ()):
            if name not in found:
                found.add(name)
                todo.append(name)
    return found


def followed(found: Sequence[Reference], only: Collection[str] | None) -> tuple[Reference, ...]:
    """The references over which children come along: into the tables of `only`, or all. In a cycle
    of several tables an optional reference makes no child, or few rows would bring all others."""
    up: dict[str, list[str]] = {}
    for reference in found:
        up.setdefault(reference.child, []).append(reference.parent)
    above = {table: reach([table], up) for table in up}

    def follows(it: Reference) -> bool:
        if only is not None:
            return it.child in only
        return it.owned or it.child == it.parent or it.child not in above.get(it.parent, ())

    return tuple(filter(follows, found))


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class KeyForms:
    """SQL of 64-bit keys. One integer column that is never null is its own key; any other is hashed
    by the server. A hash that two rows share brings both along, which leaves nothing dangling."""

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        self._fields: dict[tuple[str, str], Field] = {
            (dataset.name, field.name): field for dataset in datasets for field in dataset.fields
        }

    def plain(self, table: str, columns: Sequence[str]) -> bool:
        field = self._fields[table, columns[0]]
        return len(columns) == 1 and field.type in WHOLE and not field.nullable

    def own(self, table: str, columns: Sequence[str]) -> str:
        """The key of a row by columns of its own."""
        if self.plain(table, columns):
            return identifier(columns[0])
        return f"pg_catalog.hash_record_extended(ROW({', '.join(map(identifier, columns))}), 0)"

    def referring(self, reference: Reference) -> str:
        """The key of the row that a child refers to; null where it refers to none."""
        names = [identifier(column) for column in reference.columns]
        if self.plain(reference.parent, reference.target):
            kind = self._fields[reference.child, reference.columns[0]].type
            return names[0] if kind in WHOLE else f"({names[0]})::pg_catalog.int8"
        typed = ", ".join(
            f"{name}::{self._fields[reference.parent, target].type}"
            for name, target in zip(names, reference.target, strict=True)
        )
        given = " AND ".join(f"{name} IS NOT NULL" for name in names)
        return f"(CASE WHEN {given} THEN pg_catalog.hash_record_extended(ROW({typed}), 0) END)"
