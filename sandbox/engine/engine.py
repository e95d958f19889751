"""One Docker engine: what runs there, and what is asked of it by project and service."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound

from sandbox.engine import baselines, containers, labels, programs, showing, standing
from sandbox.engine.baselines import Baseline, Baselines
from sandbox.engine.ports import Ports
from sandbox.engine.showing import Shown
from sandbox.engine.standing import Standing
from sandbox.engine.starting import Starting
from sandbox.engine.swapping import Swap, sweep_detached
from sandbox.engine.trouble import told
from sandbox.errors import Refused, Unreachable
from sandbox.images import outdated, product
from sandbox.plan import Observed, Plan, Seen
from sandbox.report import Report, Warned, silent


@dataclass(frozen=True, kw_only=True)
class ServiceStatus:
    """One container as `status` shows it.

    `image` is what the file asks for, `product` names what really runs; `ports`: inside ->
    127.0.0.1's; `started_at`: RFC 3339, "" when it never ran; `baseline`: the state it was reset
    to, if any.
    """

    service: str
    state: str
    health: str
    image: str
    product: str
    ports: Mapping[int, int]
    started_at: str = ""
    baseline: str = ""


class Engine:
    """Use by project (Compose's name for one set of containers) and service."""

    def __init__(self, client: docker.DockerClient, *, address: str) -> None:
        self.client = client
        self.address = address

    # --- looking ---------------------------------------------------------------------------------

    @told
    def observe(self, project: str) -> Seen:
        """What stands here, made by us or by Compose."""
        volumes = self.client.api.volumes()["Volumes"] or []
        return Seen(
            containers=tuple(
                sorted(map(_observed, self._found(project)), key=lambda one: one.service)
            ),
            networks={one["Name"]: _project(one) for one in self.client.api.networks()},
            volumes={one["Name"]: _project(one) for one in volumes},
        )

    @told
    def status(self, project: str) -> tuple[ServiceStatus, ...]:
        found = []
        for raw in sorted(self._found(project), key=lambda one: str(_observed(one).service)):
            one = _observed(raw)
            state = self.client.api.inspect_container(one.id)["State"]
            found.append(
                ServiceStatus(
                    service=one.service,
                    state=one.state,
                    health=one.health,
                    image=one.image,
                    product=product(self._tag(raw), one.image),
                    ports=one.ports,
                    started_at="" if state["StartedAt"].startswith("0001") else state["StartedAt"],
                    baseline=raw["Labels"].get(labels.BASELINE, ""),
                )
            )
        return tuple(found)

    @told
    def published(self, project: str, service: str, port: int) -> int:
        """The port on 127.0.0.1 behind which `service` answers. Raises Unreachable."""
        one = self._one(project, service)
        if one.state == "running" and port in one.ports:
            return one.ports[port]
        what = one.state if one.state != "running" else f"running without a port for {port}"
        raise Unreachable(f"{service} of {project} is {what}", hint="./inv up starts it")

    @told
    def environment(self, project: str, service: str) -> dict[str, str]:
        """The environment that the running container really has."""
        attributes = self.client.api.inspect_container(self._one(project, service).id)
        pairs = attributes["Config"]["Env"] or []
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)

    def logs(self, project: str, service: str, *, follow: bool, tail: int) -> Iterator[str]:
        """Its last `tail` lines, then, with `follow`, what comes."""
        identifier = told(self._one)(project, service).id
        stream = self.client.api.logs(identifier, stream=True, follow=follow, tail=tail)
        left = b""
        try:
            for piece in stream:
                *lines, left = (left + piece).split(b"\n")
                yield from (line.decode("utf-8", "replace") for line in lines)
        finally:
            stream.close()
        if left:
            yield left.decode("utf-8", "replace")

    # --- doing -----------------------------------------------------------------------------------

    @told
    def apply(self, plan: Plan, report: Report, *, instead: Mapping[str, str] = {}) -> None:
        """Run a plan: images, networks, volumes, then each service as its dependencies allow.

        Returns when every service is healthy. `instead`: service -> image id, for a new container
        that shall begin with a baseline's data.
        """
        ports = Ports(self.client, local=self.address.startswith("unix:"))
        Starting(self.client, plan, report, ports=ports, instead=instead).run()

    @told
    def down(self, project: str, *, volumes: bool = False) -> Sequence[str]:
        """Stop and remove containers and networks; returns networks that stay, and why. Volumes
        stay (P9).

        `volumes`: remove them too; Refused, and nothing is changed, unless the Compose file labels
        each of them `sandbox.disposable: "true"`, which production's never are.
        """
        filters = {"label": f"{labels.PROJECT}={project}"}
        found = (self.client.api.volumes(filters=filters)["Volumes"] or []) if volumes else []
        for volume in found:
            if (volume["Labels"] or {}).get(labels.DISPOSABLE) != "true":
                raise Refused(
                    f"volume {volume['Name']} of {project} is kept: it is not marked as disposable",
                    hint="production's data is never removed from here",
                )
        # Until none is left: in the background one more may be made ahead just now.
        while there := containers.listed(self.client, project):
            for wave in _last_first(there):
                with ThreadPoolExecutor(8) as pool:
                    list(pool.map(self._take_down, wave))
        self._drop_leftovers(project)
        kept = []
        for network in self.client.api.networks(filters=filters):
            try:
                self.client.api.remove_network(network["Id"])
            except NotFound:
                pass
            except APIError as error:  # another project's container is still in it
                kept.append(f"network {network['Name']} stays: {error.explanation}")
        for volume in found:
            self.client.api.remove_volume(volume["Name"])
        return kept

    @told
    def remove(self, project: str, service: str) -> None:
        """Stop and remove one service's container; volumes stay."""
        containers.remove(self.client, self._one(project, service).id)

    @told
    def exec(
        self,
        project: str,
        service: str,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        environment: Mapping[str, str] = {},
    ) -> bytes:
        """Run a program in the service's container; secrets go by `environment`, never by `argv`.

        Raises SandboxError with the last line that it wrote to standard error.
        """
        one = self._one(project, service)
        if one.state != "running":
            raise Unreachable(f"{service} of {project} is {one.state}", hint="./inv up starts it")
        return programs.run(self.client, one.id, argv, stdin, environment)

    @told
    def run_apart(
        self,
        project: str,
        service: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] = {},
        files: Sequence[str] = (),
    ) -> bytes:
        """Run a program of the service's image in a container of its own on this machine's network,
        for a server that is elsewhere. `files` are there under their own paths, for reading."""
        one = self._one(project, service)
        with programs.apart(self.client, project, one.image_id, files) as identifier:
            return programs.run(self.client, identifier, argv, b"", environment)

    # --- baselines: the layout `dedicated` -------------------------------------------------------

    @told
    def freeze(
        self,
        project: str,
        services: Sequence[str],
        *,
        name: str,
        report: Report,
        snapshot: str = "",
        meanwhile: Callable[[str], None] = lambda generation: None,
    ) -> Baseline:
        """Keep these services' data as the baseline `name`.

        Stops them cleanly, side by side, and starts them again; `meanwhile` runs in between, for
        what belongs to the same moment. Raises Refused where data is in a volume; then, as after
        any failure, they run as before and there is no new baseline.
        """
        self._recover(project, report)
        return Baselines(self.client, project).freeze(
            services, name=name, snapshot=snapshot, meanwhile=meanwhile, report=report
        )

    @told
    def swap_in(
        self,
        project: str,
        images: Mapping[str, str],
        *,
        ready: Callable[[], None],
        report: Report,
        begin: Callable[[str], None] = lambda swap: None,
    ) -> None:
        """Put containers of these baselines in place of the present ones, all or none.

        `begin` is told the swap's name before anything changes: `swapped` tells, after an
        interruption, what became of it. `ready` asks the new ones real queries and raises when one
        does not answer: then the old ones are back, with all that they held. They are removed in
        the background afterwards.
        """
        self._recover(project, report)
        Swap(self.client, project).run(images, begin=begin, ready=ready, report=report)
        self.stand_by(project, images)

    def stand_by(self, project: str, images: Mapping[str, str]) -> None:
        """In the background: sweep, and make ahead what a reset to these baselines will take."""
        sweep_detached(project, images, detached_environment(self.address))

    @told
    def make_ahead(self, project: str, images: Mapping[str, str]) -> None:
        Standing(self.client, project).make(images)

    @contextlib.contextmanager
    def showing(self, project: str, images: Mapping[str, str]) -> Iterator[Mapping[str, Shown]]:
        """Servers of these baselines for the length of the block, beside the present ones."""
        found = told(baselines.each)(
            images, lambda one, image: showing.start(self.client, project, one, image)
        )
        try:
            yield found
        finally:
            told(showing.sweep)(self.client, project)

    @told
    def swapped(self, project: str, swap: str) -> bool:
        """Whether that swap's containers are in place; ask after `recover`."""
        return Swap(self.client, project).in_place(swap)

    @told
    def recover(self, project: str, report: Report = silent) -> tuple[str, ...]:
        """Finish or undo an interrupted freeze or swap; returns what was done, in words."""
        return self._recover(project, report)

    @told
    def baselines(self, project: str, *, measured: bool = False) -> tuple[Baseline, ...]:
        """The whole ones, oldest first; with their bytes when `measured`."""
        known = Baselines(self.client, project)
        return known.measured() if measured else known.all()

    @told
    def tag(self, project: str, name: str, new: str) -> Baseline:
        """Give a baseline one more name."""
        return Baselines(self.client, project).tag(name, new)

    @told
    def prune(self, project: str, *, keep: Collection[str] = ()) -> tuple[str, ...]:
        """Take away every name of a baseline but these; returns those that went."""
        return Baselines(self.client, project).prune(keep)

    @told
    def sweep(self, project: str) -> int:
        """Remove what finished swaps have put aside; returns how many containers."""
        return Swap(self.client, project).sweep()

    def _recover(self, project: str, report: Report) -> tuple[str, ...]:
        self._drop_leftovers(project)
        done = Swap(self.client, project).recover()
        Baselines(self.client, project).resume(report)
        for words in done:
            report(Warned(message=f"after an interruption: {words}"))
        return done

    # --- inside ----------------------------------------------------------------------------------

    def _take_down(self, one: Mapping[str, Any]) -> None:
        """What was made ahead is not stopped: paused by its maker just then, it would not hear."""
        if labels.thrown_away(containers.listed_name(one)):
            containers.discard(self.client, one["Id"])
        else:
            containers.remove(self.client, one["Id"])

    def _drop_leftovers(self, project: str) -> None:
        """Containers for a while only, of commands that were killed."""
        showing.sweep(self.client, project)
        standing.sweep(self.client, project)

    def _found(self, project: str) -> list[Mapping[str, Any]]:
        """The project's containers, without those that a swap has put aside."""
        filters = {"label": [f"{labels.PROJECT}={project}", f"{labels.ONE_OFF}=False"]}
        found = self.client.api.containers(all=True, filters=filters)
        return [one for one in found if labels.in_place(_observed(one).name)]

    def _one(self, project: str, service: str) -> Observed:
        for one in map(_observed, self._found(project)):
            if one.service == service:
                return one
        raise Unreachable(f"{service} of {project} does not run", hint="./inv up starts it")

    def _tag(self, raw: Mapping[str, Any]) -> str:
        """What the image that runs is called here: an offline one carries its own repository."""
        for image in (raw["Labels"].get(labels.IMAGE), raw["ImageID"]):
            with contextlib.suppress(DockerException):
                for tag in self.client.images.get(image).tags:
                    if tag.startswith("sandbox-offline/"):
                        return str(tag)
        return str(raw["Image"])


