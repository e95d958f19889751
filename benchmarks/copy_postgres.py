"""PostgreSQL: snapshot and load against pg_dump and pg_restore, side by side in one run.

    python -m benchmarks.copy_postgres --scale 20 --runs 5

One server in a container of its own holds the demo's schema. Ours: `public` through an artifact
into the schema `dev`, everything kept, then under the demo's policy. The peer: `pg_dump -Fd -j 2`
with the same compression (zstd, level 1), then `pg_restore -j 2` into a new database; it runs
outside the server's container and reaches the server by the same address as we do. Each of our runs
is a process of its own, whose peak memory is told; CPU is the processor time of all processes of
the server and of the client, which other work on the machine hardly changes. `--growth` tells the
time per row by scale.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import docker
import psycopg

from demo.fill_postgres import fill
from demo.rows import ISOLATED
from demo.world import World
from sandbox import artifact as artifacts
from sandbox import transfer
from sandbox.contract import Access, Mask
from sandbox.engine.programs import run as run_inside
from sandbox.images import ensure
from sandbox.masking.keep import KEEP
from sandbox.masking.mask import PolicyMask
from sandbox.masking.policy import parse
from sandbox.model import Endpoint, Identity, Kind, Marker, PostgresSpace, Role
from sandbox.report import silent
from sandbox.stores.postgres import PostgresAdmin, PostgresSource, PostgresStore
from sandbox.workflows.snapshot import collecting

REFERENCE = "pgvector/pgvector:pg17"
LABEL = "sandbox.benchmark"
ROLES: tuple[Role, ...] = ("reader", "keeper", "playground", "production")
JOBS = 2
SHARED = (
    *("api_*", "monitor_*", "backup_*", "gitea_tokens", "n8n_*", "node_*", "python_*"),
    *("storage_*", "v_*"),
)
POLICY = Path(__file__).parent.parent / "masking.toml"


@dataclass(frozen=True, kw_only=True)
class Server:
    """The benchmark's own server."""

    container: str
    image: str
    port: int
    secret: str = field(repr=False)

    def connect(self, database: str) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            password=self.secret,
            dbname=database,
            autocommit=True,
        )


# --- ours ----------------------------------------------------------------------------------------


def space(schema: str) -> PostgresSpace:
    return PostgresSpace(
        database="momentry",
        schema=schema,
        isolated=tuple(table.name for table in ISOLATED),
        shared=SHARED,
    )


def identities(server: Server) -> dict[Role, Identity]:
    return {role: Identity(role=role, name=f"b_{role}", secret=server.secret) for role in ROLES}


def access(server: Server, role: Role, schema: str) -> Access:
    return Access(
        endpoint=Endpoint(port=server.port), identity=identities(server)[role], space=space(schema)
    )


def isolate(server: Server) -> None:
    admin = Identity(role="admin", name="postgres", secret=server.secret)
    made = PostgresAdmin(
        Access(endpoint=Endpoint(port=server.port), identity=admin, space=space("public")),
        production=space("public"),
        playground=space("dev"),
        identities=identities(server),
        project="bench",
    )
    made.isolate()
    made.close()


def ours(server: Server, folder: Path, *, masked: bool) -> dict[str, float]:
    """One snapshot and one load of it, timed; the artifact is thrown away."""
    client = docker.from_env()

    def tool(
        argv: Sequence[str], *, stdin: bytes = b"", environment: Mapping[str, str] = {}
    ) -> bytes:
        return run_inside(client, server.container, argv, stdin, environment)

    mask: Mask = KEEP
    if masked:
        mask = PolicyMask(parse(POLICY.read_text(), file=POLICY.name), key=secrets.token_hex(32))
    source = PostgresSource(access(server, "reader", "public"), tool=tool)
    writer = artifacts.create(folder, facts={})
    began, spent = time.monotonic(), time.process_time()
    sources: dict[Kind, Any] = {"postgres": source}
    transfer.take(
        sources,
        mask,
        writer,
        check=lambda held: _originals(mask, held),
        after=lambda held: None,
        report=silent,
    )
    made = writer.commit({})
    source.close()
    taken = time.monotonic()
    store = PostgresStore(
        access(server, "keeper", "dev"),
        owner=identities(server)["playground"],
        production=space("public"),
        tool=tool,
    )
    stores: dict[Kind, Any] = {"postgres": store}
    marker = Marker(project="bench", environment="playground", snapshot=made.id)
    transfer.load(made, stores, lambda kind: marker, report=silent)
    transfer.swap(stores, begin=lambda kinds: None, end=lambda: None)
    store.close()
    ended = time.monotonic()
    return {
        "snapshot": taken - began,
        "load": ended - taken,
        "total": ended - began,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "cpu": time.process_time() - spent,
        "bytes": made.size,
    }


