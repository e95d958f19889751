"""Whatever goes wrong: one clear error, nothing half loaded, the playground as it was."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from sandbox.errors import Refused, SandboxError, Unreachable
from sandbox.masking.keep import KEEP, Keep
from sandbox.model import Dataset
from sandbox.stores.postgres import PostgresSource, building, ddl, source, store
from tests.contract.postgres_world import World, database

DDL = """
CREATE TABLE people (id bigint PRIMARY KEY, email text NOT NULL UNIQUE,
                     age integer CHECK (age > 0));
CREATE TABLE posts (id bigint PRIMARY KEY, author bigint REFERENCES people, body text);
CREATE INDEX posts_body ON posts (md5(body));
INSERT INTO people SELECT n, 'p' || n || '@x.com', n FROM generate_series(1, 2000) n;
INSERT INTO posts SELECT n, 1 + n % 2000, repeat(md5(n::text), 20) FROM generate_series(1, 8000) n;
"""


@pytest.fixture(scope="module")
def server(run: Any) -> Any:
    """One of its own: it is filled up and killed."""
    return run.start("postgres")


@pytest.fixture(scope="module")
def world(server: Any) -> Iterator[World]:
    with database(server, isolated=["people", "posts"], ddl=DDL) as made:
        made.copy()
        made.client.execute("UPDATE dev.people SET email = 'mine@x.com' WHERE id = 1")
        yield made


def state(world: World) -> tuple[Any, ...]:
    query = """SELECT (SELECT md5(string_agg(p::text, ' ' ORDER BY id)) FROM dev.people p),
               (SELECT count(*) FROM dev.posts), obj_description('dev'::regnamespace)"""
    schemas = "SELECT array_agg(nspname ORDER BY 1) FROM pg_namespace WHERE nspname ~ '^dev'"
    ask = world.client.execute
    return (ask(query).fetchone(), ask(schemas).fetchone(), len(scratches(world)))


def scratches(world: World) -> list[str]:
    query = "SELECT datname FROM pg_database WHERE datname ~ 'scratch'"
    return [name for (name,) in world.client.execute(query)]


@contextmanager
def unharmed(world: World, kind: type[SandboxError], words: str) -> Iterator[None]:
    """What happens inside ends in one error, and the playground is what it was before."""
    before = state(world)
    with pytest.raises(kind, match=words) as caught:
        yield
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert state(world) == before


class Instead(Keep):
    """A policy that does not fit a constraint."""

    def __init__(self, column: str, expression: str) -> None:
        self._made = {column: expression}

    def columns(self, table: Dataset) -> dict[str, str]:
        return self._made if table.name == "people" else {}


@pytest.mark.parametrize(
    ("column", "expression", "words"),
    [
        ("email", "'same'", "constraint people people_email_key: could not create unique index"),
        ("age", "-1", 'loading people: new row .* violates check constraint "people_age_check"'),
        ("id", "id + 1", "foreign key|fk constraint|violates foreign key constraint"),
    ],
)
def test_a_policy_that_breaks_a_constraint(
    world: World, column: str, expression: str, words: str
) -> None:
    with unharmed(world, SandboxError, words):
        world.copy(Instead(column, expression))


def test_a_value_stands_in_no_error(world: World) -> None:
    with unharmed(world, SandboxError, "reading people: invalid input syntax") as caught:
        world.copy(Instead("age", "(email || ' is secret')::integer"))
    assert caught is None
    with pytest.raises(SandboxError) as error:
        world.take(Instead("age", "(email || ' is secret')::integer"))
    assert "secret" not in str(error.value)


class Slow(Keep):
    """A millisecond a row: the server is still sending when something happens to it."""

    def columns(self, table: Dataset) -> dict[str, str]:
        slowly = "CASE WHEN pg_sleep(0.001) IS NOT NULL THEN body END"
        return {"body": slowly} if table.name == "posts" else {}


def cut(world: World, role: str) -> None:
    """Every connection of a login, as a firewall or an administrator would."""
    name = world.identities[role].name  # type: ignore[index]
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"
    world.client.execute(query, [name])


def test_a_connection_cut_while_reading(world: World) -> None:
    words = "reading posts: the connection was lost"
    with unharmed(world, Unreachable, words), world.source().cut() as held:
        reader = world.source()
        posts = next(d for d in reader.datasets(held) if d.name == "posts")
        stream = reader.read(held, posts, Slow())
        next(stream)
        cut(world, "reader")
        for _ in stream:
            pass


def loading(world: World, then: Callable[[], object]) -> None:
    """A load in the middle of whose stream something happens."""
    catalog, streams = world.take()

    def pieces(all_: Sequence[bytes]) -> Iterator[bytes]:
        whole = b"".join(all_)
        yield whole[: len(whole) // 2]
        then()
        for start in range(len(whole) // 2, len(whole), 1 << 16):
            yield whole[start : start + (1 << 16)]

    place = world.store()
    try:
        place.stage([one for one, _ in streams], catalog)
        for dataset, all_ in streams:
            place.write(dataset, pieces(all_) if dataset.name == "posts" else all_)
        place.finish(world.marker())
        place.swap()
    finally:
        place.close()
        again = world.store()
        try:
            again.settle()
        finally:
            again.close()


def test_a_connection_cut_while_loading(world: World) -> None:
    with unharmed(world, Unreachable, "loading posts: the connection was lost"):
        loading(world, lambda: cut(world, "keeper"))


def test_a_disk_that_is_full(world: World) -> None:
    """The keeper's tables stand in a tablespace with a few hundred kB of room."""
    container = world.server.container
    fill = (
        "mkdir -p /dev/shm/tiny && chown postgres /dev/shm/tiny && "
        "room=$(df -k --output=avail /dev/shm | tail -1) && "
        "head -c $(( (room - 2500) * 1024 )) /dev/zero > /dev/shm/filler"
    )
    keeper, owner = (world.identities[role].name for role in ("keeper", "playground"))
    world.client.execute("CHECKPOINT")
    assert container.exec(["sh", "-c", fill]).exit_code == 0
    try:
        world.client.execute("CREATE TABLESPACE tiny LOCATION '/dev/shm/tiny'")
        world.client.execute(f'GRANT CREATE ON TABLESPACE tiny TO "{keeper}", "{owner}"')
        world.client.execute(f'ALTER ROLE "{keeper}" SET default_tablespace = tiny')
        with unharmed(world, SandboxError, "loading posts: could not extend file.*make room"):
            world.copy()
        world.client.execute(f'ALTER ROLE "{keeper}" RESET default_tablespace')
    finally:
        container.exec(["sh", "-c", "rm -f /dev/shm/filler*"])
        world.client.execute(f'ALTER ROLE "{keeper}" RESET ALL')
        world.client.execute("DROP TABLESPACE IF EXISTS tiny")


