"""Brings a schema's catalog back: what was added goes, what is missing or made otherwise is made
again from the dump's own statements. Whether it worked is not assumed: the catalogs are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from psycopg import sql

from sandbox.errors import NoBaseline
from sandbox.model import Change
from sandbox.stores.postgres import fingerprint
from sandbox.stores.postgres.fingerprint import Fingerprint, Item
from sandbox.stores.postgres.keeping import Ddl, Kept
from sandbox.stores.postgres.session import Connection, name, one

# A dump's entry -> the kind of object that it makes. Its name is `relation object` for parts.
MADE = {
    "TABLE": "table",
    "VIEW": "view",
    "MATERIALIZED VIEW": "view",
    "SEQUENCE": "sequence",
    "INDEX": "index",
    "CONSTRAINT": "constraint",
    "FK CONSTRAINT": "constraint",
    "CHECK CONSTRAINT": "constraint",
    "TRIGGER": "trigger",
    "RULE": "rule",
    "POLICY": "policy",
    "FUNCTION": "function",
    "PROCEDURE": "function",
    "AGGREGATE": "function",
    "TYPE": "type",
    "DOMAIN": "type",
    "STATISTICS": "statistics",
}
# Kinds that stand or fall with their table: a change of one makes the table anew.
TURNS = 4
OF_TABLE = ("column", "internal trigger")


@dataclass(frozen=True, kw_only=True)
class Difference:
    added: Sequence[Item]
    missing: Sequence[Item]
    altered: Sequence[Item]

    def __bool__(self) -> bool:
        return bool(self.added or self.missing or self.altered)


def difference(now: Fingerprint, was: Fingerprint) -> Difference:
    return Difference(
        added=sorted(now.keys() - was.keys()),
        missing=sorted(was.keys() - now.keys()),
        altered=sorted(item for item in now.keys() & was.keys() if now[item] != was[item]),
    )


def changes(found: Difference) -> list[Change]:
    """One line for each object; a table's columns and keys are told with the table."""
    told: dict[tuple[str, str], Change] = {}

    def is_whole(item: Item) -> bool:
        return item.kind in ("table", "view")

    for what, items in (
        ("added", found.added),
        ("removed", found.missing),
        ("altered", found.altered),
    ):
        for item in sorted(items, key=is_whole, reverse=True):  # a table before its columns
            whole = is_whole(item)
            dataset = item.relation or item.name or item.kind
            detail = "" if whole else " ".join(filter(None, (item.kind, item.name)))
            kind = what if whole or not item.relation else "altered"
            known = told.get((dataset, "object"))
            if known is not None:
                if not whole and known.what == "altered":
                    detail = ", ".join(filter(None, (known.detail, f"{detail} {what}")))
                else:
                    continue
            told[dataset, "object"] = Change(
                store="postgres",
                dataset=dataset,
                what=kind,  # type: ignore[arg-type]
                detail=detail if known is not None or whole else f"{detail} {what}",
            )
    return list(told.values())