def _originals(mask: Mask, held: Mapping[Kind, Any]) -> None:
    """What the workflow does before it reads: known people, for free text."""
    if not isinstance(mask, PolicyMask):
        return
    for dataset in held["postgres"].datasets:
        mask.columns(dataset)
    transfer.run_all(collecting(mask, held), threading.Event())


def _cpu(container: str) -> float:
    """Seconds of processor time that a container has used so far."""
    script = "cat /sys/fs/cgroup/cpu.stat 2>/dev/null || cat /sys/fs/cgroup/cpuacct/cpuacct.usage"
    out = run_inside(docker.from_env(), container, ["sh", "-c", script], b"", {}).split()
    return int(out[1]) / 1e6 if out[0] == b"usage_usec" else int(out[0]) / 1e9


def ours_apart(server: Server, *, masked: bool) -> dict[str, float]:
    """The same in a process of its own, so that its memory is its own."""
    request = json.dumps({"server": asdict(server), "masked": masked})
    argv = [sys.executable, "-m", "benchmarks.copy_postgres", "--child"]
    before = _cpu(server.container)
    done = subprocess.run(argv, input=request, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "cpu": found["cpu"] + _cpu(server.container) - before}


def child() -> None:
    request = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        done = ours(Server(**request["server"]), Path(folder), masked=request["masked"])
    print(json.dumps(done))


# --- the peer ------------------------------------------------------------------------------------


def peer(server: Server) -> dict[str, float]:
    """pg_dump and pg_restore of the same tables, in a container beside the server's."""
    client = docker.from_env()
    with server.connect("postgres") as connection:
        connection.execute("DROP DATABASE IF EXISTS peer WITH (FORCE)")
        connection.execute("CREATE DATABASE peer")
    address = ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres"]
    skipped = [f"--exclude-table-data=public.{name}" for name in SHARED]
    dump = ["pg_dump", *address, "-Fd", f"-j{JOBS}", "--compress=zstd:1", "-n", "public"]
    dump += [*skipped, "-f", "/tmp/dump", "momentry"]
    restore = ["pg_restore", *address, f"-j{JOBS}", "--no-owner", "--no-privileges"]
    restore += ["-d", "peer", "/tmp/dump"]
    helper = client.containers.run(
        server.image,
        ["sleep", "3600"],
        detach=True,
        network_mode="host",
        entrypoint=[],
        labels={LABEL: server.container},
    )
    environment = {"PGPASSWORD": server.secret}
    try:
        with server.connect("peer") as connection:
            connection.execute("CREATE EXTENSION vector")  # its own restore would want a superuser
        began, spent = time.monotonic(), _cpu(server.container) + _cpu(helper.id)
        run_inside(client, helper.id, dump, b"", environment)
        dumped = time.monotonic()
        _restored(client, helper.id, restore, environment)
        ended = time.monotonic()
        spent = _cpu(server.container) + _cpu(helper.id) - spent
    finally:
        helper.remove(force=True, v=True)
    with server.connect("postgres") as connection:
        connection.execute("DROP DATABASE peer WITH (FORCE)")
    return {
        "snapshot": dumped - began,
        "load": ended - dumped,
        "total": ended - began,
        "cpu": spent,
    }


def _restored(
    client: docker.DockerClient, helper: str, argv: Sequence[str], environment: Mapping[str, str]
) -> None:
    """pg_restore says 1 for "schema public already exists"; anything else that it says counts."""
    try:
        run_inside(client, helper, argv, b"", environment)
    except Exception as error:
        if "errors ignored on restore: 1" not in str(error):
            raise


# --- the server ----------------------------------------------------------------------------------


