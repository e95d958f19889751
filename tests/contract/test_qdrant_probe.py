"""Every probe of Qdrant against the leak that it must see; logins, fences."""

from __future__ import annotations

import itertools
import random
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from sandbox.contract import Access
from sandbox.errors import Refused, Unreachable
from sandbox.model import Attempt, Endpoint, Identity, QdrantSpace, Role
from sandbox.stores.qdrant import Admin, Prober, token
from sandbox.stores.qdrant.probe import ROW, _changes, _crossing
from sandbox.stores.qdrant.rest import own_only, read_only
from sandbox.stores.qdrant.tokens import mint, read_claims, right

HOME = "write, read and delete a point at home"
LIST = "list collections and aliases"
READ = "read production"
THEIRS = "find the production's canary at its own home"
OURS = "find the playground's canary at its own home"
NOBODY = "list production's collections without a login"
NOBODY_HERE = "list playground's collections without a login"
BACK = ("read the playground", "write the playground")
CROSSING = {one.tried: one for one in _crossing("p", "h")}
CHANGES = {one.tried: one for one in _changes("p")}
READS = {"read points", "read a point by its id", "count points", "search",
         "look up a vector of production's from home", "read the configuration",
         "list snapshots"}  # fmt: skip
WHOLE_READS = {"list snapshots of the whole server", "read the server's telemetry"}
WRITES = {one.tried for one in CHANGES.values() if one.needs == "write"}
MANAGES = {one.tried for one in CROSSING.values() if one.needs == "manage"}
ALL = {*CROSSING, *CHANGES, HOME, LIST, READ, THEIRS, OURS, NOBODY, NOBODY_HERE, *BACK}

Failed = set[tuple[str, str]]


@dataclass
class Place:
    """Both spaces on one server, and the logins that the probes use."""

    endpoint: Endpoint
    key: str
    http: httpx.Client
    production: str = ""
    home: str = ""
    secrets_: dict[str, str] | None = None

    def call(self, method: str, path: str, body: Any = None) -> Any:
        response = self.http.request(method, path, json=body)
        response.raise_for_status()
        return response.json()["result"]

    def begin(self) -> None:
        stem = f"p{secrets.token_hex(4)}"
        self.production, self.home = f"{stem}_rule1", f"{stem}_dev_rule1"
        self.call("PUT", f"/collections/{self.production}", VECTORS)
        points = [{"id": n, "vector": [n, 1], "payload": {"n": n}} for n in range(20)]
        self.call("PUT", f"/collections/{self.production}/points?wait=true", {"points": points})
        self.reset()
        roles: tuple[Role, ...] = ("reader", "keeper", "playground", "production")
        Admin(
            replace(self.access("production"), identity=Identity(role="admin", name="a",
                                                                 secret=self.key)),
            production=QdrantSpace(collection=self.production),
            playground=QdrantSpace(collection=self.home),
            identities={role: Identity(role=role, name=role) for role in roles},
            project="demo",
        ).isolate()  # fmt: skip

    def reset(self) -> None:
        self.secrets_ = {
            "playground": token(self.key, "playground", self.home),
            "production": token(self.key, "production", self.production),
            "reader": token(self.key, "reader", self.production),
        }

    def access(self, role: Role) -> Access:
        name = self.home if role == "playground" else self.production
        assert self.secrets_ is not None
        return Access(
            endpoint=self.endpoint,
            identity=Identity(role=role, name=role, secret=self.secrets_[role]),
            space=QdrantSpace(collection=name),
        )

    def attempts(self) -> list[Attempt]:
        prober = Prober(
            playground=self.access("playground"),
            production=self.access("production"),
            reader=self.access("reader"),
        )
        try:
            return list(prober.attempts())
        finally:
            prober.close()

    def failed(self) -> Failed:
        return {(a.identity, a.tried) for a in self.attempts() if not a.ok}

    def grant(self, who: str, *entries: tuple[str, str]) -> None:
        assert self.secrets_ is not None
        access = [{"collection": c, "access": a} for c, a in entries]
        self.secrets_[who] = mint(self.key, {"access": access})

    def state(self) -> Any:
        """Everything of production that a client can see."""
        body = {"limit": 100, "with_vector": True}
        path = f"/collections/{self.production}"
        listed = sorted(c["name"] for c in self.call("GET", "/collections")["collections"])
        aliases = sorted(a["alias_name"] for a in self.call("GET", "/aliases")["aliases"])
        points = self.call("POST", f"{path}/points/scroll", body)["points"]
        info = self.call("GET", path)
        snapshots = self.call("GET", f"{path}/snapshots")
        return points, info["config"], info["payload_schema"], snapshots, listed, aliases


VECTORS = {"vectors": {"size": 2, "distance": "Dot"}}


