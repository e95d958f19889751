"""Compose files are read as Compose reads them, and what is not supported is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import compose
from sandbox.compose import ComposeFile, Health, Mount, Port, Service, Ulimit
from sandbox.compose.interpolation import Unset, expand
from sandbox.errors import ConfigError

ROOT = Path(__file__).parents[2]
SECOND = 1_000_000_000


def read(text: str, **options: object) -> ComposeFile:
    options.setdefault("variables", {})
    return compose.parse(text, file="compose.yaml", **options)  # type: ignore[arg-type]


def service(body: str, **options: object) -> Service:
    """One service `one` with these lines, `vol` and `net` declared."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    text = f"services:\n  one:\n    image: x\n{lines}volumes: {{vol: }}\nnetworks: {{net: }}\n"
    return read(text, **options).services["one"]


def refused(text: str, **options: object) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text, **options)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def refused_service(body: str, **options: object) -> str:
    with pytest.raises(ConfigError) as caught:
        service(body, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- our own files ------------------------------------------------------------------------------


PASSWORDS = dict.fromkeys(
    ("POSTGRES_PASSWORD", "MONGO_PASSWORD", "QDRANT_ADMIN_KEY", "REDIS_PASSWORD"), "secret"
)


def shipped(name: str, variables: dict[str, str], *profiles: str) -> ComposeFile:
    return compose.parse(
        (ROOT / name).read_text(), file=name, variables=variables, profiles=frozenset(profiles)
    )


def test_production_needs_every_password() -> None:
    for missing in PASSWORDS:
        with pytest.raises(ConfigError, match=rf"compose\.prod\.yaml:\d+: .*{missing} is not set"):
            shipped("compose.prod.yaml", {k: v for k, v in PASSWORDS.items() if k != missing})


def test_production_keeps_its_data_in_named_volumes() -> None:
    file = shipped("compose.prod.yaml", PASSWORDS, "app")
    assert set(file.services) == {"postgres", "mongo", "qdrant", "redis", "api", "worker"}
    for name in ("postgres", "mongo", "qdrant", "redis"):
        found = [m for m in file.services[name].mounts if m.type == "volume"]
        assert [m.source for m in found] == [name]
        assert found[0].target.startswith("/var/lib/sandbox")
    assert [file.services[n].ports[0].published for n in ("postgres", "redis")] == [5432, 6379]


def test_the_playground_reads_without_any_variable_and_has_no_volume() -> None:
    file = shipped("compose.dev.yaml", {}, "dedicated", "app")
    assert set(file.services) == {"postgres", "mongo", "qdrant", "redis", "api", "worker"}
    assert not file.volumes
    for one in file.services.values():
        assert {mount.type for mount in one.mounts} <= {"tmpfs"}
    assert shipped("compose.dev.yaml", {}).services == {}


def test_ports_come_from_variables() -> None:
    file = shipped("compose.prod.yaml", {**PASSWORDS, "POSTGRES_PORT": "0"})
    assert file.services["postgres"].ports == (Port(target=5432, published=0),)


# --- services -----------------------------------------------------------------------------------


def test_commands_are_lists_or_split_as_a_shell_would() -> None:
    assert service("command: a 'b c' \"d\"").command == ("a", "b c", "d")
    assert service("command: [a, 'b c']").command == ("a", "b c")
    assert service("entrypoint: []").entrypoint == ()
    assert service("user: x").command is None
    assert "cannot be split" in refused_service("command: a 'b")


def test_environment_as_mapping_and_list() -> None:
    expected = {"A": "1", "B": "", "C": "true", "D": "x=y"}
    assert service("environment: {A: 1, B: '', C: true, D: x=y}").environment == expected
    assert service("environment: [A=1, B=, C=true, D=x=y]").environment == expected


def test_a_name_alone_is_passed_through_or_left_out() -> None:
    given = {"variables": {"A": "1"}}
    assert service("environment: [A, B]", **given).environment == {"A": "1"}
    assert service("environment: {A: , B: }", **given).environment == {"A": "1"}


def test_env_files_in_order_and_environment_wins() -> None:
    files = {"a": {"X": "a", "Y": "a", "Z": "a"}, "b": {"Y": "b", "Z": "b"}}
    body = "env_file: [a, {path: b}, {path: c, required: false}]\nenvironment: {Z: own}"
    found = service(body, read_env=files.get).environment
    assert found == {"X": "a", "Y": "b", "Z": "own"}
    assert "services.one.env_file[0]: there is no file 'c'" in refused_service("env_file: c")


def test_scalars_stay_as_they_were_written() -> None:
    found = service("environment: {A: 1.10, B: 0x1F, C: 12:30, D: 007, E: no, F: 1e3}").environment
    assert found == {"A": "1.10", "B": "0x1F", "C": "12:30", "D": "007", "E": "no", "F": "1e3"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5432", Port(target=5432, published=0)),
        ("5433:5432", Port(target=5432, published=5433)),
        ("22:22", Port(target=22, published=22)),
        ("127.0.0.1:5433:5432", Port(target=5432, published=5433)),
        ("127.0.0.1::5432", Port(target=5432, published=0)),
        ("127.0.0.1:0:5432", Port(target=5432, published=0)),
        ("53:53/udp", Port(target=53, published=53, protocol="udp")),
        ("{target: 80}", Port(target=80, published=0)),
        ("{target: 80, published: '8080', host_ip: 127.0.0.1}", Port(target=80, published=8080)),
    ],
)
def test_ports(text: str, expected: Port) -> None:
    assert service(f"ports:\n  - {text}").ports == (expected,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.0.0.0:1:2", "0.0.0.0 would be open to the network"),
        ("192.168.1.4:1:2", "would be open to the network"),
        ("'[::]:1:2'", "would be open to the network"),
        ("localhost:1:2", "would be open to the network"),
        ("1-3:1-3", "is not a whole number"),
        ("70000:1", "'70000' is not a whole number from 0 to 65535"),
        ("1:0", "'0' is not a whole number from 1 to 65535"),
        ("-1:5", "is not a whole number"),
        ("1:2:3:4", "is not a port"),
        ("x", "is not a whole number"),
        ("'5432:'", "is not a port"),
        ("1:2/sctp", "'sctp' is no protocol"),
        ("{published: 1}", "target, the port inside, is missing"),
        ("{target: 1, host_ip: '::'}", "would be open to the network"),
        ("{target: 1, foo: 2}", "services.one.ports[0].foo: this key is not supported"),
    ],
)
def test_ports_that_are_refused(text: str, words: str) -> None:
    message = refused_service(f"ports:\n  - {text}")
    assert words in message
    assert "compose.yaml:5: services.one.ports[0]" in message


