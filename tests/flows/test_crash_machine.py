"""Processes that die in the middle of a login, at any step of any store: what must hold then.

A crash stops the process before or after an operation takes effect; nothing that follows in the process runs,
not even a clean-up, and the browser gets no answer. What is done or not done is then found out by looking
once, and must stay so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from asok_auth_tests.pipeline import ENROL, Browser, World
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from asok_auth_core.errors import AuthError
from asok_auth_core.flows.second_factor import reset_factors
from asok_auth_core.flows.sessions import end_sessions
from asok_auth_core.testing.fakes import FakeUser, MemoryUsers

EMAILS = ("ann@example.com", "ben@example.com")
STATE = ("put", "get", "take", "add", "incr", "delete", "batch")
ROWS = ("add", "find", "find_with_user", "list", "replace", "remove", "touch")
BROWSERS = st.integers(0, 1)
CRASH = st.none() | st.tuples(st.integers(0, 25), st.booleans())
"""The operation at which the process dies, and whether that still takes effect; None: it does not die."""


class Crash(BaseException):
    """The process has died."""


@dataclass(eq=False)
class Link:
    token: str
    email: str
    is_used: bool = False
    """True once it is known that it gave a login, or that it no longer does."""
    by: Tab | None = None
    """The browser in which it did: that one may press again for half a minute, and the clock stands still."""


@dataclass(eq=False)
class Tab:
    browser: Browser
    user_id: str | None = None
    """Who this browser is known to be logged in as."""
    maybe_out: bool = False
    """True after a crash that may have ended its session."""
    half: str | None = None
    """The user whose first factor this browser has given, if it is known to have."""


@dataclass
class Faults:
    """Counts the operations of both stores down to the one at which the process dies."""

    left: int | None = None
    after: bool = False
    is_down: bool = False
    crashes: int = field(default=0)

    def wrap(self, store: object, name: str) -> None:
        original: Callable[..., object] = getattr(store, name)

        def operation(*arguments: object, **named: object) -> object:
            if self.is_down:
                raise Crash
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    self.is_down = True
                    if self.after:
                        self.is_down = False
                        original(*arguments, **named)
                        self.is_down = True
                    raise Crash
            return original(*arguments, **named)

        setattr(store, name, operation)


class Crashes(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self.folder.name), MemoryUsers())
        auth = self.world.auth
        auth.installation()
        auth.outbox.post = lambda mail: None  # type: ignore[method-assign,assignment,return-value]
        auth.limits.hit = lambda *args, **kwargs: None  # type: ignore[method-assign]
        self.faults = Faults()
        for name in STATE:
            self.faults.wrap(auth.state, name)
        for name in ROWS:
            self.faults.wrap(self.world.credentials, name)
        self.tabs = [Tab(Browser(self.world)) for _ in range(2)]
        self.links: list[Link] = []

    def teardown(self) -> None:
        self.world.auth.outbox.close()
        self.folder.cleanup()

    @contextmanager
    def process(self, tab: Tab | None, crash: tuple[int, bool] | None) -> Iterator[list[bool]]:
        """One request of ``tab``; what it yields is filled with True if the process died."""
        died: list[bool] = []
        before = None if tab is None else tab.browser.at
        if crash is not None:
            self.faults.left, self.faults.after = crash
        try:
            with suppress(AuthError):
                yield died
        except Crash:
            died.append(True)
            self.faults.crashes += 1
            if tab is not None and before is not None:
                tab.browser.at = before  # the browser got no answer
        finally:
            self.faults.left, self.faults.is_down = None, False

    def id_of(self, email: str) -> str | None:
        user = self.world.users.by_email(email)
        return None if user is None else str(user.id)

    def has_factor(self, user_id: str | None) -> bool:
        return user_id in self.world.word.users

    # -- what happens ----------------------------------------------------------------------------

    @rule(email=st.sampled_from(EMAILS))
    def mail_a_link(self, email: str) -> None:
        self.links.append(Link(self.world.token(email), email))

    @precondition(lambda self: self.links)
    @rule(number=BROWSERS, data=st.data(), crash=CRASH)
    def press_the_button(self, number: int, data: st.DataObject, crash: tuple[int, bool] | None) -> None:
        tab, link = self.tabs[number], data.draw(st.sampled_from(self.links[-3:]))
        with self.process(tab, None):
            tab.browser.open(link.token)
        was = tab.user_id
        with self.process(tab, crash) as died:
            tab.browser.press(link.token)
        if died:
            tab.maybe_out |= was is not None
            for other in self.tabs:  # the first verification of an address ends its account's sessions
                other.maybe_out |= other.user_id is not None and other.user_id == self.id_of(link.email)
            return
        seen, owner = tab.browser.user_id, self.id_of(link.email)
        if seen is not None and seen == owner and not self.has_factor(owner):
            assert not link.is_used or link.by is tab or was == owner, "a used link logged in"
            if not link.is_used:
                link.by = tab
            tab.user_id, tab.maybe_out = seen, False
            self.look_at_the_others(tab)
        elif self.has_factor(owner) and not link.is_used:
            tab.half, link.by = owner, tab
        link.is_used = True

    def look_at_the_others(self, tab: Tab) -> None:
        for other in self.tabs:
            if other is not tab and other.user_id == tab.user_id:
                other.maybe_out = True

    @rule(number=BROWSERS, email=st.sampled_from(EMAILS))
    def a_new_link_logs_in(self, number: int, email: str) -> None:
        """Whatever crashed before: the user gets in again, with the second factor if they have one."""
        tab = self.tabs[number]
        token = self.world.token(email)
        tab.browser.open(token)
        tab.browser.press(token)
        if self.has_factor(self.id_of(email)):
            assert tab.browser.user_id != self.id_of(email) or tab.user_id == self.id_of(email)
            tab.browser.give_word()
        assert tab.browser.user_id == self.id_of(email) is not None
        tab.user_id, tab.maybe_out, tab.half = self.id_of(email), False, None
        self.look_at_the_others(tab)

    @rule(number=BROWSERS, is_right=st.booleans(), crash=CRASH)
    def give_the_second_factor(self, number: int, is_right: bool, crash: tuple[int, bool] | None) -> None:
        tab = self.tabs[number]
        with self.process(tab, crash) as died:
            tab.browser.give_word("swordfish" if is_right else "trout")
        if died:
            tab.maybe_out |= tab.user_id is not None
            return
        seen = tab.browser.user_id
        if seen != tab.user_id and seen is not None:
            assert is_right, "a wrong word logged in"
            assert tab.half is not None, "a second factor logged in without a first one"
            tab.user_id, tab.maybe_out = seen, False
            self.look_at_the_others(tab)
        if is_right:
            tab.half = None if seen == tab.user_id else tab.half

    @rule(number=BROWSERS, crash=CRASH)
    def set_up_a_second_factor(self, number: int, crash: tuple[int, bool] | None) -> None:
        tab = self.tabs[number]
        with self.process(tab, crash):
            tab.browser.post(ENROL)

    @rule(email=st.sampled_from(EMAILS), crash=CRASH)
    def reset_the_factor(self, email: str, crash: tuple[int, bool] | None) -> None:
        user = self.world.users.by_email(email)
        if user is not None:
            with self.process(None, crash):
                reset_factors(self.world.auth, user)

    @rule(number=BROWSERS, crash=CRASH)
    def log_out(self, number: int, crash: tuple[int, bool] | None) -> None:
        tab = self.tabs[number]
        with self.process(tab, crash) as died:
            tab.browser.post("/auth/logout")
        if died:
            tab.maybe_out |= tab.user_id is not None
        else:
            tab.user_id, tab.maybe_out, tab.half = None, False, None

    @rule(email=st.sampled_from(EMAILS), crash=CRASH)
    def log_out_everywhere(self, email: str, crash: tuple[int, bool] | None) -> None:
        user_id = self.id_of(email)
        if user_id is None:
            return
        with self.process(None, crash) as died:
            end_sessions(self.world.auth, FakeUser(user_id))
        for tab in self.tabs:
            if tab.user_id == user_id:
                if died:
                    tab.maybe_out = True
                else:
                    tab.user_id, tab.maybe_out = None, False

    # -- what must hold --------------------------------------------------------------------------

    @invariant()
    def each_browser_is_logged_in_as_known_or_out_for_good(self) -> None:
        for tab in self.tabs:
            seen = tab.browser.user_id
            if tab.maybe_out and seen is None:
                tab.user_id = None
            tab.maybe_out = False
            assert seen == tab.user_id

    @invariant()
    def each_email_address_has_one_account(self) -> None:
        users = [self.world.users.by_id(str(n + 1)) for n in range(len(self.world.users))]  # type: ignore[arg-type]
        emails = [self.world.users.email_of(user) for user in users if user is not None]
        assert len(emails) == len(set(emails))


def run(examples: int, steps: int) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Crashes, settings=settings(max_examples=examples, stateful_step_count=steps)
    )


@pytest.mark.requirement("SECURITY-1", "SECURITY-34", "SECURITY-37")
def test_a_few_crashes() -> None:
    run(40, 25)


@pytest.mark.slow
@pytest.mark.requirement("SECURITY-1", "SECURITY-34", "SECURITY-37")
def test_many_crashes() -> None:
    run(400, 50)
