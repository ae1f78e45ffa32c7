"""URLs: what each means, and what a wrong one is told."""

from __future__ import annotations

import pytest
from asok_auth_redis import RedisStateStore
from asok_auth_redis.address import parse

from asok_auth_core.errors import ConfigurationError


def test_a_single_server() -> None:
    address = parse("redis://me:p%40ss@host:7000/3?prefix=app:&max_connections=9")
    assert (address.kind, address.hosts, address.db) == ("single", (("host", 7000),), 3)
    assert (address.username, address.password) == ("me", "p@ss")
    assert (address.prefix, address.max_connections, address.tls) == ("app:", 9, False)


def test_defaults() -> None:
    address = parse("valkey://host")
    assert (address.hosts, address.db, address.prefix) == ((("host", 6379),), 0, "asok-auth:")
    assert address.username is None
    assert address.password is None


def test_an_ipv6_host() -> None:
    assert parse("redis://[::1]:7000").hosts == (("::1", 7000),)


@pytest.mark.parametrize("url", ["rediss://h", "valkeys://h", "rediss+sentinel://h/s", "rediss+cluster://h"])
def test_a_scheme_with_s_uses_tls(url: str) -> None:
    assert parse(url).tls


def test_a_unix_socket() -> None:
    address = parse("unix:///run/redis.sock?db=2")
    assert (address.kind, address.path, address.db) == ("unix", "/run/redis.sock", 2)


def test_sentinel_hosts_and_service() -> None:
    address = parse("redis+sentinel://:pw@a,b:7000/primary/1")
    assert (address.kind, address.service, address.db) == ("sentinel", "primary", 1)
    assert address.hosts == (("a", 26379), ("b", 7000))
    assert address.password == "pw"


def test_cluster_nodes() -> None:
    address = parse("redis+cluster://a,b:7000")
    assert (address.kind, address.hosts) == ("cluster", (("a", 6379), ("b", 7000)))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://host", "not a Redis URL"),
        ("redis://", "names no host"),
        ("redis://host:port", "wrong port"),
        ("redis://host/x", "database"),
        ("redis://host/0/1", "too much"),
        ("redis+sentinel://host", "names the service"),
        ("redis+cluster://host/1", "too much"),
        ("redis://host?prefx=a", "'prefx' is not an option"),
        ("redis://host?max_connections=0", "number from 1"),
        ("rediss://host?ssl_cert_reqs=none", "not an option"),
        ("rediss://host?ssl_check_hostname=false", "not an option"),
    ],
)
def test_an_invalid_url_is_rejected_with_the_reason(url: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        RedisStateStore(url)


@pytest.mark.requirement("SECURITY-30")
def test_messages_and_repr_hold_no_password() -> None:
    address = parse("redis://canary-user:canary-password@host:7000/0?sentinel_password=canary")
    assert "canary" not in address.shown
    assert "canary-password" not in repr(address)
    with pytest.raises(ConfigurationError) as caught:
        parse("redis://user:canary@host:canary/0")
    assert "canary" not in str(caught.value)