def opened(server: Any, key: str) -> Place:
    url = f"http://{server.host}:{server.port}"
    http = httpx.Client(base_url=url, headers={"api-key": key} if key else {}, timeout=60)
    return Place(endpoint=Endpoint(host=server.host, port=server.port), key=key, http=http)


def cleaned(place: Place) -> Iterator[Place]:
    place.begin()
    yield place
    for one in place.call("GET", "/collections")["collections"]:
        if one["name"].startswith(place.production.removesuffix("_rule1")):
            place.call("DELETE", f"/collections/{one['name']}")


@pytest.fixture(scope="module")
def shared(qdrant_server: Any) -> Iterator[Place]:
    yield from cleaned(opened(qdrant_server, qdrant_server.api_key))


@pytest.fixture
def place(shared: Place) -> Place:
    shared.reset()
    return shared


@pytest.fixture(scope="module")
def unlocked(run: Any) -> Iterator[Place]:
    """A server that was started without its api-key."""
    environment = {"QDRANT__STORAGE__STORAGE_PATH": "/var/lib/sandbox/qdrant"}
    server = run.start("qdrant", environment=environment)
    yield from cleaned(opened(server, ""))


def test_isolated(place: Place) -> None:
    before = place.state()
    attempts = place.attempts()
    assert [a for a in attempts if not a.ok] == []
    assert {a.tried for a in attempts} == ALL
    assert {a.row for a in attempts} == {ROW}
    assert attempts[0].tried == HOME  # it first succeeds at home
    assert place.state() == before
    assert sum(a.seconds for a in attempts) < 1.5


# --- leak -> what must see it --------------------------------------------------------------------


def by(who: str, *tried: str) -> Failed:
    return {(who, one) for one in tried}


def playground_reads(place: Place) -> Failed:
    place.grant("playground", (place.home, "rw"), (place.production, "r"))
    return by("playground", LIST, *READS)


def playground_writes(place: Place) -> Failed:
    place.grant("playground", (place.home, "rw"), (place.production, "rw"))
    return by("playground", LIST, *READS, *WRITES)


def playground_reads_the_server(place: Place) -> Failed:
    assert place.secrets_ is not None
    place.secrets_["playground"] = mint(place.key, {"access": "r"})
    return by("playground", HOME, LIST, *READS, *WHOLE_READS) | {("production", OURS)}


def playground_manages(place: Place) -> Failed:
    assert place.secrets_ is not None
    place.secrets_["playground"] = mint(place.key, {"access": "m"})
    return by("playground", LIST, *CROSSING)


def playground_has_a_token_without_limits(place: Place) -> Failed:
    assert place.secrets_ is not None
    place.secrets_["playground"] = mint(place.key, {})
    return by("playground", LIST, *CROSSING)


def playground_has_the_key(place: Place) -> Failed:
    assert place.secrets_ is not None
    place.secrets_["playground"] = place.key
    return by("playground", LIST, *CROSSING)


def playground_has_productions_login(place: Place) -> Failed:
    assert place.secrets_ is not None
    place.secrets_["playground"] = place.secrets_["production"]
    return by("playground", HOME, LIST, *READS, *WRITES) | {("production", OURS)}


def reader_writes(place: Place) -> Failed:
    place.grant("reader", (place.production, "rw"))
    return by("reader", *WRITES)


def reader_manages(place: Place) -> Failed:
    assert place.secrets_ is not None
    place.secrets_["reader"] = place.key
    return by("reader", *CHANGES)


def reader_cannot_read(place: Place) -> Failed:
    place.grant("reader", (place.home, "r"))
    return by("reader", READ)


def production_reads_the_playground(place: Place) -> Failed:
    place.grant("production", (place.production, "rw"), (place.home, "r"))
    return by("production", BACK[0])


def production_writes_the_playground(place: Place) -> Failed:
    place.grant("production", (place.production, "rw"), (place.home, "rw"))
    return by("production", *BACK)


def playground_cannot_write(place: Place) -> Failed:
    place.grant("playground", (place.home, "r"))
    return by("playground", HOME) | {("production", OURS)}


def a_forged_token(place: Place) -> Failed:
    assert place.secrets_ is not None
    place.secrets_["playground"] = token("another-key", "playground", place.home)
    return by("playground", HOME, LIST, THEIRS) | {("production", OURS)}


LEAKS: tuple[Callable[[Place], Failed], ...] = (
    playground_reads,
    playground_writes,
    playground_reads_the_server,
    playground_manages,
    playground_has_a_token_without_limits,
    playground_has_the_key,
    playground_has_productions_login,
    reader_writes,
    reader_manages,
    reader_cannot_read,
    production_reads_the_playground,
    production_writes_the_playground,
    playground_cannot_write,
    a_forged_token,
)


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_is_seen_and_named_and_production_unchanged(
    place: Place, leak: Callable[[Place], Failed]
) -> None:
    before = place.state()
    expected = leak(place)
    failed = place.failed()
    assert expected <= failed
    assert place.state() == before


