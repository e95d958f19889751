"""The demo on real servers: what the seed promises, how it refuses, what spoil and show do."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pymongo
import pytest
import redis
from psycopg import sql

from demo import fill_postgres
from demo.app.server import serve
from demo.app.stores import Stores
from demo.app.worker import work
from demo.fill_postgres import TABLES, VIEWS
from demo.seed import Connections, Filled, seed
from demo.show import masked_examples
from demo.spoil import spoil
from sandbox.errors import Refused, Unreachable
from sandbox.model import Marker
from sandbox.report import Event, Progress, silent
from sandbox.stores.postgres.session import write_marker

SCALE = 0.04
SCHEMA = "made up"  # neither `public` nor a plain name: nothing may depend on it


@pytest.fixture
def places(
    postgres_server: Any,
    mongo_server: Any,
    qdrant_server: Any,
    redis_server: Any,
    tmp_path: Path,
) -> Iterator[Connections]:
    """Empty spaces with names of their own, gone afterwards."""
    yield from _places(postgres_server, mongo_server, qdrant_server, redis_server, tmp_path)


@pytest.fixture(scope="module")
def seeded(
    postgres_server: Any,
    mongo_server: Any,
    qdrant_server: Any,
    redis_server: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Connections, Any]]:
    """One seeded production that no test changes, and what `seed` returned."""
    folder = tmp_path_factory.mktemp("seeded")
    for places in _places(postgres_server, mongo_server, qdrant_server, redis_server, folder):
        yield places, fill(places)


def _places(pg: Any, mongo: Any, qdrant: Any, cache: Any, folder: Path) -> Iterator[Connections]:
    name = f"demo_{secrets.token_hex(4)}"
    login = f"{pg.admin_user}:{pg.admin_password}@{pg.host}:{pg.port}"
    with psycopg.connect(f"postgresql://{login}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    mongo_login = f"{mongo.admin_user}:{mongo.admin_password}@{mongo.host}:{mongo.port}"
    made = Connections(
        postgres=f"postgresql://{login}/{name}",
        schema=SCHEMA,
        mongo=f"mongodb://{mongo_login}/?authSource=admin",
        mongo_database=name,
        qdrant=f"http://{qdrant.host}:{qdrant.port}",
        qdrant_key=qdrant.api_key,
        qdrant_collection=name,
        redis=f"redis://:{cache.admin_password}@{cache.host}:{cache.port}/0",
        redis_prefix=f"{name}[x]*:",  # SCAN's wildcards are plain letters in a prefix
        directories={purpose: folder / purpose for purpose in ("output", "backup")},
    )
    yield made
    with psycopg.connect(f"postgresql://{login}/postgres", autocommit=True) as connection:
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
        connection.execute(drop.format(sql.Identifier(name)))
    with pymongo.MongoClient[Any](made.mongo, directConnection=True) as client:
        client.drop_database(name)
    api(made, "DELETE", f"/collections/{name}")
    with redis.Redis.from_url(made.redis) as client_:
        for key in client_.scan_iter(match=f"{name}*", count=1000):
            client_.delete(key)


def fill(places: Connections, **options: Any) -> Any:
    options = {"scale": SCALE, "random_seed": 3, "report": silent} | options
    return seed(places, **options)


def api(places: Connections, method: str, path: str, body: Any = None) -> Any:
    headers = {"api-key": places.qdrant_key}
    url = places.qdrant + path
    return httpx.request(method, url, json=body, headers=headers, timeout=60).json()["result"]


def database(places: Connections) -> psycopg.Connection[Any]:
    options = '-c search_path="made\\ up",public'
    return psycopg.connect(places.postgres, options=options)


def cache(places: Connections) -> redis.Redis:
    return redis.Redis.from_url(places.redis)


def keys(places: Connections) -> set[bytes]:
    prefix = places.redis_prefix.encode()
    with cache(places) as client:
        return {k for k in client.scan_iter(count=1000) if k.startswith(prefix)}


def fingerprint(places: Connections) -> dict[str, str]:
    """What every store holds, by store: nothing but the servers' own clocks is left out."""
    found = {store: hashlib.sha256() for store in ("postgres", "mongo", "qdrant", "redis", "files")}
    with database(places) as connection:
        for table in TABLES:
            for row in connection.execute(f"SELECT t::text FROM {table.name} t ORDER BY 1"):
                found["postgres"].update(row[0].encode())
    with pymongo.MongoClient[Any](places.mongo, directConnection=True) as client:
        for name in ("cache", "chunks"):
            for document in client[places.mongo_database][name].find().sort("_id"):
                found["mongo"].update(repr(document).encode())
    body = {"limit": 10_000, "with_payload": True, "with_vector": True}
    points = api(places, "POST", f"/collections/{places.qdrant_collection}/points/scroll", body)
    found["qdrant"].update(json.dumps(points, sort_keys=True).encode())
    with cache(places) as client_:
        for key in sorted(keys(places)):
            kind = client_.type(key)
            dumped = b"" if kind in (b"hash", b"set") else client_.dump(key)
            if kind == b"hash":
                dumped = repr(sorted(client_.hgetall(key).items())).encode()
            elif kind == b"set":
                dumped = repr(sorted(client_.smembers(key))).encode()
            elif kind == b"stream":  # its dump holds the consumers' times
                dumped = repr(client_.xrange(key)).encode()
            found["redis"].update(key + dumped + str(client_.pexpiretime(key)).encode())
    for purpose, folder in sorted(places.directories.items()):
        for path in sorted(folder.rglob("*")):
            content = path.read_bytes() if path.is_file() else b""
            target = path.readlink() if path.is_symlink() else ""
            record = f"{purpose} {path.relative_to(folder)} {target} {path.lstat().st_mtime_ns} "
            found["files"].update(record.encode() + content)
    return {store: digest.hexdigest() for store, digest in found.items()}


