"""The login pipeline: hooks, second factor, session rotation, events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pytest
from markupsafe import Markup

from asok_auth_core.auth import Auth
from asok_auth_core.errors import (
    ConfigurationError,
    CredentialRejected,
    LoginExpired,
    LoginRejected,
    RateLimited,
    SecondFactorRequired,
    StoreUnavailable,
)
from asok_auth_core.flows.current_user import logged_in_at
from asok_auth_core.flows.login import (
    complete_login,
    finish_login,
    log_out,
    pending_login,
)
from asok_auth_core.flows.second_factor import complete_enrolment, complete_second_factor
from asok_auth_core.flows.sessions import sessions_of
from asok_auth_core.flows.verified_emails import is_email_verified, mark_email_verified
from asok_auth_core.plugin import Event, SecondFactor, hookimpl
from asok_auth_core.testing.fakes import (
    FakeRequest,
    FakeUser,
    FrozenClock,
    MemoryUsers,
)
from asok_auth_core.testing.parts import build_auth
from asok_auth_core.types import LoginAttempt, Proof, User
from asok_auth_core.web import WebRequest

ADA = FakeUser("1", "ada@example.org")


class Word(SecondFactor):
    """Asks for a word."""

    name = "word"
    label = "Secret word"

    def __init__(self, users: Iterable[str] = ("1",)) -> None:
        self.users = set(users)
        self.started = 0

    def is_enrolled(self, user: User) -> bool:
        return str(user.id) in self.users

    def reset(self, user: User) -> None:
        self.users.discard(str(user.id))

    def begin(self, request: WebRequest, user: User) -> None:
        self.started += 1

    def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
        return Markup('<input name="word">')

    def verify(self, request: WebRequest, user: User) -> bool:
        return request.form.get("word") == "swordfish"


class Plugin:
    """Records events, rejects the given users, and may register a factor."""

    def __init__(self, factor: SecondFactor | None = None) -> None:
        self.factor = factor
        self.events: list[Event] = []
        self.attempts: list[LoginAttempt] = []
        self.rejection: str | Exception | None = None

    @hookimpl
    def asok_auth_event(self, event: Event) -> None:
        self.events.append(event)

    @hookimpl
    def asok_auth_before_login(self, attempt: LoginAttempt) -> str | None:
        self.attempts.append(attempt)
        if isinstance(self.rejection, Exception):
            raise self.rejection
        return self.rejection

    @hookimpl
    def asok_auth_second_factors(self, auth: Auth) -> list[SecondFactor]:
        return [self.factor] if self.factor else []

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.events]


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


Make = Callable[..., tuple[Auth, Plugin]]


@pytest.fixture
def make(tmp_path: Path, clock: FrozenClock) -> Make:
    def make(
        factor: SecondFactor | None = None, settings: Mapping[str, object] | None = None
    ) -> tuple[Auth, Plugin]:
        plugin = Plugin(factor)
        users = MemoryUsers(ADA, FakeUser("2", "off@example.org", is_active=False))
        return build_auth(tmp_path, plugins=[plugin], settings=settings, users=users, clock=clock), plugin

    return make


@pytest.mark.requirement("SECURITY-18", "SECURITY-31")
def test_a_login_without_a_second_factor_completes_at_once(make: Make, clock: FrozenClock) -> None:
    auth, plugin = make()
    request = FakeRequest()
    before = request.session.id
    assert complete_login(auth, request, ADA, Proof("magic"), next_url="/inbox") == "/inbox"
    assert request.user is ADA
    assert request.session.id != before, "a new session id at login"
    assert logged_in_at(request) == clock.now
    assert plugin.names == ["login.succeeded"]
    [event] = plugin.events
    assert (event.user_id, event.method, event.client_ip) == ("1", "magic", "192.0.2.1")
    [attempt] = plugin.attempts
    assert (attempt.user, attempt.method, attempt.client_ip) == (ADA, "magic", "192.0.2.1")


@pytest.mark.requirement("SECURITY-19")
@pytest.mark.parametrize("included", [["word"], ("word",), iter(["word"])], ids=["list", "tuple", "iterator"])
def test_a_proof_that_includes_a_second_factor_completes_at_once(make: Make, included: Sequence[str]) -> None:
    auth, _ = make(Word())
    request = FakeRequest()
    complete_login(auth, request, ADA, Proof("magic"), factors=included)
    assert request.session_record is not None
    assert request.session_record.factors == ("word",)


@pytest.mark.requirement("SECURITY-19")
@pytest.mark.parametrize("odd", [[""], [None], [False], ["passkey"], "word", ["word", ""]], ids=repr)
def test_only_a_second_factor_of_the_app_counts_as_included(make: Make, odd: Sequence[str]) -> None:
    auth, plugin = make(Word())
    request = FakeRequest()
    with pytest.raises(ConfigurationError, match="this app has recovery, word"):
        complete_login(auth, request, ADA, Proof("magic"), factors=odd)
    assert request.user is None
    assert plugin.names == []


@pytest.mark.requirement("SECURITY-19")
def test_an_empty_iterator_includes_no_second_factor(make: Make) -> None:
    auth, _ = make(Word())
    request = FakeRequest()
    with pytest.raises(SecondFactorRequired):
        complete_login(auth, request, ADA, Proof("magic"), factors=filter(None, [""]))  # type: ignore[arg-type]
    assert request.user is None


@pytest.mark.requirement("SECURITY-18")
def test_a_pending_login_that_another_host_planted_is_not_read(make: Make) -> None:
    """The victim would set up a second factor in the attacker's account."""
    auth, _ = make(Word())
    attacker = FakeRequest("https://app.example/")
    with pytest.raises(SecondFactorRequired):
        complete_login(auth, attacker, ADA, Proof("magic"))
    attacker = attacker.follow("/auth/second-factor")
    handle = attacker.cookies["__Host-asok_auth_login"]
    victim = FakeRequest("https://app.example/")
    victim.cookies["asok_auth_login"] = handle
    with pytest.raises(LoginExpired):
        pending_login(auth, victim)
    assert pending_login(auth, attacker)[1] is ADA


