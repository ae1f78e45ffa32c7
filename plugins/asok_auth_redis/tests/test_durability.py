"""``asok-auth doctor`` reports a server that can lose data."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest
from asok_auth_redis import RedisStateStore
from asok_auth_tests.valkey_server import ValkeyServer as Server

from asok_auth_core.plugin import Finding, KeyRing
from asok_auth_core.stores.owned import OwnedStateStore


@pytest.fixture
def check(server: Server) -> Iterator[Callable[[], list[Finding]]]:
    store = RedisStateStore(server.url)
    owned = OwnedStateStore(store, KeyRing([b"k" * 32]), secrets.token_bytes, lambda: "a" * 22)
    yield lambda: list(owned.check())
    store.close()


def configure(server: Server, name: str, value: str) -> None:
    store = RedisStateStore(server.url)
    store.command("CONFIG", "SET", name, value)
    store.close()


def test_a_durable_server_has_no_findings(check: Callable[[], list[Finding]]) -> None:
    assert check() == []


def test_a_server_that_may_evict_or_forget_is_reported(
    server: Server, check: Callable[[], list[Finding]]
) -> None:
    configure(server, "appendonly", "no")
    configure(server, "maxmemory", "100mb")
    configure(server, "maxmemory-policy", "allkeys-lru")
    found = check()
    assert [(finding.check, finding.severity) for finding in found] == [("redis", "warning")] * 2
    assert "allkeys-lru" in found[0].message
    assert "appendonly" in found[1].message


def test_a_user_that_may_not_ask_is_told_so(server: Server, check: Callable[[], list[Finding]]) -> None:
    store = RedisStateStore(server.url)
    store.command("ACL", "SETUSER", "default", "-info")
    store.close()
    (finding,) = check()
    assert finding.severity == "info"
    assert "may not run INFO" in finding.message
