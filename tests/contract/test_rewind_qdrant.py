"""Qdrant back to its baseline: only the points that changed are read and put back, and whatever a
client can do to them is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from sandbox.errors import NoBaseline
from sandbox.stores.qdrant import markers, rewind, token
from sandbox.stores.qdrant.rest import Rest
from tests.contract import test_qdrant_store
from tests.contract.test_qdrant_store import Place

BODY = {
    "vectors": {"size": 4, "distance": "Cosine"},
    "optimizers_config": {"indexing_threshold": 0},
}
COUNT = 700
TEXT_ID = "936da01f-9abd-4d9d-80c7-02af85c822a8"


@pytest.fixture
def place(qdrant_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    made = Place(qdrant_server)
    monkeypatch.setattr(test_qdrant_store, "OURS", replace(test_qdrant_store.OURS, baseline="b1"))
    points = [{"id": n, "vector": [n, 1, 2, 3], "payload": {"n": n}} for n in range(1, COUNT)]
    points.append({"id": TEXT_ID, "vector": [1, 1, 1, 1], "payload": {"n": 0, "tags": ["a"]}})
    made.make(BODY, points)
    made.call("PUT", f"/collections/{made.production}/index?wait=true",
              {"field_name": "n", "field_schema": "integer"})  # fmt: skip
    made.admin().isolate()
    yield made
    made.admin().remove()
    left = [one["name"] for one in made.call("GET", "/collections")["collections"]]
    assert not [one for one in left if one.startswith(made.playground)]


def ask(place: Place, method: str, path: str, body: Any) -> None:
    """As the playground's application."""
    url = f"/collections/{place.playground}/points{path}?wait=true"
    login = {"api-key": token(place.key, "playground", place.playground)}
    place.http.request(method, url, json=body, headers=login).raise_for_status()


MANY = {"must": [{"key": "n", "range": {"gte": 100, "lt": 400}}]}
SPOILS: dict[str, Callable[[Place], None]] = {
    "a payload": lambda p: ask(p, "POST", "/payload", {"payload": {"x": 1}, "points": [3]}),
    "a number that becomes true": lambda p: ask(
        p, "PUT", "/payload", {"payload": {"n": True}, "points": [1]}
    ),
    "a payload that goes": lambda p: ask(p, "POST", "/payload/clear", {"points": [TEXT_ID]}),
    "a vector": lambda p: ask(
        p, "PUT", "/vectors", {"points": [{"id": 7, "vector": [9, 9, 9, 1]}]}
    ),
    "a point that goes": lambda p: ask(p, "POST", "/delete", {"points": [9, 10]}),
    "a point that comes": lambda p: ask(
        p, "PUT", "", {"points": [{"id": 5_000, "vector": [1, 2, 3, 4]}]}
    ),
    "another point in its place": lambda p: ask(
        p, "PUT", "", {"points": [{"id": 11, "vector": [1, 2, 3, 4], "payload": {"n": 11}}]}
    ),
    "many by a filter": lambda p: ask(
        p, "POST", "/payload",
        {"payload": {"seen": 1}, "filter": MANY},
    ),
}  # fmt: skip
ROWS = 2 + 1 + 1 + 2 + 1 + 1 + 300