class Mender:
    """Works inside the caller's transaction, as the role that owns the schema."""

    def __init__(self, connection: Connection, schema: str, owner: str, kept: Kept) -> None:
        self._connection, self._schema, self._owner = connection, schema, owner
        self._kept = kept

    def mend(self, found: Difference, fill: Callable[[str], None]) -> None:
        """`fill` puts a remade table's rows in, before its keys are made. Raises NoBaseline when
        the catalog is not the baseline's afterwards."""
        self._role_settings(found)
        for _ in range(TURNS):  # dropping a type takes columns along: their tables go next
            going = self._going(found)
            for item in going:
                self._take_away(item)
            if not going:
                break
            found = difference(self.now(), self._kept.catalog)
        remade = self._make(late=False)
        for table in remade:
            fill(table)
        self._make(late=True)
        self._grants()
        left = difference(self.now(), self._kept.catalog)
        if left:
            first = (*left.missing, *left.altered, *left.added)[0]
            shown = " ".join(filter(None, first))
            raise NoBaseline(f"the schema changed in a way that only a load undoes: {shown}")

    def now(self) -> Fingerprint:
        return fingerprint.take(self._connection, self._schema, self._owner)

    def _going(self, found: Difference) -> list[Item]:
        """What must be dropped: the new, the different, and tables that lack a part which no
        statement of its own would make again."""
        made = {(MADE.get(entry.type), entry.name) for entry in self._kept.ddl}
        lacking = [
            item
            for item in found.missing
            if (
                item.kind == "column"
                or (item.kind == "constraint" and _made(item, self._schema) not in made)
            )
            and self._exists(item.relation)
        ]
        kept = ("rights", "comment", "role", "schema")
        changed = [i for i in (*found.added, *found.altered) if i.kind not in kept]
        return changed + [Item("table", "", item.relation) for item in lacking]

    # --- taking away -----------------------------------------------------------------------------

    def _take_away(self, item: Item) -> None:
        """Drop what is new, and what is not as it was."""
        if item.kind in OF_TABLE or (item.kind == "table" and item in self._kept.catalog):
            self._drop(item.relation or item.name)
        elif item.kind in ("table", "view", "sequence") or item.kind == "index":
            self._drop(item.name)
        elif item.kind == "constraint" and item.relation:
            self._part("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {} CASCADE", item)
        elif item.kind in ("trigger", "rule", "policy"):
            query = f"DROP {item.kind.upper()} IF EXISTS {{}} ON {{}} CASCADE"
            if self._exists(item.relation):
                self._run(sql.SQL(query).format(name(item.name), self._at(item.relation)))
        elif item.kind == "function":
            if one(self._connection, "SELECT to_regprocedure(%s) IS NOT NULL", [item.name]):
                self._run(sql.SQL(f"DROP ROUTINE {item.name} CASCADE"))
        elif item.kind == "type":
            self._run(sql.SQL("DROP TYPE IF EXISTS {} CASCADE").format(self._at(item.name)))
        elif item.kind == "statistics":
            self._run(sql.SQL("DROP STATISTICS IF EXISTS {}").format(self._at(item.name)))
        elif item.kind == "large object":
            self._run(sql.SQL(f"SELECT lo_unlink({int(item.name)})"))

    def _part(self, query: str, item: Item) -> None:
        if self._exists(item.relation):
            self._run(sql.SQL(query).format(self._at(item.relation), name(item.name)))

    def _drop(self, relation: str) -> None:
        query = """SELECT CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
                   WHEN 'S' THEN 'SEQUENCE' WHEN 'i' THEN 'INDEX' WHEN 'I' THEN 'INDEX'
                   WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END
                   FROM pg_class WHERE relname = %s
                   AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = %s)"""
        kind = one(self._connection, query, [relation, self._schema])
        if kind is None:
            return
        if kind == "INDEX":  # of a constraint: the constraint goes
            owner = """SELECT conname, conrelid::regclass::text FROM pg_constraint
                       WHERE conindid = format('%%I.%%I', %s::text, %s::text)::regclass
                       AND contype IN ('p', 'u', 'x')"""
            row = self._connection.execute(owner, [self._schema, relation]).fetchone()
            if row is not None:
                query = f"ALTER TABLE {row[1]} DROP CONSTRAINT {{}} CASCADE"
                self._run(sql.SQL(query).format(name(row[0])))
                return
        self._run(sql.SQL(f"DROP {kind} IF EXISTS {{}} CASCADE").format(self._at(relation)))

    def _exists(self, relation: str) -> bool:
        query = "SELECT to_regclass(format('%%I.%%I', %s::text, %s::text)) IS NOT NULL"
        return bool(one(self._connection, query, [self._schema, relation]))

    # --- making again ----------------------------------------------------------------------------

    def _make(self, *, late: bool) -> list[str]:
        """Run the dump's entries for what is missing now; the tables that were made."""
        missing = difference(self.now(), self._kept.catalog).missing
        wanted = {_made(item, self._schema) for item in missing}
        tables = {item.name for item in missing if item.kind == "table"}
        made = []
        for entry in self._kept.ddl:
            if entry.late == late and self._is_wanted(entry, wanted, tables):
                self._connection.execute(entry.text.encode())
                self._connection.execute("SELECT set_config('search_path', '', false)")
                if entry.type == "TABLE":
                    made.append(entry.name)
        return made

    def _is_wanted(self, entry: Ddl, wanted: set[tuple[str | None, str]], tables: set[str]) -> bool:
        kind = MADE.get(entry.type)
        if kind is not None:
            return (kind, entry.name) in wanted
        if entry.type == "COMMENT":  # "TABLE videos", "COLUMN videos.title"
            what, _, named = entry.name.partition(" ")
            return named.split(".")[0].split(" ")[0] in tables or (what.lower(), named) in wanted
        # Defaults, owners of sequences, partitions, replica identities: of what is made again.
        first = entry.name.split(" ")[0]
        return first in tables or bool({("sequence", first), ("index", first)} & wanted)

    def _grants(self) -> None:
        """Rights that were given or taken: those of the baseline are the owner's own."""
        left = difference(self.now(), self._kept.catalog)
        for item in (*left.added, *left.missing, *left.altered):
            if item.kind == "rights" and self._exists(item.relation):
                self._default_rights(item)
            elif item.kind == "comment" and self._exists(item.relation):
                self._comment(item)
            elif item.kind == "schema":
                self._schema_rights()

    def _default_rights(self, item: Item) -> None:
        kind = "SEQUENCE" if item.name == "S" else "TABLE"
        query = """WITH r AS (SELECT format('%%I.%%I', %s::text, %s::text)::regclass AS oid)
                   SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC'
                     ELSE a.grantee::regrole::text END
                   FROM r, LATERAL (
                     SELECT x.grantee FROM pg_class c, aclexplode(c.relacl) x WHERE c.oid = r.oid
                     UNION SELECT x.grantee FROM pg_attribute t, aclexplode(t.attacl) x
                     WHERE t.attrelid = r.oid) a"""
        found = self._connection.execute(query, [self._schema, item.relation]).fetchall()
        at = self._at(item.relation)
        for (grantee,) in found:
            self._run(sql.SQL(f"REVOKE ALL ON {kind} {{}} FROM {grantee} CASCADE").format(at))
        self._run(sql.SQL(f"GRANT ALL ON {kind} {{}} TO {{}}").format(at, name(self._owner)))

    def _comment(self, item: Item) -> None:
        query = """SELECT relkind::text FROM pg_class
                   WHERE oid = format('%%I.%%I', %s::text, %s::text)::regclass"""
        kind = one(self._connection, query, [self._schema, item.relation])
        words = {"v": "VIEW", "m": "MATERIALIZED VIEW", "S": "SEQUENCE", "i": "INDEX", "I": "INDEX"}
        at = self._at(item.relation)
        on = sql.SQL(words.get(kind, "TABLE") + " {}").format(at)
        if item.name:
            on = sql.SQL("COLUMN {}.{}").format(at, name(item.name))
        text = self._kept.catalog.get(item)
        self._run(sql.SQL("COMMENT ON {} IS {}").format(on, sql.Literal(text)))

    def _schema_rights(self) -> None:
        query = """SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC'
                     ELSE a.grantee::regrole::text END
                   FROM pg_namespace n, aclexplode(n.nspacl) a
                   WHERE nspname = %s AND a.grantee <> n.nspowner"""
        for (grantee,) in self._connection.execute(query, [self._schema]).fetchall():
            self._run(
                sql.SQL(f"REVOKE ALL ON SCHEMA {{}} FROM {grantee} CASCADE").format(
                    name(self._schema)
                )
            )

    def _role_settings(self, found: Difference) -> None:
        """What the playground's role has set for itself: `search_path`, for one."""
        items = [i for i in (*found.added, *found.missing, *found.altered) if i.kind == "role"]
        for item in items:
            where = sql.SQL(" IN DATABASE {}").format(name(item.name)) if item.name else sql.SQL("")
            role = sql.SQL("ALTER ROLE {}{} ").format(name(self._owner), where)
            self._run(role + sql.SQL("RESET ALL"))
            query = "SELECT x FROM unnest(%s::text[]) x"
            was = self._kept.catalog.get(item)
            for (setting,) in self._connection.execute(query, [was or "{}"]).fetchall():
                key, _, value = setting.partition("=")
                listed = key in ("search_path", "temp_tablespaces")
                text = sql.SQL(value) if listed else sql.Literal(value)
                self._run(role + sql.SQL(f"SET {key} = ") + text)

    def _at(self, relation: str) -> sql.Composed:
        return name(self._schema, relation)

    def _run(self, query: sql.Composed | sql.SQL) -> None:
        self._connection.execute(query)


def _made(item: Item, schema: str) -> tuple[str | None, str]:
    return item.kind, _entry_name(item, schema)


def _entry_name(item: Item, schema: str) -> str:
    """As pg_dump names it: `videos videos_pkey` for a part of a table, indexes by themselves."""
    if item.kind == "index" or not item.relation:
        bare = item.name
        if item.kind == "function":
            bare = bare.removeprefix(f"{schema}.").replace(",", ", ")
        return bare
    return item.name if item.kind == "statistics" else f"{item.relation} {item.name}"
