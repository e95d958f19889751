"""What the commands refuse before they write: names and secrets of the other environment, spaces
that hold far more than was loaded. And what `verify` says of one right too many in each store."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import docker
import httpx
import psycopg
import pymongo
import pytest
import redis
from invoke.context import Context

import tasks
from demo.tour import fill
from sandbox.errors import Refused, Unreachable
from sandbox.masking.keep import KEEP
from sandbox.model import Endpoint, Identity
from sandbox.project import open_project
from sandbox.report import silent
from sandbox.workflows.isolate import isolate
from sandbox.workflows.load import load
from sandbox.workflows.reset import reset
from sandbox.workflows.session import Session
from sandbox.workflows.snapshot import snapshot
from tests.e2e.world import PROGRAM, Sandbox, interruptible, made

# Every command that writes, as somebody types it.
WRITING: dict[str, dict[str, Any]] = {
    "up": {}, "up --app": {"app": True}, "env": {}, "seed": {"scale": 0.02},
    "seed --replace": {"scale": 0.02, "replace": True}, "isolate": {},
    "isolate --layout": {"layout": "dedicated"}, "isolate --prune": {"prune": True},
    "snapshot": {"load": True}, "load": {}, "load --no-search": {"search": False}, "reset": {},
    "reset --safety": {"safety": True}, "baseline save": {"action": "save", "name": "now"},
    "baseline tag": {"action": "tag", "name": "loaded", "other": "kept"}, "redis-keys": {},
    "key rotate": {"action": "rotate"},
    "key rotate --identities": {"action": "rotate", "identities": True},
    "down": {}, "down --prune": {"prune": True}, "verify": {},
}  # fmt: skip
LOOK_AT_MARKERS = ("snapshot", "load", "reset", "isolate", "seed", "seed --replace")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with made(tmp_path_factory.mktemp("guards")) as one:
        one.inv("up")
        one.inv("seed", "--scale", "0.02")
        one.inv("isolate")
        one.inv("snapshot", "--load")
        yield one


@contextlib.contextmanager
def opened(sandbox: Sandbox) -> Iterator[Session]:
    environ = sandbox.environ()
    with Session(open_project(sandbox.config, environ=environ), silent) as session:
        yield session


def admin_of(sandbox: Sandbox, kind: Any) -> tuple[Endpoint, Identity]:
    with opened(sandbox) as session:
        access = session.admin_access(kind, "production")
    return access.endpoint, access.identity


def postgres(sandbox: Sandbox) -> Any:
    at, login = admin_of(sandbox, "postgres")
    return psycopg.connect(host=at.host, port=at.port, user=login.name, password=login.secret,
                           dbname="momentry", autocommit=True)  # fmt: skip


def redis_client(sandbox: Sandbox) -> Any:
    at, login = admin_of(sandbox, "redis")
    return redis.Redis(at.host, at.port, password=login.secret)


def fingerprint(sandbox: Sandbox) -> str:
    """Every row, document, point, key and file of both environments, and the markers."""
    found = hashlib.sha256()
    with opened(sandbox) as session:
        for kind in ("postgres", "mongo", "qdrant", "files"):
            for source in (session.source(kind), session.store(kind)):  # type: ignore[arg-type]
                found.update(repr(source.marker()).encode())
                with source.cut() as cut:
                    for dataset in source.datasets(cut):
                        for _, piece in source.read(cut, dataset, KEEP):
                            found.update(piece)
    client = redis_client(sandbox)
    for key in sorted(client.scan_iter()):
        found.update(key + (client.dump(key) or b""))
    return found.hexdigest()


@contextlib.contextmanager
def changed(path: Path, change: Callable[[str], str]) -> Iterator[None]:
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before
    try:
        yield
    finally:
        path.write_text(before)


def swapped(text: str) -> str:
    """production = a, playground = b -> production = b, playground = a, in every store."""
    lines = text.splitlines()
    for at in range(len(lines) - 1):
        first, second = lines[at], lines[at + 1]
        if first.startswith("production = ") and second.startswith("playground = "):
            lines[at] = second.replace("playground", "production", 1)
            lines[at + 1] = first.replace("production", "playground", 1)
    return "\n".join(lines) + "\n"


def test_the_other_environments_names_are_refused_before_anything_is_written(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = fingerprint(sandbox)
    with changed(sandbox.config, swapped):
        assert 'playground = "public"' in sandbox.config.read_text()
        for name in LOOK_AT_MARKERS:
            code, said = ended(sandbox, name, monkeypatch, capsys)
            assert code == 4 and ("marked as" in said or "may not" in said), (name, said)
        assert sandbox.json("verify", code=5)["isolated"] is False
    assert fingerprint(sandbox) == before
    assert sandbox.inv("isolate").strip() == "nothing to do"
    assert sandbox.json("verify")["isolated"]


@pytest.mark.parametrize("store", ["postgres", "mongo", "qdrant", "redis", "files"])
def test_one_store_under_the_others_name_is_refused(sandbox: Sandbox, store: str) -> None:
    """Each store's own marker holds, whichever store is looked at first."""

    def change(text: str) -> str:
        head, mark, rest = text.partition(f"[{store}]")
        own, again, tail = rest.partition("\n[" if store != "files" else "\0")
        return head + mark + swapped(own).rstrip("\n") + "\n" + again + tail

    before = fingerprint(sandbox)
    with changed(sandbox.config, change):
        for command in (load, reset, snapshot, isolate, partial(fill, scale=0.02, random_seed=1,
                                                                replace=True)):  # fmt: skip
            with opened(sandbox) as session, pytest.raises(Refused):
                command(session)
    assert fingerprint(sandbox) == before