# --- what is there -------------------------------------------------------------------------------


def test_every_store_holds_what_was_counted(seeded: tuple[Connections, Any]) -> None:
    places, counts = seeded
    with database(places) as connection:
        for table, rows in counts["postgres"].items():
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (rows,), table
        for view in VIEWS:
            assert connection.execute(f"SELECT count(*) > 0 FROM {view}").fetchone() == (True,)
    assert set(counts["postgres"]) == {table.name for table in TABLES}
    with pymongo.MongoClient[Any](places.mongo, directConnection=True) as client:
        for name, rows in counts["mongo"].items():
            assert client[places.mongo_database][name].count_documents({}) == rows
    shown = api(places, "GET", f"/collections/{places.qdrant_collection}")
    assert shown["points_count"] == counts["qdrant"][places.qdrant_collection]
    assert counts["redis"] == {places.redis_prefix: len(keys(places))}
    for purpose, folder in places.directories.items():
        files = [p for p in folder.rglob("*") if p.is_file() or p.is_symlink()]
        assert counts["files"][purpose] == len(files)


def test_postgres_has_what_copy_tools_fail_on(seeded: tuple[Connections, Any]) -> None:
    places, _ = seeded
    facts = {
        "identity": "SELECT count(*) FROM pg_attribute WHERE attidentity <> ''",
        "generated": "SELECT count(*) FROM pg_attribute WHERE attgenerated <> ''",
        "partitions": "SELECT count(*) FROM pg_class WHERE relispartition AND relkind = 'r'",
        "enums": "SELECT count(*) FROM pg_type WHERE typtype = 'e'",
        "domains": "SELECT count(*) FROM pg_type WHERE typname = 'email_address'",
        "partial": "SELECT count(*) FROM pg_index WHERE indpred IS NOT NULL",
        "expressions": "SELECT count(*) FROM pg_index WHERE indexprs IS NOT NULL",
        "triggers": "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal",
        "deferred": "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND condeferred",
        "vectors": "SELECT count(*) FROM pg_attribute WHERE format_type(atttypid, -1) = 'vector'",
        "circles": """
            WITH RECURSIVE walk (root, node, way) AS (
                SELECT conrelid, confrelid, ARRAY[conrelid] FROM pg_constraint
                WHERE contype = 'f' AND conrelid <> confrelid
                UNION SELECT root, confrelid, way || node FROM walk JOIN pg_constraint
                ON contype = 'f' AND conrelid = node AND NOT node = ANY(way)
            ) SELECT count(DISTINCT root) FROM walk WHERE node = root""",
        "shared sequence": """
            SELECT count(*) FROM pg_depend WHERE refobjid = 'chunk_number'::regclass
            AND classid = 'pg_attrdef'::regclass""",
        "not valid": "SELECT 1 + count(*) FROM pg_constraint WHERE NOT convalidated",
    }
    with database(places) as connection:
        found = {name: connection.execute(query).fetchone()[0] for name, query in facts.items()}
    assert all(found.values()), found
    assert found["not valid"] == 1
    assert found["shared sequence"] == 2
    assert found["circles"] >= 4


