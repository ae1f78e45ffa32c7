"""Where a fleet keeps what it shares: servers from wheels, or REDIS_URL and DATABASE_URL."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
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
