"""Addresses and logins as URLs, in each store's own form. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from sandbox.contract import Access
from sandbox.errors import ConfigError
from sandbox.model import Endpoint, Identity, Kind, MongoSpace, PostgresSpace, RedisSpace

PORTS: dict[Kind, int] = {"postgres": 5432, "mongo": 27017, "qdrant": 6333, "redis": 6379}
SCHEMES: dict[Kind, tuple[str, ...]] = {
    "postgres": ("postgresql", "postgres"),
    "mongo": ("mongodb",),
    "qdrant": ("http", "https"),
    "redis": ("redis", "rediss"),
}
LONG = 12  # characters of a secret that stands nowhere by chance


@dataclass(frozen=True, kw_only=True)
class Login:
    """What a URL says: where, as whom, and in which database or under which prefix."""

    endpoint: Endpoint
    identity: Identity
    path: str = field(default="")


def url(access: Access) -> str:
    """The URL that an application opens `access` with."""
    space, options = access.space, dict(access.endpoint.options)
    address = f"{access.endpoint.host}:{access.endpoint.port}"
    login = f"{quote(access.identity.name, safe='')}:{quote(access.identity.secret, safe='')}@"
    if isinstance(space, PostgresSpace):
        return _joined(f"postgresql://{login}{address}/{quote(space.database, safe='')}", options)
    if isinstance(space, MongoSpace):
        options.setdefault("authSource", "admin")
        if "replicaSet" not in options:  # a set's own names for its members may mean nothing here
            options.setdefault("directConnection", "true")
        return _joined(f"mongodb://{login}{address}/{quote(space.database, safe='')}", options)
    if isinstance(space, RedisSpace):
        scheme = "rediss" if options.pop("tls", "") else "redis"
        return _joined(f"{scheme}://{login}{address}/{space.database}", options)
    scheme = "https" if options.pop("tls", "") else "http"
    return f"{scheme}://{address}"  # Qdrant: the key is a variable of its own


def parse_url(kind: Kind, text: str) -> Login:
    """A store's URL -> endpoint and login. Raises ConfigError, never showing the URL."""
    parts = urlsplit(text)
    schemes = SCHEMES[kind]
    if parts.scheme not in schemes or not parts.hostname:
        raise ConfigError(
            f"the URL of {kind} is not of the form {schemes[0]}://user:password@host:port/name"
        )
    try:
        port = parts.port or PORTS[kind]
    except ValueError:
        raise ConfigError(f"the URL of {kind} has a port that is no number") from None
    options = dict(parse_qsl(parts.query))
    key = options.pop("api_key", "") if kind == "qdrant" else ""
    if parts.scheme in ("https", "rediss"):
        options["tls"] = "1"
    return Login(
        endpoint=Endpoint(host=parts.hostname, port=port, options=options),
        identity=Identity(
            role="reader",
            name=unquote(parts.username or ""),
            secret=key or unquote(parts.password or ""),
        ),
        path=unquote(parts.path.lstrip("/")),
    )


def holds(value: str, secret: str) -> bool:
    """Whether a variable's value holds this secret: as the whole, as an URL's password, or, where
    it is too long to be there by chance, anywhere."""
    try:
        password = unquote(urlsplit(value).password or "")
    except ValueError:
        password = ""
    return secret in (value, password) or (len(secret) >= LONG and secret in value)


def libpq(endpoint: Endpoint) -> tuple[dict[str, str], tuple[str, ...]]:
    """An endpoint as PostgreSQL's own programs read it from their environment, and the files that
    it names (https://www.postgresql.org/docs/current/libpq-envars.html)."""
    names = {
        "sslmode": "PGSSLMODE",
        "sslrootcert": "PGSSLROOTCERT",
        "sslcert": "PGSSLCERT",
        "sslkey": "PGSSLKEY",
        "sslcrl": "PGSSLCRL",
        "sslnegotiation": "PGSSLNEGOTIATION",
        "channel_binding": "PGCHANNELBINDING",
        "gssencmode": "PGGSSENCMODE",
        "connect_timeout": "PGCONNECT_TIMEOUT",
        "options": "PGOPTIONS",
    }
    told = {"PGHOST": endpoint.host, "PGPORT": str(endpoint.port)}
    told |= {names[key]: value for key, value in endpoint.options.items() if key in names}
    files = ("PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGSSLCRL")
    return told, tuple(told[name] for name in files if told.get(name, "").startswith("/"))


def _joined(base: str, options: dict[str, str]) -> str:
    return f"{base}?{urlencode(options)}" if options else base
