"""Makes the playground's alias, its first empty collection and both markers. Qdrant keeps no list
of logins: tokens are signed, not stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.contract import Access, Statement
from sandbox.errors import Refused
from sandbox.model import Identity, Marker, QdrantSpace, Role, Space
from sandbox.stores.qdrant import collections, markers, rest
from sandbox.stores.qdrant.tokens import marker_collection, wanted_point


class Admin:
    """The server's api-key, fenced: it changes the playground's names and the markers only."""

    def __init__(
        self,
        access: Access,
        *,
        production: Space,
        playground: Space,
        identities: Mapping[Role, Identity],
        project: str,
        playground_name: str = "",
    ) -> None:
        assert isinstance(production, QdrantSpace) and isinstance(playground, QdrantSpace)
        self._production, self._playground = production.collection, playground.collection
        self._identities = identities
        self._has_production = "reader" in identities
        self._has_playground = "playground" in identities
        self._theirs = Marker(project=project, environment="production")
        self._ours = Marker(project=project, environment="playground", playground=playground_name)
        own = rest.own_only(self._playground, marker_collection(self._playground), self._production)
        self._own = rest.opened(access, own)
        self._beside = rest.opened(access, _markers_only(self._production))

    def statements(self) -> Sequence[Statement]:
        return self._run(do=False)

    def isolate(self) -> Sequence[Statement]:
        """Raises Refused where a collection has the alias's name, or is marked as another's."""
        return self._run(do=True)

    def prepare(self, catalog: bytes) -> Sequence[Statement]:
        return ()

    def remove(self) -> Sequence[Statement]:
        """Drop the alias, its collections and markers; refused unless marked as ours."""
        name, marker = self._playground, marker_collection(self._playground)
        if self._own.found(["collections", marker]) is None:
            return []
        found = markers.of_space(self._own, name)
        if found is None or _whose(found) != _whose(self._ours):
            raise Refused("it is not marked as this playground's", where=f"qdrant {name}")
        done = []
        if name in rest.aliases(self._own):
            actions = [{"delete_alias": {"alias_name": name}}]
            self._own.result("POST", ["collections", "aliases"], {"actions": actions})
            done.append(Statement(text=f"delete alias {name}", why="the playground's name"))
        listed = self._own.result("GET", ["collections"])["collections"]
        doomed = [
            one["name"]
            for one in listed
            if markers.number_of(name, one["name"]) or markers.base_of(name, one["name"])
        ]
        for collection in [*doomed, marker]:  # the marker last: an interrupted removal goes on
            self._own.result("DELETE", ["collections", collection])
            done.append(Statement(text=f"DELETE /collections/{collection}", why="the playground's"))
        return done

    def close(self) -> None:
        self._own.close()
        self._beside.close()

    def _run(self, *, do: bool) -> list[Statement]:
        done = self._production_marker(do=do) if self._has_production else []
        done += self._playground_space(do=do) if self._has_playground else []
        return done + [s for role in self._identities for s in self._login(role, do=do)]

    def _login(self, role: Role, *, do: bool) -> list[Statement]:
        """The point that says which of the role's tokens counts."""
        wanted = wanted_point(self._identities[role].secret)
        if wanted is None:
            return []
        number, payload = wanted
        theirs = role in ("reader", "production")
        rest_, name = (self._beside, self._production) if theirs else (self._own, self._playground)
        there = rest_.found(["collections", marker_collection(name)]) is not None
        if there and markers.read(rest_, name, number) == payload:
            return []
        if do:
            markers.write(rest_, name, number, payload)
        text = f"PUT /collections/{marker_collection(name)}/points, its point {number}"
        return [Statement(text=text, why=f"the {role}'s token, and no older one")]

    def _production_marker(self, *, do: bool) -> list[Statement]:
        name = self._production
        if self._beside.found(["collections", marker_collection(name)]) is not None:
            found = markers.of_space(self._beside, name)
            if found is not None:
                _check(found, self._theirs, name)
                return []
        if do:
            markers.ensure_collection(self._beside, name)
            markers.write(self._beside, name, 0, markers.payload(self._theirs))
        return [
            Statement(
                text=f"PUT /collections/{marker_collection(name)} and its point 0",
                why="marks the collection as production",
            )
        ]

    def _playground_space(self, *, do: bool) -> list[Statement]:
        name, done = self._playground, []
        own, present = marker_collection(name), rest.aliases(self._own).get(name, "")
        number = markers.number_of(name, present)
        self._check_free(name, present, number)
        found = None
        if self._own.found(["collections", own]) is not None:
            found = markers.as_marker(markers.read(self._own, name, number))
        if found is not None:
            _check(found, self._ours, name)
        else:
            text = f"PUT /collections/{own} and its point {number or 1}"
            done.append(Statement(text=text, why="marks the collection as the playground's"))
            if do:
                markers.ensure_collection(self._own, name)
                for one in {0, number or 1}:
                    markers.write(self._own, name, one, markers.payload(self._ours))
        if not present:
            text = f"PUT /collections/{name}__1, alias {name}"
            done.append(Statement(text=text, why="an empty collection for the playground"))
            if do:
                self._make_first(name)
        return done

    def _check_free(self, name: str, present: str, number: int) -> None:
        listed = self._own.result("GET", ["collections"])["collections"]
        if any(one["name"] == name for one in listed):
            raise Refused(
                "a collection has the name of the playground's alias",
                where=f"qdrant {name}",
                hint="rename it, or give the playground another name in sandbox.toml",
            )
        if present and not number:
            raise Refused(
                f"the alias stands for {present}, which is not the playground's",
                where=f"qdrant {name}",
                hint="delete the alias, then ./inv isolate",
            )

    def _make_first(self, name: str) -> None:
        """Shaped as production's where that is on this server; a load brings the shape anyway."""
        info = self._beside.found(["collections", self._production])
        body = dict(collections.PLACEHOLDER)
        if info is not None:
            body = collections.creation(collections.options(info), indexing=True)
        first = markers.numbered(name, 1)
        if self._own.found(["collections", first]) is None:
            self._own.result("PUT", ["collections", first], body)
        if markers.read(self._own, name, 1) is None:
            markers.write(self._own, name, 1, markers.payload(self._ours))
        action = {"create_alias": {"alias_name": name, "collection_name": first}}
        self._own.result("POST", ["collections", "aliases"], {"actions": [action]})


def _markers_only(production: str) -> rest.Fence:
    """Reads anything; changes the collection of production's markers and nothing else."""
    marker = marker_collection(production)

    def fence(method: str, path: Sequence[str], body: Any) -> None:
        if len(path) < 2 or path[1] != marker:
            rest.read_only(method, path, body)

    return fence


def _check(found: Marker, wanted: Marker, name: str) -> None:
    if _whose(found) != _whose(wanted):
        raise Refused(
            f"it is marked as {found.environment} {found.playground or ''}of {found.project}, "
            f"not as {wanted.environment} of {wanted.project}",
            where=f"qdrant {name}",
        )


def _whose(marker: Marker) -> tuple[str, str, str]:
    return marker.project, marker.environment, marker.playground
