"""The playground's window on shared tables: views that the reader owns, who can write nothing."""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from sandbox.model import Identity, PostgresSpace
from sandbox.stores.postgres import catalog
from sandbox.stores.postgres.changes import Change
from sandbox.stores.postgres.roles import usage
from sandbox.stores.postgres.session import Connection, name, rows, schema_exists

SHARED_VIEWS = "_shared"  # the schema dev_shared, beside dev


def shared(
    connection: Connection,
    production: PostgresSpace,
    schema: str,
    reader: Identity,
    playground: Identity,
) -> Iterator[Change]:
    """One view in `schema` for each shared table; those that are no longer shared go."""
    if not schema_exists(connection, schema):
        yield Change(
            query=sql.SQL("CREATE SCHEMA {}").format(name(schema)),
            why="the playground's window on shared tables",
        )
    yield from usage(connection, schema, playground)
    wanted = {
        relname: _select(production, relname)
        for _, relname, _, is_partition, *_ in catalog.relations(connection, production.schema)
        if not is_partition and catalog.is_listed(relname, production.shared)
    }
    present = _present(connection, schema)
    for relname in sorted(present.keys() - wanted.keys()):
        yield Change(
            query=sql.SQL("DROP VIEW {} CASCADE").format(name(schema, relname)),
            why=f"{relname} is no longer shared",
        )
    for relname, select in wanted.items():
        text = select.as_string(connection)
        if present.get(relname) != text:
            seen = "some rows or columns of " if relname in production.narrowed else ""
            yield Change(
                query=_view(production, name(schema, relname), select, text, reader, playground),
                why=f"the playground reads {seen}{relname}",
            )


def _present(connection: Connection, schema: str) -> dict[str, str]:
    """The views that are there, with the text of each, which its comment keeps."""
    query = """
        SELECT c.relname, obj_description(c.oid, 'pg_class') FROM pg_class c
        WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = %s)
        AND c.relkind = 'v'
    """
    return dict(rows(connection, query, [schema]))


def _select(production: PostgresSpace, relname: str) -> sql.Composable:
    """The rows and columns of a shared table that the playground may see."""
    narrowed = production.narrowed.get(relname)
    columns: sql.Composable = sql.SQL("*")
    where: sql.Composable = sql.SQL("")
    if narrowed is not None:
        if narrowed.columns:
            columns = sql.SQL(", ").join(map(name, narrowed.columns))
        where = sql.SQL(f" WHERE {narrowed.where}")
    source = name(production.schema, relname)
    return sql.SQL("SELECT {} FROM {}{}").format(columns, source, where)


def _view(
    production: PostgresSpace,
    view: sql.Composable,
    select: sql.Composable,
    text: str,
    reader: Identity,
    playground: Identity,
) -> sql.Composable:
    return sql.SQL(
        "SET search_path = {schema}; DROP VIEW IF EXISTS {view} CASCADE; "
        "CREATE VIEW {view} WITH (security_barrier) AS {select}; ALTER VIEW {view} OWNER TO "
        "{reader}; GRANT SELECT ON {view} TO {playground}; COMMENT ON VIEW {view} IS {text}; "
        "RESET search_path"
    ).format(
        schema=name(production.schema),
        view=view,
        select=select,
        reader=name(reader.name),
        playground=name(playground.name),
        text=sql.Literal(text),
    )
