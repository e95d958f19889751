"""A collection is copied whole, and only the playground's own is ever written."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import orjson
import pytest

from sandbox.contract import Access, Vectored
from sandbox.errors import ConfigError, Refused, SnapshotBroken, Unreachable
from sandbox.masking.keep import KEEP
from sandbox.model import Dataset, Endpoint, Identity, Marker, Point, QdrantSpace, Role
from sandbox.stores.qdrant import Admin, Source, Store, batches, markers, rest, scrolling, token
from tests.contract.decoded import Decoded

OURS = Marker(project="demo", environment="playground", snapshot="s1")
VECTORS = {
    "text": {"size": 4, "distance": "Cosine", "on_disk": True},
    "image": {"size": 3, "distance": "Euclid"},
    "words": {
        "size": 2,
        "distance": "Dot",
        "multivector_config": {"comparator": "max_sim"},
    },
}
FULL: dict[str, Any] = {
    "vectors": VECTORS,
    "sparse_vectors": {"bm25": {"modifier": "idf"}},
    "hnsw_config": {"m": 24, "ef_construct": 77},
    "optimizers_config": {"indexing_threshold": 5000, "default_segment_number": 2},
    "quantization_config": {"scalar": {"type": "int8", "always_ram": True}},
    "on_disk_payload": False,
}
INDEXES: dict[str, Any] = {
    "owner.email": "keyword",
    "n": {"type": "integer", "lookup": True, "range": False},
    "text": {"type": "text", "tokenizer": "word", "lowercase": True},
    "at": "datetime",
}


class Place:
    """Production with a collection, and a playground as `isolate` leaves it."""

    def __init__(self, server: Any) -> None:
        self.endpoint = Endpoint(host=server.host, port=server.port)
        self.key = server.api_key
        stem = f"t{secrets.token_hex(4)}"
        self.production, self.playground = f"{stem}_rule1", f"{stem}_dev_rule1"
        self.http = httpx.Client(
            base_url=f"http://{server.host}:{server.port}",
            headers={"api-key": server.api_key},
            timeout=60,
        )

    def call(self, method: str, path: str, body: Any = None) -> Any:
        response = self.http.request(method, path, json=body)
        response.raise_for_status()
        return response.json()["result"]

    def make(self, body: dict[str, Any], points: list[dict[str, Any]], name: str = "") -> None:
        path = f"/collections/{name or self.production}"
        self.call("PUT", path, body)
        for at in range(0, len(points), 500):
            part = {"points": points[at : at + 500]}
            self.call("PUT", f"{path}/points?wait=true", part)

    def access(self, role: Role, collection: str) -> Access:
        return Access(
            endpoint=self.endpoint,
            identity=Identity(
                role=role, name=f"demo_{role}", secret=token(self.key, role, collection)
            ),
            space=QdrantSpace(collection=collection),
        )

    def admin(self, **changes: Any) -> Admin:
        roles: tuple[Role, ...] = ("reader", "keeper", "playground", "production")
        values: dict[str, Any] = {
            "production": QdrantSpace(collection=self.production),
            "playground": QdrantSpace(collection=self.playground),
            "identities": {role: Identity(role=role, name=role) for role in roles},
            "project": "demo",
            **changes,
        }
        return Admin(self.access("admin", self.production), **values)

    def source(self) -> Source:
        return Source(self.access("reader", self.production))

    def store(self, production: str = "") -> Store:
        return Store(
            self.access("keeper", self.playground),
            owner=Identity(role="playground", name="p"),
            production=QdrantSpace(collection=production or self.production),
        )

    def load(self, *, mask: Any = KEEP, swap: bool = True, settle: bool = True) -> Store:
        source, store = self.source(), self.store()
        with source.cut() as cut:
            datasets = source.datasets(cut)
            store.stage(datasets, source.catalog(cut))
            for dataset in datasets:
                store.write(dataset, (piece for _, piece in source.read(cut, dataset, mask)))
        assert store.finish(OURS) == []
        if swap:
            store.swap()
        if settle:
            store.settle()
        return store

    def points(self, name: str) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        offset = None
        while True:
            body = {"limit": 300, "with_vector": True, "with_payload": True, "offset": offset}
            page = self.call("POST", f"/collections/{name}/points/scroll", body)
            found |= {p["id"]: (p["vector"], p["payload"]) for p in page["points"]}
            offset = page["next_page_offset"]
            if offset is None:
                return found

    def names(self) -> list[str]:
        """What there is of the playground, without its prefix."""
        listed = [c["name"] for c in self.call("GET", "/collections")["collections"]]
        return sorted(
            n.removeprefix(self.playground) for n in listed if n.startswith(self.playground)
        )

    def alias(self) -> str:
        aliases = self.call("GET", "/aliases")["aliases"]
        found = [a["collection_name"] for a in aliases if a["alias_name"] == self.playground]
        return found[0].removeprefix(self.playground) if found else ""


@pytest.fixture
def empty(qdrant_server: Any) -> Iterator[Place]:
    made = Place(qdrant_server)
    yield made
    for one in made.call("GET", "/collections")["collections"]:
        if one["name"].startswith(made.production.removesuffix("_rule1")):
            made.call("DELETE", f"/collections/{one['name']}")
    made.http.close()


def plain_points(count: int, size: int = 4) -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "vector": [((number * 7 + k) % 13) / 13 - 0.4 for k in range(size)],
            "payload": {"n": number, "owner": {"email": f"änn{number}@example.com"}},
        }
        for number in range(count)
    ]


@pytest.fixture
def place(empty: Place) -> Place:
    empty.make({"vectors": {"size": 4, "distance": "Dot"}}, plain_points(50))
    empty.admin().isolate()
    return empty


def odd_points() -> list[dict[str, Any]]:
    """Ids and vectors of every kind."""
    nothing: dict[str, Any] = {}
    return [
        {"id": 0, "vector": {"text": [1, 2, 3, 4]}, "payload": nothing},
        {"id": (1 << 64) - 1, "vector": {"image": [0.1, -0.0, 1e-30]}, "payload": {"n": 1}},
        {"id": (1 << 63), "vector": {"words": [[1.5, 2.25], [3, 4]]}, "payload": {"n": None}},
        {
            "id": str(uuid.UUID(int=5)),
            "vector": {"bm25": {"indices": [7, 4_000_000_000], "values": [0.5, 0.25]}},
            "payload": {"deep": {"list": [1, "二", {"x": True}], "e": '\n\t"\\ \u0000 𝄞'}},
        },
        {
            "id": str(uuid.uuid4()),
            "vector": {
                "text": [0.1, 0.2, 0.3, 0.4],
                "image": [1, 2, 3],
                "words": [[1, 0]],
                "bm25": {"indices": [1], "values": [2]},
            },
            "payload": {"owner": {"email": "a@x.com"}, "big": 2**53 + 1, "f": 0.1},
        },
        {"id": 12, "vector": nothing, "payload": {"next_page_offset": None, "a": [1]}},
    ]


def test_a_copy_is_the_same(empty: Place) -> None:
    empty.make(FULL, odd_points())
    for field, schema in INDEXES.items():
        path = f"/collections/{empty.production}/index?wait=true"
        empty.call("PUT", path, {"field_name": field, "field_schema": schema})
    empty.admin().isolate()
    before = empty.points(empty.production)
    store = empty.load()
    assert empty.points(empty.playground) == before == empty.points(empty.production)
    infos = [
        empty.call("GET", f"/collections/{name}") for name in (empty.production, empty.playground)
    ]
    assert infos[0]["config"] == infos[1]["config"]
    assert infos[0]["payload_schema"] == infos[1]["payload_schema"]
    assert set(infos[1]["payload_schema"]) == set(INDEXES)
    with store.cut() as cut:
        (copied,) = store.datasets(cut)
    with empty.source().cut() as cut:
        assert empty.source().datasets(cut)[0] == copied


def test_further_aliases_are_named_and_not_made(place: Place) -> None:
    before = place.call("GET", "/aliases")["aliases"]
    names = [f"{place.production}_{tail}" for tail in ("latest", "a")]
    actions = [
        {"create_alias": {"alias_name": name, "collection_name": place.production}}
        for name in names
    ]
    place.call("POST", "/collections/aliases", {"actions": actions})
    source, store = place.source(), place.store()
    with source.cut() as cut:
        (dataset,) = source.datasets(cut)
        assert source.altered(cut, [dataset]) == []
        store.stage([dataset], b"")
        store.write(dataset, (piece for _, piece in source.read(cut, dataset, KEEP)))
        gone = {"delete_alias": {"alias_name": names[0]}}
        place.call("POST", "/collections/aliases", {"actions": [gone]})
        assert source.altered(cut, [dataset]) == []  # whoever reads by another name
    notes = store.finish(OURS)
    store.swap()
    store.settle()
    assert [note.split(":")[0] for note in notes] == [f"its alias {one}" for one in sorted(names)]
    with store.cut() as cut:
        assert "aliases" not in store.datasets(cut)[0].options
    now = place.call("GET", "/aliases")["aliases"]
    assert {a["alias_name"] for a in now} - {a["alias_name"] for a in before} == {names[1]}


def test_many_points_in_many_batches(empty: Place) -> None:
    empty.make({"vectors": {"size": 256, "distance": "Dot"}}, plain_points(3000, 256))
    empty.admin().isolate()
    source = empty.source()
    with source.cut() as cut:
        (dataset,) = source.datasets(cut)
        pieces = list(source.read(cut, dataset, KEEP))
    assert sum(rows for rows, _ in pieces) == 3000 == dataset.rows
    assert len(pieces) > 3
    assert max(len(piece) for _, piece in pieces) < 3 << 20
    store = empty.load()
    assert store.count() == {"points": 3000}
    assert empty.points(empty.playground) == empty.points(empty.production)


def read_ids(place: Place, mask: Any = KEEP) -> tuple[list[Any], int]:
    """In the order of the stream, and how many rows it told."""
    source = place.source()
    with source.cut() as cut:
        (dataset,) = source.datasets(cut)
        pieces = list(source.read(cut, dataset, mask))
    lines = [orjson.loads(piece) for _, piece in pieces]
    assert all(one["count"] == len(one["points"]) for one in lines)
    return [p["id"] for one in lines for p in one["points"]], sum(rows for rows, _ in pieces)


@pytest.mark.parametrize("mask", [KEEP, Decoded()], ids=["raw", "decoded"])
def test_a_large_collection_is_scrolled_from_several_places(
    empty: Place, monkeypatch: pytest.MonkeyPatch, mask: Any
) -> None:
    """Every point exactly once, of either kind of id, wherever the bounds fall."""
    points = plain_points(500)
    for number, point in enumerate(points):
        if number % 2:
            point["id"] = str(uuid.UUID(int=number << 118 | number))
        elif number % 3 == 0:
            point["id"] = (1 << 64) - 1 - number
    empty.make({"vectors": {"size": 4, "distance": "Dot"}}, points)
    empty.admin().isolate()
    monkeypatch.setattr(scrolling, "RANGE_BYTES", 1000)
    real, ranges = scrolling._range, []

    def range_(*args: Any, **options: Any) -> Any:
        ranges.append(args)
        return real(*args, **options)

    monkeypatch.setattr(scrolling, "_range", range_)
    wanted = {point["id"] for point in points}
    for _ in range(4):  # other bounds each time
        ranges.clear()
        ids, told = read_ids(empty, mask)
        assert len(ids) == len(wanted) == told
        assert set(ids) == wanted
        assert len(ranges) > 1
    empty.load(mask=mask)
    assert empty.points(empty.playground) == empty.points(empty.production)


def test_a_server_that_draws_no_points_is_scrolled_from_one_place(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = rest.Rest.result

    def old(self: Any, method: str, path: Any, body: Any = None, **query: str) -> Any:
        if path[-1] == "query":
            raise rest.Answered("HTTP 400: unknown variant `sample`", status=400, where="qdrant")
        return real(self, method, path, body, **query)

    monkeypatch.setattr(rest.Rest, "result", old)
    monkeypatch.setattr(scrolling, "RANGE_BYTES", 10)
    ids, told = read_ids(place)
    assert len(ids) == told == 50
    assert ids == sorted(ids)


def test_an_empty_collection(empty: Place) -> None:
    empty.make({"vectors": {"size": 4, "distance": "Dot"}}, [])
    empty.admin().isolate()
    assert empty.load().count() == {"points": 0}


def test_the_stream_holds_plain_text(place: Place) -> None:
    source = place.source()
    with source.cut() as cut:
        stream = b"".join(p for _, p in source.read(cut, source.datasets(cut)[0], KEEP))
    assert "änn49@example.com".encode() in stream
    assert all(orjson.loads(line)["count"] for line in stream.splitlines())


class Renamed(Decoded):
    """Masks a payload, drops a point, turns a vector."""

    def point(self, collection: str, point: Point) -> Point | None:
        import numpy as np

        if point.payload["n"] == 7:
            return None
        point.payload["owner"]["email"] = "masked"
        point.vector = np.asarray(point.vector[::-1], dtype=np.float32)
        self.seen = collection
        return point


def test_the_mask_sees_every_point(place: Place) -> None:
    mask = Renamed()
    place.load(mask=mask)
    assert mask.seen == "points"
    copied, original = place.points(place.playground), place.points(place.production)
    assert set(original) - set(copied) == {7}
    for number, (vector, payload) in copied.items():
        assert payload == {"n": number, "owner": {"email": "masked"}}
        assert vector == original[number][0][::-1]


def test_the_leak_search_reads_everything_but_vectors(place: Place) -> None:
    """Of production and of the playground, raw and through a mask."""
    mask = Noted()
    place.load()
    for source in (place.source(), place.store()):
        with source.cut() as cut:
            (dataset,) = source.datasets(cut)
            assert isinstance(source, Vectored)
            for through in (KEEP, mask):
                pieces = list(source.without_vectors(cut, dataset, through))
                assert sum(rows for rows, _ in pieces) == 50
                stream = b"".join(piece for _, piece in pieces)
                assert "änn49@example.com".encode() in stream
                assert sum(len(piece) for _, piece in source.read(cut, dataset, KEEP)) > len(stream)
    payloads = {number: payload for number, (_, payload) in place.points(place.production).items()}
    assert {one.id: one.payload for one in mask.seen} == payloads
    assert not any(one.vector for one in mask.seen)


class Noted(Decoded):
    def __init__(self) -> None:
        self.seen: list[Point] = []

    def point(self, collection: str, point: Point) -> Point | None:
        self.seen.append(point)
        return point


def test_load(place: Place) -> None:
    assert (place.names(), place.alias()) == (["__1", "__sandbox"], "__1")
    assert place.store().count() == {"points": 0}
    store = place.load()
    assert (place.names(), place.alias()) == (["__2", "__sandbox"], "__2")
    assert store.marker() == OURS
    assert place.source().marker() == Marker(project="demo", environment="production")
    place.load()
    assert (place.names(), place.alias()) == (["__3", "__sandbox"], "__3")
    assert "Qdrant" in store.ready() and "Qdrant" in place.source().ready()


def test_nothing_is_seen_before_the_swap(place: Place) -> None:
    store = place.load(swap=False, settle=False)
    assert store.count() == {"points": 0}
    store.settle()
    assert (place.names(), place.alias()) == (["__1", "__sandbox"], "__1")


def test_undo_and_again(place: Place) -> None:
    store = place.load(settle=False)
    for _ in range(2):
        store.undo()
        assert store.count() == {"points": 0}
    store.swap()
    assert store.count() == {"points": 50}
    store.swap()
    store.undo()
    store.settle()
    store.undo()
    assert (place.names(), place.alias()) == (["__1", "__sandbox"], "__1")


def test_swap_and_settle_again(place: Place) -> None:
    store = place.load(settle=False)
    store.swap()
    for _ in range(2):
        store.settle()
        store.undo()
        assert store.count() == {"points": 50}
    with pytest.raises(SnapshotBroken, match="no finished load"):
        store.swap()


def test_an_unfinished_load_is_never_swapped_in(place: Place) -> None:
    source, store = place.source(), place.store()
    with source.cut() as cut:
        store.stage(source.datasets(cut), b"")
    with pytest.raises(SnapshotBroken, match="no finished load"):
        store.swap()
    store.stage([], b"")  # drops it
    store.settle()
    assert place.names() == ["__1", "__sandbox"]


def test_stage_refuses_while_a_swap_is_not_settled(place: Place) -> None:
    place.load(settle=False)
    with pytest.raises(Refused, match="not settled"):
        place.store().stage([], b"")


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", range(6))  # requests that change something
def test_killed_anywhere_in_swap_the_playground_is_whole(
    place: Place, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    store = place.load(swap=False, settle=False)
    original, left = rest.Rest.send, [after]

    def dying(self: rest.Rest, method: str, *arguments: Any, **query: str) -> Any:
        if method != "GET":
            if left[0] == 0:
                raise Killed
            left[0] -= 1
        return original(self, method, *arguments, **query)

    settling = False
    with monkeypatch.context() as patch:
        patch.setattr(rest.Rest, "send", dying)
        try:
            store.swap()
            settling = True
            store.settle()
        except Killed:
            pass
    fresh = place.store()
    fresh.undo()
    expected = {0, 50} if settling else {0}
    assert fresh.count()["points"] in expected
    fresh.settle()
    assert fresh.count()["points"] in expected
    assert len(place.names()) == 2


def test_a_stream_with_an_id_twice_is_refused(place: Place) -> None:
    source, store = place.source(), place.store()
    with source.cut() as cut:
        (dataset,) = source.datasets(cut)
        store.stage([dataset], b"")
        stream = b"".join(p for _, p in source.read(cut, dataset, KEEP))
        store.write(dataset, [stream, stream])
    with pytest.raises(SnapshotBroken, match="twice"):
        store.finish(OURS)


@pytest.mark.parametrize("data", [b"{}\n", b'{"count":1,"points":[', b"[]\n", b"\n", b"\xff\n"])
def test_a_damaged_stream(place: Place, data: bytes) -> None:
    store = place.store()
    store.stage([], b"")
    with pytest.raises(SnapshotBroken):
        store.write(Dataset(store="qdrant", name="x"), [data])


def test_a_batch_that_is_too_large_goes_in_parts(place: Place) -> None:
    """The server takes 32 MiB in one request."""
    store = place.store()
    with place.source().cut() as cut:
        (dataset,) = place.source().datasets(cut)
    store.stage([dataset], b"")
    points = [
        {"id": n, "vector": [1, 2, 3, 4], "payload": {"t": "x" * (9 << 20)}} for n in range(5)
    ]
    line = batches.line(5, orjson.dumps(points))
    assert store.write(dataset, [line[at : at + 700_001] for at in range(0, len(line), 700_001)])
    assert store.finish(OURS) == []


# --- guards, each seen to refuse -----------------------------------------------------------------


def forget_marker(place: Place) -> None:
    path = f"/collections/{place.playground}__sandbox"
    place.call("DELETE", path)


def mark_as_production(place: Place) -> None:
    for number in (0, 1):
        place.call(
            "PUT",
            f"/collections/{place.playground}__sandbox/points?wait=true",
            {
                "points": [
                    {
                        "id": number,
                        "vector": [1.0],
                        "payload": markers.payload(replace(OURS, environment="production")),
                    }
                ]
            },
        )


def garble_marker(place: Place) -> None:
    place.call(
        "PUT",
        f"/collections/{place.playground}__sandbox/points?wait=true",
        {"points": [{"id": 1, "vector": [1.0], "payload": {"marker": {"x": 1}}}]},
    )


def stand_over_production(place: Place) -> None:
    alias = {"alias_name": place.playground, "collection_name": place.production}
    place.call("POST", "/collections/aliases", {"actions": [{"create_alias": alias}]})
    forget_marker(place)


def be_a_collection(place: Place) -> None:
    alias = {"alias_name": place.playground}
    place.call("POST", "/collections/aliases", {"actions": [{"delete_alias": alias}]})
    place.make({"vectors": {"size": 4, "distance": "Dot"}}, [], name=place.playground)


CALLS: dict[str, Callable[[Store], object]] = {
    "stage": lambda s: s.stage([], b""),
    "write": lambda s: s.write(Dataset(store="qdrant", name="x"), iter(())),
    "finish": lambda s: s.finish(OURS),
    "swap": lambda s: s.swap(),
    "undo": lambda s: s.undo(),
    "settle": lambda s: s.settle(),
}


@pytest.mark.parametrize(
    "harm",
    [forget_marker, mark_as_production, garble_marker, stand_over_production, be_a_collection],
)
def test_every_write_refuses(place: Place, harm: Callable[[Place], None]) -> None:
    place.load(swap=False, settle=False)
    harm(place)
    before = place.points(place.production)
    for call in CALLS.values():
        with pytest.raises(Refused):
            call(place.store())
    assert place.points(place.production) == before
    assert {"__1", "__2"} <= set(place.names())


@pytest.mark.parametrize("suffix", ["", "__1"])
def test_a_playground_named_as_production_is_refused(place: Place, suffix: str) -> None:
    with pytest.raises(Refused, match="production's own"):
        place.store(production=f"{place.playground}{suffix}")
    with pytest.raises(Refused, match="production's own"):
        place.admin(production=QdrantSpace(collection=f"{place.playground}{suffix}"))


def test_finish_refuses_another_playgrounds_marker(place: Place) -> None:
    store = place.load(swap=False, settle=False)
    for other in (replace(OURS, project="other"), replace(OURS, playground="ann")):
        with pytest.raises(Refused):
            store.finish(other)


def test_two_collections_are_refused(place: Place) -> None:
    with pytest.raises(ConfigError):
        place.store().stage([Dataset(store="qdrant", name=n) for n in "ab"], b"")


# --- the reader ----------------------------------------------------------------------------------


def test_a_source_cannot_write_by_code_nor_by_right(place: Place) -> None:
    source = place.source()
    body = {"points": [{"id": 1, "vector": [1, 1, 1, 1]}]}
    path = ["collections", place.production, "points"]
    with pytest.raises(Refused, match="not sent"):
        source._rest.result("PUT", path, body)
    unfenced = rest.opened(place.access("reader", place.production), lambda *_: None)
    with pytest.raises(Refused, match="no right"):
        unfenced.result("PUT", path, body)


def test_wrong_logins_and_addresses(place: Place) -> None:
    access = place.access("reader", place.production)
    wrong = replace(access, identity=Identity(role="reader", name="x", secret="wrong"))
    with pytest.raises(Refused, match="not accepted"):
        Source(wrong).ready()
    nowhere = replace(access, endpoint=Endpoint(port=1))
    with pytest.raises(Unreachable):
        Source(nowhere).ready()
    missing = replace(access, space=QdrantSpace(collection=place.production + "_none"))
    with pytest.raises((Unreachable, Refused)), Source(missing).cut():
        pass


def test_search(place: Place) -> None:
    extra = {"id": 99, "payload": {"a": [{"ke\ny": 'say "hi"'}], "owner": {"email": "b@x.com"}}}
    place.call(
        "PUT",
        f"/collections/{place.production}/points?wait=true",
        {"points": [{**extra, "vector": [1, 2, 3, 4]}]},
    )
    store = place.load()
    name = "points"
    assert store.search(["änn49@example.com"]) == [f"{name}.owner.email"]
    assert store.search(['say "hi"', "e\ny"]) == [f"{name}.a[].ke\ny"]
    assert store.search(["nowhere"]) == store.search([]) == store.search([""]) == []


# --- isolate -------------------------------------------------------------------------------------


def test_isolate_says_what_it_does(empty: Place) -> None:
    empty.make({"vectors": {"size": 4, "distance": "Dot"}}, [])
    planned = empty.admin().statements()
    assert empty.names() == []
    assert empty.admin().isolate() == planned
    assert len(planned) == 3
    assert empty.admin().isolate() == empty.admin().statements() == []
    info = empty.call("GET", f"/collections/{empty.playground}")
    assert info["config"]["params"]["vectors"] == {"size": 4, "distance": "Dot"}


def test_isolate_on_the_playgrounds_own_server(empty: Place) -> None:
    """In layout `dedicated` production's collection is not there."""
    two = {r: Identity(role=r, name=r) for r in ("keeper", "playground")}  # type: ignore[arg-type]
    empty.admin(identities=two).isolate()
    assert (empty.names(), empty.alias()) == (["__1", "__sandbox"], "__1")
    assert empty.store().marker() == Marker(project="demo", environment="playground")
    listed = [c["name"] for c in empty.call("GET", "/collections")["collections"]]
    assert not [n for n in listed if n.startswith(empty.production)]


def test_isolate_refuses_what_is_not_the_playgrounds(place: Place) -> None:
    for changes in ({"project": "other"}, {"playground_name": "ann"}):
        with pytest.raises(Refused, match="marked as"):
            place.admin(**changes).isolate()
    be_a_collection(place)
    with pytest.raises(Refused, match="alias"):
        place.admin().isolate()


def test_isolate_refuses_an_alias_over_production(place: Place) -> None:
    stand_over_production(place)
    with pytest.raises(Refused, match="not the playground's"):
        place.admin().isolate()


def test_remove(place: Place) -> None:
    place.load(settle=False)
    assert len(place.admin().remove()) == 4
    assert place.names() == []
    assert place.admin().remove() == []
    assert len(place.points(place.production)) == 50


@pytest.mark.parametrize("harm", [mark_as_production, garble_marker])
def test_remove_refuses(place: Place, harm: Callable[[Place], None]) -> None:
    harm(place)
    with pytest.raises(Refused):
        place.admin().remove()
    assert "__1" in place.names()