def test_what_is_denied_at_home_proves_nothing(place: Place) -> None:
    """A token for nothing is refused everywhere; one that reads alone says nothing of writing."""
    place.grant("playground", (f"{place.home}_other", "rw"))
    assert by("playground", *READS, *WRITES) <= place.failed()
    place.grant("playground", (place.home, "r"))
    failed = place.failed()
    assert by("playground", *WRITES) <= failed
    assert not by("playground", *READS) & failed


def test_an_alias_over_production(place: Place) -> None:
    """The playground's name stands for production's collection: its canary is found there."""
    path, stray = "/collections/aliases", f"{place.production}_alias_dev"
    pair = {"alias_name": stray, "collection_name": place.production}
    place.call("POST", path, {"actions": [{"create_alias": pair}]})
    home, place.home = place.home, stray
    try:
        place.reset()
        assert {("playground", THEIRS), ("production", OURS)} <= place.failed()
    finally:
        place.home = home
        place.call("POST", path, {"actions": [{"delete_alias": {"alias_name": stray}}]})


def test_one_collection_for_both(place: Place) -> None:
    home, place.home = place.home, place.production
    try:
        place.reset()
        assert {("playground", THEIRS), ("production", OURS)} <= place.failed()
        assert by("playground", *READS, *WRITES) <= place.failed()
    finally:
        place.home = home


def test_a_server_without_a_key(unlocked: Place) -> None:
    """Tokens say that they may not, and the server lets everything through: it is really tried,
    and what the tries made is removed."""
    unlocked.secrets_ = {
        "playground": token("any", "playground", unlocked.home),
        "production": token("any", "production", unlocked.production),
        "reader": token("any", "reader", unlocked.production),
    }
    before = unlocked.state()
    failed = unlocked.failed()
    lookup = {"look up a vector of production's from home"}  # needs no more than `search`
    assert by("playground", LIST, *(set(CROSSING) - lookup)) <= failed
    assert by("reader", *CHANGES) <= failed
    assert by("production", *BACK) <= failed
    assert by("nobody", NOBODY, NOBODY_HERE) <= failed
    assert unlocked.state() == before


def test_every_probe_has_a_leak_that_it_sees(place: Place, unlocked: Place) -> None:
    seen = {NOBODY, NOBODY_HERE}  # above
    for leak in LEAKS:
        place.reset()
        seen |= {tried for _, tried in leak(place)}
    assert seen | {THEIRS} == ALL


def test_another_server_is_not_probed_across(place: Place, unlocked: Place) -> None:
    """In layout `dedicated` names may even be equal: what is apart is the server."""
    prober = Prober(
        playground=replace(unlocked_access(unlocked), identity=Identity(role="playground",
                                                                        name="playground")),
        production=place.access("production"),
        reader=place.access("reader"),
    )  # fmt: skip
    tried = {a.tried: a.ok for a in prober.attempts()}
    assert tried[HOME] and tried[OURS] and tried[THEIRS]
    assert "read points" not in tried and LIST not in tried


def unlocked_access(place: Place) -> Access:
    return Access(
        endpoint=place.endpoint,
        identity=Identity(role="playground", name="playground"),
        space=QdrantSpace(collection=place.home),
    )


def test_silence_is_no_proof(place: Place) -> None:
    gone = replace(place.access("playground"), endpoint=Endpoint(port=1))
    prober = Prober(
        playground=gone, production=place.access("production"), reader=place.access("reader")
    )
    with pytest.raises(Unreachable):
        list(prober.attempts())


def test_random_requests_with_the_playgrounds_token_change_nothing(place: Place) -> None:
    """Two hundred requests of every kind, at production's names."""
    chance = random.Random(5)
    before = place.state()
    assert place.secrets_ is not None
    headers = {"api-key": place.secrets_["playground"]}
    names = [place.production, f"{place.production}__sandbox", f"{place.home}__1"]
    ends = ["", "/points", "/points/delete", "/points/payload", "/points/vectors", "/index",
            "/points/batch", "/snapshots", "/points/payload/clear",
            "/snapshots/recover"]  # fmt: skip
    bodies: list[Any] = [
        None, {}, {"points": [1, 2]}, {"points": [{"id": 1, "vector": [9, 9]}]},
        {"filter": {}}, {"points": [1], "payload": {"x": 1}}, {"vectors": {}},
        {"field_name": "n", "field_schema": "integer"},
        {"operations": [{"delete": {"filter": {}}}]},
        {"actions": [{"create_alias": {"alias_name": place.home,
                                       "collection_name": place.production}}]},
    ]  # fmt: skip
    with httpx.Client(base_url=place.http.base_url, headers=headers, timeout=60) as client:
        for _ in range(200):
            path = f"/collections/{chance.choice(names)}{chance.choice(ends)}"
            if chance.random() < 0.1:
                path = "/collections/aliases"
            method = chance.choice(["PUT", "POST", "PATCH", "DELETE"])
            response = client.request(method, path, json=chance.choice(bodies))
            assert response.status_code in (401, 403, 404), (method, path)
    assert place.state() == before


