"""The credential stores keep their contract, which finds one that does not."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import pytest
from asok.orm.engines.sqlite import SQLiteEngine

from asok_auth_core.contracts import INSTALLATION, CredentialStore
from asok_auth_core.errors import CredentialExists, StoreUnavailable
from asok_auth_core.stores.credentials import SqlCredentialStore
from asok_auth_core.testing.credential_store import CredentialStoreContract, OpenCredentialStore
from asok_auth_core.testing.fakes import FrozenClock, MemoryCredentialStore, MemoryUsers
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


class Plain(MemoryCredentialStore):
    """A store of an author who overrides nothing that has a default."""

    newest = CredentialStore.newest
    installation = CredentialStore.installation


class TestDefaults:
    def test_a_store_that_cannot_tell_its_newest_shows_none(self) -> None:
        store = Plain(FrozenClock())
        store.add("1", "session", "a", {})
        assert store.newest("session", 5) == ()

    def test_of_two_ids_made_at_once_both_processes_get_the_first(self) -> None:
        class Late(Plain):
            def add(self, user_id: str, kind: str, identifier: str, data: JSON) -> Credential:
                super().add(user_id, kind, identifier, {"id": "first", "highest_user_id": 7})
                return super().add(user_id, kind, identifier, data)

        store = Late(FrozenClock())
        found = store.installation(MemoryUsers(), os.urandom)
        assert (found.id, found.highest_user_id) == ("first", 7)
        assert store.installation(MemoryUsers(), os.urandom) == found

    @pytest.mark.requirement("SECURITY-32")
    @pytest.mark.parametrize("data", [{"id": ""}, {"id": "", "highest_user_id": 1}, {"id": "a"}, [], 5, None])
    def test_an_id_that_was_not_kept_is_an_outage(self, data: JSON) -> None:
        """Not a new one: earlier tokens would be void, or an old account look new."""
        store = Plain(FrozenClock())
        store.add(INSTALLATION, INSTALLATION, INSTALLATION, data)
        with pytest.raises(StoreUnavailable, match="does not keep the id"):
            store.installation(MemoryUsers(), os.urandom)
