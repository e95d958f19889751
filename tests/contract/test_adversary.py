"""Random statements with the playground's own login, as many as a few seconds take: afterwards
production's checksum is what it was. Qdrant's are in test_qdrant_probe.

A statement may be denied, may fail, may even work at home; nothing of it may reach production.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import bson
import psycopg
from pymongo.errors import PyMongoError

from sandbox.stores.mongo.session import connect
from sandbox.stores.redis.session import Wire
from tests.contract import mongo_world, postgres_probed, redis_world

SECONDS = 3.0
SEED = 20_261  # the same statements in every run


def within(seconds: float) -> Iterator[int]:
    began, number = time.monotonic(), 0
    while time.monotonic() - began < seconds and number < 6_000:
        yield number
        number += 1


def seen(state: Callable[[], str], attack: Callable[[int], int]) -> bool:
    """Whether the same kind of statements, with one right too many, change production."""
    before = state()
    return any(attack(seed) and state() != before for seed in range(20))


# --- PostgreSQL ----------------------------------------------------------------------------------

TABLES = ("public.videos", "public.people", "public.keys", "public.notes", "dev_shared.keys",
          "dev_shared.notes", "dev.mine", "videos", "people", "pg_catalog.pg_authid",
          "pg_catalog.pg_class", "public.people_id_seq")  # fmt: skip
ROLES = ("t_production", "t_reader", "t_keeper", "t_playground", "postgres", "PUBLIC",
         "pg_database_owner", "pg_write_all_data", "CURRENT_USER")  # fmt: skip
SQL = (
    "SELECT * FROM {t}", "SELECT * FROM {t} FOR UPDATE", "TABLE {t}",
    "INSERT INTO {t} DEFAULT VALUES",
    "INSERT INTO {t} SELECT * FROM {u}", "UPDATE {t} SET {c} = {c}", "UPDATE {t} SET {c} = NULL",
    "DELETE FROM {t}", "DELETE FROM {t} USING {u}", "TRUNCATE {t} CASCADE",
    "TRUNCATE {t}, {u} RESTART IDENTITY CASCADE", "DROP TABLE {t} CASCADE", "DROP VIEW {t} CASCADE",
    "DROP SEQUENCE {t} CASCADE", "ALTER TABLE {t} ADD COLUMN x{n} int",
    "ALTER TABLE {t} DROP COLUMN {c} CASCADE", "ALTER TABLE {t} OWNER TO {r}",
    "ALTER TABLE {t} RENAME TO x{n}", "ALTER TABLE {t} SET SCHEMA dev",
    "ALTER TABLE {t} DISABLE TRIGGER ALL", "ALTER TABLE {t} ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE {t} INHERIT {u}", "ALTER VIEW {t} SET (security_barrier = false)",
    "CREATE OR REPLACE VIEW {t} AS SELECT 1 AS id", "CREATE VIEW dev.v{n} AS SELECT * FROM {t}",
    "INSERT INTO dev.v{n} DEFAULT VALUES", "DELETE FROM dev.v{n}", "CREATE INDEX ON {t} ({c})",
    "CREATE RULE r{n} AS ON INSERT TO {t} DO INSTEAD NOTHING", "CREATE POLICY p{n} ON {t}",
    "CREATE TABLE public.x{n} (v int)", "CREATE TABLE dev.x{n} () INHERITS ({t})",
    "CREATE TABLE dev.x{n} (v int REFERENCES {t})", "CREATE TABLE dev.x{n} AS SELECT * FROM {t}",
    "CREATE FUNCTION public.f{n}() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TRIGGER t{n} BEFORE INSERT ON {t} EXECUTE FUNCTION tsvector_update_trigger()",
    "CREATE EVENT TRIGGER e{n} ON ddl_command_start EXECUTE FUNCTION dev.f{n}()",
    "CREATE SCHEMA s{n}", "CREATE EXTENSION dblink", "CREATE ROLE x{n} SUPERUSER",
    "CREATE PUBLICATION p{n} FOR TABLE {t}", "CREATE STATISTICS public.s{n} ON {c} FROM {t}",
    "GRANT ALL ON {t} TO {r}", "REVOKE ALL ON {t} FROM {r}", "GRANT {r} TO {q}",
    "GRANT ALL ON SCHEMA public TO {r}", "GRANT ALL ON ALL TABLES IN SCHEMA public TO {r}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {r} GRANT ALL ON TABLES TO {q}",
    "ALTER ROLE {r} SUPERUSER", "ALTER ROLE {r} SET search_path = dev", "DROP ROLE {r}",
    "REASSIGN OWNED BY t_production TO t_playground", "DROP OWNED BY t_production CASCADE",
    "SET ROLE {r}", "SET SESSION AUTHORIZATION {r}", "SET search_path = public, dev",
    "SET session_replication_role = replica", "SET row_security = off", "RESET ROLE",
    "SET default_transaction_read_only = off", "ALTER SCHEMA public RENAME TO s{n}",
    "DROP SCHEMA public CASCADE", "ALTER SCHEMA public OWNER TO {r}",
    "COMMENT ON SCHEMA public IS 'mine'", "COMMENT ON TABLE {t} IS 'mine'",
    "LOCK TABLE {t} IN ACCESS EXCLUSIVE MODE NOWAIT", "VACUUM FULL {t}", "CLUSTER {t}",
    "REINDEX TABLE {t}", "SELECT nextval('public.people_id_seq')",
    "SELECT setval('public.people_id_seq', {n})", "SELECT lo_unlink({n})",
    "SELECT lo_import('/etc/hostname')", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid()", "SELECT pg_read_file('postgresql.conf')",
    "COPY {t} FROM PROGRAM 'echo 1'", "COPY (SELECT 1) TO PROGRAM 'cat'",
    "COPY {t} FROM '/etc/hostname'", "ALTER SYSTEM SET log_statement = 'all'",
    "ALTER DATABASE momentry SET search_path = dev", "ALTER DATABASE momentry OWNER TO {r}",
    "MERGE INTO {t} a USING {u} b ON false WHEN NOT MATCHED THEN INSERT DEFAULT VALUES",
    "SELECT dblink_exec('dbname=momentry', 'DROP TABLE public.videos')", "NOTIFY a, 'b'",
)  # fmt: skip
WRAPS = (
    "{s}", "{s}", "{s}", "BEGIN; {s}; COMMIT", "EXPLAIN ANALYZE {s}",
    "DO $$ BEGIN EXECUTE $q${s}$q$; END $$",
    "CREATE OR REPLACE FUNCTION dev.g() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS "
    "$$ BEGIN EXECUTE $q${s}$q$; END $$; SELECT dev.g()",
)  # fmt: skip


def sql(chance: random.Random) -> str:
    table, other = chance.choice(TABLES), chance.choice(TABLES)
    statement = chance.choice(SQL).format(
        t=table, u=other, c=chance.choice(("id", "title", "name", "key", "note", "environment")),
        r=chance.choice(ROLES), q=chance.choice(ROLES), n=chance.randrange(9),
    )  # fmt: skip
    return chance.choice(WRAPS).format(s=statement)


def attack_postgres(world: postgres_probed.World, seconds: float, seed: int = SEED) -> int:
    chance, count, own = random.Random(seed), 0, None
    for count in within(seconds):  # noqa: B007
        if own is None or own.closed:
            at, login = world.endpoint, world.identities["playground"]
            own = psycopg.connect(host=at.host, port=at.port, user=login.name,
                                  password=login.secret, dbname="momentry",
                                  autocommit=True)  # fmt: skip
            own.execute("SET statement_timeout = '500ms'; SET lock_timeout = '50ms'")
            own.execute("CREATE TABLE IF NOT EXISTS dev.mine (id int, name text)")
        try:
            own.execute(sql(chance).encode())
        except psycopg.Error:
            own.execute("ROLLBACK")
    assert own is not None
    own.close()
    return count


def test_postgres(postgres_server: Any) -> None:
    with postgres_probed.isolated(postgres_server) as world:
        before = world.checksum()
        assert attack_postgres(world, SECONDS) > 100
        assert world.checksum() == before
        world.admin.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO t_playground")
        assert seen(world.checksum, lambda seed: attack_postgres(world, 1.0, seed))


# --- Redis ---------------------------------------------------------------------------------------

# They would keep the connection: listening, waiting, or another protocol.
KEPT = {b"subscribe", b"psubscribe", b"ssubscribe", b"monitor", b"client", b"wait", b"waitaof",
        b"quit", b"reset", b"hello", b"auth", b"sync", b"psync", b"blpop", b"brpop", b"blmpop",
        b"bzmpop", b"bzpopmin", b"bzpopmax", b"blmove", b"brpoplpush", b"xread",
        b"xreadgroup", b"multi", b"exec", b"shutdown", b"debug"}  # fmt: skip
KEYS = (b"momentry:a", b"momentry:b", b"momentry:h", b"momentry_dev:a", b"sandbox:marker:momentry:")
WORDS = (b"momentry:a", b"momentry:b", b"momentry:h", b"momentry_dev:a", b"momentry_dev:b",
         b"sandbox:marker:momentry:", b"sandbox:marker:momentry_dev:",
         b"sandbox:new:momentry_dev:x",
         b"momentry*", b"*", b"0", b"1", b"-1", b"x", b"LEFT", b"STORE", b"BY", b"GET", b"MATCH",
         b"COUNT", b"KEYS", b"ASYNC", b"SET", b"FLUSH", b"LOAD", b"LIST", b"SETUSER",
         b"t_playground", b"allkeys", b"REPLACE", b"NX", b"EX", b"127.0.0.1", b"6379")  # fmt: skip
CALL = b"return redis.call(unpack(ARGV))"


def redis_state(client: Any) -> str:
    found = hashlib.sha256()
    for key in sorted(client.scan_iter()):
        if not key.startswith(b"momentry_dev:"):
            found.update(key + (client.dump(key) or b"") + b"%d" % client.pttl(key))
    found.update(repr(client.execute_command("ACL", "LIST")).encode())
    found.update(repr(sorted(client.config_get("*").items())).encode())
    found.update(repr(client.execute_command("FUNCTION", "LIST")).encode())
    return found.hexdigest()


def attack_redis(world: redis_world.World, seconds: float, seed: int = SEED) -> int:
    chance, sent = random.Random(seed), 0
    with Wire(world.admin) as wire:
        names = [name for name in wire.ask(b"COMMAND", b"LIST") if name not in KEPT]
    with Wire(world.access("playground", redis_world.PLAYGROUND)) as wire:
        for _ in within(seconds):
            batch = []
            for _ in range(50):
                words = [chance.choice(KEYS), *(chance.choice(WORDS) for _ in range(3))]
                words = words[: chance.randrange(1, 5)]
                args = [*chance.choice(names).split(b"|"), *words]
                is_script = chance.random() < 0.2
                batch.append([b"EVAL", CALL, b"0", *args] if is_script else args)
            wire.many(batch)
            sent += len(batch)
    return sent


def test_redis(redis_server: Any) -> None:
    with redis_world.isolated(redis_server) as world:
        world.client.mset({"momentry:a": 1, "momentry:b": 2})
        world.client.hset("momentry:h", mapping={"f": "v"})
        before = redis_state(world.client)
        assert attack_redis(world, SECONDS) > 1_000
        assert redis_state(world.client) == before
        world.client.execute_command("ACL", "SETUSER", "t_playground", "~momentry:*")
        assert seen(lambda: redis_state(world.client), lambda seed: attack_redis(world, 1.0, seed))


# --- MongoDB -------------------------------------------------------------------------------------


def command(chance: random.Random, databases: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    name, other = chance.choice(databases), chance.choice(databases)
    one, two = (chance.choice(("chunks", "cache", "mine", "sandbox_marker")) for _ in range(2))
    change = chance.choice(({"$set": {"text": "x"}}, [{"$set": {"text": "x"}}], {"text": "x"}))
    across: Any = {"db": other, "coll": two}
    into = chance.choice((across, two))
    stages = [
        {"$match": {}}, {"$out": into}, {"$merge": {"into": into}},
        {"$lookup": {"from": into, "pipeline": [], "as": "x"}}, {"$unionWith": into},
        {"$facet": {"a": [{"$match": {}}]}}, {"$currentOp": {"allUsers": True}},
    ]  # fmt: skip
    pipeline = [chance.choice(stages) for _ in range(chance.randrange(1, 4))]
    some = [
        {"insert": one, "documents": [{"x": 1}]},
        {"update": one, "updates": [{"q": {}, "u": change, "upsert": True}]},
        {"delete": one, "deletes": [{"q": {}, "limit": 0}]},
        {"findAndModify": one, "query": {}, "update": change},
        {"findAndModify": one, "query": {}, "remove": True},
        {"drop": one}, {"dropDatabase": 1}, {"create": two}, {"collMod": one, "validator": {}},
        {"create": "v", "viewOn": one, "pipeline": pipeline}, {"find": "v"},
        {"createIndexes": one, "indexes": [{"key": {"text": 1}, "name": "t"}]},
        {"dropIndexes": one, "index": "*"}, {"aggregate": one, "pipeline": pipeline, "cursor": {}},
        {"renameCollection": f"{name}.{one}", "to": f"{other}.{two}", "dropTarget": True},
        {"bulkWrite": 1, "ops": [{"insert": 0, "document": {"x": 1}}, {"delete": 1, "filter": {}}],
         "nsInfo": [{"ns": f"{name}.{one}"}, {"ns": f"{other}.{two}"}]},
        {"createUser": "x", "pwd": "x", "roles": [{"role": "root", "db": "admin"}]},
        {"updateUser": "root", "pwd": "x"}, {"dropAllUsersFromDatabase": 1},
        {"createRole": "x", "privileges": [], "roles": [{"role": "root", "db": "admin"}]},
        {"mapReduce": one, "map": "function() { emit(1, 1) }", "reduce": "function() {}",
         "out": {"replace": two, "db": other}},
        {"setParameter": 1, "ttlMonitorEnabled": False}, {"explain": {"delete": one, "deletes": [
            {"q": {}, "limit": 0}]}, "verbosity": "executionStats"},
    ]  # fmt: skip
    chosen: dict[str, Any] = chance.choice(some)
    at_admin = next(iter(chosen)) in ("renameCollection", "bulkWrite", "setParameter")
    return ("admin" if at_admin else name), chosen


def mongo_state(world: mongo_world.World) -> str:
    found = hashlib.sha256()
    base = world.production
    for one in sorted(base.list_collections(), key=lambda one: one["name"]):
        found.update(repr((one["name"], one["type"], one["options"])).encode())
        if one["type"] == "view":
            continue
        found.update(repr(sorted(base[one["name"]].index_information())).encode())
        for document in base[one["name"]].find().sort("_id", 1):
            found.update(bson.encode(document))
    for user in world.client.admin.command("usersInfo", 1)["users"]:
        found.update(repr((user["user"], user["roles"])).encode())
    return found.hexdigest()


def attack_mongo(world: mongo_world.World, seconds: float, seed: int = SEED) -> int:
    """How many were let through."""
    chance, let_through = random.Random(seed), 0
    own = connect(world.access("playground", world.space(f"{world.stem}_dev")))
    for _ in within(seconds):
        database, what = command(chance, (world.stem, f"{world.stem}_dev", "admin"))
        with contextlib.suppress(PyMongoError):
            own[database].command(what)
            let_through += 1
    own.close()
    return let_through


def test_mongo(mongo_server: Any) -> None:
    with mongo_world.isolated(mongo_server) as world:
        for name in ("chunks", "cache"):
            world.production[name].insert_many([{"_id": n, "text": f"{n}"} for n in range(20)])
        before = mongo_state(world)
        assert attack_mongo(world, SECONDS) > 5  # at home some of it works
        assert mongo_state(world) == before
        roles = [{"role": "readWrite", "db": world.stem}]
        login = world.identities["playground"].name
        world.client.admin.command("grantRolesToUser", login, roles=roles)
        assert seen(lambda: mongo_state(world), lambda seed: attack_mongo(world, 1.0, seed))