# --- exchanged credentials: places x commands ----------------------------------------------------

PAIRS = (
    ("reader", "playground"),
    ("production", "keeper"),
    ("admin/production", "admin/playground"),
)
LOGINS = ("DATABASE_URL", "MONGODB_URL", "REDIS_URL", "QDRANT_API_KEY")
ADMINS = ("POSTGRES_PASSWORD", "MONGO_PASSWORD", "QDRANT_ADMIN_KEY", "REDIS_PASSWORD")


def in_the_secrets_file(sandbox: Sandbox) -> Iterator[None]:
    def exchange(text: str) -> str:
        known = json.loads(text)
        for kind, (theirs, ours) in product(("postgres", "mongo", "qdrant", "redis"), PAIRS):
            one, other = f"{kind}/{theirs}", f"{kind}/{ours}"
            known[one], known[other] = known[other], known[one]
        return json.dumps(known)

    with changed(sandbox.folder / ".sandbox" / "identities.json", exchange):
        yield


def exchanged_lines(sandbox: Sandbox, pairs: list[tuple[str, str]]) -> Iterator[None]:
    production, playground = sandbox.variables("production"), sandbox.variables()

    def write(into: dict[str, str]) -> Callable[[str], str]:
        return lambda text: "".join(
            f"{name}={into.get(name, line.partition('=')[2])}\n"
            for line in text.splitlines()
            for name in [line.partition("=")[0]]
        )

    theirs = {name: playground[other] for name, other in pairs}
    ours = {other: production[name] for name, other in pairs}
    with (
        changed(sandbox.folder / ".env", write(theirs)),
        changed(sandbox.folder / ".env.development", write(ours)),
    ):
        yield


def in_the_env_files(sandbox: Sandbox) -> Iterator[None]:
    yield from exchanged_lines(sandbox, [(name, name) for name in LOGINS])


def of_the_administrators(sandbox: Sandbox) -> Iterator[None]:
    yield from exchanged_lines(sandbox, [(name, f"PLAYGROUND_{name}") for name in ADMINS])


def in_the_environment(sandbox: Sandbox) -> Iterator[None]:
    known = json.loads((sandbox.folder / ".sandbox" / "identities.json").read_text())
    with pytest.MonkeyPatch.context() as patch:
        for one, other in (("READER", "PLAYGROUND"), ("PLAYGROUND", "READER")):
            patch.setenv(f"SANDBOX_SECRET_REDIS_{one}", known[f"redis/{other.lower()}"])
        yield


