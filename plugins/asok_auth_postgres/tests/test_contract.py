"""PostgresStateStore keeps the contract of every StateStore, on a real server."""

from __future__ import annotations

from functools import partial

import pytest
from asok_auth_postgres import PostgresStateStore, connections, store
from asok_auth_tests.state_stores import AtLength

from asok_auth_core.plugin import Clock
from asok_auth_core.testing import OpenStore, StateStoreContract


def open_patiently(url: str, clock: Clock | None = None) -> PostgresStateStore:
    """What the fixture ``patient`` does, in a worker process too."""
    connections.CONNECTING, store.DEADLINE = 30.0, 300.0
    return PostgresStateStore(url, clock)


@pytest.mark.usefixtures("patient")
class TestPostgres(StateStoreContract):
    processes = 4
    kills = 1
    examples = 10

    @pytest.fixture
    def open_store(self, contract_url: str) -> OpenStore:
        return partial(open_patiently, contract_url)


@pytest.mark.slow
class TestPostgresAtLength(AtLength, TestPostgres):
    """The same with more processes, secrets and kills."""