def test_the_next_row_gets_the_next_number(seeded: tuple[Connections, Any]) -> None:
    places, _ = seeded
    with database(places) as connection:
        for table in TABLES:
            if table.columns[0] != "id" or table.name == "face_recognition_results":
                continue
            if table.name in ("chunks", "pre_chunks"):
                query = f"SELECT nextval('chunk_number') > max(id) FROM {table.name}"
                assert connection.execute(query).fetchone() == (True,), table.name
                continue
            query = (
                f"SELECT nextval(pg_get_serial_sequence(%s, 'id')) = max(id) + 1 FROM {table.name}"
            )
            assert connection.execute(query, [table.name]).fetchone() == (True,), table.name
        connection.rollback()


def test_mongo_has_indexes_and_nothing_that_expires_soon(seeded: tuple[Connections, Any]) -> None:
    places, _ = seeded
    with pymongo.MongoClient[Any](places.mongo, directConnection=True) as client:
        found = client[places.mongo_database]
        unique = [i for i in found["chunks"].index_information().values() if i.get("unique")]
        assert len(unique) == 1
        expiring = found["cache"].index_information().values()
        assert [i["expireAfterSeconds"] for i in expiring if "expireAfterSeconds" in i] == [0]
        oldest = found["cache"].find_one(sort=[("expires_at", 1)])
        assert oldest is not None
        assert oldest["expires_at"].year == 2099


def test_qdrant_has_its_vectors_and_payload_indexes(seeded: tuple[Connections, Any]) -> None:
    places, _ = seeded
    shown = api(places, "GET", f"/collections/{places.qdrant_collection}")
    assert shown["config"]["params"]["vectors"] == {"size": 1024, "distance": "Cosine"}
    types = {key: one["data_type"] for key, one in shown["payload_schema"].items()}
    assert types == {
        "video_id": "integer",
        "language": "keyword",
        "owner.email": "keyword",
        "recorded_at": "datetime",
        "start": "float",
    }


def test_redis_has_every_type(seeded: tuple[Connections, Any]) -> None:
    places, _ = seeded
    with cache(places) as client:
        kinds = {client.type(key) for key in keys(places)}
        assert kinds == {b"string", b"hash", b"list", b"set", b"zset", b"stream"}
        times = [client.ttl(key) for key in keys(places)]
        assert 0 < sum(time > 86_400 for time in times) < len(times)
        assert not [time for time in times if 0 <= time <= 86_400]
        (group,) = client.xinfo_groups(f"{places.redis_prefix}jobs")
        assert (group["name"], group["pending"]) == (b"workers", 1)
        picture = client.get(f"{places.redis_prefix}thumbnail:1")
    assert picture is not None
    with pytest.raises(UnicodeDecodeError):
        picture.decode()


def test_links_stay_inside(seeded: tuple[Connections, Any]) -> None:
    places, _ = seeded
    for folder in places.directories.values():
        links = [path for path in folder.rglob("*") if path.is_symlink()]
        assert links
        assert all(not link.readlink().is_absolute() and link.exists() for link in links)


# --- again, and not ------------------------------------------------------------------------------