def test_mounts() -> None:
    body = """\
volumes:
  - vol:/a
  - ./here:/b:ro
  - {type: volume, source: vol, target: /c, read_only: true}
  - {type: tmpfs, target: /d, tmpfs: {size: 1m, mode: '1777'}}
tmpfs: ['/e:size=64m', /f]
"""
    assert service(body).mounts == (
        Mount(type="volume", source="vol", target="/a"),
        Mount(type="bind", source="./here", target="/b", read_only=True),
        Mount(type="volume", source="vol", target="/c", read_only=True),
        Mount(type="tmpfs", source="", target="/d", options="size=1048576,mode=1777"),
        Mount(type="tmpfs", source="", target="/e", options="size=64m"),
        Mount(type="tmpfs", source="", target="/f"),
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("volumes: [/data]", "is not a mount"),
        ("volumes: [a:/b:rx]", "is not a mount"),
        ("volumes: ['nope:/b']", "volume 'nope' is not declared"),
        ("volumes: ['vol:b']", "must be a whole path"),
        ("volumes: ['vol:/b', './x:/b/']", "is mounted twice"),
        ("volumes: [{type: npipe, source: a, target: /b}]", "'npipe' is not supported"),
        ("volumes: [{type: tmpfs, source: a, target: /b}]", "a tmpfs has no source"),
        ("volumes: [{type: bind, target: /b}]", "a source is needed"),
        ("volumes: vol:/b", "must be a list"),
        ("volumes: [{source: a, target: /b, bind: {}}]", "volumes[0].bind: this key is not"),
    ],
)
def test_mounts_that_are_refused(body: str, words: str) -> None:
    assert words in refused_service(body)


