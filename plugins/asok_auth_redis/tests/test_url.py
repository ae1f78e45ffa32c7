"""Parse store URLs, and reject invalid ones with a message."""

from __future__ import annotations

import pytest
from asok_auth_redis import RedisStateStore
from asok_auth_redis.url import parse

from asok_auth_core.plugin import ConfigurationError


def test_single() -> None:
    parsed = parse("redis://me:p%40ss@host:7000/3?prefix=app:&max_connections=9")
    assert (parsed.kind, parsed.hosts, parsed.db) == ("single", (("host", 7000),), 3)
    assert (parsed.username, parsed.password) == ("me", "p@ss")
    assert (parsed.prefix, parsed.max_connections, parsed.tls) == ("app:", 9, False)


def test_defaults() -> None:
    parsed = parse("valkey://host")
    assert (parsed.hosts, parsed.db, parsed.prefix) == ((("host", 6379),), 0, "asok-auth:")
    assert parsed.username is None
    assert parsed.password is None


def test_ipv6() -> None:
    assert parse("redis://[::1]:7000").hosts == (("::1", 7000),)


@pytest.mark.parametrize("url", ["rediss://h", "valkeys://h", "rediss+sentinel://h/s", "rediss+cluster://h"])
def test_tls(url: str) -> None:
    assert parse(url).tls


def test_unix() -> None:
    parsed = parse("unix:///run/redis.sock?db=2")
    assert (parsed.kind, parsed.path, parsed.db) == ("unix", "/run/redis.sock", 2)


def test_sentinel() -> None:
    parsed = parse("redis+sentinel://:pw@a,b:7000/primary/1")
    assert (parsed.kind, parsed.service, parsed.db) == ("sentinel", "primary", 1)
    assert parsed.hosts == (("a", 26379), ("b", 7000))
    assert parsed.password == "pw"


def test_cluster() -> None:
    parsed = parse("redis+cluster://a,b:7000")
    assert (parsed.kind, parsed.hosts) == ("cluster", (("a", 6379), ("b", 7000)))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://host", "not the scheme of a Redis URL"),
        ("redis://", "has no host"),
        ("redis://host:port", "invalid port"),
        ("redis://host/x", "database"),
        ("redis://host/0/1", "invalid path"),
        ("redis+sentinel://host", "no service name"),
        ("redis+cluster://host/1", "invalid path"),
        ("redis://host?prefx=a", "unknown option 'prefx'"),
        ("redis://host?max_connections=0", "at least 1"),
        ("rediss://host?ssl_cert_reqs=none", "unknown option"),
        ("rediss://host?ssl_check_hostname=false", "unknown option"),
    ],
)
def test_wrong(url: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        RedisStateStore(url)


@pytest.mark.requirement("SECURITY-30")
def test_messages_do_not_hold_the_password() -> None:
    parsed = parse("redis://canary-user:canary-password@host:7000/0?sentinel_password=canary")
    assert "canary" not in parsed.shown
    assert "canary-password" not in repr(parsed)
    with pytest.raises(ConfigurationError) as caught:
        parse("redis://user:canary@host:canary/0")
    assert "canary" not in str(caught.value)