def test_the_same_seed_makes_the_same_data_over_itself(places: Connections) -> None:
    fill(places)
    before = fingerprint(places)
    with database(places) as connection:
        connection.execute("CREATE VIEW kept AS SELECT id FROM videos")
    fill(places, replace=True)
    assert fingerprint(places) == before
    with database(places) as connection:
        assert connection.execute("SELECT count(*) > 0 FROM kept").fetchone() == (True,)
    fill(places, replace=True, random_seed=4)
    after = fingerprint(places)
    assert [store for store in after if after[store] == before[store]] == []


def test_what_is_there_is_refused_by_name_and_stays(places: Connections) -> None:
    fill(places)
    before = fingerprint(places)
    with pytest.raises(Filled) as refused:
        fill(places, random_seed=4)
    for word in (SCHEMA, "chunks", "points", places.redis_prefix, "output"):
        assert word in str(refused.value)
    assert refused.value.everywhere
    assert fingerprint(places) == before


@pytest.mark.parametrize("store", ["postgres", "mongo", "qdrant", "redis", "files"])
def test_one_thing_in_one_store_is_enough_to_refuse(places: Connections, store: str) -> None:
    name = places.qdrant_collection
    if store == "postgres":
        with psycopg.connect(places.postgres) as connection:
            schema = sql.Identifier(SCHEMA)
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
            connection.execute(sql.SQL("CREATE TABLE {}.videos (mine int)").format(schema))
    elif store == "mongo":
        with pymongo.MongoClient[Any](places.mongo, directConnection=True) as client:
            client[places.mongo_database]["cache"].insert_one({"mine": 1})
    elif store == "qdrant":
        api(places, "PUT", f"/collections/{name}", {"vectors": {"size": 2, "distance": "Dot"}})
        body = {"points": [{"id": 1, "vector": [1, 2]}]}
        api(places, "PUT", f"/collections/{name}/points?wait=true", body)
    elif store == "redis":
        with cache(places) as client_:
            client_.set(f"{places.redis_prefix}mine", 1)
            # A seed that was stopped somewhere else gives no right to sweep here.
            client_.set(f"{places.redis_prefix}seeding", "of another place")
    else:
        places.directories["backup"].mkdir()
        (places.directories["backup"] / "mine").write_text("1")
    with pytest.raises(Filled, match="holds data already") as raised:
        fill(places)
    assert not raised.value.everywhere
    with psycopg.connect(places.postgres) as connection:
        tables = "SELECT count(*) FROM pg_tables WHERE schemaname = %s"
        found = connection.execute(tables, [SCHEMA]).fetchone()
    assert found == (1 if store == "postgres" else 0,)


def test_a_stopped_seed_is_swept_by_the_next(places: Connections) -> None:
    def press_ctrl_c(event: Event) -> None:
        if isinstance(event, Progress) and event.store == "files":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(places, report=press_ctrl_c)
    with psycopg.connect(places.postgres) as connection:
        tables = "SELECT count(*) FROM pg_tables WHERE schemaname = %s"
        assert connection.execute(tables, [SCHEMA]).fetchone() == (0,)
    assert any(places.directories["output"].iterdir())
    fill(places)
    whole = fingerprint(places)
    assert f"{places.redis_prefix}seeding".encode() not in keys(places)
    fill(places, replace=True)
    assert fingerprint(places) == whole


def test_two_seeds_at_once_are_refused(places: Connections) -> None:
    with (
        fill_postgres.connected(places.postgres, SCHEMA),
        pytest.raises(Refused, match="another seed"),
    ):
        fill(places)


def test_a_store_that_is_away_is_said_without_its_password(places: Connections) -> None:
    away = replace(places, redis="redis://:hidden@127.0.0.1:1/0")
    with pytest.raises(Unreachable) as unreachable:
        fill(away)
    assert "hidden" not in str(unreachable.value)


# --- show, spoil, the application ----------------------------------------------------------------


