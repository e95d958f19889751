"""Masking: values per second by strategy and route, and side by side with what others do.

    python -m benchmarks.masking                    # a million rows, some minutes
    python -m benchmarks.masking --rows 20000       # a smoke test

strategies  each strategy over distinct values: in Python, and in PostgreSQL where SQL can say it
python      whole documents by the Python route: field values a second and core, memory by rows
postgres    a snapshot of a table with six masked columns, its leak search; in the same run an
            unmasked pg_dump -Fc and pg_restore of it
peers       pganonymize on the same table and rules (installed from PyPI into a folder of its own)

Times of Python alone are CPU times of one core; all others are what a clock on the wall says.
"""

from __future__ import annotations

import argparse
import json
import resource
import secrets
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import docker

from benchmarks.copy_postgres import Server, server
from sandbox import artifact as artifacts
from sandbox import transfer
from sandbox.contract import Access
from sandbox.engine.programs import run as run_inside
from sandbox.masking import sql
from sandbox.masking.known import DOUBTFUL
from sandbox.masking.leaks import Originals, scan
from sandbox.masking.mask import PolicyMask
from sandbox.masking.policy import parse
from sandbox.masking.pseudonyms import Pseudonyms
from sandbox.masking.rules import Rule
from sandbox.masking.strategies import Tools, make
from sandbox.model import Dataset, Endpoint, Field, Identity, Kind, PostgresSpace
from sandbox.report import silent
from sandbox.stores.postgres import PostgresSource
from sandbox.workflows.snapshot import collecting

TABLE = """
CREATE TABLE people (
    id bigint PRIMARY KEY, name varchar(80) NOT NULL, email varchar(120) NOT NULL,
    phone varchar(32) NOT NULL, username varchar(40) NOT NULL, street varchar(120) NOT NULL,
    token text NOT NULL, note text NOT NULL, logins integer NOT NULL, created timestamptz NOT NULL
)"""
FILL = """
INSERT INTO people
SELECT n,
       initcap(substr(md5('f' || n % 997), 1, 6)) || ' ' ||
       initcap(substr(md5('l' || n % 9973), 1, 8)),
       'person.' || n || '@mail.example.com',
       '+44 20 ' || lpad((n::bigint * 7919 % 99999989)::text, 8, '0'), 'user' || n,
       (n % 300) || ' ' || initcap(substr(md5('s' || n % 4999), 1, 7)) || ' Street',
       md5('t' || n), repeat('some words of a note ', 3), n % 1000,
       timestamptz '2026-01-01' + n * interval '1 second'
FROM generate_series(1, %s) n"""
SIX = """
version = 1
[postgres.people]
keep = ["id", "note", "logins", "created"]
name = "person"
email = "email"
phone = "phone"
username = "username"
street = "street"
token = "token"
"""
DOCUMENTS = """
version = 1
[mongo.people]
keep = ["_id", "logins", "created", "tags[]", "settings.**", "position.zoom"]
name = "person"
email = "email"
phone = "phone"
"address.street" = "street"
"address.city" = "city"
last_ip = "ip"
token = "token"
"friends[].name" = "person"
"friends[].email" = "email"
"""
OTHERS: Mapping[str, Callable[[int], Any]] = {  # values of strategies that are no pseudonyms
    "ip": lambda n: f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}",
    "integer": lambda n: n + 1,
    "bigint": lambda n: n + 1,
    "noise": lambda n: f"{n}.25",
    "round": lambda n: f"{n}.25",
    "geo": lambda n: f"{n % 90}.123456",
    "date": lambda n: f"19{n % 90 + 10}-0{n % 9 + 1}-1{n % 10}",
    "timestamp": lambda n: f"2026-01-0{n % 9 + 1} 10:00:{n % 60:02d}",
    "url": lambda n: f"https://example.com/u/{n}",
    "path": lambda n: f"home/user{n}/a.txt",
    "filename": lambda n: f"holiday {n}.jpg",
    "text": lambda n: f"Please write to person{n}@example.com about it, said Ann.",
    "truncate": lambda n: f"value {n}",
    "uuid": lambda n: f"a0eebc99-9c0b-4ef8-bb6d-{n:012x}",
    "mac": lambda n: f"00:1b:44:{n >> 16 & 255:02x}:{n >> 8 & 255:02x}:{n & 255:02x}",
    "vector": lambda n: [float(n % 7 - 3), 0.5, float(n % 11)] * 43,
    "phone": lambda n: f"+44 20 {n:08d}",
    "email": lambda n: f"person.{n}@example.com",
    "person": lambda n: f"Ann Lee{n}",
}
TYPES = {"ip": "inet", "date": "date", "timestamp": "timestamp", "round": "numeric",
         "geo": "numeric", "uuid": "uuid", "mac": "macaddr"}  # fmt: skip


