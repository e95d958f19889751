"""What the catalogs say of a login's rights, so that no table, function or object is left out.

Each query returns the name of something that the login could reach and should not.
"""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.stores.postgres.trials import Trial, literal

EXTENSION = (
    "EXISTS (SELECT FROM pg_depend d WHERE d.classid = '{0}'::regclass AND d.objid = {1}.oid "
    "AND d.deptype = 'e')"
)
GRANTED = "(a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE'))"  # to everybody, or to this login


def _elsewhere(own: tuple[str, ...]) -> str:
    """Schemas that are neither the login's own nor the server's. The playground's staged and old
    schemas are called `<own>__...`."""
    names = ", ".join(map(literal, own))
    return (
        f"n.nspname NOT IN ({names}, 'pg_catalog', 'information_schema') "
        f"AND NOT starts_with(n.nspname, {literal(own[0] + '__')}) "
        "AND n.nspname !~ '^pg_(toast|temp)'"
    )


def of_playground(own: tuple[str, ...], version: int) -> Iterator[Trial]:
    """`own`: its schema, and the one of its views on shared tables."""
    maintain = ", MAINTAIN" if version >= 170000 else ""
    elsewhere = _elsewhere(own)
    yield _none(
        "hold a right on any relation outside its spaces",
        "SELECT n.nspname || '.' || c.relname FROM pg_class c "
        f"JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {elsewhere} "
        "AND c.relkind IN ('r', 'p', 'v', 'm', 'f') "
        "AND (has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE, REFERENCES') "
        f"OR has_table_privilege(c.oid, 'DELETE, TRUNCATE, TRIGGER{maintain}')) "
        f"AND NOT {EXTENSION.format('pg_class', 'c')} ORDER BY 1 LIMIT 1",
    )
    yield _none(
        "hold a right on any sequence outside its spaces",
        "SELECT n.nspname || '.' || c.relname FROM pg_class c "
        f"JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {elsewhere} "
        f"AND {_sequence('SELECT, USAGE, UPDATE')} "
        f"AND NOT {EXTENSION.format('pg_class', 'c')} ORDER BY 1 LIMIT 1",
    )
    yield _none(
        "call a SECURITY DEFINER function of another's",
        "SELECT n.nspname || '.' || p.proname FROM pg_proc p "
        f"JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {elsewhere} AND p.prosecdef "
        "AND has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE') "
        "AND NOT pg_has_role(p.proowner, 'USAGE') ORDER BY 1 LIMIT 1",
    )
    yield _none(
        "be given what production makes later",
        "SELECT coalesce(n.nspname, 'every schema') FROM pg_default_acl d "
        "LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace, aclexplode(d.defaclacl) a "
        f"WHERE d.defaclobjtype IN ('r', 'S') AND {GRANTED} "
        "AND NOT pg_has_role(d.defaclrole, 'USAGE') LIMIT 1",
    )
    yield _none(
        "read a large object of another's",
        "SELECT 'large object ' || m.oid FROM pg_largeobject_metadata m WHERE "
        "NOT pg_has_role(m.lomowner, 'USAGE') AND (current_setting('lo_compat_privileges')::bool "
        f"OR EXISTS (SELECT FROM aclexplode(m.lomacl) a WHERE {GRANTED})) LIMIT 1",
    )


