"""What a fleet shares: servers, from wheels or the environment, and a provider."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import pytest
from asok_auth_dev.accounts import Account
from asok_auth_dev.provider import DevProvider
from asok_auth_tests.machines import APP_URL, Machine, environment, new_address, started
from asok_auth_tests.postgres_server import PostgresServer
from asok_auth_tests.valkey_server import ValkeyServer


@pytest.fixture(scope="module")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey server that writes every change to disk before it answers."""
    if given := os.environ.get("REDIS_URL"):
        yield given
        return
    durable = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
    server = ValkeyServer(tmp_path_factory.mktemp("valkey"), *durable)
    server.start()
    yield server.url
    server.stop()


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    if given := os.environ.get("DATABASE_URL"):
        yield given
        return
    server = PostgresServer()
    server.start()
    yield server.url
    server.remove()


@pytest.fixture(scope="module")
def provider() -> Iterator[DevProvider]:
    """The provider, trusted for the domain of accounts from ``new_account``."""
    first = Account(1, "first", "First User", new_address())
    with DevProvider(APP_URL, debug=True, accounts=[first]) as local:
        yield local


@pytest.fixture(scope="module", params=["valkey", "postgresql"])
def told(
    request: pytest.FixtureRequest, valkey_url: str, postgres_url: str, provider: DevProvider
) -> Callable[..., Mapping[str, str]]:
    """The settings of a machine with a given key; state in Valkey or PostgreSQL."""
    state = valkey_url if request.param == "valkey" else postgres_url
    return partial(environment, state, valkey_url, postgres_url, provider)


@pytest.fixture(scope="module")
def machines(
    told: Callable[..., Mapping[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Machine, Machine]]:
    """Two machines with the same key."""
    environ = told(secrets.token_hex(32))
    with started({tmp_path_factory.mktemp("machine"): environ for _ in range(2)}) as made:
        yield made[0], made[1]