def detached_environment(address: str) -> dict[str, str]:
    """For a program of ours that goes on alone: the same engine."""
    return {**os.environ, "DOCKER_HOST": address}


def _project(raw: Mapping[str, Any]) -> str:
    return str((raw.get("Labels") or {}).get(labels.PROJECT, ""))


def _observed(raw: Mapping[str, Any]) -> Observed:
    words = raw.get("Status", "").replace("(", " ").replace(")", " ").split()
    health = next((word for word in ("unhealthy", "healthy", "starting") if word in words), "")
    tags = raw["Labels"]
    number = tags.get(labels.NUMBER, "1")
    names = [name.lstrip("/") for name in raw["Names"] or [] if "/" not in name.lstrip("/")]
    reference = tags.get(labels.REFERENCE) or raw["Image"]
    return Observed(
        id=raw["Id"],
        name=names[0] if names else raw["Id"][:12],
        service=tags.get(labels.SERVICE, ""),
        state=raw["State"],
        health=health,
        config_hash=tags.get(labels.CONFIG_HASH, ""),
        image=reference,
        ports={p["PrivatePort"]: p["PublicPort"] for p in raw["Ports"] if p.get("PublicPort")},
        number=int(number) if number.isdigit() else 1,
        image_id=raw["ImageID"],
        outdated=outdated(raw["Image"], reference),
    )


def _last_first(found: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Containers in waves: what depends on others goes before them."""
    left = list(found)
    while left:
        needed = {
            part.partition(":")[0]
            for one in left
            for part in one["Labels"].get(labels.DEPENDS_ON, "").split(",")
        }
        wave = [one for one in left if one["Labels"].get(labels.SERVICE) not in needed] or left
        yield wave
        left = [one for one in left if one not in wave]
