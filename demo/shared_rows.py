"""The rows of the tables that production and playground share: keys, tokens, monitoring."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from datetime import timedelta

from demo.rows import Row, Table, as_json, later, table
from demo.world import BEGINNING, World

SERVICES = ("api", "worker", "player", "search", "faces", "n8n", "gitea", "storage")
NODES = ("node-taipei-1", "node-taipei-2", "node-oregon-1", "node-oregon-2")
PACKAGES = ("numpy", "torch", "whisper", "opencv", "fastapi", "redis", "pymongo", "psycopg")
DAY = 86_400  # seconds


def _draw(world: World, purpose: str) -> random.Random:
    return random.Random(f"{purpose} {world.random_seed}")


def _token(draw: random.Random, bits: int = 160) -> str:
    return f"{draw.getrandbits(bits):0{bits // 4}x}"


def key_count(world: World) -> int:
    return world.size(40)


@table(
    "id name environment owner_name owner_email key_prefix key_hash scopes last_ip created_at "
    "expires_at revoked",
    key_count,
)
def api_keys(world: World) -> Iterator[Row]:
    """The first key is the playground's own: it is for development and belongs to nobody."""
    draw = _draw(world, "keys")
    for number in range(1, key_count(world) + 1):
        token = f"mk_{_token(draw)}"
        digest = hashlib.sha256(token.encode()).hexdigest()
        owner = world.person(number * 3)
        if number == 1:
            yield (
                1, "development", "development", "Development", "dev@momentry.example.com",
                token[:10], digest, ["read", "write"], None, BEGINNING, None, False,
            )  # fmt: skip
            continue
        yield (
            number, f"{owner.name}'s key {number}", "production", owner.name, owner.email,
            token[:10], digest, ["read"] if number % 3 else ["read", "write", "admin"],
            owner.ip, later(BEGINNING, draw, 90 * DAY), BEGINNING + timedelta(days=900),
            number % 13 == 0,
        )  # fmt: skip


@table(
    "id api_key_id action actor_email ip user_agent details happened_at",
    lambda world: world.size(2000),
)
def api_key_audit_log(world: World) -> Iterator[Row]:
    draw = _draw(world, "audit")
    for number in range(1, world.size(2000) + 1):
        key = draw.randrange(key_count(world)) + 1
        details: dict[str, object] = {"path": "/api/v1/videos", "status": 200}
        if key == 1:
            yield (
                number, key, "request", None, "127.0.0.1", "momentry-dev/1.4", as_json(details),
                later(BEGINNING, draw, 180 * DAY),
            )  # fmt: skip
            continue
        actor = world.person(key * 3)
        details["email"] = actor.email
        yield (
            number, key, draw.choice(("request", "rotate", "list")), actor.email, actor.ip,
            "momentry/1.4", as_json(details), later(BEGINNING, draw, 180 * DAY),
        )  # fmt: skip


@table(
    "id api_key_id kind score ip description detected_at resolved",
    lambda world: world.size(200),
)
def api_key_anomalies(world: World) -> Iterator[Row]:
    draw = _draw(world, "anomalies")
    for number in range(1, world.size(200) + 1):
        key = draw.randrange(1, key_count(world)) + 1
        owner = world.person(key * 3)
        yield (
            number, key, draw.choice(("new country", "burst", "night")),
            draw.randrange(1000) / 1000, owner.ip, f"{owner.name} ({owner.email}) from {owner.ip}",
            later(BEGINNING, draw, 180 * DAY), number % 3 == 0,
        )  # fmt: skip


@table("id name url owner_email enabled", lambda world: len(SERVICES))
def monitor_services(world: World) -> Iterator[Row]:
    draw = _draw(world, "services")
    for number, name in enumerate(SERVICES, 1):
        url = f"http://monitor:{_token(draw, 64)}@{name}.example.com/health"
        yield number, name, url, world.person(number).email, number % 7 != 0


@table(
    "id service_id healthy latency_ms message checked_at",
    lambda world: world.size(2000),
)
def monitor_checks(world: World) -> Iterator[Row]:
    draw = _draw(world, "checks")
    for number in range(1, world.size(2000) + 1):
        healthy = draw.random() < 0.97
        yield (
            number, number % len(SERVICES) + 1, healthy, draw.randrange(2, 900),
            None if healthy else "timeout", BEGINNING + timedelta(minutes=number),
        )  # fmt: skip


@table(
    "id check_id recipient_email recipient_phone message sent_at",
    lambda world: world.size(100),
)
def monitor_alerts(world: World) -> Iterator[Row]:
    checks = world.size(2000)
    for number in range(1, world.size(100) + 1):
        person = world.person(number)
        yield (
            number, number % checks + 1, person.email, person.phone,
            f"{person.name}: {SERVICES[number % len(SERVICES)]} does not answer",
            BEGINNING + timedelta(hours=number),
        )  # fmt: skip


