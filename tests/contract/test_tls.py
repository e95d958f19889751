"""TLS options in a URL reach the driver: the right CA lets in, another one does not."""

from __future__ import annotations

import base64
import datetime
import ipaddress
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
from sandbox.errors import Unreachable
from sandbox.model import Kind, PostgresSpace, RedisSpace, Space
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
