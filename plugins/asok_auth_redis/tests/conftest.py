"""A Valkey server from a wheel, and the server that REDIS_URL names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from asok_auth_tests.valkey_server import ValkeyServer as Server


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that no test disturbs."""
    server = Server(tmp_path_factory.mktemp("valkey"), "--save", "")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def contract_url(shared_server: Server) -> str:
    return os.environ.get("REDIS_URL") or shared_server.url


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, that writes every change to disk before it answers."""
    server = Server(tmp_path / "valkey", "--appendonly", "yes", "--appendfsync", "always", "--save", "")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stores of this test wait long: a busy machine is not an outage."""
    monkeypatch.setattr("asok_auth_redis.connect.STEP", 30.0)


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Makes further servers, not started yet; all are stopped at the end."""
    made: list[Server] = []

    def make(*options: str) -> Server:
        made.append(Server(tmp_path / f"valkey{len(made)}", "--save", "", *options))
        return made[-1]

    yield make
    for server in made:
        server.stop()


@pytest.fixture
def make_sentinel(tmp_path: Path) -> Iterator[Callable[[int], Server]]:
    """Makes a Sentinel for the service "primary"; it fails over in three seconds."""
    made: list[Server] = []

    def make(primary: int) -> Server:
        config = tmp_path / "sentinel.conf"
        config.write_text(
            f"sentinel monitor primary 127.0.0.1 {primary} 1\n"
            "sentinel down-after-milliseconds primary 3000\n"
            "sentinel failover-timeout primary 10000\n"
        )
        made.append(Server(tmp_path / "sentinel", str(config), "--sentinel"))
        return made[-1]

    yield make
    for server in made:
        server.stop()