def test_a_login_without_next_leads_to_login_redirect(make: Make) -> None:
    auth, _ = make(settings={"LOGIN_REDIRECT": "/home"})
    assert complete_login(auth, FakeRequest(), ADA, Proof("magic")) == "/home"


@pytest.mark.requirement("SECURITY-23")
def test_a_disabled_account_is_rejected(make: Make) -> None:
    auth, plugin = make()
    request = FakeRequest()
    off = auth.users.by_id("2")
    assert off is not None
    with pytest.raises(LoginRejected, match="disabled"):
        complete_login(auth, request, off, Proof("magic"))
    assert request.user is None
    assert plugin.names == ["login.rejected"]


@pytest.mark.requirement("SECURITY-32")
@pytest.mark.parametrize("rejection", ["Not on Sundays.", RuntimeError("database is down")])
def test_a_hook_that_rejects_or_raises_rejects_the_login(make: Make, rejection: str | Exception) -> None:
    """An error in a hook denies."""
    auth, plugin = make()
    plugin.rejection = rejection
    request = FakeRequest()
    with pytest.raises(LoginRejected) as raised:
        complete_login(auth, request, ADA, Proof("magic"))
    assert "database" not in raised.value.message
    assert request.user is None
    assert auth.credentials.list("1") == []
    assert plugin.names == ["login.rejected"]


