"""Lasting rows that cannot be read or stored, at each operation of a login."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from asok_auth_tests.pipeline import WORD, Word

from asok_auth_core.errors import SecondFactorRequired, StoreUnavailable
from asok_auth_core.flows.sessions import sessions_of
from asok_auth_core.plugin import Auth, hookimpl
from asok_auth_core.testing import Browser
from asok_auth_core.testing.fakes import FrozenClock, MemoryCredentialStore, MemoryUsers

OPERATIONS = ("add", "find", "find_with_user", "list", "replace", "remove", "touch")


class Failing(MemoryCredentialStore):
    """Fails after ``at`` operations; None: never."""

    at: int | None = None
    done = 0

    def __getattribute__(self, name: str) -> Any:
        if name in OPERATIONS:
            self.done += 1
            if self.at is not None and self.done > self.at:
                raise StoreUnavailable("The database is down.")
        return super().__getattribute__(name)

    def fail(self, at: int | None) -> None:
        self.at, self.done = at, 0


class Parts:
    """Ada has a second factor."""

    @hookimpl
    def asok_auth_second_factors(self) -> list[Word]:
        word = Word()
        word.users.add("1")
        return [word]


@pytest.mark.requirement("SECURITY-32")
@pytest.mark.parametrize("trust", ["", "1"])
def test_a_second_factor_is_asked_for_again(
    make_auth: Callable[..., Auth], fake_users: MemoryUsers, frozen_clock: FrozenClock, trust: str
) -> None:
    store = Failing(frozen_clock)
    settings = {"TRUSTED_DEVICE": 86_400 if trust else 0}
    auth = make_auth(plugins=(Parts(),), credentials=store, settings=settings)
    ada = fake_users.by_id("1")
    assert ada is not None
    form = {"factor": "word", "word": WORD, "trust": trust}
    failed = 0
    for at in itertools.count():
        frozen_clock.advance(3600)  # the attempts are limited
        browser = Browser(auth)
        with pytest.raises(SecondFactorRequired):
            browser.log_in(ada)
        before = len(sessions_of(auth, ada))
        store.fail(at)
        answer = browser.post("/auth/second-factor", form)
        store.fail(None)
        if answer.status == 303:
            break
        failed += 1
        assert answer.status == 503
        assert browser.request.user is None
        assert browser.post("/auth/second-factor", form).status == 303, at
        assert browser.request.user is not None
        # An outage that goes on leaves the row of a session whose cookie no browser has.
        assert len(sessions_of(auth, ada)) - before in (1, 2)
    assert failed > 3
    assert browser.request.user is not None


def test_a_login_waits_no_longer_than_it_said(
    make_auth: Callable[..., Auth], fake_users: MemoryUsers, frozen_clock: FrozenClock
) -> None:
    """Failing again and again does not extend it."""
    store = Failing(frozen_clock)
    auth = make_auth(plugins=(Parts(),), credentials=store)
    ada = fake_users.by_id("1")
    assert ada is not None
    browser = Browser(auth)
    with pytest.raises(SecondFactorRequired):
        browser.log_in(ada)
    form = {"factor": "word", "word": WORD}
    for _ in range(2):
        frozen_clock.advance(290)
        store.fail(3)
        assert browser.post("/auth/second-factor", form).status == 503
        store.fail(None)
    frozen_clock.advance(21)
    assert browser.post("/auth/second-factor", form).status != 303
    assert browser.request.user is None
