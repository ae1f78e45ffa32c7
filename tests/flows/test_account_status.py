"""Disabling and enabling an account, without a framework."""

from __future__ import annotations

import pytest

from asok_auth_core.auth import Auth
from asok_auth_core.contracts import UserDirectory
from asok_auth_core.errors import ConfigurationError, StoreUnavailable
from asok_auth_core.flows.account_status import disable_account, enable_account
from asok_auth_core.flows.epoch import epoch
from asok_auth_core.flows.sessions import begin_session, sessions_of
from asok_auth_core.testing.fakes import FakeRequest, FakeUser, MemoryUsers


class Minimal(MemoryUsers):
    """A user directory with only what every one must have."""

    ids_alike = UserDirectory.ids_alike
    set_active = UserDirectory.set_active


def test_sessions_end_and_stay_ended(auth: Auth, fake_users: MemoryUsers) -> None:
    ada = fake_users.by_id("1")
    begin_session(auth, FakeRequest(), ada, method="magic", factors=(), remember=False)
    assert disable_account(auth, ada) == 1
    assert not fake_users.is_active(ada)
    assert epoch(auth, "1") == 1
    enable_account(auth, ada)
    assert fake_users.is_active(ada)
    assert sessions_of(auth, ada) == []


def test_if_the_store_fails_the_account_is_disabled(
    auth: Auth, fake_users: MemoryUsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise StoreUnavailable("No answer.")

    ada = fake_users.by_id("1")
    monkeypatch.setattr(type(auth.credentials), "add", fail)
    with pytest.raises(StoreUnavailable):
        disable_account(auth, ada)
    assert not fake_users.is_active(ada)


def test_a_directory_that_cannot_disable_says_so(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = auth.users.by_id("1")
    monkeypatch.setattr(auth, "users", Minimal(ada))
    with pytest.raises(ConfigurationError, match="cannot disable or enable"):
        disable_account(auth, ada)
    assert epoch(auth, "1") == 0


def test_a_directory_that_compares_exactly_finds_one_account_or_none() -> None:
    users = Minimal(FakeUser("1", "ada@example.org"))
    assert users.ids_alike("ada@example.org") == ("1",)
    assert users.ids_alike("eve@example.org") == ()
