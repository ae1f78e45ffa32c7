"""Random sequences of logins, against a model of sessions and rows."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from asok_auth_tests.pipeline import ENROL, Browser, World
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from asok_auth_core.errors import AuthError, PermissionDenied, StoreUnavailable
from asok_auth_core.flows.api_tokens import MAX_PARENTS
from asok_auth_core.flows.login import PENDING_LIFETIME, complete_login
from asok_auth_core.flows.receipts import LIFETIME as RECEIPT_LIFETIME
from asok_auth_core.flows.sessions import end_sessions
from asok_auth_core.methods.token import TokenMethod
from asok_auth_core.testing.fakes import FakeRequest, FakeUser, MemoryUsers
from asok_auth_core.types import Proof

DAY = 86_400
EMAILS = ("ann@example.com", "ben@untrusted.example", "cat@example.com")
SUBJECTS = {"ann": EMAILS[0], "ben": EMAILS[1]}
WAITS = (7, 41, 701, 4001, 8 * DAY + 3)
LINK_LIFETIME = 3600
BROWSERS = st.integers(0, 1)


@dataclass(eq=False)
class Account:
    id: str
    email: str
    is_active: bool = True
    epoch: int = 0


@dataclass(eq=False)
class Session:
    account: Account
    at: float
    seen: float
    has_factor: bool


@dataclass(eq=False)
class Given:
    """A proof: the email address it verifies, and the identity it came with."""

    email: str | None = None
    subject: str | None = None


@dataclass(eq=False)
class Pending:
    account: Account
    given: Given
    at: float
    epoch: int
    is_new: bool
    is_done: bool = False


@dataclass(eq=False)
class Link:
    token: str
    email: str
    at: float
    account: Account | None
    epoch: int
    is_used: bool = False


@dataclass(eq=False)
class Token:
    """An API token; one that was made with another is void with that one."""

    account: Account
    text: str
    expires_at: float | None
    parent: Token | None = None
    is_revoked: bool = False


@dataclass(eq=False)
class Tab:
    """One browser: the real one, and what the model knows of its cookies."""

    browser: Browser
    session: Session | None = None
    pending: Pending | None = None
    receipts: dict[Link, tuple[float, Session | Pending]] = field(default_factory=dict)


class Outage(Exception):
    """The session could not be stored; what comes before it was."""


class Pipeline(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self.folder.name), MemoryUsers())
        self.world.auth.installation()
        # The outbox draws its jitter in a thread of its own, which hypothesis takes for one of our draws.
        self.world.auth.outbox.post = lambda mail: None  # type: ignore[method-assign,assignment,return-value]
        self.world.auth.limits.hit = lambda *args, **kwargs: None  # type: ignore[method-assign]
        self.tabs = [Tab(Browser(self.world)) for _ in range(2)]
        self.accounts: list[Account] = []
        self.sessions: list[Session] = []
        self.links: list[Link] = []
        self.tokens: list[Token] = []
        method = self.world.auth.login_methods["token"]
        assert isinstance(method, TokenMethod)
        self.method = method
        self.verified: dict[str, Account] = {}
        self.identities: dict[str, Account] = {}
        self.enrolled: set[str] = set()
        self.is_required = self.is_closed = self.fails = False
        add = self.world.credentials.add

        def failing(user_id: str, kind: str, *rest: object) -> object:
            if self.fails and kind == "session":
                raise StoreUnavailable("The database does not answer.")
            return add(user_id, kind, *rest)  # type: ignore[arg-type]

        self.world.credentials.add = failing  # type: ignore[method-assign,assignment]

    def teardown(self) -> None:
        self.world.auth.outbox.close()
        self.folder.cleanup()

    # -- the model -------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        return self.world.clock.now

    def is_over(self, session: Session) -> bool:
        return session.at + 30 * DAY <= self.now or session.seen + 14 * DAY <= self.now

    def in_force(self, session: Session | None) -> bool:
        return (
            session is not None
            and session in self.sessions
            and not self.is_over(session)
            and session.account.is_active
            and (session.has_factor or not self.is_required)
        )

    def is_waiting(self, pending: Pending | None) -> bool:
        return (
            pending is not None
            and not pending.is_done
            and pending.at + PENDING_LIFETIME > self.now
            and pending.account.epoch == pending.epoch
        )

    def is_valid(self, token: Token | None) -> bool:
        return token is None or (
            not token.is_revoked
            and (token.expires_at is None or self.now < token.expires_at)
            and self.is_valid(token.parent)
        )

    def account_of(self, email: str) -> Account | None:
        return next((account for account in self.accounts if account.email == email), None)

    def end_all(self, account: Account) -> None:
        account.epoch += 1
        self.sessions = [session for session in self.sessions if session.account is not account]

    def enter(self, tab: Tab, session: Session, *, dropped: bool) -> None:
        """The cookie of ``session`` is sent; the browser's other session ends."""
        if tab.session is not session and tab.session in self.sessions:
            self.sessions.remove(tab.session)
        if not dropped:
            tab.session = session

    def settle(
        self,
        tab: Tab,
        account: Account,
        given: Given,
        *,
        is_new: bool = False,
        has_factor: bool = False,
        dropped: bool = False,
    ) -> Session | None:
        """None if the identity cannot be linked. Raises Outage."""
        owner = self.identities.get(given.subject or "")
        if given.subject is not None:
            if owner not in (None, account):
                return None
            if owner is None and not is_new and given.email != account.email:
                return None
        if given.email == account.email:
            if not is_new and self.verified.get(account.email) is not account:
                self.end_all(account)
                kept = {given.subject: account} if owner is account else {}
                self.identities = {s: a for s, a in self.identities.items() if a is not account}
                self.identities.update(kept)  # type: ignore[arg-type]
                self.verified = {e: a for e, a in self.verified.items() if a is not account}
                for token in self.tokens:
                    token.is_revoked |= token.account is account
                if not has_factor:
                    self.enrolled.discard(account.id)
            self.verified[account.email] = account
        if given.subject is not None:
            self.identities[given.subject] = account
        self.sessions = [s for s in self.sessions if s.account is not account or not self.is_over(s)]
        if self.fails:
            raise Outage
        session = Session(account, self.now, self.now, has_factor)
        self.sessions.append(session)
        self.enter(tab, session, dropped=dropped)
        return session

    def log_in(
        self, tab: Tab, account: Account | None, email: str, given: Given, *, dropped: bool = False
    ) -> Session | Pending | None:
        """A first factor proved ``given`` for ``account`` or a newcomer's ``email``.

        Raises Outage.
        """
        if self.is_closed or (account is not None and not account.is_active):
            return None
        is_new = account is None
        if account is None:
            account = Account(str(len(self.accounts) + 1), email)
            self.accounts.append(account)
        if account.id in self.enrolled or self.is_required:
            pending = Pending(account, given, self.now, account.epoch, is_new)
            if not dropped:
                tab.pending = pending
            return pending
        if tab.pending is not None:
            tab.pending.is_done = True
        return self.settle(tab, account, given, is_new=is_new, dropped=dropped)

    def finish(self, tab: Tab, pending: Pending) -> None:
        """The second factor of ``pending`` was given; asked for again after an outage."""
        pending.is_done = True
        if not self.is_closed and pending.account.is_active:
            try:
                self.settle(tab, pending.account, pending.given, is_new=pending.is_new, has_factor=True)
            except Outage:
                pending.is_done = False

    # -- what happens ----------------------------------------------------------------------------

    @initialize(is_required=st.booleans())
    def start(self, is_required: bool) -> None:
        self.is_required = is_required
        self.world.auth.settings = replace(self.world.auth.settings, require_2fa=is_required)

    @rule(email=st.sampled_from(EMAILS))
    def mail_one(self, email: str) -> None:
        self.mail_a_link(email)

    def mail_a_link(self, email: str) -> Link:
        account = self.account_of(email)
        epoch = 0 if account is None else account.epoch
        self.links.append(Link(self.world.token(email), email, self.now, account, epoch))
        return self.links[-1]

    @rule(number=BROWSERS, email=st.sampled_from(EMAILS))
    def log_in_by_mail(self, number: int, email: str) -> None:
        self.press(self.tabs[number], self.mail_a_link(email), dropped=False)

    @precondition(lambda self: self.links)
    @rule(number=BROWSERS, data=st.data(), dropped=st.booleans())
    def press_the_button(self, number: int, data: st.DataObject, dropped: bool) -> None:
        self.press(self.tabs[number], data.draw(st.sampled_from(self.links[-3:])), dropped=dropped)

    def press(self, tab: Tab, link: Link, *, dropped: bool) -> None:
        tab.browser.open(link.token)
        tab.browser.press(link.token, dropped=dropped)
        account = self.account_of(link.email)
        at, led_to = tab.receipts.get(link, (0.0, None))
        if led_to is not None and at + RECEIPT_LIFETIME > self.now:
            if isinstance(led_to, Session) and self.in_force(led_to):
                self.enter(tab, led_to, dropped=dropped)
            elif isinstance(led_to, Pending) and self.is_waiting(led_to) and not dropped:
                tab.pending = led_to
            return
        valid = not link.is_used and link.at + LINK_LIFETIME > self.now
        link.is_used = True
        moved = link.account is not None and account is not link.account
        if not valid or moved or link.epoch != (0 if account is None else account.epoch):
            return
        try:
            result = self.log_in(tab, account, link.email, Given(link.email), dropped=dropped)
        except Outage:
            link.is_used = False
            return
        if result is not None:
            tab.receipts[link] = (self.now, result)

    @rule(number=BROWSERS, subject=st.sampled_from(sorted(SUBJECTS)))
    def log_in_at_the_provider(self, number: int, subject: str) -> None:
        tab, email = self.tabs[number], SUBJECTS[subject]
        tab.browser.log_in_at_provider(sub=subject, email=email)
        is_trusted = email.endswith("@example.com")
        account = self.identities.get(subject)
        if account is None:
            account = self.account_of(email)
            if account is not None and not is_trusted:
                return
        with suppress(Outage):
            self.log_in(tab, account, email, Given(email if is_trusted else None, subject))

    @precondition(lambda self: self.accounts)
    @rule(number=BROWSERS, data=st.data())
    def log_in_on_an_own_page(self, number: int, data: st.DataObject) -> None:
        tab, account = self.tabs[number], data.draw(st.sampled_from(self.accounts))
        user = self.world.users.by_id(account.id)
        assert user is not None
        tab.browser.at = tab.browser.at.follow("/own", form={})
        with suppress(AuthError):
            complete_login(self.world.auth, tab.browser.at, user, Proof("app"))
        with suppress(Outage):
            self.log_in(tab, account, account.email, Given())

    @precondition(lambda self: any(tab.pending for tab in self.tabs))
    @rule(number=BROWSERS, is_right=st.booleans())
    def give_the_second_factor(self, number: int, is_right: bool) -> None:
        tab = self.tabs[number]
        tab.browser.give_word("swordfish" if is_right else "trout")
        pending = tab.pending
        if is_right and pending and self.is_waiting(pending) and pending.account.id in self.enrolled:
            self.finish(tab, pending)

    @rule(number=BROWSERS)
    def set_up_a_second_factor(self, number: int) -> None:
        tab = self.tabs[number]
        tab.browser.post(ENROL)
        if tab.pending is not None and self.is_waiting(tab.pending):
            if tab.pending.account.id not in self.enrolled:
                self.enrolled.add(tab.pending.account.id)
                self.finish(tab, tab.pending)
        elif self.in_force(tab.session):
            assert tab.session is not None
            is_safe = tab.session.has_factor or tab.session.account.id not in self.enrolled
            if tab.session.at + 600 >= self.now and is_safe:
                self.enrolled.add(tab.session.account.id)
                tab.session.has_factor = True

    @rule(number=BROWSERS, lifetime=st.sampled_from((None, 3600)))
    def make_a_token(self, number: int, lifetime: int | None) -> None:
        """On a page of the app, which asks who is logged in."""
        tab = self.tabs[number]
        request = tab.browser.at.follow("/own")
        if request.user is None or not self.in_force(tab.session):
            return
        assert tab.session is not None
        account = tab.session.account
        expires_at = None if lifetime is None else self.now + lifetime
        text = self.method.api.create(request, account.id, expires_in=lifetime)
        self.tokens.append(Token(account, text, expires_at))

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), lifetime=st.sampled_from((None, 60, 7200)))
    def make_a_token_with_a_token(self, data: st.DataObject, lifetime: int | None) -> None:
        parent = data.draw(st.sampled_from(self.tokens[-4:]))
        request = self.request_with(parent)
        if request.authentication is None:
            return
        expires_at = parent.expires_at if lifetime is None else self.now + lifetime
        try:
            text = self.method.api.create(request, parent.account.id, expires_in=lifetime)
        except PermissionDenied:
            is_wider = parent.expires_at is not None and expires_at is not None
            assert (is_wider and expires_at > parent.expires_at) or self.depth(parent) > MAX_PARENTS  # type: ignore[operator]
        else:
            self.tokens.append(Token(parent.account, text, expires_at, parent))

    @precondition(lambda self: self.tokens)
    @rule(data=st.data())
    def revoke_a_token(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(self.tokens[-4:]))
        self.method.api.revoke(FakeRequest(), token.text)
        token.is_revoked = True

    def depth(self, token: Token) -> int:
        return 1 if token.parent is None else 1 + self.depth(token.parent)

    def request_with(self, token: Token) -> FakeRequest:
        """A request with ``token``, and the proof that the core finds in it."""
        request = FakeRequest("/api", headers={"Authorization": f"Bearer {token.text}"})
        with suppress(AuthError):
            request.authentication = self.method.authenticate(request)
        return request

    @rule(number=BROWSERS)
    def log_out(self, number: int) -> None:
        tab = self.tabs[number]
        tab.browser.post("/auth/logout")
        if tab.pending is not None:
            tab.pending.is_done = True
        if tab.session in self.sessions:
            self.sessions.remove(tab.session)  # type: ignore[arg-type]
        tab.session = tab.pending = None

    @precondition(lambda self: self.accounts)
    @rule(data=st.data())
    def log_out_everywhere(self, data: st.DataObject) -> None:
        account = data.draw(st.sampled_from(self.accounts))
        end_sessions(self.world.auth, FakeUser(account.id))
        self.end_all(account)

    @precondition(lambda self: self.accounts)
    @rule(data=st.data())
    def disable_or_enable(self, data: st.DataObject) -> None:
        account = data.draw(st.sampled_from(self.accounts))
        account.is_active = not account.is_active
        self.real(account).is_active = account.is_active

    @precondition(lambda self: self.accounts)
    @rule(data=st.data(), email=st.sampled_from(EMAILS))
    def change_the_email_on_an_own_page(self, data: st.DataObject, email: str) -> None:
        account = data.draw(st.sampled_from(self.accounts))
        if self.account_of(email) is None:
            account.email = self.real(account).email = email

    @rule(is_closed=st.booleans())
    def reject_logins(self, is_closed: bool) -> None:
        self.is_closed = self.world.part.closed = is_closed

    @rule(fails=st.booleans())
    def let_the_database_fail(self, fails: bool) -> None:
        self.fails = fails

    @rule(seconds=st.sampled_from(WAITS))
    def wait(self, seconds: int) -> None:
        self.world.clock.advance(seconds)

    def real(self, account: Account) -> FakeUser:
        user = self.world.users.by_id(account.id)
        assert isinstance(user, FakeUser)
        return user

    # -- what must hold --------------------------------------------------------------------------

    @invariant()
    def everyone_is_logged_in_where_the_model_says(self) -> None:
        for tab in self.tabs:
            session = tab.session if self.in_force(tab.session) else None
            if session is not None and session.seen + 60 <= self.now:
                session.seen = self.now
            assert tab.browser.user_id == (None if session is None else session.account.id)

    @invariant()
    def each_token_opens_what_the_model_says(self) -> None:
        for token in self.tokens[-6:]:
            proof = self.request_with(token).authentication
            opens = self.is_valid(token) and token.account.is_active
            assert (None if proof is None else proof.user.id) == (token.account.id if opens else None)

    @invariant()
    def the_rows_are_those_of_the_model(self) -> None:
        assert len(self.world.users) == len(self.accounts)  # type: ignore[arg-type]
        for account in self.accounts:
            assert self.real(account).email == account.email
            kinds = self.world.kinds(account.id)
            assert kinds.count("session") == sum(one.account is account for one in self.sessions)
            assert kinds.count("email") == sum(one is account for one in self.verified.values())
            assert kinds.count("identity") == sum(one is account for one in self.identities.values())
        assert self.world.word.users == self.enrolled


def run(examples: int, steps: int) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Pipeline, settings=settings(max_examples=examples, stateful_step_count=steps)
    )


@pytest.mark.requirement("SECURITY-35", "SECURITY-36", "SECURITY-37")
def test_a_few_sequences() -> None:
    run(40, 25)


@pytest.mark.slow
@pytest.mark.requirement("SECURITY-35", "SECURITY-36", "SECURITY-37")
def test_many_sequences() -> None:
    run(400, 50)
