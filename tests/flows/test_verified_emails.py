"""Which account an address was proved for, also when two logins prove it at once."""

from __future__ import annotations

import pytest

from asok_auth_core.auth import Auth
from asok_auth_core.errors import CredentialExists, StoreUnavailable
from asok_auth_core.flows.generation import KIND as GENERATION_KIND
from asok_auth_core.flows.generation import generation, raise_generation
from asok_auth_core.flows.verified_emails import KIND, is_email_verified, mark_email_verified
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


def test_the_same_person_twice_at_once(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    overtaken_by(auth, ADA, KIND, "ada@example.org", monkeypatch)
    mark_email_verified(auth, ADA, "ada@example.org")
    assert is_email_verified(auth, ADA, "ada@example.org")


def test_somebody_else_in_between_is_no_proof(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    """SECURITY 15"""
    overtaken_by(auth, BOB, KIND, "ada@example.org", monkeypatch)
    with pytest.raises(CredentialExists):
        mark_email_verified(auth, ADA, "ada@example.org")
    assert not is_email_verified(auth, ADA, "ada@example.org")


def test_sessions_ended_by_two_at_once_are_ended_twice(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    """SECURITY 23: the one that comes second raises the number of the first."""
    overtaken_by(auth, ADA, GENERATION_KIND, "1", monkeypatch)
    assert raise_generation(auth, "1") == 2
    assert generation(auth, "1") == 2


def test_sessions_that_cannot_be_ended_are_said_to_be_open(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SECURITY 32"""
    raise_generation(auth, "1")
    monkeypatch.setattr(auth.credentials, "replace", lambda row, data: None)
    with pytest.raises(StoreUnavailable, match="being ended by other requests"):
        raise_generation(auth, "1")
    assert generation(auth, "1") == 1