def test_health() -> None:
    body = (
        "healthcheck: {test: curl x, interval: 1m30s, timeout: 500ms, retries: 5, start_period: 2s}"
    )
    assert service(body).health == Health(
        test=("CMD-SHELL", "curl x"),
        interval=90 * SECOND,
        timeout=SECOND // 2,
        retries=5,
        start_period=2 * SECOND,
    )
    assert service("healthcheck: {test: [CMD, a, b]}").health == Health(test=("CMD", "a", "b"))
    for off in ("{disable: true}", "{test: [NONE]}", "{test: NONE}"):
        found = service(f"healthcheck: {off}").health
        assert found is not None
        assert found.off == (off != "{test: NONE}")  # a text is a shell command


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{test: [curl, x]}", "must be a text, or begin with CMD"),
        ("{test: [CMD]}", "CMD names no command"),
        ("{interval: 1s}", "healthcheck.test: must be a text"),
        ("{test: x, interval: 1}", "'1' is not a duration"),
        ("{test: x, interval: 0s}", "must be more than 0"),
        ("{test: x, interval: 1 s}", "is not a duration"),
        ("{test: x, retries: many}", "is not a whole number"),
        ("{test: x, foo: 1}", "services.one.healthcheck.foo: this key is not supported"),
    ],
)
def test_health_that_is_refused(body: str, words: str) -> None:
    assert words in refused_service(f"healthcheck: {body}")


def test_limits_in_both_places() -> None:
    one = service("deploy: {resources: {limits: {cpus: '1.5', memory: 256m}}}")
    assert (one.cpus, one.memory) == (1.5, 256 << 20)
    two = service("mem_limit: 1g\ncpus: 0.5\nshm_size: 64mb")
    assert (two.cpus, two.memory, two.shm_size) == (0.5, 1 << 30, 64 << 20)


def test_everything_else() -> None:
    one = service(
        """\
ulimits: {nofile: 1024, nproc: {soft: 1, hard: -1}}
restart: on-failure:3
labels: [a=b]
user: 1000:1000
working_dir: /w
stop_grace_period: 1m500ms
stop_signal: SIGINT
init: true
read_only: ${RO:-true}
cap_add: [A]
cap_drop: [ALL]
extra_hosts: ['db:10.0.0.1', 'v6=::1']
networks: {net: {aliases: [other]}, default: }
x-anything: {at: all}
"""
    )
    assert one.ulimits == {"nofile": Ulimit(soft=1024, hard=1024), "nproc": Ulimit(soft=1, hard=-1)}
    assert (one.restart, one.restart_retries) == ("on-failure", 3)
    assert one.labels == {"a": "b"}
    assert (one.user, one.working_dir, one.stop_grace) == ("1000:1000", "/w", 61)
    assert (one.stop_signal, one.init, one.read_only) == ("SIGINT", True, True)
    assert (one.cap_add, one.cap_drop) == (("A",), ("ALL",))
    assert one.extra_hosts == {"db": "10.0.0.1", "v6": "::1"}
    assert one.networks == {"net": ("other",), "default": ()}


def test_restart_no_is_a_word() -> None:
    assert service("restart: no").restart == "no"
    assert service('restart: "no"').restart == "no"
    assert "is none of" in refused_service("restart: sometimes")
    assert "is none of" in refused_service("restart: always:3")


def test_depends_on() -> None:
    text = """
services:
  a: {image: x, depends_on: [b]}
  b: {image: x, depends_on: {c: {condition: service_healthy}}}
  c: {image: x}
"""
    file = read(text)
    assert file.services["a"].depends_on == {"b": "service_started"}
    assert file.services["b"].depends_on == {"c": "service_healthy"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("[zzz]", "there is no service 'zzz'"),
        ("[hidden]", "'hidden' is in a profile that is not active"),
        ("{off: {condition: service_healthy}}", "'off' has no healthcheck to wait for"),
        ("{off: {condition: service_fine}}", "'service_fine' is no condition"),
        ("{off: {restart: true}}", "depends_on.off.restart: this key is not supported"),
    ],
)
def test_dependencies_that_are_refused(value: str, words: str) -> None:
    text = f"""
services:
  a: {{image: x, depends_on: {value}}}
  off: {{image: x, healthcheck: {{disable: true}}}}
  hidden: {{image: x, profiles: [p]}}
"""
    message = refused(text)
    assert words in message
    assert "compose.yaml:3: services.a.depends_on" in message


