"""One right too many, again and again: how it is given and taken back, and what must see it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Seen = frozenset[tuple[str, str]]
PLAYGROUND, READER, PRODUCTION = "t_playground", "t_reader", "t_production"
RELATION = "hold a right on any relation outside its spaces"
SEQUENCE = "hold a right on any sequence outside its spaces"
CHANGES = "hold a right to change any relation of production's"
ADVANCES = "hold a right to change any sequence of production's"
ROLE = "be a member of another role"
FUNCTION = "call a function that the server keeps for administrators"
CATALOG = "read a catalog that the server keeps for administrators"
MAKES = "make things in any other schema"
SETTING = "change a setting of the server"
# What looks over everything may be shared by leaks that are tried together.
SWEEPS = {RELATION, SEQUENCE, CHANGES, ADVANCES, ROLE, FUNCTION, CATALOG, MAKES, SETTING}
STATISTICS = "read production's values from pg_stats"
READINGS = (
    "by its full name", "through search_path", "with COPY ... TO", "with COPY (query)",
    "through query_to_xml", "through a view of its own", "through a function of its own",
    "into a table of its own", "by its likeness", "by the planner's estimate",
)  # fmt: skip
OWNED = ("index", "rename", "move home", "inherit from", "drop")
MADE = tuple(f"make a {one} in public" for one in ("table", "function", "sequence", "type"))


@dataclass(frozen=True, kw_only=True)
class Leak:
    """`seen`: who and what must turn red. `more`: others may, since much follows from it."""

    do: str
    undo: str
    seen: Seen
    more: bool = False
    alone: bool = False  # it changes what other leaks show


def leak(do: str, undo: str, *tried: str, who: str = PLAYGROUND, **flags: bool) -> Leak:
    return Leak(do=do, undo=undo, seen=frozenset((who, one) for one in tried), **flags)


def granted(what: str, *tried: str, who: str = PLAYGROUND, **flags: bool) -> Leak:
    return leak(f"GRANT {what} TO {who}", f"REVOKE {what} FROM {who}", *tried, who=who, **flags)


def attribute(word: str, *tried: str, who: str = PLAYGROUND, **flags: bool) -> Leak:
    undo = f"ALTER ROLE {who} NO{word}"
    return leak(f"ALTER ROLE {who} {word}", undo, f"give itself {word}", *tried, who=who, **flags)


def tables() -> Iterator[Leak]:
    for table, what in (("people", "an isolated"), ("keys", "a shared")):
        stats = (STATISTICS,) if table == "people" else ()
        lock = f"lock {what} table"
        rights = {
            "SELECT": (lock, *(f"read {what} table {how}" for how in READINGS), *stats),
            "INSERT": (lock, f"INSERT into {what} table", f"COPY into {what} table"),
            "UPDATE": (lock, f"UPDATE {what} table"),
            "DELETE": (lock, f"DELETE from {what} table"),
            "TRUNCATE": (lock, f"TRUNCATE {what} table"),
            "TRIGGER": (f"hang a trigger on {what} table",),
            "REFERENCES": (f"refer to {what} table",),
            "MAINTAIN": (lock, f"rebuild the indexes of {what} table"),
        }
        for right, tried in rights.items():
            yield granted(f"{right} ON public.{table}", RELATION, *tried)
            if table == "people" and right != "SELECT":
                yield granted(f"{right} ON public.{table}", CHANGES,
                              *(one for one in tried if one != lock), who=READER)  # fmt: skip
        for who in (PLAYGROUND, READER) if table == "people" else (PLAYGROUND,):
            again = f"; GRANT SELECT ON public.{table} TO t_reader"
            yield leak(
                f"ALTER TABLE public.{table} OWNER TO {who}",
                f"ALTER TABLE public.{table} OWNER TO postgres{again}",
                "own a relation of another schema",
                *(f"{verb} {what} table" for verb in OWNED), who=who, more=True, alone=True,
            )  # fmt: skip


def sequences() -> Iterator[Leak]:
    ways = {"SELECT": ("read",), "USAGE": ("advance",), "UPDATE": ("advance", "set")}
    for who, sweep in ((PLAYGROUND, SEQUENCE), (READER, ADVANCES)):
        for right, verbs in ways.items():
            if who == READER and right == "SELECT":
                continue
            tried = (f"{verb} a sequence of production's" for verb in verbs)
            yield granted(f"{right} ON SEQUENCE public.people_id_seq", sweep, *tried, who=who)


def roles() -> Iterator[Leak]:
    for who, others in ((PLAYGROUND, (PRODUCTION, READER)), (READER, (PRODUCTION,))):
        for other in others:
            later, settings = (
                f"say what {other} gives away later",
                f"change the settings of {other}",
            )
            yield granted(other, ROLE, f"become {other}", later, who=who, more=True, alone=True)
            yield leak(
                f"GRANT {other} TO {who} WITH ADMIN OPTION; ALTER ROLE {who} CREATEROLE",
                f"REVOKE {other} FROM {who}; ALTER ROLE {who} NOCREATEROLE",
                f"give itself the role {other}", settings, who=who, more=True, alone=True,
            )  # fmt: skip
        yield attribute("CREATEROLE", "make a role", who=who)
        yield attribute("CREATEDB", who=who)
        yield attribute("REPLICATION", "take part in replication", who=who)
        within = (f"log in as {other} within the session" for other in others)
        yield attribute("SUPERUSER", *within, "make a foreign-data wrapper", MAKES, FUNCTION,
                        who=who, more=True, alone=True)  # fmt: skip
        yield granted("pg_execute_server_program", ROLE, "run a program with COPY ... TO",
                      "run a program with COPY ... FROM", who=who)  # fmt: skip
        yield granted(
            "pg_write_server_files", ROLE, "write a file of the server with COPY", who=who
        )
        yield granted("pg_read_server_files", ROLE, "read a file of the server with COPY", who=who)
    yield attribute("BYPASSRLS")
    yield attribute(
        "SUPERUSER", "make an event trigger", "make a function in C", more=True, alone=True
    )
    yield granted("pg_signal_backend", ROLE, "stop a statement of production's",
                  "end a session of production's")  # fmt: skip
    yield granted("pg_read_all_stats", ROLE, FUNCTION, CATALOG,
                  "see what other sessions run (pg_stat_activity)",
                  "see what others ran (pg_stat_statements)")  # fmt: skip
    yield granted("pg_read_all_data", ROLE, RELATION, CATALOG, more=True, alone=True)
    yield granted("pg_write_all_data", ROLE, RELATION, more=True, alone=True)


def server() -> Iterator[Leak]:
    functions = {
        "pg_read_file(text)": "read a file of the server",
        "pg_ls_dir(text)": "list a directory of the server",
        "lo_import(text)": "import a large object",
        "lo_export(oid, text)": "export a large object",
        "pg_rotate_logfile()": "switch the server's log",
        "pg_reload_conf()": "make the server read its files again",
    }
    catalogs = {
        "pg_authid": "rolpassword",
        "pg_largeobject": "data",
        "pg_statistic": "stavalues1",
        "pg_user_mapping": "umoptions",
    }
    for who in (PLAYGROUND, READER):
        for function, tried in functions.items():
            yield granted(f"EXECUTE ON FUNCTION {function}", FUNCTION, tried, who=who)
        for catalog, column in catalogs.items():
            yield granted(f"SELECT ON {catalog}", CATALOG, f"read {catalog}.{column}", who=who)
        yield granted("SET ON PARAMETER session_replication_role", SETTING,
                      "switch everybody's triggers off for itself", who=who)  # fmt: skip
        yield granted("ALTER SYSTEM ON PARAMETER log_statement", SETTING, who=who)
        yield granted("CREATE ON DATABASE momentry", "make a schema in the database", who=who)
        yield leak(f"ALTER DATABASE momentry OWNER TO {who}",
                   "ALTER DATABASE momentry OWNER TO postgres", "change the database's settings",
                   MAKES, who=who, more=True, alone=True)  # fmt: skip
        yield leak("CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; "
                   f"GRANT USAGE ON FOREIGN SERVER s TO {who}",
                   "DROP FOREIGN DATA WRAPPER w CASCADE", "use a foreign server",
                   who=who, alone=True)  # fmt: skip
        definer = ("call a SECURITY DEFINER function of another's",) if who == PLAYGROUND else ()
        yield granted("EXECUTE ON FUNCTION dblink_connect_u(text)", *definer,
                      "connect from the server without a password (dblink_connect_u)",
                      who=who)  # fmt: skip


def schemas() -> Iterator[Leak]:
    for who in (PLAYGROUND, READER):
        yield granted("CREATE ON SCHEMA public", MAKES, *MADE, who=who)
        yield leak(f"ALTER SCHEMA public OWNER TO {who}",
                   "ALTER SCHEMA public OWNER TO pg_database_owner", MAKES,
                   "forge the marker of public", who=who, more=True, alone=True)  # fmt: skip
    yield granted("CREATE ON SCHEMA dev_shared", MAKES)
    yield leak("CREATE SCHEMA old; CREATE VIEW old.v AS SELECT * FROM public.people; "
               "GRANT SELECT ON old.v TO PUBLIC", "DROP SCHEMA old CASCADE", RELATION)  # fmt: skip
    yield leak("CREATE FUNCTION peek() RETURNS text LANGUAGE sql SECURITY DEFINER "
               "AS 'SELECT name FROM people LIMIT 1'", "DROP FUNCTION peek()",
               "call a SECURITY DEFINER function of another's")  # fmt: skip
    yield leak("CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS "
               "$$ BEGIN PERFORM pg_notify('a', 'b'); RETURN NEW; END $$", "DROP FUNCTION tell()",
               "hear what production's functions notify (channels know no rights)")  # fmt: skip
    yield leak("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC",
               "ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM PUBLIC",
               "be given what production makes later")  # fmt: skip
    yield leak("SELECT lo_create(77); GRANT SELECT ON LARGE OBJECT 77 TO PUBLIC",
               "SELECT lo_unlink(77)", "read a large object of another's")  # fmt: skip
    yield leak("SELECT lo_create(77); ALTER ROLE t_playground SET lo_compat_privileges = on",
               "SELECT lo_unlink(77); ALTER ROLE t_playground RESET lo_compat_privileges",
               "read a large object of another's", alone=True)  # fmt: skip
    yield granted("SELECT ON public.videos", RELATION, STATISTICS)
    yield leak("ALTER TABLE public.videos OWNER TO t_playground",
               "ALTER TABLE public.videos OWNER TO postgres",
               "read production's values from pg_stats_ext", more=True, alone=True)  # fmt: skip
    yield granted("SELECT (name) ON public.people", RELATION, STATISTICS, more=True, alone=True)
    yield granted("INSERT ON public.notes", CHANGES, who=READER)
    yield leak("ALTER ROLE t_playground SET search_path = public",
               "ALTER ROLE t_playground RESET search_path",
               "mean something else than its own schema by an unqualified name")  # fmt: skip


def views() -> Iterator[Leak]:
    for right in ("INSERT", "UPDATE", "DELETE"):
        yield granted(f"{right} ON dev_shared.keys", f"{right} through the view of a shared table")
    yield leak("ALTER VIEW dev_shared.keys OWNER TO t_playground",
               "ALTER VIEW dev_shared.keys OWNER TO t_reader", "replace the view of a shared table",
               more=True, alone=True)  # fmt: skip
    yield leak("ALTER VIEW dev_shared.notes SET (security_barrier = false)",
               "ALTER VIEW dev_shared.notes SET (security_barrier = true)",
               "peek through a view with a cheap function")  # fmt: skip
    view = "CREATE OR REPLACE VIEW dev_shared.keys WITH (security_barrier) AS SELECT"
    right = "WHERE environment = 'development'"
    yield leak(f"{view} id, environment FROM public.keys",
               f"{view} id, environment FROM public.keys {right}",
               "see hidden rows of keys")  # fmt: skip
    yield leak(f"{view} id, environment, key FROM public.keys {right}",
               "DROP VIEW dev_shared.keys", "see hidden columns of keys", alone=True)  # fmt: skip


def logins() -> Iterator[Leak]:
    """The other direction, the reader's mode, and homes that do not work (P7)."""
    canary = [f"{verb} a canary of t_playground" for verb in ("read", "write", "empty", "drop")]
    default = "ALTER DEFAULT PRIVILEGES FOR ROLE t_playground IN SCHEMA dev"
    yield leak(f"GRANT USAGE ON SCHEMA dev TO t_production; "
               f"{default} GRANT ALL ON TABLES TO t_production",
               f"REVOKE ALL ON SCHEMA dev FROM t_production; "
               f"{default} REVOKE ALL ON TABLES FROM t_production", *canary[:3],
               "hold a right on any relation of the playground's", who=PRODUCTION)  # fmt: skip
    yield leak("GRANT t_playground TO t_production", "REVOKE t_playground FROM t_production",
               *canary, "become t_playground", "hold a right on any relation of the playground's",
               who=PRODUCTION)  # fmt: skip
    yield leak("ALTER ROLE t_reader SET default_transaction_read_only = off",
               "ALTER ROLE t_reader SET default_transaction_read_only = on",
               "write in a session as it begins", who=READER)  # fmt: skip
    yield leak("REVOKE SELECT ON public.people, public.keys FROM t_reader",
               "GRANT SELECT ON public.people, public.keys TO t_reader", "read production",
               who=READER, alone=True)  # fmt: skip
    yield leak("ALTER ROLE t_production NOLOGIN", "ALTER ROLE t_production LOGIN", "log in",
               who=PRODUCTION, alone=True)  # fmt: skip
    yield leak("REVOKE ALL ON SCHEMA dev FROM t_playground",
               "GRANT ALL ON SCHEMA dev TO t_playground", "make, fill and read a table at home",
               alone=True)  # fmt: skip


LEAKS = (
    *tables(), *sequences(), *roles(), *server(), *schemas(), *views(), *logins(),
)  # fmt: skip


def rounds() -> list[list[Leak]]:
    """Leaks that are tried together: no probe, but for the sweeps, is to be seen by two of them."""
    packed: list[tuple[list[Leak], set[tuple[str, str]]]] = []
    for one in LEAKS:
        narrow = {(who, tried) for who, tried in one.seen if tried not in SWEEPS}
        fits = None if one.alone else next((r for r in packed if r[1].isdisjoint(narrow)), None)
        if fits is None:
            fits = ([], {(PLAYGROUND, "*")} if not one.alone else _Everything())
            packed.append(fits)
        fits[0].append(one)
        fits[1].update(narrow)
    return [leaks for leaks, _ in packed]


class _Everything(set[tuple[str, str]]):
    def isdisjoint(self, other: object) -> bool:
        return False
