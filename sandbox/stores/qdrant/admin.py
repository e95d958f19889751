"""Markers. Tokens need no server: they are signed, not stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from sandbox.contract import Access, Statement
from sandbox.errors import Refused
from sandbox.model import Environment, Identity, Marker, Role, Space
from sandbox.stores.qdrant.access import MARKER, Rest, read_marker, write_marker


class QdrantAdmin:
    """`isolate` plants the markers; twice is as once."""

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
        self._rest = Rest(access)
        self._production, self._playground = production.name, playground.name
        self._identities = identities
        self._project = project
        self._name = playground_name

    def statements(self) -> Sequence[Statement]:
        return [statement for statement, _ in self._changes()]

    def isolate(self) -> Sequence[Statement]:
        done = []
        for statement, run in list(self._changes()):
            run()
            done.append(statement)
        return done

    def remove(self) -> Sequence[Statement]:
        marker = read_marker(self._rest, self._playground)
        if marker is not None and marker.environment != "playground":
            raise Refused(f"{self._playground} is not a playground's", where="qdrant")
        prefix = f"{self._playground}__"
        names = [c["name"] for c in self._rest.ask("GET", "/collections")["collections"]]
        doomed = [n for n in names if n.startswith(prefix) or n == MARKER + self._playground]
        for name in doomed:
            self._rest.ask("DELETE", f"/collections/{name}")
        return [Statement(text=f"DELETE /collections/{n}", why="the playground's") for n in doomed]

    def close(self) -> None:
        self._rest.close()

    def _changes(self) -> Iterator[tuple[Statement, Callable[[], None]]]:
        wanted: list[tuple[str, Environment]] = []
        if "keeper" in self._identities:
            wanted.append((self._playground, "playground"))
        if "reader" in self._identities:
            wanted.append((self._production, "production"))
        for space, environment in wanted:
            name = self._name if environment == "playground" else ""
            marker = Marker(project=self._project, environment=environment, playground=name)
            present = read_marker(self._rest, space)
            if present is None:
                text = f"PUT /collections/{MARKER}{space}"
                yield (
                    Statement(text=text, why=f"whose {space} is"),
                    lambda s=space, m=marker: write_marker(self._rest, s, m),  # type: ignore[misc]
                )
            elif (present.project, present.environment) != (self._project, environment):
                raise Refused(
                    f"{space} is marked as {present.environment} of {present.project}",
                    where="qdrant",
                )