class TestSecondFactor:
    def begin(self, make: Make) -> tuple[Auth, Plugin, FakeRequest]:
        auth, plugin = make(Word())
        request = FakeRequest()
        with pytest.raises(SecondFactorRequired) as raised:
            complete_login(auth, request, ADA, Proof("magic"), next_url="/inbox", remember=True)
        assert raised.value.location == "/auth/second-factor"
        return auth, plugin, request

    @pytest.mark.requirement("SECURITY-19")
    def test_a_pending_login_has_no_authority(self, make: Make) -> None:
        auth, plugin, request = self.begin(make)
        assert request.user is None
        assert auth.credentials.list("1") == []
        assert plugin.names == ["login.second_factor_required"]
        pending, user = pending_login(auth, request.follow("/auth/second-factor"))
        assert (pending.user_id, user) == ("1", ADA)

    @pytest.mark.requirement("SECURITY-18")
    def test_the_right_proof_completes_the_login(self, make: Make) -> None:
        auth, plugin, request = self.begin(make)
        before = request.session.id
        answer = request.follow("/auth/second-factor", form={"word": "swordfish"})
        assert complete_second_factor(auth, answer, "word") == "/inbox"
        assert answer.user is ADA
        assert answer.session.remembered
        assert answer.session.id != before, "a new session id when the second factor completes"
        assert plugin.names[-2:] == ["second_factor.succeeded", "login.succeeded"]
        assert plugin.events[-1].method == "magic"
        assert plugin.events[-1].detail["factor"] == "word"

    @pytest.mark.requirement("SECURITY-1")
    def test_a_login_completes_once(self, make: Make) -> None:
        auth, _, request = self.begin(make)
        complete_second_factor(auth, request.follow("/x", form={"word": "swordfish"}), "word")
        stolen = FakeRequest("/x", form={"word": "swordfish"}, cookies=request.follow("/").cookies)
        with pytest.raises(LoginExpired):
            complete_second_factor(auth, stolen, "word")
        assert stolen.user is None

    def test_a_wrong_proof_is_rejected(self, make: Make) -> None:
        auth, plugin, request = self.begin(make)
        answer = request.follow("/x", form={"word": "trout"})
        with pytest.raises(CredentialRejected):
            complete_second_factor(auth, answer, "word")
        assert answer.user is None
        assert plugin.names[-1] == "second_factor.failed"

    def test_a_factor_the_user_has_not_enrolled_is_rejected(self, make: Make) -> None:
        auth, _, request = self.begin(make)
        with pytest.raises(CredentialRejected):
            complete_second_factor(auth, request.follow("/x", form={"word": "swordfish"}), "other")

    def test_another_browser_cannot_complete_it(self, make: Make) -> None:
        auth, _, _ = self.begin(make)
        with pytest.raises(LoginExpired):
            complete_second_factor(auth, FakeRequest("/x", form={"word": "swordfish"}), "word")

    def test_a_pending_login_expires(self, make: Make, clock: FrozenClock) -> None:
        auth, _, request = self.begin(make)
        clock.advance(601)
        with pytest.raises(LoginExpired):
            complete_second_factor(auth, request.follow("/x", form={"word": "swordfish"}), "word")

    @pytest.mark.requirement("SECURITY-21", "SECURITY-31")
    def test_guesses_are_limited_and_a_success_clears_nothing(self, make: Make, clock: FrozenClock) -> None:
        """RFC 4226 section 7.3; a success must not clear the failures."""
        auth, plugin, request = self.begin(make)
        wrong = request.follow("/x", form={"word": "trout"})
        outcomes = []
        for _ in range(100):
            with pytest.raises((CredentialRejected, RateLimited)) as raised:
                complete_second_factor(auth, wrong, "word")
            outcomes.append(raised.value)
        limit = [type(outcome) for outcome in outcomes].index(RateLimited)
        assert 3 <= limit <= 20
        assert all(isinstance(outcome, RateLimited) for outcome in outcomes[limit:])
        assert isinstance(outcomes[-1], RateLimited)
        assert 0 < outcomes[-1].retry_after <= 900
        assert plugin.names.count("attempt.limited") == 100 - limit
        with pytest.raises(RateLimited):
            complete_second_factor(auth, request.follow("/x", form={"word": "swordfish"}), "word")

    def test_a_hook_can_reject_between_the_two_factors(self, make: Make) -> None:
        auth, plugin, request = self.begin(make)
        plugin.rejection = "Closed now."
        answer = request.follow("/x", form={"word": "swordfish"})
        with pytest.raises(LoginRejected, match="Closed now"):
            complete_second_factor(auth, answer, "word")
        assert answer.user is None

    @pytest.mark.requirement("SECURITY-32")
    def test_a_factor_that_raises_rejects_the_login(self, make: Make) -> None:
        class Failing(Word):
            def is_enrolled(self, user: User) -> bool:
                raise StoreUnavailable("The database does not answer.")

        auth, _ = make(Failing())
        request = FakeRequest()
        with pytest.raises(StoreUnavailable):
            complete_login(auth, request, ADA, Proof("magic"))
        assert request.user is None

    def test_a_deleted_user_cannot_complete_a_login(self, make: Make) -> None:
        auth, _, request = self.begin(make)
        auth.users = MemoryUsers()
        with pytest.raises(LoginExpired):
            pending_login(auth, request.follow("/x"))