def test_what_changed_comes_back_and_nothing_else_is_touched(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.load()
    before, home = place.points(place.playground), aliased(place)
    assert place.store().changes() == []
    again = {"points": [{"id": 12, "vector": [12, 1, 2, 3], "payload": {"n": 12}}]}
    ask(place, "PUT", "", again)  # written, and the same as before
    assert place.store().changes() == []
    for what, spoil in SPOILS.items():
        seen = [change.rows for change in place.store().changes()]
        spoil(place)
        assert [change.rows for change in place.store().changes()] != seen, what
    spoilt = place.points(place.playground)
    for step in ("only staged", "swapped and undone", "killed half-way", "done"):
        store = place.store()
        assert [change.rows for change in store.rewind()] == [ROWS]
        assert place.points(place.playground) == spoilt
        if step == "killed half-way":
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(Rest, "result", killed_at_delete(Rest.result))
                store.swap()
            assert place.points(place.playground) not in (spoilt, before)
            assert not place.store().swapped()
        elif step != "only staged":
            store.swap()
            assert place.points(place.playground) == before
            assert place.store().swapped()
        if step != "done":
            place.store().undo()
            assert place.points(place.playground) == spoilt
        place.store().settle()
    assert place.points(place.playground) == before
    assert (place.store().changes(), aliased(place)) == ([], home)
    listed = [one["name"] for one in place.call("GET", "/collections")["collections"]]
    own = sorted(one for one in listed if one.startswith(place.playground))
    assert own == sorted([home, f"{home}__base", f"{place.playground}__sandbox"])
    reader = {"api-key": token(place.key, "playground", place.playground)}
    for one in own:  # its token opens neither the pristine copy nor the notes
        answer = place.http.get(f"/collections/{one}/points/1", headers=reader)
        assert answer.status_code == 403, one


def killed_at_delete(real: Any) -> Any:
    def result(self: Rest, method: str, path: Any, body: Any = None, **query: str) -> Any:
        if path[-1] == "delete" and "__sandbox" not in path[1]:
            raise KeyboardInterrupt
        return real(self, method, path, body, **query)

    return result


def aliased(place: Place) -> str:
    found = place.call("GET", "/aliases")["aliases"]
    return next(o["collection_name"] for o in found if o["alias_name"] == place.playground)


def test_what_is_written_while_a_reset_ends_is_seen_by_the_next(place: Place) -> None:
    place.load()
    before = place.points(place.playground)
    SPOILS["a vector"](place)
    store = place.store()
    store.rewind()
    store.swap()
    ask(place, "POST", "/payload", {"payload": {"late": 1}, "points": [7]})
    ask(place, "POST", "/payload", {"payload": {"late": 1}, "points": [8]})
    store.settle()
    assert [change.rows for change in place.store().changes()] == [2]
    store = place.store()
    store.rewind()
    store.swap()
    store.settle()
    assert place.points(place.playground) == before


def test_what_points_cannot_mend_is_loaded_whole_and_says_why(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.load()
    monkeypatch.setattr(rewind, "FEW", 10)
    SPOILS["many by a filter"](place)
    with pytest.raises(NoBaseline, match="300 of its points changed"):
        place.store().rewind()
    base = f"{aliased(place)}__base"
    place.call("POST", f"/collections/{base}/points/delete?wait=true", {"points": [200]})
    with pytest.raises(NoBaseline, match="pristine copy is not whole"):
        place.store().rewind()
    place.load()
    index = {"field_name": "more", "field_schema": "keyword"}
    place.call("PUT", f"/collections/{aliased(place)}/index?wait=true", index)
    assert [change.what for change in place.store().changes()] == ["altered"]
    with pytest.raises(NoBaseline, match="payload indexes changed"):
        place.store().rewind()
    place.load()
    assert place.store().changes() == [] and place.store().rewind() == []


@pytest.mark.parametrize("how", ["no versions", "a point without a vector"])
def test_where_versions_do_not_tell_every_point_is_read(
    place: Place, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "no versions":  # as reading by id on any server, and searching on an old stand-in
        real = Rest.result

        def without(self: Rest, method: str, path: Any, body: Any = None, **query: str) -> Any:
            found = real(self, method, path, body, **query)
            if path[-1] == "query":
                return {"points": [{**one, "version": 0} for one in found["points"]]}
            return found

        monkeypatch.setattr(Rest, "result", without)
    else:
        body = {
            "vectors": {"a": {"size": 2, "distance": "Dot"}, "b": {"size": 2, "distance": "Dot"}}
        }
        place.call("DELETE", f"/collections/{place.production}")
        place.make(body, [{"id": 1, "vector": {"a": [1, 2]}}, {"id": 2, "vector": {"b": [1, 2]}}])
    place.load()
    kept = rewind._place("versions", markers.number_of(place.playground, aliased(place)))
    assert markers.read(place.store()._rest, place.playground, kept) is None
    store = place.store()
    assert store.changes() == [] and store.rewind() == []
    store.swap()
    store.settle()
    ask(place, "POST", "/payload", {"payload": {"x": 1}, "points": [2]})
    assert [change.what for change in place.store().changes()] == ["rows"]
    with pytest.raises(NoBaseline, match="does not tell which"):
        place.store().rewind()


def test_another_server_s_error_is_not_taken_for_no_versions(place: Place) -> None:
    place.load()
    store = place.store()
    store._rest._http = httpx.Client(base_url="http://127.0.0.1:1")
    with pytest.raises(Exception, match="does not answer"):
        store.changes()
