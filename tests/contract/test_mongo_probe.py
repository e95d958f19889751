"""Probe x leak on MongoDB: a role with one right too many for every right that a probe asks for."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import bson
import pytest

from sandbox.contract import Access
from sandbox.errors import Unreachable
from sandbox.model import Attempt, Endpoint, Role
from sandbox.stores.mongo import MongoProber, powers, trials
from sandbox.stores.mongo.probe import HOME, NO_SUCH_WAY
from sandbox.stores.mongo.trials import Right, Target, Trial
from tests.contract.mongo_world import World, isolated

Seen = set[tuple[str, str]]
BEYOND = "hold any right beyond what it needs at home"
LIST = "list databases"
# The stand-in is a standalone server, and no MongoDB but the vendor's service takes the name of
# another database in these stages: a right to read there turns them red by what the server says
# of rights, and never by what the stage returns.
WITHOUT_A_WAY = {f"{stage} into {what}" for stage in ("$lookup", "$unionWith", "$graphLookup")
                 for what in ("production", "the playground")}  # fmt: skip


@pytest.fixture(scope="module")
def world(mongo_server: Any) -> Iterator[World]:
    with isolated(mongo_server) as made:
        made.production["chunks"].insert_many([{"_id": n, "text": f"text {n}"} for n in range(20)])
        made.production["cache"].insert_one({"_id": 1})
        yield made


def prober(world: World, **changed: Access) -> MongoProber:
    roles: tuple[Role, ...] = ("playground", "production", "reader")
    found = {}
    for role in roles:
        database = f"{world.stem}_dev" if role == "playground" else world.stem
        found[role] = world.access(role, world.space(database, ["chunks", "cache"]))
    return MongoProber(**{**found, **changed})


def attempts(world: World, **changed: Access) -> list[Attempt]:
    made = prober(world, **changed)
    try:
        return list(made.attempts())
    finally:
        made.close()


def failed(world: World, **changed: Access) -> Seen:
    return {(role_of(a.identity), a.tried) for a in attempts(world, **changed) if not a.ok}


def role_of(identity: str) -> str:
    return identity.rsplit("_", 1)[1]


def checksum(world: World) -> str:
    found = hashlib.sha256()
    for name in sorted(world.production.list_collection_names()):
        found.update(name.encode())
        for document in world.production[name].find().sort("_id", 1):
            found.update(bson.encode(document))
    for user in world.client.admin.command("usersInfo", 1)["users"]:
        found.update(repr((user["user"], user["roles"])).encode())
    return found.hexdigest()


@contextlib.contextmanager
def leaking(world: World, rights: Sequence[tuple[str, Right]]) -> Iterator[None]:
    """While it lasts, logins have these rights more, by a role for each of them."""
    admin = world.client.admin
    roles = {role for role, _ in rights}
    for role in roles:
        privileges = []
        for _, (database, action) in [one for one in rights if one[0] == role]:
            named = {"db": database.replace("STEM", world.stem), "collection": ""}
            where = {"cluster": True} if database == powers.SERVER else named
            privileges.append({"resource": where, "actions": [action]})
        admin.command("createRole", f"leak_{role}", privileges=privileges, roles=[])
        more = [{"role": f"leak_{role}", "db": "admin"}]
        admin.command("grantRolesToUser", f"{world.stem}_{role}", roles=more)
    try:
        yield
    finally:
        for role in roles:
            more = [{"role": f"leak_{role}", "db": "admin"}]
            admin.command("revokeRolesFromUser", f"{world.stem}_{role}", roles=more)
            admin.command("dropRole", f"leak_{role}")


def targets(stem: str) -> tuple[Target, Target]:
    there = Target(what="production", database=stem, present="chunks", absent="x")
    home = Target(what="the playground", database=f"{stem}_dev", present="y", absent="x")
    return there, home


def tried_by(role: str, stem: str) -> list[Trial]:
    """The same lists that the prober goes through."""
    there, home = targets(stem)
    lists: dict[str, Sequence[Iterator[Trial]]] = {
        "playground": (
            trials.reads(there, home), trials.joins(there, home), trials.writes(there, home),
            trials.pipelines(there, home, at_home=True), trials.users(there),
            powers.server(home.database, stem),
        ),
        "production": (
            trials.reads(home, there), trials.joins(home, there), trials.writes(home, there),
            trials.pipelines(home, there, at_home=True),
        ),
        "reader": (
            trials.writes(there, None), trials.pipelines(there, there, at_home=False),
            trials.users(there), powers.server(stem, stem), trials.reads(home, there),
        ),
    }  # fmt: skip
    return [trial for some in lists[role] for trial in some]


ALL = {role: tried_by(role, "STEM") for role in ("playground", "production", "reader")}
RIGHTS = [
    (role, right)
    for role, tried in ALL.items()
    for right in dict.fromkeys(right for trial in tried for right in trial.needs)
]
# Where nothing is sent, where the stand-in asks for less or for more than the real server, or where
# it knows no way at all: such a right is seen by what the server tells of rights, not by trying.
ONLY_TOLD = {
    *WITHOUT_A_WAY,
    *(trial.tried for some in ALL.values() for trial in some if trial.command is None),
    "see every operation ($currentOp)", "see every session",  # asked: find on admin
    *(f"watch the changes of {what}" for what in ("production", "the playground")),  # asked: find
    "widen a role at home",  # asked: the role's own database
    "write the users",  # asked: nobody may
    *(f"{stage} into {what}" for stage in ("$out", "$merge", "rename something")
      for what in ("production", "the playground")),  # both rights are asked
}  # fmt: skip


def seen_by(rights: Sequence[tuple[str, Right]]) -> Seen:
    return {
        (role, trial.tried) for role, right in rights for trial in ALL[role] if right in trial.needs
    }


def rounds() -> list[list[tuple[str, Right]]]:
    """Rights that are given together: no attempt is to be seen by two of them."""
    packed: list[list[tuple[str, Right]]] = []
    for one in RIGHTS:
        fits = next(
            (r for r in packed if len(r) < 14 and seen_by(r).isdisjoint(seen_by([one]))), None
        )
        if fits is None:
            packed.append(fits := [])
        fits.append(one)
    return packed


def test_isolated_logins_pass_every_attempt_and_leave_nothing(world: World) -> None:
    before = checksum(world)
    found = attempts(world)
    assert [a for a in found if not a.ok] == []
    assert {a.row for a in found} == {"MongoDB"} and found[0].tried == HOME
    assert {(role_of(a.identity), a.tried) for a in found} == {
        *((role, trial.tried) for role, some in ALL.items() for trial in some), *OTHERS,
    }  # fmt: skip
    assert checksum(world) == before
    assert not [n for n in world.playground.list_collection_names() if "canary" in n]
    without = {a.tried for a in found if a.happened.startswith(NO_SUCH_WAY)}
    assert without == WITHOUT_A_WAY


OTHERS: Seen = {
    ("playground", HOME), ("playground", LIST), ("playground", BEYOND), ("production", BEYOND),
    ("reader", BEYOND), ("reader", "read production"), ("production", "log in and count at home"),
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _canary_names(world: World) -> None:
    for role in ("production", "reader"):
        OTHERS.add((role, f"find a canary of {world.stem}_playground in production"))


@pytest.mark.parametrize("rights", rounds(), ids=lambda r: "-".join(r[0][1]) + f" ({len(r)})")
def test_a_right_too_many_is_seen_and_named(world: World, rights: list[tuple[str, Right]]) -> None:
    """Every attempt that needs it is red, no other is, and production stays as it is."""
    before = checksum(world)
    with leaking(world, rights):
        found = failed(world)
    assert checksum(world) == before
    assert found == seen_by(rights) | {(role, BEYOND) for role, _ in rights}


@pytest.mark.parametrize("rights", rounds(), ids=lambda r: "-".join(r[0][1]) + f" ({len(r)})")
def test_what_the_server_does_not_tell_is_found_by_trying(
    world: World, rights: list[tuple[str, Right]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a word about rights, all the attempts are sent."""
    monkeypatch.setattr("sandbox.stores.mongo.probe._privileges", lambda client: [])
    with leaking(world, rights):
        found = failed(world)
    expected = {(role, tried) for role, tried in seen_by(rights) if tried not in ONLY_TOLD}
    assert expected <= found
    assert found <= seen_by(rights) | {(r, t) for r, some in ALL.items() for t in ONLY_TOLD}


