"""``change_row``: no change is lost; a rejected one leaves the row as it is."""

from __future__ import annotations

import json

import pytest

from asok_auth_core.plugin import JSON, Credential, change_row
from asok_auth_core.testing import FrozenClock, MemoryCredentialStore, raises_code


@pytest.fixture
def store() -> MemoryCredentialStore:
    return MemoryCredentialStore(FrozenClock())


def add_one(row: Credential | None) -> JSON:
    return 1 if row is None else json.loads(row.data) + 1


def test_a_missing_row_is_added_for_its_owner_only(store: MemoryCredentialStore) -> None:
    assert change_row(store, "kind", "a", add_one) is None
    assert store.find("kind", "a") is None
    added = change_row(store, "kind", "a", add_one, owner="7")
    assert added is not None
    assert added.added
    assert (added.row.user_id, added.row.data) == ("7", "1")
    changed = change_row(store, "kind", "a", add_one, owner="8")
    assert changed is not None
    assert not changed.added
    assert (changed.row.user_id, changed.row.data) == ("7", "2")


def test_none_and_an_exception_leave_the_row_as_it_is(store: MemoryCredentialStore) -> None:
    change_row(store, "kind", "a", add_one, owner="7")
    before = store.find("kind", "a")
    assert change_row(store, "kind", "a", lambda row: None) is None

    def reject(row: Credential | None) -> JSON:
        raise PermissionError

    with pytest.raises(PermissionError):
        change_row(store, "kind", "a", reject)
    assert store.find("kind", "a") == before


@pytest.mark.requirement("SECURITY-1")
def test_a_change_that_another_one_overtakes_starts_again_from_the_new_row(
    store: MemoryCredentialStore,
) -> None:
    others = iter([True, True, False])

    def slow(row: Credential | None) -> JSON:
        if next(others):
            change_row(store, "kind", "a", add_one, owner="7")
        return add_one(row)

    done = change_row(store, "kind", "a", slow, owner="7")
    assert done is not None
    assert done.row.data == "3", "each of the three counts"


def test_a_change_that_never_wins_gives_up(store: MemoryCredentialStore) -> None:
    def overtaken(row: Credential | None) -> JSON:
        change_row(store, "kind", "a", add_one, owner="7")
        return add_one(row)

    with raises_code("store_unavailable", match="Too busy"):
        change_row(store, "kind", "a", overtaken, owner="7", busy="Too busy.")
