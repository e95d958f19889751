"""TLS options in a URL reach the driver: the right CA lets in, another one does not, and neither
does a certificate of another host."""

from __future__ import annotations

import base64
import contextlib
import datetime
import ipaddress
import secrets
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sandbox.contract import Access
from sandbox.errors import SandboxError, Unreachable
from sandbox.model import Kind, MongoSpace, PostgresSpace, QdrantSpace, RedisSpace, Space
from sandbox.stores import backend
from sandbox.urls import parse_url

if TYPE_CHECKING:
    from tests.contract.conftest import Server

FOLDER = "/tmp/sandbox-tls"


@dataclass(frozen=True)
class Certificate:
    """Signed by itself, so it is its own CA."""

    pem: bytes
    key: bytes


def certificate(*addresses: str) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sandbox test")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.IPAddress(ipaddress.ip_address(one)) for one in addresses]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return Certificate(pem=made.public_bytes(serialization.Encoding.PEM), key=private)


@dataclass(frozen=True)
class Offered:
    """A server that speaks TLS: its URL without options, and files of its own CA and of another."""

    url: str
    ca: Path
    others_ca: Path

    def refused(self, kind: Kind, options: str, space: Space, why: str) -> None:
        with pytest.raises(Unreachable, match=why):
            product(kind, f"{self.url}{options}", space)