def test_every_probe_has_a_leak_that_it_sees() -> None:
    """None left out: each is in a row of the table above, or has a test of its own below."""
    assert all(trial.needs for some in ALL.values() for trial in some)
    assert seen_by(RIGHTS) == {(role, t.tried) for role, some in ALL.items() for t in some}


def test_a_list_of_databases_that_names_others(world: World) -> None:
    with leaking(world, [("playground", ("", "listDatabases"))]):
        assert failed(world) == {("playground", LIST), ("playground", BEYOND)}


def test_a_home_that_is_productions_is_left_alone(world: World) -> None:
    marks = world.playground["sandbox_marker"]
    before = marks.find_one({"_id": "marker"})
    for change in ({"environment": "production"}, None):
        marks.delete_one({"_id": "marker"})
        if change:
            marks.insert_one({**before, **change})
        found = attempts(world)
        assert [(a.tried, a.ok) for a in found[:2]] == [(HOME, False), ("read production", True)]
        assert not [n for n in world.playground.list_collection_names() if "canary" in n]
    marks.replace_one({"_id": "marker"}, before, upsert=True)


def test_one_database_for_both_is_seen(world: World) -> None:
    """What is called production's is the playground's database: the canary stands in it."""
    home = world.space(f"{world.stem}_dev", ["chunks", "cache"])
    found = failed(
        world, production=world.access("playground", home), reader=world.access("playground", home)
    )
    assert ("playground", f"find a canary of {world.stem}_playground in production") in found


