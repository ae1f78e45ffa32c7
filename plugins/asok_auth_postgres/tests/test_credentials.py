"""The core's SqlCredentialStore on PostgreSQL, through Asok's own engine."""

from __future__ import annotations

from functools import partial

import pytest
from asok.orm.engines.postgres import PostgresEngine

from asok_auth_core.plugin import CredentialExists, CredentialStore
from asok_auth_core.stores.credentials import SqlCredentialStore
from asok_auth_core.testing import CredentialStoreContract, OpenCredentialStore


class EngineStore(SqlCredentialStore):
    """Knows its engine, so that a test can give back its connections."""

    def __init__(self, url: str) -> None:
        self.engine = PostgresEngine(url)
        super().__init__(self.engine)


class TestPostgres(CredentialStoreContract):
    processes = 2

    @pytest.fixture
    def open_store(self, contract_url: str) -> OpenCredentialStore:
        return partial(EngineStore, contract_url)

    def close(self, store: CredentialStore) -> None:
        assert isinstance(store, EngineStore)
        store.engine.close_connections()
        pool = store.engine._pool
        if pool is not None and pool.get_stats().get("requests_waiting", 0) == 0:
            store.engine._pool = None
            del store.engine._pool_initialized
            pool.close()

    def test_a_clash_keeps_the_apps_transaction(self, store: CredentialStore, user: str) -> None:
        """After a failed statement, PostgreSQL rejects the rest of a transaction."""
        assert isinstance(store, EngineStore)
        store.add(user, "kind", user, 1)
        with store.engine.transaction():
            with pytest.raises(CredentialExists):
                store.add(user, "kind", user, 2)
            made = store.add(user, "kind", user + "other", 3)
        assert store.find("kind", user + "other") == made
