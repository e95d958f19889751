"""Keys of every type travel from production's prefix into the playground's and back, unchanged."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis as driver

from sandbox.contract import Access
from sandbox.errors import Refused, SandboxError, Unreachable
from sandbox.masking.keep import Keep
from sandbox.model import Dataset, Entry, Identity, Marker, RedisSpace
from sandbox.stores.redis import Admin, Source, Store
from sandbox.stores.redis.session import marker_text
from tests.contract.decoded import Decoded
from tests.contract.redis_world import PLAYGROUND, PRODUCTION, ROLES, World, isolated

FAR = 4_070_908_800_123  # milliseconds: 2099, with a part of a second


@pytest.fixture
def world(redis_server: Any) -> Iterator[World]:
    with isolated(redis_server) as made:
        yield made


def marker(snapshot: str = "s1") -> Marker:
    return Marker(project="momentry", environment="playground", snapshot=snapshot)


def fill(client: Any, prefix: str) -> None:
    """Every type, small and larger than one window; binary names and values; expiries."""
    p = prefix.encode()
    binary = bytes(range(256))
    client.set(p + b"text", "grüße")
    client.set(p + b"empty", "")
    client.set(p + b"number", 42)
    client.set(p + binary, binary * 1000, pxat=FAR)
    client.set(p + b"*?[a]\\", "a name full of wildcards")
    client.rpush(p + b"list", *(b"%d" % n + binary for n in range(2500)))
    client.sadd(p + b"set", *range(5000), b"text")
    client.sadd(p + b"numbers", *range(5))
    client.zadd(p + b"zset", {f"m{n}": n / 7 for n in range(2500)})
    client.zadd(p + b"zends", {"low": float("-inf"), "high": float("inf"), "tiny": 5e-324})
    client.hset(p + b"hash", mapping={f"f{n}": binary for n in range(2500)})
    client.hset(p + b"dying", mapping={"stays": 1, "goes": 2})
    client.execute_command("HPEXPIREAT", p + b"dying", FAR, "FIELDS", 1, "goes")
    client.pexpireat(p + b"hash", FAR + 1)
    client.setbit(p + b"bits", 100_000, 1)
    client.pfadd(p + b"visitors", *range(1000))
    client.geoadd(p + b"places", (13.361389, 38.115556, "Palermo"))
    _streams(client, p)


def _streams(client: Any, p: bytes) -> None:
    for n in range(1, 2401):
        client.execute_command("XADD", p + b"jobs", f"{n}-7", "n", n, "n", "twice")
    client.xgroup_create(p + b"jobs", "workers", id="0")
    client.xgroup_create(p + b"jobs", "late", id="100-7")
    client.xgroup_createconsumer(p + b"jobs", "workers", "idle")
    client.xreadgroup("workers", "busy", {p + b"jobs": ">"}, count=1200)
    client.xack(p + b"jobs", "workers", "1-7")
    client.xclaim(p + b"jobs", "workers", "second", 0, ["3-7"])
    client.xdel(p + b"jobs", "2400-7")
    client.xadd(p + b"drained", {"a": 1}, id="5-5")
    client.xdel(p + b"drained", "5-5")


def content(client: Any, prefix: str) -> dict[bytes, Any]:
    """Everything under a prefix as the server tells it, names without the prefix."""
    found = {}
    for key in client.scan_iter(match=f"{prefix}*", count=1000):
        kind = client.type(key).decode()
        raw = client.execute_command
        value: Any = {
            "string": lambda k: client.get(k),
            "list": lambda k: client.lrange(k, 0, -1),
            "set": lambda k: client.smembers(k),
            "zset": lambda k: client.zrange(k, 0, -1, withscores=True),
            "hash": lambda k: (client.hgetall(k), _field_ttls(client, k)),
            "stream": lambda k: _stream(client, k),
        }[kind](key)
        found[key[len(prefix) :]] = (kind, value, raw("PEXPIRETIME", key))
    return found


def _field_ttls(client: Any, key: bytes) -> dict[bytes, int]:
    names = client.hkeys(key)
    found = client.execute_command("HPEXPIRETIME", key, "FIELDS", len(names), *names)
    return {name: ms for name, ms in zip(names, found, strict=True) if ms >= 0}


def _stream(client: Any, key: bytes) -> Any:
    """Entries, positions, groups, consumers, and who holds which entry how often."""
    about = client.xinfo_stream(key)
    facts = {k: about[k] for k in ("last-generated-id", "max-deleted-entry-id", "entries-added")}
    groups = []
    for group in client.xinfo_groups(key):
        name = group["name"]
        held = client.xpending_range(key, name, "-", "+", 10_000)
        groups.append(
            (
                dict(group.items()),
                sorted(c["name"] for c in client.xinfo_consumers(key, name)),
                [(h["message_id"], h["consumer"], h["times_delivered"]) for h in held],
            )
        )
    return client.execute_command("XRANGE", key, "-", "+"), facts, groups


def load(source: Source, store: Store, mask: Any, snapshot: str = "s1") -> int:
    """The whole way: read, stage, write, finish, swap, settle."""
    with source.cut() as cut:
        datasets = source.datasets(cut)
        pieces = [list(source.read(cut, d, mask)) for d in datasets]
    store.stage(datasets, b"")
    rows = 0
    for dataset, part in zip(datasets, pieces, strict=True):
        written = store.write(dataset, [piece for _, piece in part])
        assert written == sum(r for r, _ in part)
        rows += written
    assert store.finish(marker(snapshot)) == []
    store.swap()
    store.settle()
    return rows


@pytest.mark.parametrize("mask", [Keep(), Decoded()], ids=["raw", "typed"])
def test_every_type_arrives_and_comes_back(world: World, mask: Any) -> None:
    fill(world.client, PRODUCTION.prefix)
    before = content(world.client, PRODUCTION.prefix)
    assert load(world.source(), world.store(), mask) == len(before)
    after = content(world.client, PLAYGROUND.prefix)
    assert after == before
    assert content(world.client, PRODUCTION.prefix) == before
    _copy_back(world)
    assert content(world.client, "back:") == before


def _copy_back(world: World) -> None:
    """From the playground into a third prefix, by the same classes."""
    space = RedisSpace(prefix="back:")
    names = {role: Identity(role=role, name=f"b_{role}", secret="x") for role in ROLES}
    admin = Admin(
        world.admin, production=PLAYGROUND, playground=space, identities=names, project="back"
    )
    world.client.delete("sandbox:marker:momentry_dev:")  # the playground plays production here
    admin.isolate()
    back = Store(
        Access(endpoint=world.endpoint, identity=names["keeper"], space=space),
        owner=names["playground"],
        production=PLAYGROUND,
    )
    source = Source(Access(endpoint=world.endpoint, identity=names["reader"], space=PLAYGROUND))
    with source.cut() as cut:
        (dataset,) = source.datasets(cut)
        back.stage([dataset], b"")
        back.write(dataset, (piece for _, piece in source.read(cut, dataset, Decoded())))
    back.finish(Marker(project="back", environment="playground"))
    back.swap()
    back.settle()
    world.client.execute_command("ACL", "DELUSER", *(i.name for i in names.values()))


def test_a_mask_sees_every_value_and_may_drop_a_key(world: World) -> None:
    class Masking(Decoded):
        def entry(self, entry: Entry) -> Entry | None:
            if entry.key == b"secret":
                return None
            if entry.type == "hash":
                shouted = [(f, v.upper()) for f, v in entry.value]
                return replace(entry, key=entry.key + b"!", value=shouted)
            return entry

    world.client.set("momentry:secret", "x")
    world.client.hset("momentry:user", mapping={"name": "ann"})
    assert load(world.source(), world.store(), Masking()) == 1
    assert world.client.hgetall("momentry_dev:user!") == {b"name": b"ANN"}
    assert world.store().names() == [b"momentry_dev:user!"]


def test_a_key_that_expires_on_the_way_is_not_there(world: World) -> None:
    world.client.set("momentry:soon", "x", px=150)
    world.client.set("momentry:stays", "x")
    source, store = world.source(), world.store()
    with source.cut() as cut:
        (dataset,) = source.datasets(cut)
        pieces = [piece for _, piece in source.read(cut, dataset, Decoded())]
    time.sleep(0.2)
    store.stage([dataset], b"")
    store.write(dataset, pieces)
    store.finish(marker())
    store.swap()
    assert content(world.client, PLAYGROUND.prefix).keys() == {b"stays"}


def staged(world: World) -> Store:
    """A store with `new` finished beside a playground that holds `old`."""
    world.client.set("momentry:new", "n")
    world.client.set("momentry_dev:old", "o")
    source, store = world.source(), world.store()
    with source.cut() as cut:
        (dataset,) = source.datasets(cut)
        store.stage([dataset], b"")
        store.write(dataset, (piece for _, piece in source.read(cut, dataset, Keep())))
    store.finish(marker("s2"))
    return store


def test_killed_before_the_swap_nothing_has_changed(world: World) -> None:
    staged(world).close()
    assert content(world.client, PLAYGROUND.prefix).keys() == {b"old"}
    world.store().undo()
    world.store().settle()
    assert content(world.client, PLAYGROUND.prefix).keys() == {b"old"}
    assert not list(world.client.scan_iter(match="sandbox:new:*"))
    with pytest.raises(SandboxError, match="nothing is staged"):
        world.store().swap()


def test_swap_undo_and_settle_may_be_repeated_by_another_process(world: World) -> None:
    staged(world).swap()
    world.store().swap()
    assert content(world.client, PLAYGROUND.prefix).keys() == {b"new"}
    found = world.store().marker()
    assert found is not None and found.snapshot == "s2"
    world.store().undo()
    world.store().undo()
    assert content(world.client, PLAYGROUND.prefix).keys() == {b"old"}
    found = world.store().marker()
    assert found is not None and found.snapshot == ""
    world.store().settle()
    world.store().settle()
    own = set(world.client.scan_iter(match="sandbox:*"))
    assert own == {b"sandbox:marker:momentry:", b"sandbox:marker:momentry_dev:"}


@pytest.mark.parametrize("cut_after", range(1, 12))
def test_a_connection_lost_at_any_answer_leaves_one_whole_space(
    world: World, monkeypatch: pytest.MonkeyPatch, cut_after: int
) -> None:
    store = staged(world)
    calls = [0]
    take = type(store._wire).take

    def failing(wire: Any, count: int) -> Any:
        calls[0] += 1
        if calls[0] == cut_after:
            wire.close()
            raise Unreachable("cut")
        return take(wire, count)

    monkeypatch.setattr(type(store._wire), "take", failing)
    with contextlib.suppress(Unreachable):
        store.swap()
    monkeypatch.undo()
    time.sleep(0.02)
    assert content(world.client, PLAYGROUND.prefix).keys() in ({b"new"}, {b"old"})
    world.store().undo()
    world.store().settle()
    assert content(world.client, PLAYGROUND.prefix).keys() == {b"old"}


MARKERS = {
    "missing": None,
    "production's": Marker(project="momentry", environment="production"),
    "unreadable": "{",
}


@pytest.mark.parametrize("found", MARKERS.values(), ids=MARKERS.keys())
@pytest.mark.parametrize("act", ["stage", "write", "finish", "swap", "undo", "settle"])
def test_a_marker_that_is_not_ours_stops_every_act(world: World, act: str, found: Any) -> None:
    store = staged(world)
    key = "sandbox:marker:momentry_dev:"
    if found is None:
        world.client.delete(key)
    else:
        world.client.set(key, found if isinstance(found, str) else marker_text(found))
    before = content(world.client, PLAYGROUND.prefix)
    arguments: dict[str, tuple[Any, ...]] = {
        "stage": ((), b""),
        "write": (Dataset(store="redis", name="keys"), ()),
        "finish": (marker(),),
    }
    with pytest.raises(Refused):
        getattr(store, act)(*arguments.get(act, ()))
    assert content(world.client, PLAYGROUND.prefix) == before


def test_another_projects_marker_stops_the_load(world: World) -> None:
    with pytest.raises(Refused, match="momentry"):
        staged(world).finish(Marker(project="other", environment="playground"))


def test_a_marker_that_changes_during_the_swap_stops_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = staged(world)
    moves = Store._moves

    def slow(self: Store, source: bytes, target: bytes) -> Any:
        world.client.set("sandbox:marker:momentry_dev:", "{}")
        return moves(self, source, target)

    monkeypatch.setattr(Store, "_moves", slow)
    with pytest.raises(Refused, match="changed"):
        store.swap()
    assert content(world.client, PLAYGROUND.prefix).keys() == {b"old"}


@pytest.mark.parametrize("theirs", ["momentry_dev:", "momentry_dev:x:", "momentry", "", "sand"])
def test_overlapping_prefixes_are_refused(world: World, theirs: str) -> None:
    store = Store(
        world.access("keeper", PLAYGROUND),
        owner=world.identities["playground"],
        production=RedisSpace(prefix=theirs),
    )
    with pytest.raises(Refused, match="overlap"):
        store.settle()


def test_production_credentials_cannot_load(world: World) -> None:
    for role in ("reader", "production", "playground"):
        store = Store(
            world.access(role, PLAYGROUND),
            owner=world.identities["playground"],
            production=PRODUCTION,
        )
        with pytest.raises(Refused):
            store.stage((), b"")


def test_isolate_twice_does_nothing_the_second_time(world: World) -> None:
    assert world.administrator().statements() == []
    assert world.administrator().isolate() == []
    world.client.execute_command("ACL", "SETUSER", "t_playground", "+keys")
    done = world.administrator().isolate()
    assert [s.text.split()[:3] for s in done] == [["ACL", "SETUSER", "t_playground"]]
    assert "s-playground" not in str(done)


def test_remove_takes_the_playground_and_leaves_production(world: World) -> None:
    fill(world.client, PRODUCTION.prefix)
    load(world.source(), world.store(), Keep())
    before = content(world.client, PRODUCTION.prefix)
    world.administrator().remove()
    assert content(world.client, PLAYGROUND.prefix) == {}
    assert content(world.client, PRODUCTION.prefix) == before
    users = world.client.acl_users()
    assert "t_keeper" not in users and "t_reader" in users
    with pytest.raises(Refused):
        world.administrator().remove()


def test_search_names_the_key_and_the_field(world: World) -> None:
    world.client.hset("momentry_dev:user:1", mapping={"name": "Ann Lee", "city": "Rome"})
    world.client.rpush("momentry_dev:list", "x", "by Ann Lee")
    world.client.set("momentry_dev:Ann Lee", "y")
    assert world.store().search(["Ann Lee"]) == [
        "keys.Ann Lee",
        "keys.list",
        "keys.user:1.name",
    ]


def test_the_playground_lists_its_names_without_scan(world: World) -> None:
    fill(world.client, PRODUCTION.prefix)
    load(world.source(), world.store(), Keep())
    who = world.identities["playground"]
    app: Any = driver.Redis(
        host=world.endpoint.host, port=world.endpoint.port, username=who.name, password=who.secret
    )
    listed = set(app.zrange("sandbox:keys:momentry_dev:", 0, -1))
    assert listed == set(world.client.scan_iter(match="momentry_dev:*"))
    page = app.zscan("sandbox:keys:momentry_dev:", match="momentry_dev:z*", count=10_000)[1]
    assert {name for name, _ in page} == {b"momentry_dev:zset", b"momentry_dev:zends"}
    with pytest.raises(driver.exceptions.NoPermissionError):
        app.zadd("sandbox:keys:momentry_dev:", {"x": 1})
    app.close()