# --- strategies ----------------------------------------------------------------------------------


def strategies(made: Server, rows: int) -> Iterator[str]:
    """A tenth of the rows, so that the whole takes no longer than the rest."""
    count = max(rows // 10, 1000)
    yield f"{'strategy':<12}{'Python, values/s':>18}{'in PostgreSQL':>16}   {count:,} values"
    for name in ("email", "person", "username", "phone", "street", "city", "company", "token",
                 "hash", "uuid", "mac", "ip", "integer", "bigint", "noise", "round", "geo", "date",
                 "timestamp", "url", "path", "filename", "text", "truncate", "vector"):  # fmt: skip
        values = [OTHERS.get(name, lambda n: f"value {n}")(n) for n in range(count)]
        by_sql = _by_sql(made, name, values)
        yield f"{name:<12}{_by_python(name, values):>18,.0f}{by_sql:>16}"


def _by_python(name: str, values: list[Any]) -> float:
    originals = Originals()
    key = secrets.token_bytes(32)
    tools = Tools(pseudonyms=Pseudonyms(key=key, record=originals.record), known=originals.index)
    function = make(Rule(strategy=name), tools)
    began = time.process_time()
    for value in values:
        function(value)
    return len(values) / (time.process_time() - began)


def _by_sql(made: Server, name: str, values: list[Any]) -> str:
    kind = TYPES.get(name, "text")
    expression = sql.expression(Rule(strategy=name), Field(name="v", type=kind))
    if expression is None:
        return "-"
    pseudonyms = Pseudonyms(key=secrets.token_bytes(32))
    with made.connect("momentry") as connection:
        for setting, value in sql.settings(pseudonyms, [name, "ip", "date"]).items():
            connection.execute("SELECT set_config(%s, %s, false)", [setting, value])
        connection.execute(f"CREATE TEMP TABLE given (v {kind})")
        with connection.cursor() as cursor, cursor.copy("COPY given FROM STDIN") as copy:
            for value in values:
                copy.write_row([value])
        plain = _seconds(connection, "SELECT count(v::text) FROM given")
        masked = _seconds(connection, f"SELECT count(({expression})::text) FROM given")
    return f"{len(values) / (masked - plain):,.0f}" if masked > plain else "as fast as keep"


def _seconds(connection: Any, query: str) -> float:
    began = time.perf_counter()
    connection.execute(query.replace("%", "%%") if "%s" in query else query)
    return time.perf_counter() - began


# --- whole documents -----------------------------------------------------------------------------


def document(n: int) -> dict[str, Any]:
    """24 field values, 11 of them masked; a person comes up ten times, as in a log of orders."""
    p = n // 10
    friend = p * 7919 % 100_003
    return {
        "_id": n, "name": f"Ann Lee{p}", "email": f"ann.lee{p}@example.com",
        "phone": f"+44 20 {p:08d}", "token": f"{n:032x}", "logins": n % 100, "created": n,
        "address": {"street": f"{p % 300} Mill Lane", "city": f"Town{p % 900}"},
        "last_ip": f"10.{p >> 16 & 255}.{p >> 8 & 255}.{p & 255}",
        "tags": ["a", "b", "c"], "settings": {"dark": True, "size": 3, "lang": "en"},
        "position": {"zoom": 3},
        "friends": [{"name": f"Bo Ek{friend + k}", "email": f"bo{friend + k}@x.com"}
                    for k in range(3)],
    }  # fmt: skip


def documents(rows: int) -> dict[str, float]:
    """In a process of its own: the CPU time that masking takes, and the highest memory."""
    mask = PolicyMask(parse(DOCUMENTS, file="policy"), key=secrets.token_hex(32))
    spent, values, batch = 0.0, 0, 1000
    for start in range(0, rows, batch):
        made = [document(n) for n in range(start, min(start + batch, rows))]
        began = time.process_time()
        mask.documents("people", made)
        spent += time.process_time() - began
        values += len(made) * 24
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows": rows, "values_per_second": values / spent, "peak_mb": peak,
            "originals": len(mask.originals)}  # fmt: skip


