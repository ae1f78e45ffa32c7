"""Which account an email address was verified for, also in races."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from asok_auth_core.auth import Auth
from asok_auth_core.errors import CredentialExists, StoreUnavailable
from asok_auth_core.flows.epoch import KIND as EPOCH_KIND
from asok_auth_core.flows.epoch import epoch, raise_epoch
from asok_auth_core.flows.verified_emails import KIND, is_email_verified, mark_email_verified
from asok_auth_core.stores.rows import TRIES
from asok_auth_core.testing.fakes import FakeUser

ADA, BOB = FakeUser("1", "ada@example.org"), FakeUser("2", "ada@example.org")


def overtaken_by(auth: Auth, user: FakeUser, kind: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on each ``add`` comes just after another worker's, for ``user``."""
    add = auth.credentials.add

    def late(user_id: str, *rest: object) -> object:
        monkeypatch.setattr(auth.credentials, "add", add)
        add(str(user.id), kind, key, {})
        return add(user_id, *rest)

    monkeypatch.setattr(auth.credentials, "add", late)


def test_one_user_verifying_twice_at_once_succeeds(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    overtaken_by(auth, ADA, KIND, "ada@example.org", monkeypatch)
    mark_email_verified(auth, ADA, "ada@example.org")
    assert is_email_verified(auth, ADA, "ada@example.org")


@pytest.mark.parametrize("times", [1, TRIES])
def test_a_verification_that_another_login_voids_meanwhile_is_repeated(
    auth: Auth, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Another worker adds the row before this one and removes it again."""
    add, left = auth.credentials.add, iter(range(times))

    def late(*row: Any) -> object:
        if next(left, None) is None:
            return add(*row)
        voided = add(*row)
        try:
            return add(*row)
        finally:
            auth.credentials.remove(voided)

    monkeypatch.setattr(auth.credentials, "add", late)
    with nullcontext() if times < TRIES else pytest.raises(StoreUnavailable, match="by other requests"):
        mark_email_verified(auth, ADA, "ada@example.org")
    assert is_email_verified(auth, ADA, "ada@example.org") is (times < TRIES)


@pytest.mark.requirement("SECURITY-15")
def test_an_email_another_account_verified_meanwhile_is_not_verified(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    overtaken_by(auth, BOB, KIND, "ada@example.org", monkeypatch)
    with pytest.raises(CredentialExists):
        mark_email_verified(auth, ADA, "ada@example.org")
    assert not is_email_verified(auth, ADA, "ada@example.org")


@pytest.mark.requirement("SECURITY-23")
def test_two_simultaneous_calls_raise_the_epoch_twice(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that comes second raises the number of the first."""
    overtaken_by(auth, ADA, EPOCH_KIND, "1", monkeypatch)
    assert raise_epoch(auth, "1") == 2
    assert epoch(auth, "1") == 2


@pytest.mark.requirement("SECURITY-32")
def test_an_epoch_that_cannot_be_raised_is_a_store_error(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    raise_epoch(auth, "1")
    monkeypatch.setattr(auth.credentials, "replace", lambda row, data: None)
    with pytest.raises(StoreUnavailable, match="being ended by other requests"):
        raise_epoch(auth, "1")
    assert epoch(auth, "1") == 1
