"""A pending login starts a factor's challenge once, and again on request."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from markupsafe import Markup

from asok_auth_core.auth import Auth
from asok_auth_core.contracts import SecondFactor
from asok_auth_core.errors import MailTemporary, SecondFactorRequired
from asok_auth_core.flows.challenge import ACCOUNT_STARTS, CLIENT_STARTS, DAILY_STARTS, DAY, START_WINDOW
from asok_auth_core.flows.login import complete_login
from asok_auth_core.hookspecs import hookimpl
from asok_auth_core.paths import CHALLENGE_AGAIN_PATH, SECOND_FACTOR_PATH
from asok_auth_core.testing.fakes import FakeRequest, FakeUser, FrozenClock, MemoryUsers
from asok_auth_core.testing.parts import Browser, build_auth
from asok_auth_core.types import Proof, User
from asok_auth_core.web import WebRequest

pytestmark = pytest.mark.requirement("SECURITY-42")

PROBLEM = "The code is incorrect. Check it and try again."


class TextMessage(SecondFactor):
    """Each call of ``begin`` costs a text message."""

    name = "sms"
    label = "Text message"

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.problems: list[str | None] = []
        self.failure: Exception | None = None

    def is_enrolled(self, user: User) -> bool:
        return True

    def reset(self, user: User) -> None:
        return

    def begin(self, request: WebRequest, user: User) -> None:
        if self.failure is not None:
            raise self.failure
        self.sent[str(user.id)] += 1

    def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
        self.problems.append(problem)
        return Markup('<input name="code">')

    def verify(self, request: WebRequest, user: User) -> bool:
        return request.form.get("code") == "right"


class Call(TextMessage):
    name = "call"
    label = "Phone call"


class Card(SecondFactor):
    """Sends nothing."""

    name = "card"
    label = "Card"
    is_enrolled = TextMessage.is_enrolled
    reset = TextMessage.reset
    verify = TextMessage.verify

    def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
        return Markup('<input name="code">')


class Phone:
    """An app with three factors, and its users."""

    def __init__(self, root: Path) -> None:
        self.sms, self.call = TextMessage(), Call()
        self.clock = FrozenClock()
        self.users = [FakeUser(str(number), f"{number}@example.org") for number in range(1, 40)]
        self.auth = build_auth(root, plugins=(self,), users=MemoryUsers(*self.users), clock=self.clock)

    @hookimpl
    def asok_auth_second_factors(self, auth: Auth) -> list[SecondFactor]:
        return [self.sms, self.call, Card()]

    def pending_login(self, user: FakeUser | None = None, client_ip: str = "192.0.2.1") -> Browser:
        """A browser whose user gave the first factor."""
        browser = Browser(self.auth)
        browser.request = FakeRequest("/", client_ip=client_ip)
        with pytest.raises(SecondFactorRequired):
            complete_login(self.auth, browser.request, user or self.users[0], Proof("app"))
        return browser


@pytest.fixture
def phone(tmp_path: Path) -> Phone:
    return Phone(tmp_path)


def test_showing_the_page_two_hundred_times_sends_one_message(phone: Phone) -> None:
    browser = phone.pending_login()
    for _ in range(200):
        assert browser.get(SECOND_FACTOR_PATH).status == 200
    assert phone.sms.sent == {"1": 1}


def test_head_sends_nothing(phone: Phone) -> None:
    browser = phone.pending_login()
    for _ in range(3):
        assert browser.get(SECOND_FACTOR_PATH, method="HEAD").status == 200
    assert phone.sms.sent == {}
    browser.get(SECOND_FACTOR_PATH)
    assert phone.sms.sent == {"1": 1}


def test_concurrent_requests_send_one_message(phone: Phone) -> None:
    request = phone.pending_login().request
    barrier = threading.Barrier(8)

    def show() -> None:
        browser = Browser(phone.auth)
        browser.request = request.follow("/")
        barrier.wait()
        browser.get(SECOND_FACTOR_PATH)

    threads = [threading.Thread(target=show) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert phone.sms.sent == {"1": 1}


def test_each_factor_and_each_login_starts_its_own(phone: Phone) -> None:
    first, second = phone.pending_login(), phone.pending_login()
    for browser in (first, second, first, second):
        browser.get(SECOND_FACTOR_PATH)
        browser.get(f"{SECOND_FACTOR_PATH}?factor=call")
    assert (phone.sms.sent, phone.call.sent) == ({"1": 2}, {"1": 2})


def test_a_wrong_code_sends_nothing_and_the_factor_learns_why_it_was_rejected(phone: Phone) -> None:
    browser = phone.pending_login()
    browser.get(SECOND_FACTOR_PATH)
    answer = browser.post(SECOND_FACTOR_PATH, {"factor": "sms", "code": "wrong"})
    assert (answer.status, phone.sms.sent) == (400, {"1": 1})
    assert PROBLEM in answer.body
    browser.get(SECOND_FACTOR_PATH)
    assert phone.sms.problems == [None, PROBLEM, None]
    assert phone.sms.sent == {"1": 1}


def test_the_user_can_ask_for_another_one(phone: Phone) -> None:
    browser = phone.pending_login()
    page = browser.get(SECOND_FACTOR_PATH)
    assert f'action="{CHALLENGE_AGAIN_PATH}"' in page.body
    assert "sent again" not in page.body
    answer = browser.post(CHALLENGE_AGAIN_PATH, {"factor": "sms"})
    assert (answer.status, phone.sms.sent) == (303, {"1": 2})
    page = browser.get(dict(answer.headers)["Location"])
    assert "It was sent again." in page.body
    assert phone.sms.sent == {"1": 2}, "the page that follows sends nothing"


def test_asking_for_another_one_at_once_counts_as_the_first(phone: Phone) -> None:
    browser = phone.pending_login()
    browser.post(CHALLENGE_AGAIN_PATH, {"factor": "call"})
    browser.get(f"{SECOND_FACTOR_PATH}?factor=call")
    assert phone.call.sent == {"1": 1}


def test_a_link_to_the_button_sends_nothing(phone: Phone) -> None:
    browser = phone.pending_login()
    for method in ("GET", "HEAD"):
        answer = browser.get(f"{CHALLENGE_AGAIN_PATH}?factor=sms", method=method)
        assert dict(answer.headers)["Location"] == SECOND_FACTOR_PATH
    assert phone.sms.sent == {}


def test_a_factor_that_sends_nothing_has_no_button(phone: Phone) -> None:
    browser = phone.pending_login()
    assert CHALLENGE_AGAIN_PATH not in browser.get(f"{SECOND_FACTOR_PATH}?factor=card").body
    browser.post(CHALLENGE_AGAIN_PATH, {"factor": "card"})
    assert (phone.sms.sent, phone.call.sent) == ({}, {})


def test_without_a_pending_login_nothing_is_sent(phone: Phone) -> None:
    browser = Browser(phone.auth)
    assert browser.post(CHALLENGE_AGAIN_PATH, {"factor": "sms"}).status == 400
    assert browser.get(SECOND_FACTOR_PATH).status == 400
    assert phone.sms.sent == {}


def new_logins(phone: Phone) -> Callable[[int], object]:
    return lambda number: phone.pending_login(client_ip=f"192.0.2.{number}").get(SECOND_FACTOR_PATH).status


def one_login(phone: Phone) -> Callable[[int], object]:
    browser = phone.pending_login()
    return lambda number: browser.post(CHALLENGE_AGAIN_PATH, {"factor": "sms"}).status


@pytest.mark.parametrize("way", [new_logins, one_login])
def test_messages_are_limited_per_account(
    phone: Phone, way: Callable[[Phone], Callable[[int], object]]
) -> None:
    ask = way(phone)
    statuses = [ask(number) for number in range(30)]
    assert phone.sms.sent == {"1": ACCOUNT_STARTS}
    assert statuses[ACCOUNT_STARTS:] == [429] * (30 - ACCOUNT_STARTS)
    other = phone.pending_login(phone.users[1])
    assert other.get(SECOND_FACTOR_PATH).status == 200
    assert phone.sms.sent["2"] == 1


def test_messages_are_limited_per_day(phone: Phone) -> None:
    phone.clock.advance(DAY - phone.clock() % DAY)
    for _ in range(2 * DAILY_STARTS // ACCOUNT_STARTS):
        for _ in range(ACCOUNT_STARTS):
            phone.pending_login().get(SECOND_FACTOR_PATH)
        phone.clock.advance(START_WINDOW)
    assert phone.sms.sent == {"1": DAILY_STARTS}


def test_messages_are_limited_per_client(phone: Phone) -> None:
    for user in phone.users:
        for _ in range(ACCOUNT_STARTS):
            phone.pending_login(user).get(SECOND_FACTOR_PATH)
    assert phone.sms.sent.total() == CLIENT_STARTS


def test_at_the_limit_the_page_still_takes_a_code_and_offers_the_other_factors(phone: Phone) -> None:
    browser = phone.pending_login()
    for _ in range(ACCOUNT_STARTS):
        browser.post(CHALLENGE_AGAIN_PATH, {"factor": "sms"})
    later = phone.pending_login()
    page = later.get(SECOND_FACTOR_PATH)
    assert page.status == 429
    assert "Too many attempts." in page.body
    assert "factor=call" in page.body
    assert phone.sms.problems[-1] is None, "no code was rejected"
    assert later.post(SECOND_FACTOR_PATH, {"factor": "sms", "code": "right"}).status == 303


def test_a_failure_to_send_is_shown_and_the_next_page_tries_again(phone: Phone) -> None:
    browser = phone.pending_login()
    phone.sms.failure = MailTemporary("down")
    assert browser.get(SECOND_FACTOR_PATH).status == 503
    phone.sms.failure = None
    assert browser.get(SECOND_FACTOR_PATH).status == 200
    assert phone.sms.sent == {"1": 1}


def test_a_login_whose_factor_was_removed_meanwhile_starts_again(phone: Phone) -> None:
    """Nobody is left to ask, but opening a page logs nobody in."""
    browser = phone.pending_login()
    for part in phone.auth.second_factors.values():
        part.is_enrolled = lambda user: False  # type: ignore[method-assign]
    answer = browser.get(SECOND_FACTOR_PATH)
    assert answer.status == 400
    assert "login has expired" in answer.body
    assert browser.request.user is None
