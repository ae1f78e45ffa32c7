"""Processes that die in a request, at any operation of any store.

Logins by link and at a provider, second factors, linked identities and API tokens. A crash stops the process
before or after an operation takes effect; nothing that follows in the process runs, not even a clean-up, and
the browser gets no answer. What is done or not done is then found out by looking once, and must stay so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from asok_auth_tests.pipeline import ENROL, Browser, World, target
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from asok_auth_core.errors import AuthError
from asok_auth_core.flows import receipts
from asok_auth_core.flows.api_tokens import ApiTokens
from asok_auth_core.flows.factor_index import kept_names
from asok_auth_core.flows.linking import identity_key
from asok_auth_core.flows.second_factor import reset_factors
from asok_auth_core.flows.sessions import end_sessions
from asok_auth_core.methods.token_api import TokenApi
from asok_auth_core.paths import UNLINK_PATH
from asok_auth_core.testing.fakes import FakeRequest, FakeUser, MemoryUsers
from asok_auth_core.testing.oauth_app import BASE_URL
from asok_auth_core.types import Credential
from asok_auth_core.web import WebResponse

EMAILS = ("ann@example.com", "ben@example.com", "cat@untrusted.example")
"""The provider says that it verified each, and is trusted for those of example.com."""
STATE = ("put", "get", "take", "add", "incr", "delete")
ROWS = ("add", "find", "find_with_user", "list", "replace", "remove", "touch")
BROWSERS = st.integers(0, 1)


def dies(*operations: int) -> st.SearchStrategy[tuple[int, bool] | None]:
    """The operation at which the process dies, and whether it takes effect.

    None: at none.
    """
    return st.none() | st.one_of(
        st.tuples(st.sampled_from(range(number)), st.booleans()) for number in operations
    )


SOON = dies(6)
LATE = dies(16, 33)
"""A login takes up to 16 operations, or twice as many if it voids what was there before."""


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
class Flow:
    """A visit to the provider that has not led to anything yet."""

    tab: Tab
    email: str
    url: str
    link_to: str | None
    """The user that the identity is to be linked to; None for a login."""


@dataclass(eq=False)
class Token:
    """An API token in use."""

    text: str
    user_id: str
    is_early: bool
    """True if the account's email address was not verified by then."""
    is_valid: bool = True


@dataclass
class Half:
    """A login whose first factor was given."""

    user_id: str
    identity: str | None
    """The email address of the identity that is linked once the login is complete."""


@dataclass(eq=False)
class Tab:
    browser: Browser
    user_id: str | None = None
    """Who this browser is known to be logged in as."""
    is_early: bool = False
    """True if the account's email address was not verified by then."""
    maybe_out: bool = False
    """True after a crash that may have ended its session."""
    half: Half | None = None
    """The last one, if it may still be completed."""


@dataclass
class Attempt:
    """The result of a request."""

    unverified: set[str]
    """The accounts whose email address was not verified before it."""
    died: bool = False
    made_session: bool = False