@pytest.fixture(
    scope="class",
    params=[in_the_secrets_file, in_the_env_files, of_the_administrators, in_the_environment],
    ids=lambda place: place.__name__,
)
def exchanged(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[str]:
    """Each place in turn; when all commands have been there, nothing anywhere is another."""
    before = fingerprint(sandbox)
    sandbox_of = contextlib.contextmanager(request.param)
    with sandbox_of(sandbox):
        yield request.param.__name__
    assert fingerprint(sandbox) == before


class TestExchangedCredentials:
    @pytest.mark.parametrize("name", WRITING)
    def test_every_command_that_writes_is_stopped(
        self, sandbox: Sandbox, exchanged: str, name: str, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        before = written(sandbox)
        code, said = ended(sandbox, name, monkeypatch, capsys)
        if name == "verify" and exchanged == "in_the_env_files":
            assert code == 5 and "production's" in said  # a row names each variable
        else:
            assert (code, said.count("\n")) == (4, 2), said  # what and where, and what to do
            assert "the secret of" in said and "nothing was changed" in said
        assert written(sandbox) == before


def ended(
    sandbox: Sandbox, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[Any, str]:
    """Run a command that must not end well, with somebody who says yes to everything."""
    body = getattr(tasks, name.split(" ")[0].replace("-", "_"))
    for variable, value in sandbox.environ({"SANDBOX_YES": "1"}).items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as stopped:
        body(Context(), **WRITING[name], config=str(sandbox.config))
    return stopped.value.code, capsys.readouterr().err


def written(sandbox: Sandbox) -> dict[str, Any]:
    """What stands in this tool's own files, and which containers run since when."""
    kept = [*sandbox.folder.glob(".env*"), *(sandbox.folder / ".sandbox").rglob("*")]
    found: dict[str, Any] = {str(path): path.read_bytes() for path in kept if path.is_file()}
    label = f"com.docker.compose.project={sandbox.project}-production"
    running = docker.from_env().api.containers(filters={"label": label})
    return found | {one["Id"]: one["Created"] for one in running}


def test_the_other_environments_secrets_open_nothing(sandbox: Sandbox) -> None:
    """The servers themselves, whatever this tool thinks of it."""
    with contextlib.contextmanager(in_the_secrets_file)(sandbox), opened(sandbox) as session:
        for kind in ("postgres", "mongo", "qdrant", "redis"):
            with pytest.raises((Unreachable, Refused), match=r" let |not accepted"):
                session.source(kind).marker()  # type: ignore[arg-type]


def test_far_more_than_was_loaded_is_not_thrown_away(sandbox: Sandbox) -> None:
    client = redis_client(sandbox)
    pipe = client.pipeline(transaction=False)
    for number in range(10_001):
        pipe.set(f"momentry_dev:treasure:{number}", 1)
    pipe.execute()
    said = sandbox.inv("load", "--yes", code=4)
    assert "redis holds 10," in said and "--discard-more" in said
    assert client.exists("momentry_dev:treasure:1")
    assert "--yes" in sandbox.inv("load", "--discard-more", code=4)  # nobody is there to ask
    sandbox.inv("load", "--yes", "--discard-more")
    assert not client.exists("momentry_dev:treasure:1")


# --- one right too many in each store: exit 5, the row and the attempt by name ------------------


def a_grant(sandbox: Sandbox) -> Callable[[], object]:
    role = f"{sandbox.project.replace('-', '_')}_playground"
    connection = postgres(sandbox)
    connection.execute(f"GRANT SELECT ON public.videos TO {role}")
    return lambda: connection.execute(f"REVOKE SELECT ON public.videos FROM {role}")


def a_role(sandbox: Sandbox) -> Callable[[], object]:
    at, login = admin_of(sandbox, "mongo")
    client: Any = pymongo.MongoClient(at.host, at.port, username=login.name,
                                      password=login.secret, directConnection=True)  # fmt: skip
    name = f"{sandbox.project.replace('-', '_')}_playground"
    roles = [{"role": "read", "db": "momentry"}]
    client.admin.command("grantRolesToUser", name, roles=roles)
    return lambda: client.admin.command("revokeRolesFromUser", name, roles=roles)


def an_alias(sandbox: Sandbox) -> Callable[[], object]:
    at, login = admin_of(sandbox, "qdrant")
    url, name = f"http://{at.host}:{at.port}", "momentry_dev_rule1"

    def point(collection: str) -> None:
        actions = [
            {"delete_alias": {"alias_name": name}},
            {"create_alias": {"alias_name": name, "collection_name": collection}},
        ]
        httpx.post(f"{url}/collections/aliases", json={"actions": actions},
                   headers={"api-key": login.secret}).raise_for_status()  # fmt: skip

    listed = httpx.get(f"{url}/aliases", headers={"api-key": login.secret}).json()["result"]
    before = {one["alias_name"]: one["collection_name"] for one in listed["aliases"]}[name]
    point("momentry_rule1")
    return lambda: point(before)


def a_rule(sandbox: Sandbox) -> Callable[[], object]:
    client = redis_client(sandbox)
    name = f"{sandbox.project.replace('-', '_')}_playground"
    client.execute_command("ACL", "SETUSER", name, "+scan")
    return lambda: client.execute_command("ACL", "SETUSER", name, "-scan")


def a_symlink(sandbox: Sandbox) -> Callable[[], object]:
    link = sandbox.folder / "data" / "output_dev" / "there"
    link.symlink_to(sandbox.folder / "data" / "output")
    return link.unlink


@pytest.mark.parametrize(
    ("leak", "named"),
    [
        (a_grant, "hold a right on any relation outside its spaces: found public.videos"),
        (a_role, "MongoDB (find in production: it has the right to"),
        (an_alias, "Qdrant ("),
        (a_rule, "Redis (see names with SCAN: it worked"),
        (a_symlink, "Output files (symlinks in the playground: there leads into production"),
    ],
)
def test_a_leak_is_exit_5_with_the_row_and_the_attempt(
    sandbox: Sandbox, leak: Callable[[Sandbox], Callable[[], object]], named: str, tmp_path: Path
) -> None:
    mend = leak(sandbox)
    try:
        said = sandbox.inv("verify", "--junit", str(tmp_path / "junit.xml"), code=5)
    finally:
        mend()
    assert named in said
    assert "<failure" in (tmp_path / "junit.xml").read_text()


def test_watch_repeats_and_ctrl_c_ends_it_cleanly(sandbox: Sandbox) -> None:
    watching = subprocess.Popen(
        [*PROGRAM, "verify", "--watch", "0.1", "--json", "--config", str(sandbox.config)],
        cwd=sandbox.folder,
        env=sandbox.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,
    )
    assert watching.stdout is not None
    seen = 0
    for line in watching.stdout:
        seen += '"isolated": true,\n' in line and line.startswith("  ") and line[2] != " "
        if seen == 2:
            break
    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=60)
    assert (watching.returncode, errors) == (0, "")
    left = "SELECT count(*) FROM pg_class WHERE relname LIKE 'sandbox_canary%'"
    assert postgres(sandbox).execute(left).fetchone() == (0,)
    assert not list(redis_client(sandbox).scan_iter("*sandbox_canary*"))


def test_the_playground_lists_its_keys_without_scan(sandbox: Sandbox) -> None:
    """The command shows live names; afterwards the application reads the same from its list."""
    address = sandbox.variables()["REDIS_URL"]
    with redis.Redis.from_url(address) as client:
        client.set("momentry_dev:mine:1", "x")
        said = sandbox.json("redis-keys", "mine:*")
        assert said["keys"] == ["mine:1"]
        found = [name for name, _ in client.zscan_iter(said["list"], match="*:mine:*")]
        assert found == [b"momentry_dev:mine:1"]
        client.delete("momentry_dev:mine:1")
        assert sandbox.json("redis-keys", "mine:*")["keys"] == []
        assert client.zscore(said["list"], "momentry_dev:mine:1") is None
        assert len(client.zrange(said["list"], 0, -1)) > 10
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.zadd(said["list"], {"momentry_dev:forged": 1})


@pytest.mark.parametrize("name", ["POSTGRES_PASSWORD", "MONGO_PASSWORD"])
def test_a_volume_made_with_another_password_is_named_at_once(sandbox: Sandbox, name: str) -> None:
    """As a second clone of a project finds it: its `.env` is new, the volumes are not."""
    sandbox.inv("down")
    env = sandbox.folder / ".env"
    before = env.read_text()
    secret = next(line for line in before.splitlines() if line.startswith(f"{name}="))
    store = name.removesuffix("_PASSWORD").lower()
    volume = f"{sandbox.project}-production_{store}"
    try:
        env.write_text(before.replace(secret, f"{name}={'0' * 32}"))
        began = time.monotonic()
        printed = sandbox.inv("up", code=3)
        assert time.monotonic() - began < 60
        assert f"{store} of {sandbox.project}-production does not take the password" in printed
        assert f"docker volume rm {volume}" in " ".join(printed.split())
    finally:
        env.write_text(before)
        sandbox.inv("down")
        sandbox.inv("up")
    assert sandbox.query("SELECT count(*) > 0 FROM videos") == [(True,)]