def test_profiles() -> None:
    text = "services: {a: {image: x}, b: {image: '${NOPE}', profiles: [p, q]}}"
    assert set(read(text).services) == {"a"}
    assert read(text).declared == {"a", "b"}
    assert set(read(text, variables={"NOPE": "y"}, profiles=frozenset({"q"})).services) == {
        "a",
        "b",
    }


def test_two_services_cannot_have_one_port() -> None:
    text = "services:\n  a: {image: x, ports: ['1:1']}\n  b: {image: x, ports: ['1:2']}\n"
    assert "compose.yaml:3: services.b.ports: port 1 is a's already" in refused(text)


# --- keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("container_name: x", "two playgrounds collide"),
        ("build: .", "named, not built"),
        ("foo: 1", ""),
        ("privileged: true", "no store needs it"),
        ("secrets: [a]", "env file"),
        ("networks: {net: {ipv4_address: 1.2.3.4}}", ""),
        ("deploy: {replicas: 2}", ""),
        ("deploy: {resources: {limits: {pids: 2}}}", ""),
        ("deploy: {resources: {reservations: {}}}", ""),
        ("labels: {com.docker.compose.project: x}", ""),
        ("labels: {sandbox.baseline: x}", ""),
    ],
)
def test_a_key_that_is_not_supported_is_named(key: str, hint: str) -> None:
    message = refused_service(key)
    assert message.startswith("compose.yaml:4: services.one.")
    assert hint in message


def test_a_key_is_named_in_a_service_that_is_not_active_too() -> None:
    text = "services:\n  a:\n    image: x\n    profiles: [p]\n    foo: 1\n"
    assert "compose.yaml:5: services.a.foo: this key is not supported" in refused(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version: '3'\nservices: {a: {image: x}}", "compose.yaml:1: version: this key is not"),
        ("services: {a: {image: x}}\nsecrets: {}", "compose.yaml:2: secrets: this key is not"),
        ("services: {a: {image: x}}\nvolumes: {v: {driver: nfs}}", "'nfs' is not supported"),
        ("services: {a: {image: x}}\nvolumes: {v: {driver_opts: {}}}", "volumes.v.driver_opts"),
        ("services: {a: {image: x}}\nnetworks: {n: {ipam: {}}}", "networks.n.ipam"),
        ("services: {a: {}}", "services.a.image: an image is needed"),
        ("services: {a: {image: [x]}}", "an image is needed"),
        ("services: {a: }", "services.a.image: an image is needed"),
        ("services: [a]", "services: must be a mapping"),
        ("services: {a: x}", "services.a: must be a mapping"),
        ("services: {}", "services: there are none"),
        ("", "services: there are none"),
        ("just a text", "must be a mapping"),
        ("services: {a: {image: x, networks: [n]}}", "network 'n' is not declared"),
        ("services: {a: {image: x, network_mode: container:b}}", "is not supported"),
        (
            "services: {a: {image: x, network_mode: host, networks: [default]}}",
            "exclude one another",
        ),
        ("services: {a: {image: x, mem_limit: lots}}", "'lots' is not a size"),
        ("services: {a: {image: x, init: yes}}", "must be true or false"),
        ("services: {a: {image: x, extra_hosts: [a]}}", "is not name:address"),
    ],
)
def test_files_that_are_refused(text: str, words: str) -> None:
    assert words in refused(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("services:\n  a: [\n", 3),
        ("services:\n  a: {image: x}\n  a: {image: y}\n", 3),
        ("services:\n\ta: 1\n", 2),
        ("services:\n  a: *nope\n", 2),
        ("services:\n  ? [a]\n  : 1\n", 2),
        ("services: &a\n  a: *a\n", 1),
        ("services:\n  a:\n    <<: [1]\n", 3),
        ("a: 1\n---\nb: 2\n", 2),
    ],
)
def test_yaml_that_is_broken_is_one_line_with_its_line(text: str, line: int) -> None:
    assert refused(text).startswith(f"compose.yaml:{line}: not valid YAML: ")


