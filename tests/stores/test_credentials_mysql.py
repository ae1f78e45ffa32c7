"""SqlCredentialStore on MySQL or MariaDB, through Asok's own engine."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from asok.orm.engines.mysql import MySQLEngine
from asok_auth_tests.mariadb_server import mysql_url

from asok_auth_core.contracts import CredentialStore
from asok_auth_core.errors import CredentialExists
from asok_auth_core.stores.credentials import SqlCredentialStore
from asok_auth_core.testing.credential_store import CredentialStoreContract, OpenCredentialStore


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mysql_url(tmp_path_factory.mktemp("mariadb")) as url:
        yield url


class EngineStore(SqlCredentialStore):
    """Knows its engine, so that a test can close its connections."""

    def __init__(self, url: str) -> None:
        self.engine = MySQLEngine(url)
        super().__init__(self.engine)


@pytest.mark.slow
class TestMySQL(CredentialStoreContract):
    @pytest.fixture
    def open_store(self, url: str) -> OpenCredentialStore:
        return partial(EngineStore, url)

    def close(self, store: CredentialStore) -> None:
        assert isinstance(store, EngineStore)
        store.engine.close_connections()

    def test_a_clash_keeps_the_apps_transaction(self, store: CredentialStore, user: str) -> None:
        assert isinstance(store, EngineStore)
        store.add(user, "kind", user, 1)
        with store.engine.transaction():
            with pytest.raises(CredentialExists):
                store.add(user, "kind", user, 2)
            made = store.add(user, "kind", user + "other", 3)
        assert store.find("kind", user + "other") == made
