"""What the administrator of a production that is not ours runs with psql to make its reader."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from sandbox.contract import Statement
from sandbox.model import Marker, PostgresSpace
from sandbox.stores.postgres.session import MARK


def script(space: PostgresSpace, name: str, marker: Marker) -> Sequence[Statement]:
    """Safe to run again. The password is asked for by psql, so it stands in no text and no log."""
    role, schema, database = _quoted(name), _quoted(space.schema), _quoted(space.database)
    made = f"SELECT FROM pg_roles WHERE rolname = {_literal(name)}"
    texts = {
        f"\\connect {database}": "as a superuser, in the database that is read",
        f"DO $$ BEGIN IF NOT EXISTS ({made}) THEN CREATE ROLE {role} LOGIN; END IF; END $$;": (
            "the reader's login"
        ),
        f"ALTER ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS;": (
            "no right to change anything; a reader that row security filters would copy a part"
        ),
        f"\\password {role}": "psql asks for the password and sends its verifier only",
        f"ALTER ROLE {role} SET default_transaction_read_only = on;": "every session reads only",
        f"GRANT CONNECT ON DATABASE {database} TO {role};": "it may come in",
        f"GRANT USAGE ON SCHEMA {schema} TO {role};": "it looks into the schema",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role};": "it reads the tables",
        f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {role};": "and where they count",
        "DO $$ DECLARE maker name; BEGIN FOR maker IN SELECT DISTINCT tableowner FROM pg_tables "
        f"WHERE schemaname = {_literal(space.schema)} LOOP "
        "EXECUTE format('ALTER DEFAULT PRIVILEGES "
        f"FOR ROLE %I IN SCHEMA {schema} GRANT SELECT ON TABLES TO {role}', maker); "
        "EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA "
        f"{schema} GRANT SELECT ON SEQUENCES TO {role}', maker); END LOOP; END $$;": (
            "it reads tables that their owners make later"
        ),
        f"COMMENT ON SCHEMA {schema} IS "
        f"{_literal(MARK + json.dumps(asdict(marker), sort_keys=True))};": (
            "marks the schema as production; it replaces a comment: keep yours on a line above"
        ),
    }
    return [Statement(text=text, why=why) for text, why in texts.items()]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
