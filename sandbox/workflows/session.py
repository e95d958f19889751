"""One command's connections to the engine and the stores, made when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Self

from sandbox.contract import Access, Admin, Prober, Source, Store, Tool
from sandbox.engine import Engine, Shown, connect
from sandbox.envfiles import fingerprint
from sandbox.errors import ConfigError, Refused
from sandbox.layout import Place
from sandbox.model import (
    Endpoint,
    Environment,
    Identity,
    Kind,
    Layout,
    PostgresSpace,
    RedisSpace,
    Role,
)
from sandbox.project import Project
from sandbox.report import Report
from sandbox.stores import backend
from sandbox.urls import Login, libpq, parse_url

ROLES: tuple[Role, ...] = ("reader", "keeper", "playground", "production")


class Session:
    """Use as a context manager: what was opened is closed at its end."""

    def __init__(self, project: Project, report: Report) -> None:
        self.project = project
        self.report = report
        self._engine: Engine | None = None
        self._ports: dict[tuple[Environment, Kind], int] = {}
        self._logins: dict[Kind, Login] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def at(self, layout: Layout) -> Session:
        """The same playground in another layout; closed together with this one."""
        return self._open.enter_context(Session(self.project.at(layout), self.report))

    def beside(self, playground: str) -> Session:
        """Another playground of this project; closed together with this one. What is known of the
        engine and of production's servers is known for it, too."""
        other = Session(self.project.named(playground), self.report)
        other._engine = self._engine
        other._ports = {at: port for at, port in self._ports.items() if at[0] == "production"}
        return self._open.enter_context(other)

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            self._engine = connect(environment=self.project.environ)
        return self._engine

    @property
    def external(self) -> bool:
        return self.project.settings.environments.production.external

    def places(self, kinds: Iterable[Kind] = ()) -> tuple[Place, ...]:
        """The layout's places, of `kinds` only when any are given."""
        wanted = tuple(kinds)
        return tuple(p for p in self.project.places() if not wanted or p.kind in wanted)

    def place(self, kind: Kind) -> Place:
        for place in self.project.places():
            if place.kind == kind:
                return place
        raise ConfigError(f"the store {kind!r} is not declared", where=self.project.config.name)

    # --- logins --------------------------------------------------------------------------------

    def endpoint(self, kind: Kind, server: Environment) -> Endpoint:
        """Where the server of `kind` that `server` runs answers."""
        if kind == "files":
            return Endpoint()
        if server == "production" and self.external:
            return self._external(kind).endpoint
        if (server, kind) not in self._ports:
            declared = getattr(self.project.settings, kind)
            project = self.project.compose_project(server)
            self._ports[server, kind] = self.engine.published(
                project, declared.service, declared.port
            )
        return Endpoint(port=self._ports[server, kind])

    def forget_ports(self) -> None:
        """Containers were made anew: ask again."""
        self._ports.clear()

    def identity(self, kind: Kind, role: Role, server: Environment) -> Identity:
        """The login of `role`. Qdrant's are tokens, signed with its server's api-key."""
        if kind == "files":
            return Identity(role=role, name=self.project.files_user if role == "playground" else "")
        if server == "production" and self.external:
            # There is no other login: what probes would do as production's application, the reader
            # is asked to do, and may not.
            return replace(self._external(kind).identity, role=role)
        identity = self.project.identity(kind, role, server)
        if kind != "qdrant" or role == "admin":
            return identity
        from sandbox.stores.qdrant import token  # its driver is imported when it is asked for

        # Where a layout shares production's collection, the playground's token still names its own.
        of = self.project.places("namespaced")
        place = next(one for one in of if one.kind == "qdrant")
        space = place.production if role in ("reader", "production") else place.playground
        key = self.project.admin_secret(kind, server)
        revision = fingerprint(identity.secret)
        return replace(identity, secret=token(key, role, space.name, revision=revision))

    def access(self, kind: Kind, role: Role) -> Access:
        """A login at its own space: reader and production at production's, the others at home."""
        place = self.place(kind)
        at_home = role in ("keeper", "playground")
        server: Environment = place.server if at_home else "production"
        return Access(
            endpoint=self.endpoint(kind, server),
            identity=self.identity(kind, role, server),
            space=place.playground if at_home else place.production,
        )

    def admin_access(self, kind: Kind, server: Environment) -> Access:
        """The administrator's login, at the space of `server`'s environment."""
        place = self.place(kind)
        return Access(
            endpoint=self.endpoint(kind, server),
            identity=self.identity(kind, "admin", server),
            space=place.production if server == "production" else place.playground,
        )

    # --- stores --------------------------------------------------------------------------------

    def source(self, kind: Kind) -> Source:
        """Production, for reading: nothing here can write it (P1)."""
        self._refuse_shared(kind)
        made = backend(kind).source(
            self.access(kind, "reader"), tool=self._tool(kind, "production")
        )
        self._open.callback(made.close)
        return made

    def store(self, kind: Kind) -> Store:
        """The playground's space, as keeper. Refused in a layout that shares production's."""
        self._refuse_shared(kind)
        place = self.place(kind)
        made = backend(kind).store(
            self.access(kind, "keeper"),
            owner=self.identity(kind, "playground", place.server),
            production=place.production,
            tool=self._tool(kind, place.server),
        )
        self._open.callback(made.close)
        return made

    def _refuse_shared(self, kind: Kind) -> None:
        if self.place(kind).shared:
            raise Refused(
                f"in layout {self.project.layout} the playground's {kind} is production's own",
                hint="./inv isolate --layout namespaced gives it a space of its own",
            )

    def home(self, kind: Kind, shown: Shown | None = None) -> Source:
        """The playground's space with everything that stands in it, listed or not, for reading;
        in a server that shows a baseline when one is given."""
        access = self.access(kind, "keeper")
        tool = self._tool(kind, self.place(kind).server)
        if shown is not None:
            port = shown.ports[self.place(kind).port]
            access, tool = replace(access, endpoint=Endpoint(port=port)), shown.run
        if kind == "postgres":
            from sandbox.stores.postgres.everything import everything as all_tables

            access = all_tables(access)
        elif kind == "mongo":
            from sandbox.stores.mongo.everything import everything as all_collections

            access = all_collections(access)
        made = backend(kind).source(access, tool=tool)
        self._open.callback(made.close)
        return made

    def stores(self, kinds: Iterable[Kind] = ()) -> dict[Kind, Store]:
        return {place.kind: self.store(place.kind) for place in self.places(kinds)}

    def sources(self) -> dict[Kind, Source]:
        return {place.kind: self.source(place.kind) for place in self.places()}

    def admin(self, kind: Kind, server: Environment) -> Admin:
        """The administrator of the server that `server` runs, with the identities that belong
        there: all in a shared server, else production's two or the playground's two."""
        place = self.place(kind)
        made = backend(kind).admin(
            self.admin_access(kind, server),
            production=place.production,
            playground=place.playground,
            identities={
                role: self.identity(kind, role, server) for role in self._roles_on(place, server)
            },
            project=self.project.settings.project,
            playground_name=self.project.playground,
        )
        self._open.callback(made.close)
        return made

    def prepare(self, catalogs: Mapping[Kind, bytes]) -> None:
        """What loading these needs from the administrator of the playground's own servers."""
        for kind, catalog in catalogs.items():
            if catalog and self.place(kind).server == "playground":
                self.admin(kind, "playground").prepare(catalog)

    def servers(self, place: Place) -> Sequence[Environment]:
        """The environments whose servers hold a space of this place and may be administered."""
        if self.external:
            return ("playground",) if place.server == "playground" or place.kind == "files" else ()
        return ("production", "playground") if place.server == "playground" else ("production",)

    def prober(self, kind: Kind) -> Prober:
        made = backend(kind).prober(
            playground=self.access(kind, "playground"),
            production=self.access(kind, "production"),
            reader=self.access(kind, "reader"),
        )
        self._open.callback(made.close)
        return made

    def _roles_on(self, place: Place, server: Environment) -> tuple[Role, ...]:
        if place.server == "production" and not self.external:
            return ROLES
        return ("reader", "production") if server == "production" else ("keeper", "playground")

    def _tool(self, kind: Kind, server: Environment) -> Tool | None:
        """The server's own programs, run beside it; for an external one in a container like the
        playground's, on this machine's network."""
        if kind != "postgres":
            return None
        project = self.project.compose_project(server)
        service = self.place(kind).service

        def beside(
            argv: Sequence[str], *, stdin: bytes = b"", environment: Mapping[str, str] = {}
        ) -> bytes:
            there = {"PGHOST": "127.0.0.1", **environment}
            return self.engine.exec(project, service, argv, stdin=stdin, environment=there)

        def afar(
            argv: Sequence[str], *, stdin: bytes = b"", environment: Mapping[str, str] = {}
        ) -> bytes:
            there, files = libpq(self.endpoint(kind, "production"))
            own = self.project.compose_project("playground")
            return self.engine.run_apart(
                own, service, argv, environment={**there, **environment}, files=files
            )

        return afar if server == "production" and self.external else beside

    def _external(self, kind: Kind) -> Login:
        """What the reader's URL says. Its database must be the one that sandbox.toml names."""
        if kind not in self._logins:
            login = parse_url(kind, self.project.external_url(kind))
            space = self.place(kind).production
            named = space.database if isinstance(space, PostgresSpace | RedisSpace) else None
            if named is not None and login.path and login.path != str(named):
                variable = self.project.settings.environments.production.urls[kind]
                raise ConfigError(
                    f"{variable} names another database than {self.project.config.name}",
                    where=f"{kind}.database = {named}",
                )
            self._logins[kind] = login
        return self._logins[kind]
