"""A pending login belongs to one database: two apps, tenants, key rotation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from markupsafe import Markup

from asok_auth_core.auth import Auth
from asok_auth_core.errors import LoginExpired, LoginRequired, SecondFactorRequired
from asok_auth_core.flows.login import complete_login, finish_login, pending_login
from asok_auth_core.flows.second_factor import complete_enrolment, enrolling_user
from asok_auth_core.plugin import SecondFactor, hookimpl
from asok_auth_core.testing.fakes import (
    FakeRequest,
    FakeUser,
    FrozenClock,
    MemoryCredentialStore,
    MemoryUsers,
)
from asok_auth_core.testing.parts import SECRET_KEY, TestParts, build_auth
from asok_auth_core.types import Proof, User
from asok_auth_core.web import WebRequest

OTHER_KEY = SECRET_KEY[::-1]


class Word(SecondFactor):
    """Asks for a word."""

    name = "word"
    label = "Secret word"
    enrol_path = "/auth/word/setup"

    def is_enrolled(self, user: User) -> bool:
        return getattr(user, "name", None) == "enrolled"

    def reset(self, user: User) -> None:
        return

    def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
        return Markup('<input name="word">')

    def verify(self, request: WebRequest, user: User) -> bool:
        return request.form.get("word") == "swordfish"


class Plugin:
    @hookimpl
    def asok_auth_second_factors(self, auth: Auth) -> list[SecondFactor]:
        return [Word()]


class Place:
    """A state store that several apps and workers use, and the apps' folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = FrozenClock()
        self.parts = TestParts(self.clock)

    def app(
        self, name: str, keys: Sequence[str] = (SECRET_KEY,), credentials: MemoryCredentialStore | None = None
    ) -> Auth:
        """An app whose user 1, in its own database, is ``name``@example.com."""
        return build_auth(
            self.root,
            plugins=[Plugin()],
            settings={"REQUIRE_2FA": True},
            config={"SECRET_KEY": keys[0], "SECRET_KEY_FALLBACKS": ",".join(keys[1:])},
            users=MemoryUsers(FakeUser("1", f"{name}@example.com", "new" if name == "new" else "enrolled")),
            credentials=credentials or MemoryCredentialStore(self.clock),
            clock=self.clock,
            parts=self.parts,
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def first_factor(auth: Auth) -> FakeRequest:
    """The browser of user 1 after the first factor."""
    request = FakeRequest("/auth/magic/confirm")
    user = auth.users.by_id("1")
    assert user is not None
    with pytest.raises(SecondFactorRequired):
        complete_login(auth, request, user, Proof("magic"))
    return request.follow("/auth/second-factor")


@pytest.mark.requirement("SECURITY-19", "SECURITY-38")
@pytest.mark.parametrize("key", [SECRET_KEY, OTHER_KEY], ids=["staging and production", "two apps"])
def test_a_pending_login_at_one_app_is_nothing_at_another(place: Place, key: str) -> None:
    one, other = place.app("new"), place.app("victim", [key])
    browser = first_factor(one)
    with pytest.raises(LoginExpired):
        pending_login(other, browser)
    with pytest.raises(LoginRequired):
        enrolling_user(other, browser)
    victim = other.users.by_id("1")
    assert victim is not None
    with pytest.raises(LoginExpired):
        complete_enrolment(other, browser, victim, "word")
    assert browser.user is None
    assert list(other.credentials.list("1", "session")) == []
    pending, user = pending_login(one, browser)
    finish_login(one, browser, pending, user, "word")
    assert browser.user is one.users.by_id("1")


@pytest.mark.requirement("SECURITY-29", "SECURITY-38")
def test_workers_side_by_side_in_a_rotation_log_nobody_in_wrongly(place: Place) -> None:
    """A worker without the key says "expired"; every other one finishes the login."""
    credentials = MemoryCredentialStore(place.clock)
    rings = {"old": [SECRET_KEY], "both": [OTHER_KEY, SECRET_KEY], "new": [OTHER_KEY]}
    workers = {name: place.app("user", keys, credentials) for name, keys in rings.items()}
    readers = {"old": {"old", "both"}, "both": {"both", "new"}, "new": {"both", "new"}}
    for writer, started in workers.items():
        for reader, worker in workers.items():
            browser = first_factor(started)
            if reader in readers[writer]:
                pending, user = pending_login(worker, browser)
                finish_login(worker, browser, pending, user, "word")
                assert browser.user is worker.users.by_id("1")
            else:
                with pytest.raises(LoginExpired):
                    pending_login(worker, browser)
                assert browser.user is None


@pytest.mark.requirement("SECURITY-21", "SECURITY-38")
def test_guesses_at_one_app_cost_nothing_at_another(place: Place) -> None:
    """Nor can an attacker lock a user out of production by guessing at staging."""
    one, other = place.app("user"), place.app("user")
    for _ in range(3):
        one.limits.hit("second_factor", "1", limit=3, window=900)
    other.limits.hit("second_factor", "1", limit=1, window=900)
