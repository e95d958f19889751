"""What is tried against production's tables and schema: each statement first on a canary at home.

`right` is asked before a statement runs: where the right is known to exist, nothing is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

CANARY = "sandbox_canary"
LOCKING = (
    "hang a trigger on",
    "refer to",
)  # the server locks the table first, then asks for rights


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One way across. `statement` must be denied; with `none` it may run and must find nothing.
    Without one the right alone decides: the server would lock production's table before it looks.

    `home`: the same on the own canary, which must work first. `names`: what it finds is the name
    of a thing, not a value, and may be shown. `as_is`: in the session's own mode, not read-write.
    `denials`: SQLSTATEs that are a denial beside `insufficient_privilege`.
    """

    tried: str
    statement: str = ""
    home: str = ""
    right: str = ""
    none: bool = False
    names: bool = False
    as_is: bool = False
    denials: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table as it is quoted, and its number, by which rights are asked."""

    oid: int
    schema: str
    bare: str
    what: str = ""  # "an isolated", "a shared"
    column: str = ""

    @property
    def full(self) -> str:
        return f"{self.schema}.{self.bare}"

    def right(self, *privileges: str) -> str:
        """Whether any of them is held, on the table or on one column."""
        by_column = {"SELECT", "INSERT", "UPDATE", "REFERENCES"}
        asked = [
            f"has_{'any_column' if one in by_column else 'table'}_privilege({self.oid}::oid, "
            f"'{one}')"
            for one in privileges
        ]
        return f"SELECT {' OR '.join(asked)}"

    @property
    def owned(self) -> str:
        """A schema's owner may drop what others own in it."""
        return (
            "SELECT pg_has_role(c.relowner, 'USAGE') OR pg_has_role(n.nspowner, 'USAGE') "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            f"WHERE c.oid = {self.oid}"
        )


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def readings(there: Table, home: Table) -> Iterator[Trial]:
    """Ways for rows of one table to come over, or for facts about them."""
    own = quoted(CANARY)
    statements = {
        "by its full name": "SELECT * FROM {full} LIMIT 1",
        "through search_path": "SET LOCAL search_path = {schema}; SELECT * FROM {bare} LIMIT 1",
        "with COPY ... TO": "COPY {full} TO STDOUT",
        "with COPY (query)": "COPY (SELECT * FROM {full} LIMIT 1) TO STDOUT",
        "through query_to_xml": "SELECT query_to_xml('SELECT * FROM {escaped} LIMIT 1',"
        " true, true, '')",
        "through a view of its own": f"CREATE VIEW {home.schema}.{own} AS SELECT * FROM {{full}}; "
        f"SELECT * FROM {home.schema}.{own} LIMIT 1",
        "through a function of its own": f"CREATE FUNCTION {home.schema}.{own}() RETURNS bigint "
        "LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN "
        "RETURN (SELECT count(*) FROM (SELECT 1 FROM {full} LIMIT 1) t); END $$; "
        f"SELECT {home.schema}.{own}()",
        "into a table of its own": f"CREATE TABLE {home.schema}.{own} AS "
        "SELECT * FROM {full} LIMIT 0",
        "by its likeness": f"CREATE TABLE {home.schema}.{own} (LIKE {{full}})",
        "by the planner's estimate": "EXPLAIN SELECT * FROM {full}",
    }
    right = there.right("SELECT")
    for how, statement in statements.items():
        yield Trial(
            tried=f"read {there.what} table {how}",
            right=right,
            statement=_on(statement, there),
            home=_on(statement, home),
            # A schema that may not be looked into is passed over, as if the table did not exist.
            denials=("42P01",) if "search_path" in how else (),
        )
    yield Trial(
        tried=f"lock {there.what} table",
        right=there.right("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"),
        statement=f"LOCK TABLE {there.full} IN ACCESS SHARE MODE NOWAIT",
        home=f"LOCK TABLE {home.full} IN ACCESS SHARE MODE NOWAIT",
    )