def test_anchors_in_anchors_do_not_fill_the_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert "the file is too large" in refused("\n".join(lines))


def test_anchors_and_merges() -> None:
    text = """
x-base: &base
  image: x
  environment: &env {A: base, B: base}
services:
  one:
    <<: *base
    environment:
      <<: *env
      A: own
  two:
    <<: [{user: first}, {user: second}, *base]
"""
    file = read(text)
    assert file.services["one"].environment == {"A": "own", "B": "base"}
    assert file.services["two"].user == "first"
    assert file.services["two"].image == "x"


def test_declared_volumes_and_networks() -> None:
    text = """
services: {a: {image: x}}
name: ${NAME}
volumes:
  v: {name: fixed, labels: {a: b}}
  e: {external: true}
  p:
networks: {n: {internal: true}}
"""
    file = read(text, variables={"NAME": "mine"})
    assert file.name == "mine"
    assert file.volumes["v"].full_name("project") == "fixed"
    assert file.volumes["e"].full_name("project") == "e"
    assert file.volumes["p"].full_name("project") == "project_p"
    assert file.networks["n"].internal


# --- variables ----------------------------------------------------------------------------------


VALUES = {"A": "a", "EMPTY": "", "B": "b"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A", "a"),
        ("${A}", "a"),
        ("x${A}y$B", "xayb"),
        ("$$A", "$A"),
        ("$$$A", "$a"),
        ("${A:-d}", "a"),
        ("${NO:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${NO-d}", "d"),
        ("${NO:-}", ""),
        ("${NO:-${A}}", "a"),
        ("${NO:-${NO2:-${B}}x}", "bx"),
        ("${NO:-a:-b?c}", "a:-b?c"),
        ("${A:+alt}", "alt"),
        ("${EMPTY:+alt}", ""),
        ("${EMPTY+alt}", "alt"),
        ("${NO+alt}", ""),
        ("${A:?m}", "a"),
        ("${EMPTY?m}", ""),
        ("${A:+${B}}", "b"),
        ("${NO:-$$}", "$"),
    ],
)
def test_variables(text: str, expected: str) -> None:
    assert expand(text, VALUES) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("$NO", "NO is not set"),
        ("${NO}", "NO is not set"),
        ("${NO:?say $A}", "NO is not set: say a"),
        ("${EMPTY:?m}", "EMPTY is not set: m"),
        ("${NO?}", "NO is not set: it is required"),
        ("${A", "${ is never closed"),
        ("${}", "names no variable"),
        ("${1}", "names no variable"),
        ("${A!}", "${A...} is not understood"),
        ("a $ b", "a $ that begins no variable"),
        ("$1", "a $ that begins no variable"),
        ("${NO:-${B}", "${ is never closed"),
    ],
)
def test_variables_that_are_refused(text: str, words: str) -> None:
    with pytest.raises(Unset) as caught:
        expand(text, VALUES)
    assert words in str(caught.value)


def test_a_missing_variable_is_named_with_file_line_and_path() -> None:
    message = refused_service("environment:\n  X: ${NO:?run ./inv env}")
    assert message == "compose.yaml:5: services.one.environment.X: NO is not set: run ./inv env"


def test_values_never_stand_in_an_error() -> None:
    message = refused_service("environment:\n  X: ${A!}", variables={"A": "s3cret"})
    assert "s3cret" not in message


@given(st.text(alphabet="ab${}:-?+ \n1_", max_size=30))
def test_any_text_expands_or_is_refused(text: str) -> None:
    try:
        expand(text, VALUES)
    except Unset as error:
        assert str(error)


@given(st.text(max_size=60))
def test_a_text_without_variables_comes_through_unchanged(text: str) -> None:
    assert expand(text.replace("$", "$$"), {}) == text


@given(st.text(alphabet="services: {}[]&*<>\n-a'\"|?!%", max_size=60))
def test_any_file_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        read(text)
    except ConfigError as error:
        assert str(error).startswith("compose.yaml")
        assert "\n" not in error.message
