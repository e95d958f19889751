"""A plan changes what must change, in an order that works, and nothing twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import compose
from sandbox.compose import ComposeFile
from sandbox.errors import ConfigError, Refused
from sandbox.images import outdated
from sandbox.plan import Observed, Seen, config_hash, plan

TEXT = """
services:
  db: {image: x, volumes: ['data:/d']}
  app: {image: y, depends_on: [db]}
  extra: {image: z, profiles: [more]}
volumes: {data: }
"""


def read(text: str = TEXT, **options: object) -> ComposeFile:
    return compose.parse(text, file="c.yaml", variables={}, **options)  # type: ignore[arg-type]


def standing(file: ComposeFile, state: str = "running", **changes: str) -> tuple[Observed, ...]:
    return tuple(
        Observed(
            id=name,
            name=f"p-{name}-1",
            service=name,
            state=changes.get(name, state),
            health="",
            config_hash=config_hash(service),
            image=service.image,
            ports={},
        )
        for name, service in file.services.items()
    )


def seen(containers: tuple[Observed, ...], **more: Mapping[str, str]) -> Seen:
    more.setdefault("networks", {"p_default": "p"})
    more.setdefault("volumes", {"p_data": "p"})
    return Seen(containers=containers, **more)


def words(found: Seen, file: ComposeFile | None = None) -> list[str]:
    return [str(step) for step in plan(file or read(), found, project="p").changes]


def test_from_nothing_everything_in_order() -> None:
    assert words(Seen()) == [
        "make network p_default: it is not there",
        "make volume p_data: it is not there",
        "create db: it is not there",
        "create app: it is not there",
    ]


def test_what_runs_is_left_alone() -> None:
    assert words(seen(standing(read()))) == []


@pytest.mark.parametrize("state", ["created", "dead", "removing"])
def test_what_nobody_started_is_made_again(state: str) -> None:
    assert words(seen(standing(read(), db=state))) == [f"recreate db: it is half made ({state})"]


@pytest.mark.parametrize("state", ["exited", "paused"])
def test_what_was_stopped_is_started(state: str) -> None:
    assert words(seen(standing(read(), db=state))) == [f"start db: it is {state}"]


def test_a_changed_setting_makes_one_container_again() -> None:
    changed = read(TEXT.replace("image: y", "image: y2"))
    assert words(seen(standing(read())), changed) == ["recreate app: its settings changed"]


def test_a_container_of_an_offline_image_built_from_older_sources_is_made_again() -> None:
    old, reference = "sandbox-offline/mongo:secantus-0123456789ab", "mongo:8"
    assert outdated(old, reference)
    assert not outdated("mongo:8", reference)
    assert not outdated("sandbox-baseline/mongo:x", reference)
    there = standing(read())
    stale = [replace(one, outdated=one.service == "db") for one in there]
    assert words(seen(stale)) == ["recreate db: its image's sources changed"]


def test_the_hash_does_not_depend_on_where_the_service_stands() -> None:
    moved = read("\n\n# a comment\n" + TEXT)
    assert config_hash(read().services["db"]) == config_hash(moved.services["db"])


@pytest.mark.parametrize(
    "line",
    [
        "environment: {A: 1}",
        "ports: ['1:1']",
        "command: b",
        "healthcheck: {test: x}",
        "mem_limit: 1g",
        "labels: {a: b}",
        "tmpfs: [/x]",
        "ulimits: {nofile: 5}",
    ],
)
def test_the_hash_changes_with_every_setting(line: str) -> None:
    plain = read("services:\n  a:\n    image: x\n")
    other = read(f"services:\n  a:\n    image: x\n    {line}\n")
    assert config_hash(plain.services["a"]) != config_hash(other.services["a"])


def test_an_orphan_goes_and_a_profile_that_is_not_active_stays() -> None:
    everything = read(profiles=frozenset({"more"}))
    assert words(seen(standing(everything))) == []
    renamed = read(TEXT.replace("extra", "other"), profiles=frozenset({"more"}))
    assert words(seen(standing(renamed))) == ["remove p-other-1: the file has no such service"]


def test_a_second_container_of_a_service_goes() -> None:
    first = standing(read())
    second = Observed(
        id="2",
        name="p-db-2",
        service="db",
        state="running",
        health="",
        config_hash="",
        image="x",
        ports={},
        number=2,
    )
    assert words(seen((*first, second))) == ["remove p-db-2: the file has no such service"]


def test_names_of_other_projects_are_not_taken() -> None:
    for owner in ("other", ""):
        with pytest.raises(Refused, match=r"c\.yaml: volumes\.data: .*belongs to"):
            words(seen((), volumes={"p_data": owner}))
        with pytest.raises(Refused, match=r"network called p_default"):
            words(seen((), networks={"p_default": owner}))


def test_an_external_volume_must_be_there() -> None:
    file = read(TEXT.replace("{data: }", "{data: {external: true}}"))
    with pytest.raises(ConfigError, match="the external volume 'data' is not there"):
        words(seen((), volumes={}), file)
    found = words(seen((), volumes={"data": ""}), file)
    assert found[0] == "create db: it is not there"


def test_a_cycle_is_named() -> None:
    file = read("services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}")
    with pytest.raises(ConfigError, match="wait for one another: a -> b -> a"):
        plan(file, Seen(), project="p")


def test_a_service_that_waits_for_itself() -> None:
    with pytest.raises(ConfigError, match="a -> a"):
        plan(read("services: {a: {image: x, depends_on: [a]}}"), Seen(), project="p")


def test_a_plan_shows_no_secret() -> None:
    file = read("services: {a: {image: x, environment: {PASSWORD: s3cret}}}")
    assert "s3cret" not in repr(plan(file, Seen(), project="p"))


@given(
    st.dictionaries(
        st.sampled_from("abcdefgh"), st.frozensets(st.sampled_from("abcdefgh"), max_size=3)
    )
)
def test_waves_hold_every_service_after_what_it_needs(edges: dict[str, frozenset[str]]) -> None:
    names = sorted(set(edges) | {other for others in edges.values() for other in others})
    if not names:
        return
    lines = [f"  {n}: {{image: x, depends_on: [{', '.join(edges.get(n, ()))}]}}" for n in names]
    file = read("services:\n" + "\n".join(lines))
    try:
        waves = plan(file, Seen(), project="p").waves
    except ConfigError:
        return
    assert sorted(name for wave in waves for name in wave) == names
    done: set[str] = set()
    for wave in waves:
        for name in wave:
            assert edges.get(name, frozenset()) <= done
        done |= set(wave)