@dataclass
class Faults:
    """Counts the operations of both stores down to the one at which the process dies."""

    left: int | None = None
    after: bool = False
    is_down: bool = False

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
        other = World(Path(self.folder.name), same_as=self.world)  # a worker in which nothing crashes
        self.auths = (auth, other.auth)
        self.apis = [TokenApi(ApiTokens(one)) for one in self.auths]
        self.faults = Faults()
        for name in STATE:
            self.faults.wrap(self.world.app._parts.state, name)
        for name in ROWS:
            self.faults.wrap(self.world.credentials, name)
        self.tabs = [Tab(Browser(self.world)) for _ in range(2)]
        self.links: list[Link] = []
        self.flows: list[Flow] = []
        self.tokens: list[Token] = []
        self.owners: dict[str, str | None] = dict.fromkeys(EMAILS)
        """Which account each identity is known to be linked to, by the identity's email address."""
        self.early: set[str] = set()
        """The identities that were linked to an account whose email address was not verified by then."""

    def teardown(self) -> None:
        for auth in self.auths:
            auth.outbox.close()
        self.folder.cleanup()

    @contextmanager
    def process(self, tab: Tab | None, crash: tuple[int, bool] | None) -> Iterator[Attempt]:
        """One request of ``tab``, and its result."""
        attempt = Attempt({user_id for user_id in self.user_ids if not self.is_verified(user_id)})
        sessions = self.sessions
        before = None if tab is None else tab.browser.at
        if crash is not None:
            self.faults.left, self.faults.after = crash
        try:
            with suppress(AuthError):
                yield attempt
        except Crash:
            attempt.died = True
            if tab is not None and before is not None:
                tab.browser.at = before  # the browser got no answer
        finally:
            self.faults.left, self.faults.is_down = None, False
            attempt.made_session = bool(self.sessions - sessions)

    # -- what the stores say, while no process dies -----------------------------------------------

    @property
    def user_ids(self) -> list[str]:
        return [str(number + 1) for number in range(len(self.world.users))]  # type: ignore[arg-type]

    @property
    def sessions(self) -> set[str]:
        """The ids of all sessions, those included whose cookie never arrived."""
        rows = (row for user_id in self.user_ids for row in self.world.credentials.list(user_id, "session"))
        return {row.id for row in rows}

    def id_of(self, email: str) -> str | None:
        user = self.world.users.by_email(email)
        return None if user is None else str(user.id)

    def is_verified(self, user_id: str) -> bool:
        return bool(self.world.credentials.list(user_id, "email"))

    def has_factor(self, user_id: str | None) -> bool:
        """The factors in the core's index, or the factor's own answer.

        The process may have died before the index was updated.
        """
        return user_id is not None and (
            bool(kept_names(self.world.auth, user_id)) or user_id in self.world.word.users
        )

    def identity_row(self, email: str) -> Credential | None:
        return self.world.credentials.find("identity", identity_key("https://login.example", email))

    def opens(self, token: Token) -> bool:
        """True if both workers accept the token, False if neither does."""
        here, there = (api.verify(FakeRequest(), token.text) is not None for api in self.apis)
        assert here == there
        return here

    # -- what an attempt may have left -------------------------------------------------------------

    def enter(self, tab: Tab, user_id: str) -> None:
        """``tab`` has just been logged in."""
        assert tab.browser.user_id == user_id
        tab.user_id, tab.maybe_out, tab.is_early = user_id, False, not self.is_verified(user_id)
        for other in self.tabs:
            other.maybe_out |= other is not tab and other.user_id == user_id

    def give_first_factor(self, tab: Tab, user_id: str, attempt: Attempt, identity: str | None) -> None:
        """The core accepted a first factor of ``user_id``: a login, or a pending one."""
        if attempt.made_session:
            assert not self.has_factor(user_id), "logged in without a second factor"
            self.enter(tab, user_id)
        else:
            assert self.has_factor(user_id)
            tab.half = Half(user_id, identity)
        self.look_at(user_id, attempt, identity if attempt.made_session else None)

    def die(self, tab: Tab, user_id: str | None, attempt: Attempt, identity: str | None = None) -> None:
        """The process died during a login of ``user_id``; sessions may have ended."""
        tab.maybe_out |= tab.user_id is not None
        for other in self.tabs:
            other.maybe_out |= other.user_id is not None and other.user_id == user_id
        self.look_at(user_id, attempt, identity)

    def look_at(self, user_id: str | None, attempt: Attempt, linked: str | None = None) -> None:
        """Look up what the attempt left: a linked identity, a voided account."""
        may_void = user_id in attempt.unverified
        for email, known in self.owners.items():
            row = self.identity_row(email)
            now = None if row is None else row.user_id
            if now != known:
                is_voided = may_void and now is None and known == user_id
                assert is_voided or (email == linked and now == user_id), f"{email}: {known} is now {now}"
                self.note_owner(email, now)
        for token in self.tokens:
            if may_void and token.user_id == user_id:
                token.is_valid &= self.opens(token)

    def reject_again(self, before: FakeRequest, send: Callable[[Browser], WebResponse]) -> None:
        """A used secret does not log in again, not even with earlier cookies."""
        copied = Browser(self.world)
        copied.at = before
        with self.process(None, None) as attempt:
            answer = send(copied)
        assert (answer.status == 303, attempt.made_session) == (False, False), "it was accepted twice"

    def note_owner(self, email: str, user_id: str | None) -> None:
        self.owners[email] = user_id
        self.early.discard(email)
        if user_id is not None and not self.is_verified(user_id):
            self.early.add(email)

    # -- the start ---------------------------------------------------------------------------------

    @initialize(email=st.none() | st.sampled_from(EMAILS), has_factor=st.booleans())
    def start(self, email: str | None, has_factor: bool) -> None:
        """A user who may have an identity and a second factor from earlier."""
        if email is not None:
            self.a_new_visit_to_the_provider_logs_in(0, email)
            if has_factor:
                self.set_up_a_second_factor(0, None)

    # -- links -------------------------------------------------------------------------------------

    @rule(email=st.sampled_from(EMAILS))
    def mail_a_link(self, email: str) -> None:
        self.links.append(Link(self.world.token(email), email))

    @precondition(lambda self: self.links)
    @rule(number=BROWSERS, data=st.data(), crash=LATE)
    def press_the_button(self, number: int, data: st.DataObject, crash: tuple[int, bool] | None) -> None:
        self.press(self.tabs[number], data.draw(st.sampled_from(self.links[-3:])), crash)

    @rule(number=BROWSERS, email=st.sampled_from(EMAILS), crash=LATE)
    def press_the_button_of_a_new_link(self, number: int, email: str, crash: tuple[int, bool] | None) -> None:
        self.mail_a_link(email)
        self.press(self.tabs[number], self.links[-1], crash)

    def press(self, tab: Tab, link: Link, crash: tuple[int, bool] | None) -> None:
        tab.browser.open(link.token)
        with self.process(tab, crash) as attempt:
            is_accepted = tab.browser.press(link.token).status == 303
        assert not (link.is_used and attempt.made_session), "a used link logged in again"
        owner = self.id_of(link.email)
        if attempt.died:
            self.die(tab, owner, attempt)
            is_gone = Browser(self.world).open(link.token).status == 400
            assert is_gone or not attempt.made_session, "a link that has logged in is still there"
            if is_gone and not link.is_used:
                link.is_used, link.by = True, tab
            return
        if is_accepted and link.is_used:
            assert link.by is tab, "a used link was accepted in another browser"
            if tab.browser.user_id == owner is not None:
                self.enter(tab, owner)
            elif owner is not None:
                tab.half = Half(owner, None)
        elif is_accepted:
            assert owner is not None
            link.by = tab
            self.give_first_factor(tab, owner, attempt, None)
        link.is_used = True

    @rule(number=BROWSERS, email=st.sampled_from(EMAILS))
    def a_new_link_logs_in(self, number: int, email: str) -> None:
        """After any crash the user can log in again, with the second factor if any."""
        tab = self.tabs[number]
        with self.process(tab, None) as attempt:
            tab.browser.log_in_by_mail(email)
        self.get_in(tab, self.id_of(email), attempt, None)

    def get_in(self, tab: Tab, user_id: str | None, attempt: Attempt, identity: str | None) -> None:
        assert user_id is not None
        self.give_first_factor(tab, user_id, attempt, identity)
        if not attempt.made_session:
            self.give_word(tab, None)
        assert tab.user_id == user_id

    # -- second factors ----------------------------------------------------------------------------

    @precondition(lambda self: any(tab.half for tab in self.tabs))
    @rule(number=BROWSERS, is_right=st.booleans(), crash=LATE)
    def give_the_second_factor(self, number: int, is_right: bool, crash: tuple[int, bool] | None) -> None:
        self.give_word(self.tabs[number], crash, "swordfish" if is_right else "trout")

    def give_word(self, tab: Tab, crash: tuple[int, bool] | None, word: str = "swordfish") -> None:
        half, before = tab.half, tab.browser.at
        with self.process(tab, crash) as attempt:
            tab.browser.give_word(word)
        if attempt.made_session:
            assert word == "swordfish", "a wrong word logged in"
            assert half is not None, "a second factor logged in without a first one, or twice with one"
            tab.half = None
            self.reject_again(before, lambda copied: copied.give_word())
        if attempt.died and half is not None:
            self.die(tab, half.user_id, attempt, half.identity)
        elif attempt.made_session and half is not None:
            self.enter(tab, half.user_id)
            self.look_at(half.user_id, attempt, half.identity)

    @rule(number=BROWSERS, email=st.sampled_from(EMAILS), by_link=st.booleans(), crash=LATE)
    def complete_a_login(
        self, number: int, email: str, by_link: bool, crash: tuple[int, bool] | None
    ) -> None:
        """With a second factor, which is set up before if need be."""
        if not self.has_factor(self.id_of(email)):
            self.a_new_link_logs_in(number, email)
            self.set_up_a_second_factor(number, None)
        if by_link:
            self.press_the_button_of_a_new_link(number, email, None)
        else:
            self.visit_the_provider(number, email, False, None)
        if self.tabs[number].half is not None:
            self.give_word(self.tabs[number], crash)

    @rule(number=BROWSERS, crash=LATE)
    def set_up_a_second_factor(self, number: int, crash: tuple[int, bool] | None) -> None:
        tab = self.tabs[number]
        with self.process(tab, crash) as attempt:
            tab.browser.post(ENROL)
        assert not attempt.made_session

    @rule(email=st.sampled_from(EMAILS), crash=SOON)
    def reset_the_factor(self, email: str, crash: tuple[int, bool] | None) -> None:
        user = self.world.users.by_email(email)
        if user is not None:
            with self.process(None, crash):
                reset_factors(self.world.auth, user)

    # -- the provider ------------------------------------------------------------------------------

    @rule(number=BROWSERS, email=st.sampled_from(EMAILS), is_link=st.booleans(), crash=SOON)
    def go_to_the_provider(
        self, number: int, email: str, is_link: bool, crash: tuple[int, bool] | None
    ) -> None:
        """To log in, or to link an identity to the current user's account."""
        tab = self.tabs[number]
        with self.process(tab, crash) as attempt:
            answer = tab.browser.post(f"/auth/example/{'link' if is_link else 'login'}")
        if not attempt.died and answer.status == 303:
            self.flows.append(Flow(tab, email, target(answer), tab.user_id if is_link else None))
            assert not is_link or tab.user_id is not None

    @rule(number=BROWSERS, email=st.sampled_from(EMAILS), is_link=st.booleans(), crash=LATE)
    def visit_the_provider(
        self, number: int, email: str, is_link: bool, crash: tuple[int, bool] | None
    ) -> None:
        """There and back."""
        self.go_to_the_provider(number, email, is_link, None)
        if self.flows and self.flows[-1].tab is self.tabs[number]:
            self.finish(self.flows[-1], crash)

    @precondition(lambda self: self.flows)
    @rule(data=st.data(), crash=LATE)
    def come_back(self, data: st.DataObject, crash: tuple[int, bool] | None) -> None:
        """Late, or once more after a crash."""
        self.finish(data.draw(st.sampled_from(self.flows[-3:])), crash)

    def finish(self, flow: Flow, crash: tuple[int, bool] | None) -> None:
        tab, email = flow.tab, flow.email
        before, known, is_bare = tab.browser.at, self.owners[email], self.id_of(email) is None
        with self.process(tab, crash) as attempt:
            is_accepted = self.come_from_the_provider(tab.browser, flow).status == 303
        user_id = flow.link_to or known or self.id_of(email)
        if attempt.died:
            # A login may have linked the identity by now, but not before the second factor.
            is_login = not self.has_factor(user_id) and (is_bare or self.may_join(email, user_id))
            self.die(tab, user_id, attempt, email if flow.link_to or is_login else None)
        elif is_accepted and flow.link_to is not None:
            assert tab.user_id == flow.link_to
            self.look_at(flow.link_to, attempt, email)
            assert self.owners[email] == flow.link_to
        elif is_accepted:
            assert user_id is not None
            assert is_bare or self.may_join(email, user_id)
            self.give_first_factor(tab, user_id, attempt, email)
        if not attempt.died or attempt.made_session or self.owners[email] != known:
            self.flows.remove(flow)
            self.reject_again(before, lambda copied: self.come_from_the_provider(copied, flow))

    def come_from_the_provider(self, browser: Browser, flow: Flow) -> WebResponse:
        """The provider sends a new code as often as the user presses its button."""
        fake = self.world.app.fake
        fake.claims.update(sub=flow.email, email=flow.email)
        return browser.get(fake.authorize(flow.url).removeprefix(BASE_URL))

    def may_join(self, email: str, user_id: str | None) -> bool:
        """True if the identity is linked to this account, or trusted for its email."""
        return self.owners[email] == user_id or email.endswith("@example.com")

    @rule(number=BROWSERS, email=st.sampled_from(EMAILS))
    def a_new_visit_to_the_provider_logs_in(self, number: int, email: str) -> None:
        """Unless another account has this email address and trust is missing."""
        tab, is_new = self.tabs[number], self.id_of(email) is None
        with self.process(tab, None) as attempt:
            answer = tab.browser.log_in_at_provider(sub=email, email=email)
        user_id = self.owners[email] or self.id_of(email)
        if is_new or self.may_join(email, user_id):
            self.get_in(tab, user_id, attempt, email)
            assert self.owners[email] == user_id
        else:
            assert answer.status == 403
            self.look_at(user_id, attempt)

    @precondition(lambda self: any(self.owners.values()))
    @rule(number=BROWSERS, email=st.sampled_from(EMAILS), crash=LATE)
    def unlink_an_identity(self, number: int, email: str, crash: tuple[int, bool] | None) -> None:
        tab, row = self.tabs[number], self.identity_row(email)
        if row is None:
            return
        with self.process(tab, crash) as attempt:
            is_done = tab.browser.post(UNLINK_PATH, {"identity": row.id}).status == 303
        is_gone = self.identity_row(email) is None
        is_own = row.user_id == tab.user_id
        assert is_own or not is_gone, "an identity was unlinked by another user"
        if not attempt.died and is_own:
            assert is_gone == is_done
            others = {owner for other, owner in self.owners.items() if other != email}
            assert is_done <= (self.is_verified(row.user_id) or row.user_id in others), "locked out"
        if is_gone:
            self.note_owner(email, None)

    # -- API tokens --------------------------------------------------------------------------------

    @precondition(lambda self: any(tab.user_id for tab in self.tabs))
    @rule(number=BROWSERS, crash=SOON)
    def create_a_token(self, number: int, crash: tuple[int, bool] | None) -> None:
        """On a page of the app. If the process dies, nobody has the token."""
        tab = self.tabs[number]
        request = tab.browser.at.follow("/own")
        if tab.user_id is None:
            return
        with self.process(None, crash) as attempt:
            text = self.apis[0].create(request, tab.user_id)
        if not attempt.died:
            self.tokens.append(Token(text, tab.user_id, not self.is_verified(tab.user_id)))

    @precondition(lambda self: any(token.is_valid for token in self.tokens))
    @rule(data=st.data(), crash=SOON)
    def revoke_a_token(self, data: st.DataObject, crash: tuple[int, bool] | None) -> None:
        token = data.draw(st.sampled_from([token for token in self.tokens if token.is_valid]))
        with self.process(None, crash) as attempt:
            assert self.apis[0].revoke(FakeRequest(), token.text)
        token.is_valid = attempt.died and self.opens(token)

    # -- what is rare by chance --------------------------------------------------------------------

    @precondition(lambda self: not self.is_verified(self.id_of(EMAILS[2]) or ""))
    @rule(number=BROWSERS, crash=LATE)
    def an_owner_comes_after_an_intruder(self, number: int, crash: tuple[int, bool] | None) -> None:
        """An unverified user need not own the email address; a reader of its mail does."""
        self.visit_the_provider(1 - number, EMAILS[2], False, None)
        self.create_a_token(1 - number, None)
        self.press_the_button_of_a_new_link(number, EMAILS[2], crash)

    @rule(number=BROWSERS, email=st.sampled_from(EMAILS), crash=LATE)
    def set_up_a_second_factor_and_log_in_again(
        self, number: int, email: str, crash: tuple[int, bool] | None
    ) -> None:
        self.a_new_link_logs_in(number, email)
        self.set_up_a_second_factor(number, crash)
        self.press_the_button_of_a_new_link(1 - number, email, None)

    @rule(number=BROWSERS, email=st.sampled_from(EMAILS), other=st.sampled_from(EMAILS))
    def come_back_as_another_user(self, number: int, email: str, other: str) -> None:
        """Linking was started by one user, and another has logged in since."""
        self.go_to_the_provider(number, email, True, None)
        self.a_new_link_logs_in(number, other)
        if self.flows and self.flows[-1].tab is self.tabs[number]:
            self.finish(self.flows[-1], None)

    # -- the ends of sessions ----------------------------------------------------------------------

    @precondition(lambda self: any(tab.user_id or tab.half for tab in self.tabs))
    @rule(number=BROWSERS, crash=SOON)
    def log_out(self, number: int, crash: tuple[int, bool] | None) -> None:
        tab = self.tabs[number]
        with self.process(tab, crash) as attempt:
            tab.browser.post("/auth/logout")
        if attempt.died:
            tab.maybe_out |= tab.user_id is not None
        else:
            tab.user_id, tab.maybe_out, tab.half = None, False, None

    @rule(email=st.sampled_from(EMAILS), crash=SOON)
    def log_out_everywhere(self, email: str, crash: tuple[int, bool] | None) -> None:
        user_id = self.id_of(email)
        if user_id is None:
            return
        with self.process(None, crash) as attempt:
            end_sessions(self.world.auth, FakeUser(user_id))
        for tab in self.tabs:
            if tab.user_id == user_id:
                tab.maybe_out |= attempt.died
                tab.user_id = user_id if attempt.died else None
            if tab.half is not None and tab.half.user_id == user_id and not attempt.died:
                tab.half = None

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
        emails = [self.world.users.email_of(FakeUser(user_id)) for user_id in self.user_ids]
        assert len(emails) == len(set(emails))

    @invariant()
    def each_identity_is_linked_as_known(self) -> None:
        rows = {email: self.identity_row(email) for email in EMAILS}
        assert {email: row and row.user_id for email, row in rows.items()} == self.owners

    @invariant()
    def each_token_works_on_both_workers_or_on_neither(self) -> None:
        assert [self.opens(token) for token in self.tokens] == [token.is_valid for token in self.tokens]

    @invariant()
    def nothing_from_before_an_address_was_verified_is_left(self) -> None:
        early = [tab.user_id for tab in self.tabs if tab.is_early and tab.user_id is not None]
        early += [token.user_id for token in self.tokens if token.is_early and token.is_valid]
        early += [user_id for email in self.early if (user_id := self.owners[email]) is not None]
        assert not any(map(self.is_verified, early))


def run(examples: int, steps: int) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Crashes, settings=settings(max_examples=examples, stateful_step_count=steps)
    )


@pytest.fixture
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second press waits for the first one, which here has either ended or died."""
    monkeypatch.setattr(receipts, "PAUSE", 0)


@pytest.mark.requirement("SECURITY-1", "SECURITY-34", "SECURITY-35", "SECURITY-36", "SECURITY-37")
@pytest.mark.usefixtures("_no_waiting")
def test_a_few_crashes() -> None:
    run(40, 25)


@pytest.mark.slow
@pytest.mark.requirement("SECURITY-1", "SECURITY-34", "SECURITY-35", "SECURITY-36", "SECURITY-37")
@pytest.mark.usefixtures("_no_waiting")
def test_many_crashes() -> None:
    run(400, 50)
