"""What the playground's views on shared tables must hide, and where its names lead."""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.model import PostgresSpace
from sandbox.stores.postgres.session import Connection, rows
from sandbox.stores.postgres.trials import Trial, literal, quoted

COLUMNS = """
SELECT c.relname, array_agg(a.attname::text)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = %s AND c.relkind = 'v' GROUP BY c.relname
"""


def hidden(connection: Connection, space: PostgresSpace, views: str) -> Iterator[Trial]:
    """Rows and columns that a narrowed table hides, and a view that lets a function peek."""
    present = dict(rows(connection, COLUMNS, [views]))
    for table, narrowed in space.narrowed.items():
        if table not in present:
            continue
        yield Trial(
            tried=f"see hidden rows of {table}",
            statement=f"SET LOCAL search_path = {quoted(views)}; "
            f"SELECT 1 FROM {quoted(table)} WHERE NOT ({narrowed.where}) LIMIT 1",
            none=True,
            denials=("42703",),  # the condition's column is hidden itself
        )
        if narrowed.columns:
            kept = ", ".join(map(literal, narrowed.columns))
            yield Trial(
                tried=f"see hidden columns of {table}",
                statement="SELECT a.attname FROM pg_attribute a WHERE a.attrelid = "
                f"to_regclass({literal(f'{quoted(views)}.{quoted(table)}')}) "
                f"AND a.attnum > 0 AND NOT a.attisdropped AND a.attname NOT IN ({kept}) LIMIT 1",
                none=True,
                names=True,
            )
    yield Trial(
        tried="peek through a view with a cheap function",
        statement="SELECT c.relname FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        f"WHERE n.nspname = {literal(views)} AND c.relkind = 'v' "
        "AND NOT coalesce('security_barrier=true' = ANY(c.reloptions), false) "
        "ORDER BY 1 LIMIT 1",
        none=True,
        names=True,
    )


def first_schema(own: str) -> Trial:
    """An unqualified name must be the playground's, in a session as it begins."""
    return Trial(
        tried="mean something else than its own schema by an unqualified name",
        statement=f"SELECT coalesce(current_schema(), 'no schema') WHERE current_schema() "
        f"IS DISTINCT FROM {literal(own)}",
        none=True,
        names=True,
    )
