"""A PostgreSQL server from a wheel, or the one that DATABASE_URL names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from asok_auth_tests.postgres_server import PostgresServer as Server


@pytest.fixture(scope="session")
def running_server() -> Iterator[Server]:
    server = Server()
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def contract_url(running_server: Server) -> str:
    return os.environ.get("DATABASE_URL") or running_server.url


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores wait long for an answer in this test: a busy machine is not an outage."""
    monkeypatch.setattr("asok_auth_postgres.connections.CONNECTING", 30.0)
    monkeypatch.setattr("asok_auth_postgres.store.DEADLINE", 300.0)


@pytest.fixture
def make_server() -> Iterator[Callable[..., Server]]:
    """Makes servers of the test's own, not started yet; all are removed at the end."""
    made: list[Server] = []

    def make(*, folder: Path | None = None, copy_of: Server | None = None) -> Server:
        made.append(copy_of.copy() if copy_of else Server(folder))
        return made[-1]

    yield make
    for server in made:
        server.remove()


@pytest.fixture
def server(running_server: Server) -> Iterator[Server]:
    """The server for a test that disturbs it: without tables, restarted afterwards."""
    running_server.ask("DROP TABLE IF EXISTS asok_auth_state, asok_auth_schema")
    yield running_server
    running_server.resume()
    running_server.start()
    running_server.ask("DROP TABLE IF EXISTS asok_auth_state, asok_auth_schema")
