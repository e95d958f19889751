"""What a schema's catalog says, as text by object: two that differ in it anywhere differ here.

Data is left out, and so are the numbers of objects (OIDs): the same DDL gives the same text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sandbox.stores.postgres.session import Connection, one, rows

# Each part: (kind, relation or "", name, text). %(schema)s is a regnamespace, %(owner)s a role.
OWN = """NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = '{catalog}'::regclass
         AND e.objid = {oid} AND e.deptype = 'e')"""
ACL = "(SELECT array_agg(a::text ORDER BY a::text) FROM unnest(coalesce({acl}, {default})) a)"
RELATION_ACL = ACL.format(
    acl="c.relacl",
    default="acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", c.relowner)",
)
PARTS = (
    f"""SELECT 'schema', '', '', row(nspowner::regrole, {
        ACL.format(acl="nspacl", default="acldefault('n', nspowner)")
    }, (SELECT array_agg(row(defaclrole::regrole, defaclobjtype, defaclacl)::text ORDER BY 1)
        FROM pg_default_acl WHERE defaclnamespace = n.oid))::text
    FROM pg_namespace n WHERE oid = %(schema)s""",
    f"""SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'view' WHEN 'S' THEN 'sequence'
           WHEN 'i' THEN 'index' WHEN 'I' THEN 'index' WHEN 'c' THEN 'type' ELSE 'table' END,
        coalesce(it.relname, ''), c.relname,
        row(c.relkind, c.relowner::regrole, c.relpersistence, c.reloptions, c.reltablespace,
            (SELECT amname FROM pg_am WHERE oid = c.relam),
            c.relrowsecurity, c.relforcerowsecurity, c.relreplident, c.relispartition,
            pg_get_expr(c.relpartbound, c.oid), pg_get_partkeydef(c.oid),
            (SELECT array_agg(row(inhparent::regclass, inhseqno)::text ORDER BY inhseqno)
             FROM pg_inherits WHERE inhrelid = c.oid),
            CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
            CASE WHEN c.relkind = 'm' THEN c.relispopulated END,
            CASE WHEN c.relkind IN ('i', 'I') THEN pg_get_indexdef(c.oid) END,
            i.indisvalid, i.indisclustered, i.indisreplident, i.indisprimary,
            (SELECT row(seqtypid::regtype, seqstart, seqincrement, seqmax, seqmin, seqcache,
                        seqcycle)::text FROM pg_sequence WHERE seqrelid = c.oid),
            (SELECT row(d.refobjid::regclass, d.refobjsubid, d.deptype)::text FROM pg_depend d
             WHERE c.relkind = 'S' AND d.classid = 'pg_class'::regclass AND d.objid = c.oid
               AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')))::text
    FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
    LEFT JOIN pg_class it ON it.oid = i.indrelid
    WHERE c.relnamespace = %(schema)s AND c.relkind <> 't'
      AND {OWN.format(catalog="pg_class", oid="c.oid")}""",
    """SELECT 'column', c.relname, a.attname,
        row(rank() OVER (PARTITION BY c.oid ORDER BY a.attnum),
            format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
            pg_get_expr(d.adbin, d.adrelid), a.attcollation::regcollation, a.attstorage,
            a.attcompression,
            (SELECT array_agg(x ORDER BY x) FROM unnest(a.attoptions) x
             WHERE x LIKE 'n\\_distinct%%'),  -- some builds number every column there
            a.attfdwoptions, a.attislocal, a.attinhcount,
            NULLIF(a.attstattarget, -1),
            a.atthasmissing)::text
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
      AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = %(schema)s AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'c')""",
    f"""SELECT 'rights', c.relname, c.relkind::text, row({RELATION_ACL},
        (SELECT array_agg(row(attname, attacl)::text ORDER BY attnum) FROM pg_attribute
         WHERE attrelid = c.oid AND attacl IS NOT NULL AND attacl <> '{{}}'))::text
    FROM pg_class c
    WHERE c.relnamespace = %(schema)s AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')""",
    """SELECT 'comment', c.relname, coalesce(a.attname, ''), d.description
    FROM pg_description d JOIN pg_class c ON c.oid = d.objoid
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0
    WHERE d.classoid = 'pg_class'::regclass AND c.relnamespace = %(schema)s""",
    """SELECT 'constraint', coalesce(rel.relname, ''), o.conname,
        row(pg_get_constraintdef(o.oid), o.condeferrable, o.condeferred, o.convalidated,
            o.conislocal, o.coninhcount, o.contypid::regtype,
            obj_description(o.oid, 'pg_constraint'))::text
    FROM pg_constraint o LEFT JOIN pg_class rel ON rel.oid = o.conrelid
    WHERE o.connamespace = %(schema)s""",
    """SELECT 'trigger', rel.relname, t.tgname,
        row(pg_get_triggerdef(t.oid), t.tgenabled, t.tgparentid <> 0,
            obj_description(t.oid, 'pg_trigger'))::text
    FROM pg_trigger t JOIN pg_class rel ON rel.oid = t.tgrelid
    WHERE rel.relnamespace = %(schema)s AND NOT t.tgisinternal""",
    # Those of foreign keys have a name with a number in it; that one is switched off counts.
    """SELECT 'internal trigger', rel.relname, coalesce(o.conname, '') || '/' || t.tgtype::text,
        string_agg(t.tgenabled::text, '' ORDER BY t.oid)
    FROM pg_trigger t JOIN pg_class rel ON rel.oid = t.tgrelid
    LEFT JOIN pg_constraint o ON o.oid = t.tgconstraint
    WHERE rel.relnamespace = %(schema)s AND t.tgisinternal
    GROUP BY rel.relname, o.conname, t.tgtype HAVING bool_or(t.tgenabled <> 'O')""",
    """SELECT 'rule', rel.relname, r.rulename, row(pg_get_ruledef(r.oid), r.ev_enabled)::text
    FROM pg_rewrite r JOIN pg_class rel ON rel.oid = r.ev_class
    WHERE rel.relnamespace = %(schema)s AND r.rulename <> '_RETURN'""",
    """SELECT 'policy', rel.relname, p.polname,
        row(p.polcmd, p.polpermissive, p.polroles::regrole[], pg_get_expr(p.polqual, p.polrelid),
            pg_get_expr(p.polwithcheck, p.polrelid), obj_description(p.oid, 'pg_policy'))::text
    FROM pg_policy p JOIN pg_class rel ON rel.oid = p.polrelid
    WHERE rel.relnamespace = %(schema)s""",
    f"""SELECT 'function', '', p.oid::regprocedure::text,
        row(CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END,
            (SELECT row(aggtransfn, aggfinalfn, agginitval)::text FROM pg_aggregate
             WHERE aggfnoid = p.oid), p.proowner::regrole, {
        ACL.format(acl="p.proacl", default="acldefault('f', p.proowner)")
    }, obj_description(p.oid, 'pg_proc'))::text
    FROM pg_proc p WHERE p.pronamespace = %(schema)s
      AND {OWN.format(catalog="pg_proc", oid="p.oid")}""",
    f"""SELECT 'type', '', t.typname,
        row(t.typtype, t.typowner::regrole, t.typnotnull, t.typdefault, t.typbasetype::regtype,
            t.typtypmod, t.typcollation::regcollation, {
        ACL.format(acl="t.typacl", default="acldefault('T', t.typowner)")
    }, (SELECT array_agg(enumlabel::text ORDER BY enumsortorder) FROM pg_enum
        WHERE enumtypid = t.oid),
            (SELECT row(rngsubtype::regtype, rngcanonical, rngsubdiff)::text FROM pg_range
             WHERE rngtypid = t.oid), obj_description(t.oid, 'pg_type'))::text
    FROM pg_type t WHERE t.typnamespace = %(schema)s AND t.typtype IN ('e', 'd', 'r', 'b')
      AND t.typelem = 0 AND {OWN.format(catalog="pg_type", oid="t.oid")}""",
    """SELECT 'statistics', rel.relname, s.stxname,
        row(pg_get_statisticsobjdef(s.oid), s.stxowner::regrole,
            obj_description(s.oid, 'pg_statistic_ext'))::text
    FROM pg_statistic_ext s JOIN pg_class rel ON rel.oid = s.stxrelid
    WHERE s.stxnamespace = %(schema)s""",
    """SELECT 'other', '', i.type || ' ' || i.identity, ''
    FROM pg_depend d, pg_identify_object(d.classid, d.objid, d.objsubid) i
    WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = %(schema)s::oid
      AND d.classid NOT IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass,
          'pg_constraint'::regclass, 'pg_statistic_ext'::regclass, 'pg_default_acl'::regclass)""",
    """SELECT 'role', '', coalesce(d.datname, ''), s.setconfig::text
    FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase
    WHERE s.setrole = %(owner)s::regrole""",
    # What was made beside the schema belongs to nobody's baseline.
    """SELECT 'large object', '', oid::text, '' FROM pg_largeobject_metadata
    WHERE lomowner = %(owner)s::regrole""",
)


