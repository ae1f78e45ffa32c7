"""The credential stores keep their contract, and the contract finds one that does not."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest
from asok.orm.engines.sqlite import SQLiteEngine

from asok_auth_core.contracts import CredentialStore
from asok_auth_core.errors import CredentialExists
from asok_auth_core.stores.credentials import SqlCredentialStore
from asok_auth_core.testing.credential_store import CredentialStoreContract, OpenCredentialStore
from asok_auth_core.testing.fakes import MemoryCredentialStore
from asok_auth_core.types import JSON, Credential


class EngineStore(SqlCredentialStore):
    """Knows its engine, so that a test can close its connections."""

    def __init__(self, path: Path) -> None:
        self.engine = SQLiteEngine(str(path))
        super().__init__(self.engine)


class RacyCredentialStore(EngineStore):
    """Looks, then acts."""

    def replace(self, credential: Credential, data: JSON) -> Credential | None:
        found = self.find(credential.kind, credential.identifier)
        if found is None or found.version != credential.version:
            return None
        time.sleep(0.001)
        super().replace(found, data)
        return found

    def remove(self, credential: Credential) -> bool:
        found = self.find(credential.kind, credential.identifier)
        time.sleep(0.001)
        super().remove(credential)
        return found is not None


class OnSQLite(CredentialStoreContract):
    processes = 3
    kind: type[EngineStore] = EngineStore

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenCredentialStore:
        return partial(self.kind, tmp_path / "app.sqlite3")

    def close(self, store: CredentialStore) -> None:
        assert isinstance(store, EngineStore)
        store.engine.close_connections()


class TestSQLite(OnSQLite):
    """Through Asok's own engine, which closes its connections after each request."""


class TestMemory(CredentialStoreContract):
    shared = False

    @pytest.fixture
    def open_store(self) -> OpenCredentialStore:
        return partial(MemoryCredentialStore, time.time)


class TestRacyStore:
    def test_the_suite_fails_with_processes(self, tmp_path: Path) -> None:
        suite = OnSQLite()
        suite.processes = 2  # type: ignore[misc]  # enough to fail
        open_store = partial(RacyCredentialStore, tmp_path / "app.sqlite3")
        store = open_store()
        try:
            with pytest.raises(AssertionError, match="won by more than one caller"):
                suite.test_exactly_one_of_many_processes_wins(open_store, store, "7")
        finally:
            store.engine.close_connections()

    def test_the_suite_fails_for_one_caller(self) -> None:
        class Overwriting(MemoryCredentialStore):
            def add(self, user_id: str, kind: str, identifier: str, data: JSON) -> Credential:
                try:
                    return super().add(user_id, kind, identifier, data)
                except CredentialExists:
                    found = self.find(kind, identifier)
                    assert found is not None
                    self.remove(found)
                    return super().add(user_id, kind, identifier, data)

        with pytest.raises(BaseException, match="DID NOT RAISE"):
            CredentialStoreContract().test_a_clash_keeps_the_first(Overwriting(time.time), "7")
