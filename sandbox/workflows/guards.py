"""Whose space it is, and whether it holds what the last load left: asked before anything goes.

No flag goes past the marker. Far more data than was loaded may be thrown away when it is said so.
"""

from __future__ import annotations

from collections.abc import Iterable

from sandbox.artifact import Artifact
from sandbox.contract import Store
from sandbox.errors import Refused
from sandbox.model import Kind, Marker
from sandbox.project import Project
from sandbox.stores import backend
from sandbox.workflows.session import Session

FAR_MORE = 10  # times what the last load left
FEW = 10_000  # rows: so many are nobody's treasure


def check_own(project: Project, kind: Kind, store: Store) -> Marker:
    """The marker over the store's own connection: it must be this project's playground (P6)."""
    return check_marker(project, kind, store.marker())


def check_marker(project: Project, kind: Kind, marker: Marker | None) -> Marker:
    """Raises Refused unless the marker is this playground's."""
    where = f"{kind} {project.settings.project}"
    if marker is None:
        raise Refused(
            f"the playground's {kind} has no marker; it may not be ours",
            where=where,
            hint="./inv isolate makes the space and its marker",
        )
    ours = (project.settings.project, "playground", project.playground)
    if (marker.project, marker.environment, marker.playground) != ours:
        whose = " ".join(filter(None, (marker.environment, marker.playground)))
        raise Refused(
            f"the space is marked as {whose} of {marker.project}; nothing was changed",
            where=where,
            hint="look at the addresses and logins in the env files",
        )
    return marker


def check_amounts(markers: Iterable[tuple[Kind, Store, Marker]], target: Artifact) -> None:
    """Refused, naming each store that holds far more rows than its last load left. What `target`
    holds is not lost by going there: a developer's own data may have been saved in it."""
    found = []
    for kind, store, marker in markers:
        present, loaded = sum(store.count().values()), sum(marker.counts.values())
        saved = target.rows(kind)
        if present > max(FEW, FAR_MORE * max(loaded, saved)):
            found.append(f"{kind} holds {present:,} rows, and {loaded:,} were loaded")
    if found:
        raise Refused(
            f"{'; '.join(found)}; nothing was changed",
            hint="is it the playground that is meant? --discard-more throws it all away",
        )


def check_production(session: Session) -> None:
    """Before the stand-in production is written as administrator: Refused where a space that is
    called production's is marked as a playground's."""
    for place in session.places():
        source = backend(place.kind).source(session.admin_access(place.kind, "production"))
        try:
            marker = source.marker()
        finally:
            source.close()
        if marker is not None and marker.environment != "production":
            raise Refused(
                f"what is called production ({place.production.name}) is marked as a playground "
                f"of {marker.project}; nothing was written",
                where=place.kind,
                hint="look at the names in sandbox.toml and the addresses in the env files",
            )