# --- tokens and fences ---------------------------------------------------------------------------


def test_a_token_as_rfc_7519_says() -> None:
    """Made by hand with `openssl dgst -sha256 -hmac key`."""
    made = mint("key", {"access": "r"})
    assert made.startswith("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJhY2Nlc3MiOiJyIn0.")
    assert read_claims(made) == {"access": "r"}


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"access": "r"}, "read"),
        ({"access": "m"}, "manage"),
        ({}, "manage"),
        ({"access": "strange"}, "manage"),
        ({"access": []}, "none"),
        ({"access": [{"collection": "c", "access": "r"}]}, "read"),
        ({"access": [{"collection": "c", "access": "rw"}]}, "write"),
        ({"access": [{"collection": "c", "access": "r"}] * 2
          + [{"collection": "c", "access": "rw"}]}, "write"),
        ({"access": [{"collection": "d", "access": "rw"}]}, "none"),
        ({"access": [{"collection": "c", "access": "new"}]}, "write"),
    ],
)  # fmt: skip
def test_what_a_token_says(claims: dict[str, Any], expected: str) -> None:
    assert right(mint("key", claims), "c") == expected
    assert right("an-api-key", "c") == right("a.b.c", "c") == "manage"


def test_roles() -> None:
    for role, expected in (("reader", "read"), ("playground", "write"), ("production", "write")):
        secret = token("key", role, "c")  # type: ignore[arg-type]
        assert right(secret, "c") == expected
        assert right(secret, "d") == "none"
        assert "key" not in secret
    assert token("key", "keeper", "c") == token("key", "admin", "c") == "key"


OWN = own_only("dev", "dev__sandbox", "prod")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "collections/dev__1", {}),
        ("DELETE", "collections/dev__12", None),
        ("PATCH", "collections/dev__1", {}),
        ("PUT", "collections/dev__1/points", {}),
        ("PUT", "collections/dev__sandbox/points", {}),
        ("GET", "collections/dev", None),
        ("POST", "collections/dev/points/scroll", {}),
        ("GET", "collections", None),
        ("POST", "collections/aliases", {"actions": [
            {"delete_alias": {"alias_name": "dev"}},
            {"create_alias": {"alias_name": "dev", "collection_name": "dev__2"}}]}),
    ],
)  # fmt: skip
def test_the_keepers_fence_lets_its_own_through(method: str, path: str, body: Any) -> None:
    OWN(method, path.split("/"), body)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        *((m, f"collections/prod{end}", {}) for m, end in itertools.product(
            ("GET", "PUT", "POST", "PATCH", "DELETE"), ("", "/points", "/points/delete"))),
        ("DELETE", "collections/dev", None),
        ("PUT", "collections/dev/points", {}),
        ("DELETE", "collections/dev_ann__1", None),
        ("DELETE", "collections/dev__1x", None),
        ("DELETE", "collections/dev__x", None),
        ("DELETE", "collections/other__1", None),
        ("DELETE", "collections/prod__sandbox", None),
        ("POST", "snapshots", None),
        ("POST", "collections/dev/points/delete", {}),
        ("POST", "collections/aliases", {"actions": [
            {"create_alias": {"alias_name": "dev", "collection_name": "prod"}}]}),
        ("POST", "collections/aliases", {"actions": [
            {"create_alias": {"alias_name": "prod", "collection_name": "dev__1"}}]}),
        ("POST", "collections/aliases", {"actions": [{"delete_alias": {"alias_name": "prod"}}]}),
        ("POST", "collections/aliases", {"actions": [
            {"rename_alias": {"old_alias_name": "prod", "new_alias_name": "dev"}}]}),
    ],
)  # fmt: skip
def test_the_keepers_fence_stops_everything_else(method: str, path: str, body: Any) -> None:
    with pytest.raises(Refused, match="not sent"):
        OWN(method, path.split("/"), body)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "collections/prod"),
        ("POST", "collections/prod/points"),
        ("POST", "collections/prod/points/delete"),
        ("POST", "collections/aliases"),
        ("DELETE", "collections/prod"),
        ("PATCH", "collections/prod"),
        ("GET", "collections/prod/snapshots"),
        ("POST", "collections/prod/points/payload/scroll"),
    ],
)
def test_the_sources_fence(method: str, path: str) -> None:
    with pytest.raises(Refused, match="not sent"):
        read_only(method, path.split("/"), {})