class TestFinishing:
    """What is between a proof and the login it is for."""

    def begin(self, auth: Auth) -> FakeRequest:
        request = FakeRequest()
        with pytest.raises(SecondFactorRequired):
            complete_login(auth, request, ADA, Proof("magic"), next_url="/inbox")
        return request.follow("/auth/second-factor")

    def test_two_simultaneous_proofs_are_one_login(self, make: Make) -> None:
        """Both were right before either had finished."""
        auth, plugin = make(Word())
        browser = self.begin(auth)
        tabs = [FakeRequest("/auth/second-factor", cookies=browser.cookies) for _ in range(2)]
        [(pending, user), _] = [pending_login(auth, tab) for tab in tabs]
        assert finish_login(auth, tabs[0], pending, user, "word") == "/inbox"
        with pytest.raises(LoginExpired, match="already completed"):
            finish_login(auth, tabs[1], pending, user, "word")
        assert [tab.user for tab in tabs] == [ADA, None]
        assert plugin.names.count("login.succeeded") == 1

    def test_a_factor_completes_the_login_of_its_owner_only(self, make: Make) -> None:
        auth, plugin = make(Word())
        browser = self.begin(auth)
        bob = FakeUser("2", "off@example.org")
        with pytest.raises(LoginExpired):
            complete_enrolment(auth, browser, bob, "word")
        assert browser.user is None
        assert auth.credentials.list("2") == []
        assert not {"login.succeeded", "second_factor.enrolled"} & set(plugin.names)
        assert complete_enrolment(auth, browser.follow("/x"), ADA, "word") == "/inbox", "hers still waits"

    def test_enrolling_a_factor_logs_no_session_in(self, make: Make) -> None:
        """A plugin's API may be called in a request that a token authenticated."""
        auth, plugin = make(Word())
        request = FakeRequest(user=ADA)
        assert complete_enrolment(auth, request, ADA, "word") == "/auth/account"
        assert auth.credentials.list("1", "session") == []
        assert logged_in_at(request) is None
        assert plugin.names == ["second_factor.enrolled"]

    def test_an_enrolled_factor_counts_for_the_session_it_was_enrolled_in(self, make: Make) -> None:
        auth, _ = make(Word(users=()))
        request = FakeRequest()
        complete_login(auth, request, ADA, Proof("magic"))
        at = logged_in_at(request)
        complete_enrolment(auth, request, ADA, "word")
        [record] = sessions_of(auth, ADA)
        assert (record.factors, record.method, record.logged_in_at) == (("word",), "magic", at)


def test_logging_out_ends_the_session_with_an_event(make: Make) -> None:
    auth, plugin = make()
    request = FakeRequest()
    complete_login(auth, request, ADA, Proof("magic"))
    before = request.session.id
    assert log_out(auth, request) == "/"
    assert request.user is None
    assert logged_in_at(request) is None
    assert request.session.id != before
    assert plugin.names[-1] == "logout"
    assert plugin.events[-1].user_id == "1"


def test_an_email_is_verified_for_one_account_at_a_time(make: Make) -> None:
    auth, _ = make()
    bob = FakeUser("3", "ada@example.org")
    assert not is_email_verified(auth, ADA, "ada@example.org")
    mark_email_verified(auth, ADA, "ada@example.org")
    mark_email_verified(auth, ADA, "ada@example.org")
    assert is_email_verified(auth, ADA, "ada@example.org")
    mark_email_verified(auth, bob, "ada@example.org")
    assert is_email_verified(auth, bob, "ada@example.org")
    assert not is_email_verified(auth, ADA, "ada@example.org")


def test_a_login_records_the_email_that_its_proof_verified(make: Make) -> None:
    auth, _ = make()
    request = FakeRequest()
    complete_login(auth, request, ADA, Proof("magic", "other@example.org"))
    assert not is_email_verified(auth, ADA, "other@example.org")
    assert not is_email_verified(auth, ADA, "ada@example.org")
    complete_login(auth, request, ADA, Proof("magic", "ada@example.org"))
    assert is_email_verified(auth, ADA, "ada@example.org")


@pytest.mark.requirement("SECURITY-30")
def test_events_hold_no_secret(make: Make) -> None:
    """No cookie value or handle in any event."""
    auth, plugin = make(Word())
    request = FakeRequest()
    with pytest.raises(SecondFactorRequired):
        complete_login(auth, request, ADA, Proof("magic"))
    for value, _, _ in request.sent_cookies.values():
        assert value not in repr(plugin.events)
