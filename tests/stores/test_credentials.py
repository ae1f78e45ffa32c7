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


def test_a_credential_round_trips_through_the_database(store: SqlCredentialStore) -> None:
    made = store.add("7", "totp", "main", {"é": [1, None]})
    assert store.find("totp", "main") == made
    assert made.data == '{"\\u00e9":[1,null]}'
    assert (made.version, made.created_at, made.last_used_at) == (1, 1000.5, None)


def test_a_clash_keeps_the_first(store: SqlCredentialStore) -> None:
    made = store.add("7", "identity", "a", 1)
    with pytest.raises(CredentialExists):
        store.add("8", "identity", "a", 2)
    assert store.find("identity", "a") == made


def test_a_clash_leaves_the_database_unlocked(
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
def test_an_identifier_that_cannot_be_stored_is_a_store_error(
    store: SqlCredentialStore, identifier: str
) -> None:
    with pytest.raises(StoreError, match="identifier of a credential"):
        store.add("7", "identity", identifier, 1)
    assert store.find("identity", identifier) is None


@pytest.mark.requirement("SECURITY-30", "SECURITY-32")
def test_a_database_error_names_no_values(store: SqlCredentialStore, engine: SQLiteEngine) -> None:
    for call in (
        lambda: store.find("canary", "canary"),
        lambda: store.add("canary", "canary", "canary", "canary"),
        lambda: store.list("canary"),
    ):
        store.create_schema()
        engine.execute("DROP TABLE auth_credentials", ())
        with pytest.raises(StoreUnavailable, match="OperationalError") as caught:
            call()
        assert "canary" not in str(caught.value)


def test_a_rolled_back_table_is_created_again(store: SqlCredentialStore, engine: SQLiteEngine) -> None:
    """Its first use may lie in a transaction of the app that comes to nothing."""
    store.add("7", "totp", "main", 1)
    engine.execute("DROP TABLE auth_credentials", ())
    with pytest.raises(StoreUnavailable):
        store.find("totp", "main")
    assert store.find("totp", "main") is None
    assert store.add("7", "totp", "main", 1).version == 1


@pytest.mark.parametrize("user_id", ["", "x" * 256, "a\0b"])
def test_a_user_id_that_cannot_be_stored_has_no_credentials(store: SqlCredentialStore, user_id: str) -> None:
    assert store.list(user_id) == ()


def test_a_kind_that_cannot_be_stored_has_no_newest_credentials(store: SqlCredentialStore) -> None:
    store.add("7", "session", "a", 1)
    assert [row.identifier for row in store.newest("session", 5)] == ["a"]
    for kind in ("", "x" * 1025, "a\0b"):
        assert store.newest(kind, 5) == ()


class Interfered(SQLiteEngine):
    """Loses each reply to an INSERT, which another process may have preceded."""

    def __init__(self, path: str, quicker: SqlCredentialStore | None) -> None:
        super().__init__(path)
        self.quicker = quicker

    def execute(self, sql: str, args: tuple[object, ...] = ()) -> object:
        if not sql.startswith("INSERT"):
            return super().execute(sql, args)
        if self.quicker is not None:
            self.quicker.add("8", "identity", "a", 2)
            self.quicker = None
        raise ConnectionResetError("deadlock")


@pytest.mark.requirement("SECURITY-1")
def test_the_loser_of_a_database_race_gets_credential_exists(
    store: SqlCredentialStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MySQL ends one of two inserts; whether the other one won is looked up."""
    monkeypatch.setattr("asok_auth_core.stores.credentials.PAUSE", 0)
    path = str(tmp_path / "app.sqlite3")
    for quicker, answer in ((store, CredentialExists), (None, StoreUnavailable)):
        if quicker is None:
            (lost,) = store.list("8")
            store.remove(lost)
        engine = Interfered(path, quicker)
        try:
            with pytest.raises(answer):
                SqlCredentialStore(engine).add("7", "identity", "a", 1)
        finally:
            engine.close_connections()
    assert store.find("identity", "a") is None


class Odd(SQLiteEngine):
    """A driver that breaks DB-API 2.0's promise about rows and their number."""

    answers: tuple[object, object] = (-1, [])

    def execute(self, sql: str, args: tuple[object, ...] = ()) -> object:
        if sql.startswith("CREATE"):
            return super().execute(sql, args)
        return self.answers[0] if sql.startswith("SELECT") else self.answers[1]


@pytest.mark.requirement("SECURITY-32")
def test_an_unknown_row_count_grants_nothing(tmp_path: Path) -> None:
    """-1 is what DB-API 2.0 drivers say when they do not know how many rows changed."""
    engine = Odd(str(tmp_path / "app.sqlite3"))
    store = SqlCredentialStore(engine)
    try:
        with pytest.raises(StoreUnavailable, match="answered a SELECT with a number"):
            store.find("totp", "main")
        for odd in (-1, 2, []):
            engine.answers = ([], odd)
            with pytest.raises(StoreUnavailable, match="0 or 1 were expected"):
                store.add("7", "totp", "main", 1)
    finally:
        engine.close_connections()