class Terminator:
    """Takes TLS off before a server, as a load balancer does."""

    def __init__(self, made: Certificate, folder: Path, target: tuple[str, int]) -> None:
        path = folder / f"{secrets.token_hex(4)}.pem"
        path.write_bytes(made.pem + made.key)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(path)
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted = self._listener.accept()[0]
                threading.Thread(target=self._serve, args=(accepted,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        """Both directions in one thread: an SSL connection is not to be used by two."""
        with (
            contextlib.suppress(OSError),
            self._context.wrap_socket(plain, server_side=True) as near,
            socket.create_connection(self._target) as far,
        ):
            while True:
                ready = [near] if near.pending() else select.select([near, far], [], [])[0]
                for one, other in ((near, far), (far, near)):
                    if one in ready:
                        data = one.recv(65_536)
                        if not data:
                            return
                        other.sendall(data)


@contextlib.contextmanager
def terminated(
    server: Server, folder: Path, scheme: str, login: str, *names: str
) -> Iterator[Offered]:
    """`server` behind TLS, with a certificate for `names`."""
    made = certificate(*names)
    ca, other = folder / "ca.pem", folder / "other.pem"
    ca.write_bytes(made.pem)
    other.write_bytes(certificate(*names).pem)
    proxy = Terminator(made, folder, (server.host, server.port))
    try:
        yield Offered(f"{scheme}://{login}127.0.0.1:{proxy.port}/", ca, other)
    finally:
        proxy.close()


def install(server: Server, made: Certificate, owner: str) -> None:
    container = server.container.get_wrapped_container()
    for name, data in (("cert.pem", made.pem), ("key.pem", made.key)):
        text = base64.b64encode(data).decode()
        script = (
            f"mkdir -p {FOLDER}; echo {text} | base64 -d > {FOLDER}/{name}; "
            f"chmod 600 {FOLDER}/{name}; chown -R {owner}:{owner} {FOLDER}"
        )
        code, said = container.exec_run(["bash", "-ec", script], user="root")
        assert code == 0, said


@pytest.fixture(scope="module")
def others_ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "other.pem"
    path.write_bytes(certificate("127.0.0.1").pem)
    return path


def product(kind: Kind, url: str, space: Space) -> str:
    login = parse_url(kind, url)
    access = Access(endpoint=login.endpoint, identity=login.identity, space=space)
    source = backend(kind).source(access)
    try:
        return source.ready()
    finally:
        source.close()


@pytest.fixture
def postgres_tls(postgres_server: Server, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The shared server speaks TLS for as long as this test runs."""
    made = certificate("127.0.0.1")
    install(postgres_server, made, "postgres")
    login = f"{postgres_server.admin_user}:{postgres_server.admin_password}"
    url = f"postgresql://{login}@127.0.0.1:{postgres_server.port}/postgres"
    with psycopg.connect(url, autocommit=True) as admin:
        for name, value in (("cert_file", "cert.pem"), ("key_file", "key.pem")):
            admin.execute(f"ALTER SYSTEM SET ssl_{name} = '{FOLDER}/{value}'".encode())
        admin.execute("ALTER SYSTEM SET ssl = on")
        admin.execute("SELECT pg_reload_conf()")
        ca = tmp_path / "ca.pem"
        ca.write_bytes(made.pem)
        yield url, ca
        for name in ("ssl", "ssl_cert_file", "ssl_key_file"):
            admin.execute(f"ALTER SYSTEM RESET {name}".encode())
        admin.execute("SELECT pg_reload_conf()")


def test_postgres_checks_the_ca(postgres_tls: tuple[str, Path], others_ca: Path) -> None:
    url, ca = postgres_tls
    space = PostgresSpace(database="postgres", schema="public")
    options = "?sslmode=verify-full&sslrootcert="
    assert product("postgres", f"{url}{options}{ca}", space).startswith("PostgreSQL")
    with pytest.raises(Unreachable, match="certificate verify failed"):
        product("postgres", f"{url}{options}{others_ca}", space)


@pytest.fixture
def redis_tls(redis_server: Server, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A second port of the shared server, inside the container's own network."""
    container = redis_server.container.get_wrapped_container()
    container.reload()
    networks = container.attrs["NetworkSettings"]["Networks"].values()
    address = next(one["IPAddress"] for one in networks if one["IPAddress"])
    made = certificate(address)
    install(redis_server, made, "redis")
    ca = tmp_path / "ca.pem"
    ca.write_bytes(made.pem)
    with redis.Redis(
        redis_server.host, redis_server.port, password=redis_server.admin_password
    ) as admin:
        for name, value in (
            ("tls-cert-file", f"{FOLDER}/cert.pem"),
            ("tls-key-file", f"{FOLDER}/key.pem"),
            ("tls-ca-cert-file", f"{FOLDER}/cert.pem"),
            ("tls-auth-clients", "no"),
            ("tls-port", "6390"),
        ):
            admin.config_set(name, value)
        yield f"rediss://:{redis_server.admin_password}@{address}:6390/0", ca
        admin.config_set("tls-port", "0")


def test_redis_checks_the_ca(redis_tls: tuple[str, Path], others_ca: Path) -> None:
    url, ca = redis_tls
    space = RedisSpace(prefix="tls:")
    options = "?ssl_cert_reqs=required&ssl_ca_certs="
    assert product("redis", f"{url}{options}{ca}", space).startswith("Redis")
    with pytest.raises(Unreachable, match="certificate verify failed"):
        product("redis", f"{url}{options}{others_ca}", space)


MONGO = MongoSpace(database="tls")
QUICK = "&serverSelectionTimeoutMS=1500"  # the driver tries again for as long


def mongo_login(server: Server) -> str:
    return f"{server.admin_user}:{server.admin_password}@"


def test_mongo_checks_the_ca(mongo_server: Server, tmp_path: Path) -> None:
    login = mongo_login(mongo_server)
    with terminated(mongo_server, tmp_path, "mongodb", login, "127.0.0.1") as offered:
        right = f"{offered.url}?tls=true&tlsCAFile={offered.ca}"
        assert product("mongo", right, MONGO)
        options = f"?tls=true&tlsCAFile={offered.others_ca}{QUICK}"
        offered.refused("mongo", options, MONGO, "certificate verify failed")
        offered.refused("mongo", f"?tls=true{QUICK}", MONGO, "certificate verify failed")


def test_mongo_checks_the_host(mongo_server: Server, tmp_path: Path) -> None:
    login = mongo_login(mongo_server)
    with terminated(mongo_server, tmp_path, "mongodb", login, "10.9.8.7") as offered:
        options = f"?tls=true&tlsCAFile={offered.ca}"
        offered.refused("mongo", f"{options}{QUICK}", MONGO, "IP address mismatch")
        assert product("mongo", f"{offered.url}{options}&tlsAllowInvalidHostnames=true", MONGO)


QDRANT = QdrantSpace(collection="tls")


def test_qdrant_checks_the_ca(qdrant_server: Server, tmp_path: Path) -> None:
    with terminated(qdrant_server, tmp_path, "https", "", "127.0.0.1") as offered:
        key = f"?api_key={qdrant_server.api_key}"
        assert "Qdrant" in product("qdrant", f"{offered.url}{key}&ca={offered.ca}", QDRANT)
        for options in (f"&ca={offered.others_ca}", ""):
            offered.refused("qdrant", f"{key}{options}", QDRANT, "certificate verify failed")


def test_qdrant_checks_the_host(qdrant_server: Server, tmp_path: Path) -> None:
    with terminated(qdrant_server, tmp_path, "https", "", "10.9.8.7") as offered:
        options = f"?api_key={qdrant_server.api_key}&ca={offered.ca}"
        offered.refused("qdrant", options, QDRANT, "IP address mismatch")


def test_a_ca_that_is_not_there_is_named(qdrant_server: Server, mongo_server: Server) -> None:
    for kind, server, options, space in (
        ("qdrant", qdrant_server, "ca", QDRANT), ("mongo", mongo_server, "tlsCAFile", MONGO),
    ):  # fmt: skip
        scheme = {"qdrant": "https", "mongo": "mongodb"}[kind]
        url = f"{scheme}://127.0.0.1:{server.port}/?tls=true&{options}=/nowhere/ca.pem"
        with pytest.raises(SandboxError, match=r"/nowhere/ca\.pem"):
            product(kind, url, space)  # type: ignore[arg-type]