def test_a_container_with_little_shared_memory(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Helpers of a vector index share maintenance_work_mem in /dev/shm: it is built alone."""
    ddl = """
        CREATE EXTENSION vector;
        CREATE TABLE places (id integer, v vector(3));
        INSERT INTO places SELECT n, ARRAY[n, n % 7, n % 11] FROM generate_series(1, 500) n;
        CREATE INDEX places_v ON places USING hnsw (v vector_l2_ops);
    """
    seen: list[str] = []
    ran = building.Builder._run

    def watched(self: building.Builder, text: str) -> None:
        seen.append(text)
        ran(self, text)

    monkeypatch.setattr(store, "LOADING", store.LOADING.replace("256MB", "400MB"))  # of 256
    monkeypatch.setattr(building, "LARGE", 0)
    monkeypatch.setattr(building.Builder, "_run", watched)
    with database(server, isolated=["places"], ddl=ddl) as made:
        keeper = made.identities["keeper"].name
        made.client.execute(f'ALTER ROLE "{keeper}" SET min_parallel_table_scan_size = 0')
        assert made.copy() == []
        valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'dev.places_v'::regclass"
        assert made.client.execute(valid).fetchone() == (True,)
    assert "SET max_parallel_maintenance_workers = 0" in seen


# --- production changes meanwhile -----------------------------------------------------------------


def test_nothing_is_altered_while_it_is_read(world: World) -> None:
    with world.source().cut():
        for statement in ("ALTER TABLE people ADD x integer", "TRUNCATE posts", "DROP TABLE posts"):
            with pytest.raises(psycopg.errors.LockNotAvailable):
                world.client.execute(f"SET lock_timeout = '50ms'; {statement}")
    world.client.execute("RESET lock_timeout")


def test_without_the_locks_a_rewritten_table_would_look_empty(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard's leaky twin: this is what the locks are for."""

    def no_locks(self: PostgresSource, holder: Any) -> None:
        holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def rows(rewrite: str) -> int:
        with world.source().cut() as held:
            reader = world.source()
            people = next(d for d in reader.datasets(held) if d.name == "people")
            world.client.execute(f"SET lock_timeout = '50ms'; {rewrite}")
            return sum(count for count, _ in reader.read(held, people, KEEP))

    monkeypatch.setattr(PostgresSource, "_hold", no_locks)
    assert rows("ALTER TABLE people ALTER age TYPE smallint") == 0
    monkeypatch.undo()
    with pytest.raises(psycopg.errors.LockNotAvailable):
        rows("ALTER TABLE people ALTER age TYPE integer")
    world.client.execute("RESET lock_timeout; ALTER TABLE people ALTER age TYPE integer")


def test_a_migration_that_holds_the_tables(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "LOCK_WITHIN", "100ms")
    with world.client.transaction():
        world.client.execute("LOCK TABLE people")
        with (
            pytest.raises(Refused, match="being changed right now") as caught,
            world.source().cut(),
        ):
            pass
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("change", ["DROP TABLE late", "CREATE TABLE later ()"])
def test_a_table_that_comes_or_goes_between_the_list_and_the_locks(
    server: Any, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    with database(server, isolated=["late", "later"], ddl="CREATE TABLE late ()") as made:
        listed = PostgresSource._lockable
        changed = threading.Event()

        def list_then_change(self: PostgresSource, connection: Any = None) -> list[str]:
            found = listed(self, connection)
            if not changed.is_set():
                changed.set()
                made.client.execute(change)
            return found

        monkeypatch.setattr(PostgresSource, "_lockable", list_then_change)
        with pytest.raises(Refused, match="being changed"), made.source().cut():
            pass


def test_rows_that_a_policy_hides_are_an_error(world: World) -> None:
    """A reader without BYPASSRLS would copy a part and call it whole."""
    reader = world.identities["reader"].name
    world.client.execute(
        f'ALTER TABLE people ENABLE ROW LEVEL SECURITY; ALTER ROLE "{reader}" NOBYPASSRLS'
    )
    try:
        with unharmed(world, SandboxError, "reading people: .*row-level security"):
            world.copy()
    finally:
        world.client.execute("ALTER TABLE people DISABLE ROW LEVEL SECURITY")
        world.isolate()


# --- others look into the scratch database --------------------------------------------------------

WORN = """
CREATE TABLE worn WITH (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0,
                        autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)
    AS SELECT n, repeat('x', 1000) FROM generate_series(1, 5000) n;
DELETE FROM worn WHERE n % 2 = 0;
"""
VACUUMING = """SELECT count(*) FROM pg_stat_activity
               WHERE backend_type = 'autovacuum worker' AND datname = current_database()"""


@pytest.fixture
def in_scratch(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Has a load do something as the superuser in its scratch database."""
    dumped = ddl._dump

    def during(do: Callable[[Any], None]) -> None:
        def dump(access: Any, database: str, *rest: Any) -> str:
            do(connect_again(world, database))
            return dumped(access, database, *rest)

        monkeypatch.setattr(ddl, "_dump", dump)

    return during


def test_a_scratch_database_goes_while_it_is_vacuumed(world: World, in_scratch: Any) -> None:
    """DROP DATABASE WITH (FORCE) may not end an autovacuum worker, unless a superuser asks."""

    def wear(session: Any) -> None:
        session.execute(WORN)
        deadline = time.monotonic() + 60
        while not session.execute(VACUUMING).fetchone()[0]:
            assert time.monotonic() < deadline, "no autovacuum came"
            time.sleep(0.05)
        session.close()

    in_scratch(wear)
    world.client.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
    world.client.execute("SELECT pg_reload_conf()")
    try:
        assert world.copy() == []
    finally:
        world.client.execute("ALTER SYSTEM RESET autovacuum_naptime")
        world.client.execute("SELECT pg_reload_conf()")
    assert scratches(world) == []


def test_a_scratch_database_that_a_superuser_looks_into(
    world: World, in_scratch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The load is done all the same; what stays goes with the next one."""
    sessions: list[Any] = []
    in_scratch(sessions.append)
    assert world.copy() == []
    assert len(scratches(world)) == 1
    monkeypatch.undo()
    sessions.pop().close()
    assert world.copy() == []
    assert scratches(world) == []


# --- last: the server does not come back as it was ------------------------------------------------


def test_a_server_that_is_killed_while_loading(world: World, server: Any) -> None:
    before = state(world)
    inside = server.container.get_wrapped_container()
    with pytest.raises(Unreachable) as caught:
        loading(world, lambda: inside.kill())
    assert caught.value.exit_code == 3
    object.__setattr__(world, "server", server.restart())
    world.client = connect_again(world)
    assert state(world)[0] == before[0]
    assert world.copy() == []  # what the killed one left is swept
    assert state(world)[1:] == before[1:]


def connect_again(world: World, database: str = "") -> Any:
    return psycopg.connect(
        host=world.server.host,
        port=world.server.port,
        user=world.server.admin_user,
        password=world.server.admin_password,
        dbname=database or world.production.database,
        autocommit=True,
    )
