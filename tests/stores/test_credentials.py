"""SqlCredentialStore on Asok's own SQLite engine."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from asok.orm.engines.sqlite import SQLiteEngine

from asok_auth_core.errors import CredentialExists, StoreError, StoreUnavailable
from asok_auth_core.stores.credentials import SqlCredentialStore


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[SQLiteEngine]:
    engine = SQLiteEngine(str(tmp_path / "app.sqlite3"))
    yield engine
    engine.close_connections()


@pytest.fixture
def store(engine: SQLiteEngine) -> SqlCredentialStore:
    return SqlCredentialStore(engine, lambda: 1000.5)


def test_round_trip(store: SqlCredentialStore) -> None:
    made = store.add("7", "totp", "main", {"é": [1, None]})
    assert store.find("totp", "main") == made
    assert made.data == '{"\\u00e9":[1,null]}'
    assert (made.version, made.created_at, made.last_used_at) == (1, 1000.5, None)


def test_a_clash_keeps_the_first(store: SqlCredentialStore) -> None:
    made = store.add("7", "identity", "a", 1)
    with pytest.raises(CredentialExists):
        store.add("8", "identity", "a", 2)
    assert store.find("identity", "a") == made


def test_a_clash_does_not_keep_the_database_locked(
    store: SqlCredentialStore, engine: SQLiteEngine, tmp_path: Path
) -> None:
    store.add("7", "identity", "a", 1)
    with pytest.raises(CredentialExists):
        store.add("8", "identity", "a", 2)
    other = sqlite3.connect(tmp_path / "app.sqlite3", timeout=0)
    try:
        other.execute("CREATE TABLE free (x)")
    finally:
        other.close()


def test_it_works_after_the_connections_of_a_request_are_closed(
    store: SqlCredentialStore, engine: SQLiteEngine
) -> None:
    made = store.add("7", "totp", "main", 1)
    engine.close_connections()
    assert store.replace(made, 2) is not None
    engine.close_connections()
    assert store.remove(made)


@pytest.mark.parametrize("identifier", ["", "x" * 1025, "a\0b", "\ud800"])
def test_an_identifier_that_cannot_be_stored(store: SqlCredentialStore, identifier: str) -> None:
    with pytest.raises(StoreError, match="identifier of a credential"):
        store.add("7", "identity", identifier, 1)
    assert store.find("identity", identifier) is None


def test_a_failing_database_is_named_without_its_values(
    store: SqlCredentialStore, engine: SQLiteEngine
) -> None:
    """SECURITY 30, 32."""
    store.create_schema()
    engine.execute("DROP TABLE auth_credentials", ())
    for call in (
        lambda: store.find("canary", "canary"),
        lambda: store.add("canary", "canary", "canary", "canary"),
        lambda: store.list("canary"),
    ):
        with pytest.raises(StoreUnavailable, match="OperationalError") as caught:
            call()
        assert "canary" not in str(caught.value)