@pytest.mark.parametrize("role", ["playground", "reader"])
def test_a_login_that_may_do_nothing_is_no_isolation(world: World, role: str) -> None:
    """P7: what does not work at home proves nothing."""
    admin, name = world.client.admin, world.identities[role].name  # type: ignore[index]
    home = f"{world.stem}_dev" if role == "playground" else world.stem
    own = [{"role": name, "db": home}]
    admin.command("revokeRolesFromUser", name, roles=own)
    try:
        tried = {"playground": HOME, "reader": "read production"}[role]
        assert (role, tried) in failed(world)
    finally:
        admin.command("grantRolesToUser", name, roles=own)


def test_production_that_cannot_log_in_proves_nothing(world: World) -> None:
    access = world.access("production", world.space(world.stem))
    wrong = replace(access, identity=replace(access.identity, secret="wrong"))
    assert failed(world, production=wrong) == {("production", "log in and count at home")}


def test_a_dead_connection_is_no_isolation(world: World) -> None:
    access = world.access("playground", world.space(f"{world.stem}_dev"))
    wrong = replace(access, identity=replace(access.identity, secret="wrong"))
    with pytest.raises(Unreachable):
        attempts(world, playground=wrong)


def test_one_server_under_two_addresses_is_no_server_of_its_own(world: World) -> None:
    here = world.access("playground", world.space(f"{world.stem}_dev"))
    port = here.endpoint.port
    found = failed(world, playground=replace(here, endpoint=Endpoint(host="localhost", port=port)))
    assert found == {
        ("playground", "log in to production's server"),
        ("production", "log in to the playground's server"),
        ("reader", "log in to the playground's server"),
    }
