"""Parse the store's URL."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from asok_auth_core.plugin import ConfigurationError

SCHEMES = (
    "redis",
    "rediss",
    "valkey",
    "valkeys",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
OPTIONS = frozenset(
    {
        "prefix",
        "max_connections",
        "db",
        "ssl_ca_certs",
        "ssl_certfile",
        "ssl_keyfile",
        "sentinel_username",
        "sentinel_password",
    }
)
EXAMPLE = "redis://user:password@host:6379/0"


@dataclass(frozen=True, slots=True)
class StoreURL:
    """A parsed URL. ``shown``, for messages, has no username and no password."""

    kind: str
    """``single``, ``unix``, ``sentinel`` or ``cluster``."""
    hosts: tuple[tuple[str, int], ...]
    shown: str
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    path: str = ""
    service: str = ""
    prefix: str = "asok-auth:"
    max_connections: int = 50
    files: dict[str, str] = field(default_factory=dict)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)


def parse(url: str) -> StoreURL:
    """Parse ``url``.

    Raises ConfigurationError, whose message does not contain the password.
    """
    parts = urlsplit(url)
    scheme = parts.scheme.replace("valkeys", "rediss").replace("valkey", "redis")
    if parts.scheme not in SCHEMES:
        raise ConfigurationError(
            f'AUTH["STATE_STORE"]: {parts.scheme!r} is not the scheme of a Redis URL. Example: {EXAMPLE}'
        )
    # rpartition, because a password may contain an @.
    login, _, places = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    options = _options(parts.query)
    kind = scheme.partition("+")[2] or ("unix" if scheme == "unix" else "single")
    segments = [unquote(part) for part in parts.path.split("/") if part]
    service = ""
    if kind == "sentinel":
        if not segments:
            raise ConfigurationError(
                "The Sentinel URL has no service name. Example: "
                "redis+sentinel://host1:26379,host2:26379/service/0"
            )
        service = segments.pop(0)
    if kind == "unix":
        db = options.get("db", "0")
    else:
        db = segments[0] if segments else options.get("db", "0")
        if len(segments) > 1 or (kind == "cluster" and db != "0"):
            raise ConfigurationError(f"The Redis URL has an invalid path. Example: {EXAMPLE}")
    default_port = 26379 if kind == "sentinel" else 6379
    hosts = () if kind == "unix" else tuple(_host(place, default_port) for place in places.split(","))
    return StoreURL(
        kind=kind,
        hosts=hosts,
        shown=parts.path if kind == "unix" else ",".join(f"{host}:{port}" for host, port in hosts),
        tls=scheme.startswith("rediss"),
        username=unquote(username) or None,
        password=unquote(password) or None,
        db=_number("database", db, 0),
        path=unquote(parts.path) if kind == "unix" else "",
        service=service,
        prefix=options.get("prefix", "asok-auth:"),
        max_connections=_number("max_connections", options.get("max_connections", "50"), 1),
        files={name: value for name, value in options.items() if name.startswith("ssl_")},
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
    )


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in OPTIONS:
            raise ConfigurationError(
                f"The Redis URL has an unknown option {name!r}. Known: {', '.join(sorted(OPTIONS))}."
            )
    return options


def _host(place: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{place}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError(f"The Redis URL has an invalid port. Example: {EXAMPLE}") from None
    if not host:
        raise ConfigurationError(f"The Redis URL has no host. Example: {EXAMPLE}")
    return host, port or default_port


def _number(name: str, text: str, least: int) -> int:
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise ConfigurationError(
            f"The {name} in the Redis URL must be a number of at least {least}, got {text!r}."
        )
    return int(text)
