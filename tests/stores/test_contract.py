"""Our own stores keep the contract, and the contract finds stores that do not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from asok_auth_tests.state_stores import AtLength, RacyStateStore
from hypothesis import Phase, settings

from asok_auth_core.contracts import RevocationMark, StoredMark, run_operation
from asok_auth_core.stores import sqlite_file
from asok_auth_core.stores.memory import MemoryStateStore
from asok_auth_core.stores.sqlite import SQLiteStateStore
from asok_auth_core.testing.fakes import FrozenClock
from asok_auth_core.testing.state_store import OpenStore, StateStoreContract
from asok_auth_core.testing.waiting import PATIENCE
from asok_auth_core.types import Clock, Random, StateOperation


class TestMemory(StateStoreContract):
    shared = False

    @pytest.fixture
    def open_store(self) -> OpenStore:
        return MemoryStateStore


def open_patiently(path: Path, clock: Clock = time.time) -> SQLiteStateStore:
    """What the fixture ``patient`` does, in a worker process too."""
    sqlite_file.DEADLINE = PATIENCE
    return SQLiteStateStore(path, clock)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores wait long for the lock in this test: a busy machine is not an outage."""
    monkeypatch.setattr(sqlite_file, "DEADLINE", PATIENCE)


@pytest.mark.usefixtures("patient")
class TestSQLite(StateStoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return partial(open_patiently, tmp_path / "state.sqlite3")


@pytest.mark.slow
class TestSQLiteAtLength(AtLength, TestSQLite):
    """The same with more processes, secrets and kills."""


@pytest.mark.requirement("SECURITY-1")
class TestRacyStore:
    """A store with a race fails the suite."""

    @pytest.fixture
    def suite(self) -> StateStoreContract:
        suite = StateStoreContract()
        suite.processes = 2  # type: ignore[misc]  # enough to fail
        return suite

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return partial(RacyStateStore, tmp_path / "state.sqlite3")

    def test_the_suite_fails_with_processes(self, suite: StateStoreContract, open_store: OpenStore) -> None:
        with pytest.raises(AssertionError, match="won by more than one caller"):
            suite.test_exactly_one_of_many_processes_wins(open_store, "race:")

    def test_the_suite_fails_with_threads(self, suite: StateStoreContract, open_store: OpenStore) -> None:
        store = open_store()
        try:
            with pytest.raises(AssertionError, match="won by more than one caller"):
                suite.test_exactly_one_of_many_threads_wins(store, "race:")
        finally:
            store.close()


class LocalMarkStore(SQLiteStateStore):
    """Keeps the revocation mark in its own memory, where no other worker sees it."""

    def revocation_mark(self, random: Random) -> RevocationMark:
        return StoredMark(MemoryStateStore(), random)


@pytest.mark.requirement("SECURITY-23")
def test_a_mark_that_is_not_shared_is_found(tmp_path: Path) -> None:
    open_store = partial(LocalMarkStore, tmp_path / "state.sqlite3")
    clock = FrozenClock()
    store = open_store(clock=clock)
    try:
        with pytest.raises(AssertionError):
            StateStoreContract().test_all_workers_see_each_revocation(store, open_store, clock)
    finally:
        store.close()


class ProlongingStore(MemoryStateStore):
    def incr(self, key: str, ttl: int) -> int:
        number = super().incr(key, ttl)
        self.put(key, b"%d" % number, ttl)
        return number


class UndyingStore(MemoryStateStore):
    def __init__(self, clock: Clock = time.time) -> None:
        super().__init__(lambda: 0.0)


class OverwritingStore(MemoryStateStore):
    def add(self, key: str, value: bytes, ttl: int) -> bool:
        free = self.get(key) is None
        self.put(key, value, ttl)
        return free


class CaseFoldingStore(MemoryStateStore):
    def put(self, key: str, value: bytes, ttl: int) -> None:
        super().put(key.lower(), value, ttl)

    def add(self, key: str, value: bytes, ttl: int) -> bool:
        return super().add(key.lower(), value, ttl)


class TextStore(MemoryStateStore):
    def put(self, key: str, value: bytes, ttl: int) -> None:
        super().put(key, value.decode("utf-8", "replace").encode(), ttl)


class TestWrongForOneCaller:
    """One plausible mistake each, and the test of the suite that finds it."""

    suite = StateStoreContract()

    @pytest.mark.parametrize("kind", [ProlongingStore, UndyingStore])
    def test_the_suite_fails_on_expiry(self, kind: type[MemoryStateStore]) -> None:
        clock = FrozenClock()
        with pytest.raises(AssertionError):
            self.suite.test_expired_entries_do_not_exist(kind(clock), clock, "u:")

    def test_the_suite_fails_on_add(self) -> None:
        with pytest.raises(AssertionError):
            self.suite.test_add_keeps_the_first(OverwritingStore(), "u:")

    def test_the_suite_fails_on_keys(self) -> None:
        with pytest.raises(AssertionError):
            self.suite.test_keys_are_any_text(CaseFoldingStore(), "u:")

    def test_the_suite_fails_on_values(self) -> None:
        with pytest.raises(AssertionError):
            self.suite.test_values_are_any_bytes(TextStore(), "u:", bytes(range(256)))

    @pytest.fixture
    def no_shrinking(self) -> Iterator[None]:
        """A wrong history is found at once; looking for a shorter one takes 15 seconds."""
        settings.register_profile("no shrinking", settings.get_profile("repository"), phases=[Phase.generate])
        settings.load_profile("no shrinking")
        yield
        settings.load_profile("repository")

    @pytest.mark.usefixtures("no_shrinking")
    def test_the_suite_fails_on_random_histories(self) -> None:
        clock = FrozenClock()
        with pytest.raises(AssertionError):
            self.suite.test_any_history_agrees_with_a_model(OverwritingStore(clock), clock)


def test_an_operation_that_a_state_store_does_not_have_is_an_error() -> None:
    store = MemoryStateStore()
    with pytest.raises(ValueError, match="no operation 'peek'"):
        run_operation(store, StateOperation("peek", "key"))
    assert run_operation(store, StateOperation("get", "key")) is None
