"""Copies side by side in one run: ours against what anybody would write with the store's driver.

    python -m benchmarks.copy --scale 20 --stores mongo,qdrant,redis --runs 5
    python -m benchmarks.copy --growth 5 50 --runs 1 --write docs

A peer copies straight across and masks nothing. `kept` and `masked` are our pipe in the same way:
read, mask, write beside; `snapshot+load` goes through the artifact on disk, with checksums,
indexes and swap. Each run is a process of its own, whose processor time and peak memory are told,
and the server's processor time beside it: a stand-in is a Python process, and may be the limit. In
each round every contender runs once. PostgreSQL is measured by `benchmarks.copy_postgres`.
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
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from benchmarks.peers import PEERS, forget
from benchmarks.servers import COLLECTION, DATABASE, PREFIX, Server
from sandbox import artifact as artifacts
from sandbox import transfer
from sandbox.contract import Access, Mask
from sandbox.masking.keep import KEEP
from sandbox.masking.mask import PolicyMask
from sandbox.masking.policy import parse
from sandbox.masking.subset import Values
from sandbox.memory import give_back
from sandbox.model import (
    Endpoint,
    Identity,
    Kind,
    Marker,
    MongoSpace,
    QdrantSpace,
    RedisSpace,
    Role,
)
from sandbox.report import silent
from sandbox.stores import backend
from sandbox.workflows.dangling import Watched

POLICY = Path(__file__).parent.parent / "masking.toml"
ROLES: tuple[Role, ...] = ("reader", "keeper", "playground", "production")
OURS = ("kept", "masked", "snapshot+load")
STORES: tuple[Kind, ...] = ("postgres", "mongo", "qdrant", "redis")
NAMES = ("chunks", "cache")
LINKED = 200_000  # values of each column that is linked to
SPACES: dict[str, tuple[Any, Any]] = {
    "mongo": (
        MongoSpace(database=DATABASE, collections=NAMES),
        MongoSpace(database=f"{DATABASE}_dev", collections=NAMES),
    ),
    "qdrant": (QdrantSpace(collection=COLLECTION), QdrantSpace(collection="bench_dev_rule1")),
    "redis": (RedisSpace(prefix=PREFIX), RedisSpace(prefix="bench_dev:")),
}


# --- ours ----------------------------------------------------------------------------------------


def access(server: Server, role: Role) -> Access:
    production, playground = SPACES[server.kind]
    space = playground if role in ("keeper", "playground") else production
    secret = server.secret
    name = f"b_{role}"
    if role == "admin":
        name = {"mongo": "root", "redis": "default"}.get(server.kind, "admin")
    elif server.kind == "qdrant":
        from sandbox.stores.qdrant.tokens import token

        secret = token(server.secret, role, space.name)
    return Access(
        endpoint=Endpoint(port=server.port),
        identity=Identity(role=role, name=name, secret=secret),
        space=space,
    )


def isolate(server: Server) -> None:
    production, playground = SPACES[server.kind]
    admin = backend(server.kind).admin(
        access(server, "admin"),
        production=production,
        playground=playground,
        identities={role: access(server, role).identity for role in ROLES},
        project="bench",
    )
    admin.isolate()
    admin.close()


@contextmanager
def opened(server: Server) -> Iterator[tuple[Any, Any]]:
    stores = backend(server.kind)
    source = stores.source(access(server, "reader"))
    store = stores.store(
        access(server, "keeper"),
        owner=access(server, "playground").identity,
        production=SPACES[server.kind][0],
    )
    with ExitStack() as stack:
        stack.callback(source.close)
        stack.callback(store.close)
        yield source, store


def mask_of(name: str) -> Mask:
    if name == "kept":
        return KEEP
    return PolicyMask(parse(POLICY.read_text(), file=POLICY.name), key=secrets.token_hex(32))


def pipe(server: Server, name: str) -> dict[str, float]:
    """Read, mask, write beside, in one process: what a peer does."""
    mask = mask_of(name)
    give_back()  # as `transfer` does
    with opened(server) as (source, store), transfer.seldom_collected():
        began = time.monotonic()
        rows = 0
        with source.cut() as cut:
            datasets = source.datasets(cut)
            store.stage(datasets, source.catalog(cut))
            for dataset in datasets:
                pieces = (piece for _, piece in source.read(cut, dataset, mask))
                rows += store.write(dataset, pieces)
        seconds = time.monotonic() - began
        store.settle()
    if mask.uncovered:
        raise SystemExit(f"not named by the policy: {dict(mask.uncovered)}")
    return {"seconds": seconds, "rows": rows}


def watched(mask: Any) -> Mask:
    """It also looks at the policy's links, as a snapshot does. PostgreSQL has the numbers here that
    the demo has; e-mail addresses, of which it has none, are each looked at, too."""
    made = Watched(mask, mask.declared, mask.links)
    held = Values(map(str, range(LINKED)))
    made.begin(dict.fromkeys(mask.linked, held))
    return cast(Mask, made)


def through_artifact(server: Server) -> dict[str, float]:
    """What `./inv snapshot` and `./inv load` do, but for the leak search."""
    mask = watched(mask_of("masked"))
    kind: Kind = server.kind  # type: ignore[assignment]
    with opened(server) as (source, store), tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        writer = artifacts.create(Path(folder), facts={})
        transfer.take(
            {kind: source},
            mask,
            writer,
            check=lambda held: None,
            after=lambda held: None,
            report=silent,
        )
        made = writer.commit({})
        marker = Marker(project="bench", environment="playground", snapshot=made.id)
        transfer.load(made, {kind: store}, lambda _: marker, report=silent)
        transfer.swap({kind: store}, begin=lambda kinds: None, end=lambda: None)
        rows = sum(dataset.rows for dataset in made.datasets(kind))
        return {"seconds": time.monotonic() - began, "rows": rows}


# --- one run, in a process of its own ------------------------------------------------------------


def apart(servers: Sequence[Server], contender: str) -> dict[str, float]:
    request = json.dumps({"servers": [asdict(one) for one in servers], "contender": contender})
    argv = [sys.executable, "-m", "benchmarks.copy", "--child"]
    done = subprocess.run(argv, input=request, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def child() -> None:
    request = json.load(sys.stdin)
    servers = [Server(**one) for one in request["servers"]]
    contender, kind = request["contender"], servers[0].kind
    cpu = time.process_time()
    if contender in PEERS[kind]:
        forget(servers[0])
        began = time.monotonic()
        rows = PEERS[kind][contender](servers[0], servers[-1])
        found: dict[str, float] = {"seconds": time.monotonic() - began, "rows": rows}
    elif contender == "snapshot+load":
        found = through_artifact(servers[0])
    else:
        found = pipe(servers[0], contender)
    found["us_row"] = (time.process_time() - cpu) / found["rows"] * 1e6
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))


# --- side by side --------------------------------------------------------------------------------


@contextmanager
def filled(kind: str, scale: float) -> Iterator[tuple[list[Server], int]]:
    """A server with the demo's production and a playground, and its rows. Qdrant's `migrate` keeps
    the collection's name and needs another to write to."""
    from benchmarks.seeding import seed, started  # drivers that no run should import

    with ExitStack() as stack:
        count = 2 if kind == "qdrant" else 1
        servers = [stack.enter_context(started(kind)) for _ in range(count)]
        rows = seed(servers[0], scale)
        isolate(servers[0])
        yield servers, rows


