"""PostgresStateStore keeps the contract of every StateStore, on a real server."""

from __future__ import annotations

from functools import partial

import pytest
from asok_auth_postgres import PostgresStateStore

from asok_auth_core.testing.state_store import OpenStore, StateStoreContract


class TestPostgres(StateStoreContract):
    processes = 4

    @pytest.fixture
    def open_store(self, contract_url: str) -> OpenStore:
        return partial(PostgresStateStore, contract_url)


@pytest.mark.slow
class TestPostgresAtLength(TestPostgres):
    """The same with 2,000 secrets of each kind, and 200 kills."""

    processes = 8
    secrets = 2000
    kills = 200
    examples = 200