def of_everybody(own: tuple[str, ...], version: int) -> Iterator[Trial]:
    """For any login that is no administrator's. `own`: schemas where it may make things."""
    names = ", ".join(map(literal, own)) if own else "''"
    staged = f"AND NOT starts_with(n.nspname, {literal(own[0] + '__')})" if own else ""
    yield _none(
        "make things in any other schema",
        f"SELECT n.nspname FROM pg_namespace n WHERE n.nspname NOT IN ({names}) {staged} "
        "AND n.nspname !~ '^pg_(toast|temp)' AND has_schema_privilege(n.oid, 'CREATE') "
        "ORDER BY 1 LIMIT 1",
    )
    yield _none(
        "look into another session's temporary schema",
        "SELECT n.nspname FROM pg_namespace n WHERE n.nspname ~ '^pg_(toast_)?temp_' "
        "AND n.oid NOT IN (pg_my_temp_schema()) AND has_schema_privilege(n.oid, 'USAGE') LIMIT 1",
    )
    yield _none(
        "own a relation of another schema",
        "SELECT n.nspname || '.' || c.relname FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        f"WHERE n.nspname NOT IN ({names}) {staged} AND n.nspname !~ '^pg_(toast|temp)' "
        "AND c.relkind <> 'v' AND pg_has_role(c.relowner, 'USAGE') ORDER BY 1 LIMIT 1",
    )
    yield _none(
        "be a member of another role",
        "SELECT rolname FROM pg_roles WHERE rolname <> current_user "
        "AND pg_has_role(oid, 'MEMBER') ORDER BY 1 LIMIT 1",
    )
    yield _none(
        "call a function that the server keeps for administrators",
        "SELECT p.proname FROM pg_proc p JOIN pg_init_privs i "
        "ON i.objoid = p.oid AND i.classoid = 'pg_proc'::regclass AND i.privtype = 'i' "
        "WHERE NOT EXISTS (SELECT FROM aclexplode(i.initprivs) a WHERE a.grantee = 0) "
        "AND has_function_privilege(p.oid, 'EXECUTE') ORDER BY 1 LIMIT 1",
    )
    yield _none(
        "read a catalog that the server keeps for administrators",
        "SELECT c.relname FROM pg_class c JOIN pg_init_privs i "
        "ON i.objoid = c.oid AND i.classoid = 'pg_class'::regclass AND i.objsubid = 0 "
        "AND i.privtype = 'i' WHERE NOT EXISTS (SELECT FROM aclexplode(i.initprivs) a "
        "WHERE a.grantee = 0) AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1 LIMIT 1",
    )
    yield _none(
        "use a foreign server",
        "SELECT srvname FROM pg_foreign_server WHERE has_server_privilege(oid, 'USAGE') "
        "UNION ALL SELECT fdwname FROM pg_foreign_data_wrapper "
        "WHERE has_foreign_data_wrapper_privilege(oid, 'USAGE') LIMIT 1",
    )
    yield _none(
        "connect from the server without a password (dblink_connect_u)",
        "SELECT p.proname FROM pg_proc p WHERE p.proname = 'dblink_connect_u' "
        "AND has_function_privilege(p.oid, 'EXECUTE') LIMIT 1",
    )
    if version >= 150000:
        yield _none(
            "change a setting of the server",
            "SELECT p.parname FROM pg_parameter_acl p, aclexplode(p.paracl) a "
            f"WHERE {GRANTED} LIMIT 1",
        )


def of_production(schema: str) -> Iterator[Trial]:
    """As a login of production's: any right on the playground's relations."""
    mine = f"(n.nspname = {literal(schema)} OR starts_with(n.nspname, {literal(schema + '__')}))"
    yield _none(
        "hold a right on any relation of the playground's",
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        f"WHERE {mine} AND c.relkind IN ('r', 'p', 'v', 'm', 'f') "
        "AND (has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE, REFERENCES') "
        "OR has_table_privilege(c.oid, 'DELETE, TRUNCATE, TRIGGER')) ORDER BY 1 LIMIT 1",
    )


def notifying(schema: str) -> Trial:
    """PostgreSQL knows no rights on channels: what production's functions notify, every session of
    the database hears. What the application itself notifies cannot be seen from here."""
    return _none(
        "hear what production's functions notify (channels know no rights)",
        "SELECT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
        f"WHERE n.nspname = {literal(schema)} AND CASE WHEN p.prokind IN ('f', 'p') THEN "
        "pg_get_functiondef(p.oid) ~* '\\mpg_notify\\s*\\(|\\mnotify\\s+[\"a-z]' END "
        f"AND NOT {EXTENSION.format('pg_proc', 'p')} ORDER BY 1 LIMIT 1",
    )


def of_reader(schema: str, version: int) -> Iterator[Trial]:
    """Any right on production's relations beyond looking."""
    maintain = ", MAINTAIN" if version >= 170000 else ""
    inside = f"n.nspname = {literal(schema)}"
    yield _none(
        "hold a right to change any relation of production's",
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        f"WHERE {inside} AND c.relkind IN ('r', 'p', 'v', 'm', 'f') "
        "AND (has_any_column_privilege(c.oid, 'INSERT, UPDATE, REFERENCES') "
        f"OR has_table_privilege(c.oid, 'DELETE, TRUNCATE, TRIGGER{maintain}')) "
        "ORDER BY 1 LIMIT 1",
    )
    yield _none(
        "hold a right to change any sequence of production's",
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        f"WHERE {inside} AND {_sequence('USAGE, UPDATE')} ORDER BY 1 LIMIT 1",
    )


def _sequence(privileges: str) -> str:
    """The server is free to ask in any order, and asking of what is no sequence is an error."""
    return (
        f"CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, '{privileges}') "
        "ELSE false END"
    )


def _none(tried: str, statement: str) -> Trial:
    return Trial(tried=tried, statement=statement, none=True, names=True)