def test_show_has_the_same_people_in_every_store(seeded: tuple[Connections, Any]) -> None:
    places, _ = seeded
    examples = masked_examples(places, n=3)
    for store, records in examples.items():
        assert [record["name"] for record in records] == [
            record["name"] for record in examples["postgres"]
        ], store
        assert all(record["email"] for record in records), store
    assert len(examples["postgres"]) == 3


def test_spoil_touches_nothing_that_is_no_playground(places: Connections) -> None:
    fill(places)
    before = fingerprint(places)
    with pytest.raises(Refused):
        spoil(places)
    with psycopg.connect(places.postgres) as connection:
        write_marker(connection, SCHEMA, Marker(project="demo", environment="production"))
    with pytest.raises(Refused):
        spoil(places)
    assert fingerprint(places) == before


def test_spoil_breaks_every_store_and_says_how(places: Connections) -> None:
    fill(places)
    before = keys(places)
    with psycopg.connect(places.postgres) as connection:
        write_marker(connection, SCHEMA, Marker(project="demo", environment="playground"))
    lines = spoil(places)
    assert set(lines) == {"postgres", "mongo", "qdrant", "redis", "files"}
    assert not [line for line in lines.values() if " 0 " in line], lines
    with database(places) as connection:
        assert connection.execute("SELECT to_regclass('chunk_vectors')").fetchone() == (None,)
    with pymongo.MongoClient[Any](places.mongo, directConnection=True) as client:
        assert "cache" not in client[places.mongo_database].list_collection_names()
    assert len(before - keys(places)) > 20
    assert (places.directories["output"] / "junk.tmp").exists()


@pytest.fixture
def stores(seeded: tuple[Connections, Any]) -> Stores:
    places, _ = seeded
    return Stores(
        environment={
            "DATABASE_URL": places.postgres,
            "DATABASE_SCHEMA": places.schema,
            "MONGODB_URL": places.mongo,
            "MONGODB_DATABASE": places.mongo_database,
            "QDRANT_URL": places.qdrant,
            "QDRANT_API_KEY": places.qdrant_key,
            "QDRANT_COLLECTION": places.qdrant_collection,
            "REDIS_URL": places.redis,
            "MOMENTRY_REDIS_PREFIX": places.redis_prefix,
            "MOMENTRY_OUTPUT_DIR": str(places.directories["output"]),
        }
    )


def ask(stores: Stores, path: str) -> httpx.Response:
    server = serve(stores, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        return httpx.get(f"http://127.0.0.1:{server.server_address[1]}{path}", timeout=30)
    finally:
        server.shutdown()
        server.server_close()


def test_the_api_asks_every_store(stores: Stores) -> None:
    healthy = ask(stores, "/health")
    assert healthy.status_code == 200
    assert set(healthy.json()["stores"].values()) == {"ok"}
    videos = ask(stores, "/videos?limit=2").json()["videos"]
    assert [video["id"] for video in videos] == [1, 2]
    assert ask(stores, "/videos?limit=0").status_code == 400
    assert ask(stores, "/elsewhere").status_code == 404


def test_the_api_names_the_store_that_is_away_and_no_secret(stores: Stores) -> None:
    away = Stores(environment=stores.environment | {"REDIS_URL": "redis://:hidden@127.0.0.1:1/0"})
    answer = ask(away, "/health")
    assert answer.status_code == 503
    found = answer.json()["stores"]
    assert [store for store, state in found.items() if state != "ok"] == ["redis"]
    assert "hidden" not in answer.text
    assert "hidden" not in repr(away)


def test_the_worker_takes_one_job(places: Connections, stores: Stores) -> None:
    fill(places)
    own = Stores(
        environment=stores.environment
        | {"DATABASE_URL": places.postgres, "MOMENTRY_REDIS_PREFIX": places.redis_prefix}
    )
    with own.redis() as client:
        assert work(own, client)
        (group,) = client.xinfo_groups(own.key("jobs"))
    assert group["pending"] == 1
    with database(places) as connection:
        query = "SELECT status::text FROM videos WHERE updated_at > created_at + interval '1 hour'"
        assert connection.execute(query).fetchall() == [("ready",)]