def writings(there: Table, home: Table, *, maintain: bool) -> Iterator[Trial]:
    """Every way to change one table; rows only by conditions that no row meets. `maintain`: the
    server knows that right (PostgreSQL 17)."""
    own = f"{home.schema}.{quoted(CANARY)}"
    trigger = (
        f"CREATE FUNCTION {own}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN END $$; "
        f"CREATE TRIGGER {quoted(CANARY)} BEFORE INSERT ON {{full}} EXECUTE FUNCTION {own}()"
    )
    refers = (
        f"CREATE TABLE {own} (v int); "
        f"ALTER TABLE {own} ADD FOREIGN KEY (v) REFERENCES {{full}} NOT VALID"
    )
    ways = {
        "INSERT into": ("INSERT INTO {full} DEFAULT VALUES", there.right("INSERT")),
        "COPY into": ("COPY {full} FROM STDIN", there.right("INSERT")),
        "UPDATE": ("UPDATE {full} SET {column} = {column} WHERE false", there.right("UPDATE")),
        "DELETE from": ("DELETE FROM {full} WHERE false", there.right("DELETE")),
        "TRUNCATE": ("TRUNCATE {full}", there.right("TRUNCATE")),
        "hang a trigger on": (trigger, there.right("TRIGGER")),
        "refer to": (refers, there.right("REFERENCES")),
        "index": ("CREATE INDEX ON {full} ({column})", there.owned),
        "rename": ("ALTER TABLE {full} RENAME TO {canary}", there.owned),
        "move home": (f"ALTER TABLE {{full}} SET SCHEMA {home.schema}", there.owned),
        "inherit from": (f"CREATE TABLE {own} () INHERITS ({{full}})", there.owned),
        "drop": ("DROP TABLE {full}", there.owned),
    }
    if maintain:
        ways["rebuild the indexes of"] = (
            "REINDEX TABLE {full}",
            f"{there.right('MAINTAIN')} OR ({there.owned})",
        )
    for verb, (statement, right) in ways.items():
        yield Trial(
            tried=f"{verb} {there.what} table",
            right=right,
            statement="" if verb in LOCKING else _on(statement, there),
            home="" if verb == "move home" else _on(statement, home),
        )


def view_writings(view: Table) -> Iterator[Trial]:
    """The playground's window on a shared table is for looking."""
    for verb, statement in {
        "INSERT": f"INSERT INTO {view.full} DEFAULT VALUES",
        "UPDATE": f"UPDATE {view.full} SET {view.column} = {view.column} WHERE false",
        "DELETE": f"DELETE FROM {view.full} WHERE false",
    }.items():
        yield Trial(
            tried=f"{verb} through the view of a shared table",
            right=view.right(verb),
            statement=statement,
        )
    yield Trial(
        tried="replace the view of a shared table",
        right=view.owned,
        statement=f"ALTER VIEW {view.full} SET (security_barrier = false)",
    )


def making(schema: str, home: str) -> Iterator[Trial]:
    """To make things in a schema of production's, or to say that it is a playground's."""
    may = f"SELECT has_schema_privilege({literal(schema)}, 'CREATE')"
    there, own = (f"{quoted(one)}.{quoted(CANARY)}" for one in (schema, home))
    for what, statement in {
        "table": "CREATE TABLE {} (v int)",
        "function": "CREATE FUNCTION {}() RETURNS int LANGUAGE sql RETURN 1",
        "sequence": "CREATE SEQUENCE {}",
        "type": "CREATE TYPE {} AS (v int)",
    }.items():
        yield Trial(
            tried=f"make a {what} in {schema}",
            right=may,
            statement=statement.format(there),
            home=statement.format(own),
        )
    yield Trial(
        tried=f"forge the marker of {schema}",
        right="SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace "
        f"WHERE nspname = {literal(schema)}",
        statement=f"COMMENT ON SCHEMA {quoted(schema)} IS 'sandbox: mine'",
    )


def sequences(oid: int, name: str) -> Iterator[Trial]:
    """`nextval` outlives a rollback: it is run only where the right is known to be missing."""
    for verb, privilege, statement in (
        ("read", "SELECT", f"SELECT last_value FROM {name}"),
        ("advance", "USAGE", f"SELECT nextval({literal(name)})"),
        ("set", "UPDATE", f"SELECT setval({literal(name)}, 1)"),
    ):
        also = ", UPDATE" if privilege == "USAGE" else ""
        yield Trial(
            tried=f"{verb} a sequence of production's",
            right=f"SELECT has_sequence_privilege({oid}::oid, '{privilege}{also}')",
            statement=statement,
        )


def _on(statement: str, table: Table) -> str:
    return statement.format(
        full=table.full,
        schema=table.schema,
        bare=table.bare,
        escaped=table.full.replace("'", "''"),
        column=table.column,
        canary=quoted(CANARY),
    )