@contextmanager
def server() -> Iterator[Server]:
    """A server with PostgreSQL's own settings and nothing in it, gone afterwards."""
    client = docker.from_env()
    facts = ensure(client, REFERENCE, report=silent)
    secret = secrets.token_hex(16)
    name = f"sandbox-benchmark-{os.getpid()}-{secrets.token_hex(3)}"
    container = client.containers.run(
        facts.tag,
        detach=True,
        name=name,
        environment={"POSTGRES_PASSWORD": secret, "POSTGRES_DB": "momentry"},
        ports={"5432/tcp": ("127.0.0.1", None)},
        shm_size="256m",
        labels={LABEL: name},
    )
    try:
        container.reload()
        port = int(container.ports["5432/tcp"][0]["HostPort"])
        made = Server(container=container.id, image=facts.tag, port=port, secret=secret)
        _wait(made)
        yield made
    finally:
        container.remove(force=True, v=True)


def _wait(made: Server) -> None:
    for attempt in range(600):
        try:
            made.connect("momentry").close()
            return
        except psycopg.OperationalError:
            if attempt == 599:
                raise
            time.sleep(0.1)


def seed(made: Server, scale: float) -> int:
    with made.connect("momentry") as connection:
        connection.execute("DROP SCHEMA IF EXISTS dev CASCADE")
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        with connection.transaction():
            counts = fill(connection, "public", World(scale=scale, random_seed=1), lambda n: None)
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
    isolate(made)
    return sum(counts[table.name] for table in ISOLATED)


# --- side by side --------------------------------------------------------------------------------


def compare(made: Server, scale: float, runs: int, *, quiet: bool = False) -> dict[str, Any]:
    """Medians of `runs` rounds; in each one every contender runs once."""
    rows = seed(made, scale)
    found: dict[str, list[dict[str, float]]] = {"pg_dump": [], "kept": [], "masked": []}
    for turn in range(runs):
        found["pg_dump"].append(peer(made))
        found["kept"].append(ours_apart(made, masked=False))
        found["masked"].append(ours_apart(made, masked=True))
        if not quiet:
            print(f"round {turn + 1}: {_round(found)}", file=sys.stderr, flush=True)
    medians = {
        name: {key: statistics.median(one[key] for one in each) for key in each[0]}
        for name, each in found.items()
    }
    return {"scale": scale, "rows": rows, "runs": runs, "medians": medians}


def _round(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    return "  ".join(
        f"{name} {each[-1]['snapshot']:.1f}+{each[-1]['load']:.1f}" for name, each in found.items()
    )


def show(result: Mapping[str, Any]) -> str:
    medians = result["medians"]
    base = medians["pg_dump"]["total"]
    lines = [
        f"PostgreSQL, scale {result['scale']:g}: {result['rows']:,} rows, "
        f"medians of {result['runs']}, {os.cpu_count()} cores, Python {platform.python_version()}",
        f"{'':24} {'snapshot':>9} {'load':>8} {'both':>8} {'times':>7} {'CPU':>8} {'peak MB':>8}",
    ]
    titles = {"pg_dump": "pg_dump, pg_restore", "kept": "everything kept", "masked": "demo policy"}
    for name, title in titles.items():
        one = medians[name]
        peak = f"{one['peak_mb']:8.0f}" if "peak_mb" in one else ""
        lines.append(
            f"{title:24} {one['snapshot']:7.2f} s {one['load']:6.2f} s {one['total']:6.2f} s "
            f"{one['total'] / base:7.2f} {one['cpu']:6.2f} s {peak}"
        )
    return "\n".join(lines)


def growth(made: Server, scales: Sequence[float], runs: int) -> list[dict[str, float]]:
    """Microseconds per row, everything kept, by scale."""
    found = []
    for scale in scales:
        rows = seed(made, scale)
        taken = [ours_apart(made, masked=False) for _ in range(runs)]
        best = statistics.median(one["total"] for one in taken)
        peak = max(one["peak_mb"] for one in taken)
        found.append(
            {"scale": scale, "rows": rows, "seconds": best, "us_row": best / rows * 1e6,
             "peak_mb": peak}
        )  # fmt: skip
        print(f"postgres, scale {scale:g}: {found[-1]}", file=sys.stderr, flush=True)
    return found


def main(argv: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=20, help="1 is about 95,000 rows")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--growth", type=float, nargs="*", help="scales, 5 and 50 for one")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(argv or None)
    if asked.child:
        return child()
    with server() as made:
        result: Any
        if asked.growth is not None:
            result = growth(made, asked.growth or (5, 50), asked.runs)
        else:
            result = compare(made, asked.scale, asked.runs)
    if asked.json or asked.growth is not None:
        print(json.dumps(result, indent=1))
    else:
        print(show(result))
    return None


if __name__ == "__main__":
    main()
