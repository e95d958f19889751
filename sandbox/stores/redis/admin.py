"""ACL users and markers. Secrets go to the server as SHA-256, never as they are."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import redis

from sandbox.contract import Access, Statement
from sandbox.errors import Refused
from sandbox.model import Identity, Marker, RedisSpace, Role, Space
from sandbox.stores.redis.session import connect, read_marker, write_marker

# Commands that reach beyond a prefix, whatever the key patterns say.
BEYOND = (
    "-@admin -@dangerous -@scripting -keys -scan -randomkey -flushall -flushdb -config -debug "
    "-swapdb -migrate -move -select -monitor -shutdown -dbsize +info"
)


Change = tuple[Statement, Callable[[], object]]


class RedisAdmin:
    """`isolate` makes what is missing; twice is as once."""

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
        assert isinstance(production, RedisSpace) and isinstance(playground, RedisSpace)
        self._client = connect(access)
        self._production = production.prefix
        self._playground = playground.prefix
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
        with contextlib.suppress(redis.ResponseError):  # where no ACL file is configured
            self._client.execute_command("ACL", "SAVE")
        return done

    def remove(self) -> Sequence[Statement]:
        marker = read_marker(self._client, self._playground)
        if marker is not None and marker.environment != "playground":
            raise Refused(f"prefix {self._playground} is not a playground's", where="redis")
        names = [
            self._identities[r].name for r in ("keeper", "playground") if r in self._identities
        ]
        self._client.execute_command("ACL", "DELUSER", *names)
        return [Statement(text=f"ACL DELUSER {' '.join(names)}", why="the playground's logins")]

    def close(self) -> None:
        self._client.close()

    def _changes(self) -> Iterator[Change]:
        for role, identity in self._identities.items():
            rules = self._rules(role)
            secret = hashlib.sha256(identity.secret.encode()).hexdigest()
            if not self._has(identity, rules, secret):
                shown = f"ACL SETUSER {identity.name} reset on >... {rules}"

                def run(
                    identity: Identity = identity, rules: str = rules, secret: str = secret
                ) -> None:
                    self._client.execute_command(
                        "ACL", "SETUSER", identity.name, "reset", "on", f"#{secret}", *rules.split()
                    )

                yield Statement(text=shown, why=f"the {role}'s login"), run
        if "keeper" in self._identities:
            yield from self._mark(self._playground, "playground")
        if "reader" in self._identities:
            yield from self._mark(self._production, "production")

    def _rules(self, role: Role) -> str:
        """What each may do; keys and channels first."""
        own, production = self._playground, self._production
        return {
            "reader": f"%R~{production}* %R~sandbox:marker:{production} resetchannels "
            "+@read +@connection +info -randomkey -keys -select",
            "keeper": f"~{own}* ~sandbox:new:{own}* ~sandbox:old:{own}* ~sandbox:marker:{own} "
            f"~sandbox:marker:sandbox:new:{own} ~sandbox:marker:sandbox:old:{own} resetchannels "
            "+@all -@admin -@dangerous -@scripting +info +scan -select +restore",
            "playground": f"~{own}* &{own}* +@all {BEYOND}",
            "production": f"~{production}* &{production}* +@all -@admin -@dangerous -flushall "
            "-flushdb +info",
            "admin": "",
        }[role]

    def _has(self, identity: Identity, rules: str, secret: str) -> bool:
        """Compared with a user of the same rules, since the server writes them in its own way."""
        present = self._client.execute_command("ACL", "GETUSER", identity.name)
        if present is None:
            return False
        probe = f"{identity.name}_sandbox_compare"
        self._client.execute_command(
            "ACL", "SETUSER", probe, "reset", "on", f"#{secret}", *rules.split()
        )
        try:
            return bool(self._client.execute_command("ACL", "GETUSER", probe) == present)
        finally:
            self._client.execute_command("ACL", "DELUSER", probe)

    def _mark(self, prefix: str, environment: str) -> Iterator[Change]:
        present = read_marker(self._client, prefix)
        name = self._name if environment == "playground" else ""
        marker = Marker(project=self._project, environment=environment, playground=name)  # type: ignore[arg-type]
        if present is None:
            statement = Statement(text=f"SET sandbox:marker:{prefix} ...", why=f"whose {prefix} is")
            yield statement, lambda: write_marker(self._client, prefix, marker)
        elif (present.project, present.environment, present.playground) != (
            self._project,
            environment,
            name,
        ):
            raise Refused(
                f"prefix {prefix} is marked as {present.environment} of {present.project}",
                where="redis",
            )