@table("id name target directory schedule owner_email", lambda world: 3)
def backup_jobs(world: World) -> Iterator[Row]:
    for number, target in enumerate(("postgres", "mongo", "qdrant"), 1):
        owner = world.person(number * 5).email
        yield number, f"nightly {target}", target, f"backup/momentry/{target}", "0 3 * * *", owner


@table(
    "id job_id file_path bytes checksum succeeded started_at finished_at",
    lambda world: world.size(200),
)
def backup_runs(world: World) -> Iterator[Row]:
    draw = _draw(world, "backups")
    for number in range(1, world.size(200) + 1):
        began = BEGINNING + timedelta(hours=8 * number)
        yield (
            number, number % 3 + 1, f"backup/momentry/{began:%Y-%m-%d}/momentry.sql.gz",
            draw.randrange(1 << 34), _token(draw, 256), draw.random() < 0.98, began,
            later(began, draw, 1800),
        )  # fmt: skip


@table(
    "id username email token_name token scopes created_at",
    lambda world: world.size(20),
)
def gitea_tokens(world: World) -> Iterator[Row]:
    draw = _draw(world, "gitea")
    for number in range(1, world.size(20) + 1):
        person = world.person(number * 4)
        yield (
            number, person.username, person.email, f"laptop {number}", _token(draw), ["repo"],
            later(BEGINNING, draw, 90 * DAY),
        )  # fmt: skip


@table("id label owner_email api_key created_at", lambda world: world.size(10))
def n8n_api_keys(world: World) -> Iterator[Row]:
    draw = _draw(world, "n8n")
    for number in range(1, world.size(10) + 1):
        key = f"n8n_api_{_token(draw, 256)}"
        made = later(BEGINNING, draw, 90 * DAY)
        yield number, f"workflow {number}", world.person(number * 6).email, key, made


@table("id hostname ip mac region admin_email last_seen", lambda world: len(NODES))
def node_hosts(world: World) -> Iterator[Row]:
    for number, name in enumerate(NODES, 1):
        yield (
            number, name, f"198.19.255.{number}", f"02:00:5e:00:53:{number:02x}",
            name.split("-")[1], world.person(number * 2).email, BEGINNING + timedelta(days=180),
        )  # fmt: skip


@table("id node_id cpu memory disk taken_at", lambda world: world.size(1000))
def node_metrics(world: World) -> Iterator[Row]:
    draw = _draw(world, "metrics")
    for number in range(1, world.size(1000) + 1):
        cpu, memory, disk = (draw.randrange(1000) / 10 for _ in range(3))
        taken = BEGINNING + timedelta(minutes=5 * number)
        yield number, number % len(NODES) + 1, cpu, memory, disk, taken


@table("id node_id name version path", lambda world: len(NODES) * 2)
def python_environments(world: World) -> Iterator[Row]:
    for node in range(1, len(NODES) + 1):
        for which, name in enumerate(("api", "worker")):
            yield (node - 1) * 2 + which + 1, node, name, "3.13.5", f"/opt/momentry/{name}/venv"


@table("id environment_id name version license", lambda world: len(NODES) * 2 * len(PACKAGES))
def python_packages(world: World) -> Iterator[Row]:
    draw = _draw(world, "packages")
    for environment in range(1, len(NODES) * 2 + 1):
        for which, name in enumerate(PACKAGES):
            version = f"{draw.randrange(1, 5)}.{draw.randrange(20)}.{draw.randrange(9)}"
            number = (environment - 1) * len(PACKAGES) + which + 1
            yield number, environment, name, version, "BSD" if which % 2 else "MIT"


@table("id node_id mount owner_username capacity", lambda world: len(NODES) * 2)
def storage_volumes(world: World) -> Iterator[Row]:
    for node in range(1, len(NODES) + 1):
        for which, mount in enumerate(("/srv/output", "/srv/backup")):
            number = (node - 1) * 2 + which + 1
            yield number, node, mount, world.person(number).username, (which + 1) << 41


@table("id volume_id used files measured_at", lambda world: world.size(500))
def storage_usage(world: World) -> Iterator[Row]:
    draw = _draw(world, "usage")
    for number in range(1, world.size(500) + 1):
        measured = BEGINNING + timedelta(hours=number)
        used, files = draw.randrange(1 << 40), draw.randrange(100_000)
        yield number, number % (len(NODES) * 2) + 1, used, files, measured


SHARED: tuple[Table, ...] = (
    api_keys, api_key_audit_log, api_key_anomalies, monitor_services, monitor_checks,
    monitor_alerts, backup_jobs, backup_runs, gitea_tokens, n8n_api_keys, node_hosts,
    node_metrics, python_environments, python_packages, storage_volumes, storage_usage,
)  # fmt: skip