class Item(NamedTuple):
    """An object: its kind, the relation that it belongs to or "", its name."""

    kind: str
    relation: str
    name: str


Fingerprint = Mapping[Item, str]


def take(connection: Connection, schema: str, owner: str) -> Fingerprint:
    """The catalog of `schema`, and the settings of the role that owns it."""
    quoted = one(
        connection, "SELECT format('%%I', %s::text) || ',' || format('%%I', %s::text)",
        [schema, owner],
    ).split(",")  # fmt: skip
    values = {"schema": quoted[0], "owner": quoted[1]}
    found: dict[Item, str] = {}
    for part in PARTS:
        query = part.replace("%(schema)s", "%(schema)s::regnamespace")
        for kind, relation, name, text in connection.execute(query, values).fetchall():
            found[Item(kind, relation, name)] = text
    return found


def sequences(connection: Connection, schema: str) -> dict[str, tuple[int, bool]]:
    """Where every sequence of the schema stands: its last value, and whether it was given out."""
    names = rows(
        connection,
        "SELECT relname, format('%%I.%%I', %s::text, relname) FROM pg_class "
        "WHERE relnamespace = quote_ident(%s)::regnamespace AND relkind = 'S' ORDER BY 1",
        [schema, schema],
    )
    if not names:
        return {}
    parts = [f"SELECT last_value, is_called FROM {quoted}" for _, quoted in names]
    positions = [connection.execute(part.encode()).fetchone() for part in parts]
    return {
        name: (int(found[0]), bool(found[1]))
        for (name, _), found in zip(names, positions, strict=True)
        if found is not None
    }