def python(rows: int) -> Iterator[str]:
    yield f"{'documents':>12}{'field values/s/core':>22}{'peak MB':>10}{'originals':>12}"
    for count in (rows // 10, rows, rows * 10) if rows <= 100_000 else (rows // 10, rows):
        argv = [sys.executable, "-m", "benchmarks.masking", "--child", str(count)]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        one = json.loads(done.stdout)
        yield (
            f"{one['rows']:>12,}{one['values_per_second']:>22,.0f}{one['peak_mb']:>10,.0f}"
            f"{one['originals']:>12,}"
        )


# --- PostgreSQL ----------------------------------------------------------------------------------


def seed(made: Server, rows: int) -> None:
    with made.connect("momentry") as connection:
        connection.execute("DROP TABLE IF EXISTS people")
        connection.execute(TABLE)
        connection.execute(FILL.replace("%s", str(rows)))
        connection.execute("VACUUM ANALYZE people")
        connection.execute("CHECKPOINT")


def postgres(made: Server, rows: int) -> Iterator[str]:
    from sandbox.ready import ready  # or each of the others would load its loops

    began = time.perf_counter()
    ready()
    yield f"{'compiling, once for a checkout':<29} {time.perf_counter() - began:8.1f} s"
    seed(made, rows)
    busy = [cpu(made)]
    plain = dumped(made)
    busy.append(cpu(made))
    with tempfile.TemporaryDirectory() as folder:
        artifact, mask, taken = snapshot(made, Path(folder))
        busy.append(cpu(made))
        searched = search(artifact, mask)
    both = plain["dump"] + plain["restore"]
    theirs, ours = busy[1] - busy[0], busy[2] - busy[1]
    yield f"{rows:,} rows, six masked columns          CPU, server's and ours"
    yield f"  pg_dump -Fc, unmasked       {plain['dump']:8.1f} s"
    yield f"  pg_restore                  {plain['restore']:8.1f} s {theirs:8.1f} s, both"
    yield f"  snapshot, masked            {taken:8.1f} s {ours:8.1f} s   {taken / both:.2f} of both"
    yield f"  its leak search             {searched:8.1f} s {'':10}   {searched / taken:.2f} of it"
    yield f"  artifact                    {artifact.size / 1e6:8.1f} MB"


def cpu(made: Server) -> float:
    """Seconds that the server's container and this process have spent: on a busy machine these say
    more than a clock does."""
    stats: Any = docker.from_env().containers.get(made.container).stats(stream=False)
    return float(stats["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9 + time.process_time()


def dumped(made: Server) -> dict[str, float]:
    client = docker.from_env()
    login = ["-U", "postgres", "-h", "127.0.0.1"]
    environment = {"PGPASSWORD": made.secret}
    with made.connect("postgres") as connection:
        connection.execute("DROP DATABASE IF EXISTS peer WITH (FORCE)")
        connection.execute("CREATE DATABASE peer")
    began = time.perf_counter()
    argv = ["pg_dump", *login, "-Fc", "-t", "people", "-f", "/tmp/people.dump", "momentry"]
    run_inside(client, made.container, argv, b"", environment)
    middle = time.perf_counter()
    argv = ["pg_restore", *login, "-d", "peer", "/tmp/people.dump"]
    run_inside(client, made.container, argv, b"", environment)
    return {"dump": middle - began, "restore": time.perf_counter() - middle}


def snapshot(made: Server, folder: Path) -> tuple[artifacts.Artifact, PolicyMask, float]:
    """What was made, and the seconds that it took, fingerprints and all."""
    client = docker.from_env()

    def tool(
        argv: Any, *, stdin: bytes = b"", environment: Mapping[str, str] = MappingProxyType({})
    ) -> bytes:
        return run_inside(client, made.container, argv, stdin, environment)

    mask = PolicyMask(parse(SIX, file="policy"), key=secrets.token_hex(32))
    access = Access(
        endpoint=Endpoint(port=made.port),
        identity=Identity(role="reader", name="postgres", secret=made.secret),
        space=PostgresSpace(database="momentry", schema="public", isolated=("people",), shared=()),
    )
    source = PostgresSource(access, tool=tool)
    sources: dict[Kind, Any] = {"postgres": source}

    def check(held: Mapping[Kind, Any]) -> None:
        for dataset in held["postgres"].datasets:
            mask.columns(dataset)

    began = time.perf_counter()
    writer = artifacts.create(folder, facts={})
    transfer.take(
        sources,
        mask,
        writer,
        check=check,
        after=lambda held: None,
        beside=lambda held: collecting(mask, held),
        report=silent,
    )
    artifact = writer.commit({})
    source.close()
    return artifact, mask, time.perf_counter() - began


def search(artifact: artifacts.Artifact, mask: PolicyMask) -> float:
    """Its streams side by side, as `./inv snapshot` does."""

    def look(dataset: Dataset) -> None:
        for suspect in scan(artifact.pieces("postgres", dataset), mask.originals):
            if suspect.rule != DOUBTFUL:  # else a snapshot looks at production once more
                raise SystemExit(f"a leak: rule {suspect.rule}")

    began = time.perf_counter()
    jobs = [(one.bytes, partial(look, one)) for one in artifact.streams("postgres")]
    transfer.run_all(jobs, threading.Event())
    return time.perf_counter() - began


# --- the peers -----------------------------------------------------------------------------------

PGANONYMIZE = """
tables:
 - people:
    primary_key: id
    fields:
     - name: {provider: {name: fake.name}}
     - email: {provider: {name: fake.unique.email}}
     - phone: {provider: {name: fake.phone_number}}
     - username: {provider: {name: fake.user_name}}
     - street: {provider: {name: fake.street_address}}
     - token: {provider: {name: md5}}
"""


def peers(made: Server, rows: int) -> Iterator[str]:
    """On a tenth of the rows, where a peer's time per row is its best: it grows with the table."""
    count = max(rows // 10, 1000)
    seed(made, count)
    with tempfile.TemporaryDirectory() as folder:
        _, _, taken = snapshot(made, Path(folder))
        theirs = pganonymize(made, Path(folder))
    yield f"{count:,} rows, the same six columns"
    yield f"  snapshot, masked            {taken:8.1f} s"
    yield f"  pganonymize, in place       {theirs:8.1f} s   {theirs / taken:.1f} times ours"


def pganonymize(made: Server, folder: Path) -> float:
    """It masks a copy in place: what copying costs is not even counted."""
    venv.create(folder / "peer", with_pip=True)
    pip = [folder / "peer/bin/pip", "install", "--quiet", "pganonymize"]
    subprocess.run(pip, check=True, capture_output=True)
    (folder / "schema.yml").write_text(PGANONYMIZE)
    argv: list[Any] = [folder / "peer/bin/pganonymize", "--schema", folder / "schema.yml",
                       "--dbname", "momentry", "--user", "postgres", "--password", made.secret,
                       "--host", "127.0.0.1", "--port", str(made.port)]  # fmt: skip
    began = time.perf_counter()
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"pganonymize failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", choices=("strategies", "python", "postgres", "peers"))
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is not None:
        print(json.dumps(documents(given.child)))
        return
    parts: dict[str, Callable[[Server, int], Iterator[str]]] = {
        "strategies": strategies,
        "python": lambda made, rows: python(rows),
        "postgres": postgres,
        "peers": peers,
    }
    with server() as made:
        for name, part in parts.items():
            if given.only in (None, name):
                print(f"-- {name}", flush=True)
                for line in part(made, given.rows):
                    print(line, flush=True)


if __name__ == "__main__":
    main()