def measured(servers: Sequence[Server], contender: str) -> dict[str, float]:
    """A run, and what it took of the servers."""
    from benchmarks.seeding import used

    before = used(servers)
    found = apart(servers, contender)
    return found | {"server_us_row": (used(servers) - before) / found["rows"] * 1e6}


def compare(kind: str, scale: float, runs: int) -> dict[str, Any]:
    contenders = [*PEERS[kind], *OURS]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    with filled(kind, scale) as (servers, rows):
        for _ in range(runs):
            for name in contenders:
                found[name].append(measured(servers, name))
    told = {name: medians(each) for name, each in found.items()}
    return {"store": kind, "scale": scale, "rows": rows, "runs": runs, "medians": told}


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each figure."""
    return {key: statistics.median(one[key] for one in runs) for key in runs[0]}


def growth(kind: str, scales: Sequence[float], runs: int) -> list[dict[str, float]]:
    """Time per row, masked, through the artifact, by scale."""
    found = []
    for scale in scales:
        with filled(kind, scale) as (servers, rows):
            taken = [measured(servers, "snapshot+load") for _ in range(runs)]
        told = medians(taken)
        peak = max(one["peak_mb"] for one in taken)
        found.append(
            {"scale": scale, "rows": rows, "seconds": told["seconds"], "peak_mb": peak,
             "us_row": told["seconds"] / rows * 1e6, "client_us_row": told["us_row"],
             "server_us_row": told["server_us_row"]}
        )  # fmt: skip
        print(f"{kind}, scale {scale:g}: {found[-1]}", file=sys.stderr, flush=True)
    return found


def show(result: Mapping[str, Any]) -> str:
    medians = result["medians"]
    peer = next(iter(medians.values()))
    lines = [
        f"{result['store']}, scale {result['scale']:g}: {result['rows']:,} rows, medians of "
        f"{result['runs']}, {os.cpu_count()} cores, Python {platform.python_version()}",
        f"{'':20} {'seconds':>9} {'times':>7} {'client µs/row':>14} {'server':>8} {'peak MB':>8}",
    ]
    for name, one in medians.items():
        lines.append(
            f"{name:20} {one['seconds']:9.2f} {one['seconds'] / peer['seconds']:7.2f} "
            f"{one['us_row']:14.1f} {one['server_us_row']:8.1f} {one['peak_mb']:8.0f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scale", type=float, default=20, help="1 is about 10,000 rows a store")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--stores", default=",".join(STORES))
    parser.add_argument("--growth", type=float, nargs="+", help="scales, 5 and 50 for one")
    parser.add_argument("--write", type=Path, help="folder for copy.json, and copy.svg of --growth")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        return child()
    from benchmarks import copy_postgres  # as in `filled`

    results: dict[str, Any] = {}
    for kind in asked.stores.split(","):
        if kind == "postgres":
            with copy_postgres.server() as made:
                if asked.growth:
                    results[kind] = copy_postgres.growth(made, asked.growth, asked.runs)
                else:
                    results[kind] = copy_postgres.compare(made, asked.scale, asked.runs)
                    shown = copy_postgres.show(results[kind])
        elif asked.growth:
            results[kind] = growth(kind, asked.growth, asked.runs)
        else:
            results[kind] = compare(kind, asked.scale, asked.runs)
            shown = show(results[kind])
        if not asked.json and not asked.growth:
            print(shown, end="\n\n", flush=True)
    if asked.json or asked.growth:
        print(json.dumps(results, indent=1))
    if asked.write:
        keep(asked.write, results, growth=bool(asked.growth))
    return None


def keep(folder: Path, results: Mapping[str, Any], *, growth: bool) -> None:
    """Beside what an earlier run of the other kind, or of other stores, has left there."""
    file = folder / "copy.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    part = known.setdefault("growth" if growth else "compared", {})
    part.update(results)
    file.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
    if growth:
        from benchmarks.growth_plot import plot

        (folder / "copy.svg").write_text(plot(part))


if __name__ == "__main__":
    main()
