"""Confirm it's you: the second factor or a login, then on to where the user went."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
from asok_auth_tests.pipeline import WORD, Part, Word

from asok_auth_core.errors import RecentLoginRequired, SecondFactorRequired
from asok_auth_core.flows.recent_login import require_recent_login
from asok_auth_core.flows.second_factor import ACCOUNT_ATTEMPTS
from asok_auth_core.flows.sessions import sessions_of
from asok_auth_core.pages.router import Router
from asok_auth_core.plugin import Auth, Authentication, User, WebRequest, WebResponse
from asok_auth_core.testing import Browser, TestParts
from asok_auth_core.testing.fakes import FakeRequest, MemoryUsers

BROWSER = {"Accept": "text/html,*/*;q=0.8"}


class Paging(Word):
    """Sends something when its challenge starts."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0

    def begin(self, request: WebRequest, user: User) -> None:
        self.sent += 1


@pytest.fixture
def word() -> Paging:
    return Paging()


@pytest.fixture
def auth(make_auth: Callable[..., Auth], word: Paging) -> Auth:
    return make_auth(plugins=(Part([word]),))


@pytest.fixture
def ada(fake_users: MemoryUsers) -> User:
    return cast("User", fake_users.by_id("1"))


def log_in(auth: Auth, user: User, *, with_word: bool = False) -> Browser:
    browser = Browser(auth)
    try:
        browser.log_in(user)
    except SecondFactorRequired:
        assert with_word
        browser.post("/auth/second-factor", {"factor": "word", "word": WORD})
    return browser


def target(answer: WebResponse) -> str | None:
    return dict(answer.headers).get("Location") if answer.status == 303 else None


def opened(browser: Browser, path: str) -> WebResponse:
    """``path`` as a browser asks for it."""
    return browser.send("GET", path, headers=BROWSER)


class TestWithAFactor:
    def test_the_factor_is_enough_and_leads_on(
        self, auth: Auth, ada: User, word: Paging, auth_parts: TestParts
    ) -> None:
        word.users.add("1")
        browser = log_in(auth, ada, with_word=True)
        auth_parts.clock.advance(auth.settings.recent_login + 1)
        assert target(opened(browser, "/auth/token/new")) == "/auth/confirm?next=/auth/token/new"
        before = word.sent
        page = opened(browser, "/auth/confirm?next=/auth/token/new")
        assert "<h1>Confirm it&#39;s you</h1>" in page.text
        assert "ada@example.com" in page.text
        assert word.sent == before + 1
        opened(browser, "/auth/confirm?next=/auth/token/new")
        assert word.sent == before + 1, "showing the page again sends nothing"
        form = {"factor": "word", "word": WORD, "next": "/auth/token/new"}
        assert target(browser.post("/auth/confirm", form)) == "/auth/token/new"
        assert opened(browser, "/auth/token/new").status == 200
        assert "recent_login.confirmed" in [event.name for event in auth_parts.events]
        assert len(sessions_of(auth, ada)) == 1, "it is the same session"
        assert target(opened(browser, "/auth/confirm?next=/inbox")) == "/inbox", "no need to ask"
        auth_parts.clock.advance(auth.settings.recent_login + 1)
        assert target(opened(browser, "/auth/token/new")) == "/auth/confirm?next=/auth/token/new"

    def test_a_wrong_word_confirms_nothing_and_keeps_the_target(
        self, auth: Auth, ada: User, word: Paging, auth_parts: TestParts
    ) -> None:
        word.users.add("1")
        browser = log_in(auth, ada, with_word=True)
        auth_parts.clock.advance(auth.settings.recent_login + 1)
        page = browser.post("/auth/confirm", {"factor": "word", "word": "sword", "next": "/inbox"})
        assert page.status == 400
        assert 'name="next" value="/inbox"' in page.text
        with pytest.raises(RecentLoginRequired):
            require_recent_login(auth, browser.request.follow("/"))
        for _ in range(ACCOUNT_ATTEMPTS):
            page = browser.post("/auth/confirm", {"factor": "word", "word": "sword"})
        assert page.status == 429
        right = browser.post("/auth/confirm", {"factor": "word", "word": WORD})
        assert right.status == 429, "guesses are limited"

    def test_it_can_be_sent_again(self, auth: Auth, ada: User, word: Paging, auth_parts: TestParts) -> None:
        word.users.add("1")
        browser = log_in(auth, ada, with_word=True)
        auth_parts.clock.advance(auth.settings.recent_login + 1)
        opened(browser, "/auth/confirm")
        before = word.sent
        answer = browser.post("/auth/confirm/again", {"factor": "word", "next": "/inbox"})
        assert target(answer) == "/auth/confirm?factor=word&next=%2Finbox&again=1"
        assert word.sent == before + 1

    def test_a_session_with_one_factor_gives_the_one_set_up_since(
        self, auth: Auth, ada: User, word: Paging
    ) -> None:
        browser = log_in(auth, ada)
        word.users.add("1")
        assert target(opened(browser, "/auth/token/new")) == "/auth/confirm?next=/auth/token/new"
        assert target(browser.post("/auth/confirm", {"factor": "word", "word": WORD})) == "/auth/account"
        assert opened(browser, "/auth/token/new").status == 200

    @pytest.mark.parametrize("url", ["//evil.example", "https://evil.example", "/\\evil.example", ""])
    def test_it_leads_to_this_app_only(self, auth: Auth, ada: User, word: Paging, url: str) -> None:
        word.users.add("1")
        browser = log_in(auth, ada, with_word=True)
        form = {"factor": "word", "word": WORD, "next": url}
        assert target(browser.post("/auth/confirm", form)) == "/auth/account"

    def test_the_second_factor_of_another_user_does_not_count(
        self, auth: Auth, fake_users: MemoryUsers, word: Paging, auth_parts: TestParts
    ) -> None:
        bob = fake_users.create("bob@example.com")
        word.users.add("1")
        browser = log_in(auth, bob)
        auth_parts.clock.advance(auth.settings.recent_login + 1)
        answer = browser.post("/auth/confirm", {"factor": "word", "word": WORD})
        assert target(answer) == "/auth/confirm"
        with pytest.raises(RecentLoginRequired):
            require_recent_login(auth, browser.request.follow("/"))


class TestWithoutAFactor:
    def test_the_user_logs_in_again(self, auth: Auth, ada: User, auth_parts: TestParts) -> None:
        browser = log_in(auth, ada)
        auth_parts.clock.advance(auth.settings.recent_login + 1)
        page = opened(browser, "/auth/confirm?next=/inbox")
        assert page.status == 200
        assert "<h1>Confirm it&#39;s you</h1>" in page.text
        assert "Log in again as ada@example.com to continue." in page.text
        assert target(browser.post("/auth/confirm/again")) == "/auth/confirm"

    def test_nobody_is_sent_to_the_login_page(self, auth: Auth) -> None:
        browser = Browser(auth)
        assert target(opened(browser, "/auth/account")) == "/auth/login?next=/auth/account"
        assert browser.get("/auth/account").status == 401, "a program gets the status"
        assert browser.post("/auth/confirm", {"factor": "word", "word": WORD}).status == 401


def test_a_form_leads_back_to_its_page(auth: Auth, ada: User, auth_parts: TestParts) -> None:
    browser = log_in(auth, ada)
    auth_parts.clock.advance(auth.settings.recent_login + 1)
    own = {**BROWSER, "Referer": "https://app.example/settings?tab=2"}
    answer = browser.send("POST", "/auth/sessions/end", headers=own)
    assert target(answer) == "/auth/confirm?next=/settings%3Ftab%3D2"
    for referer in ("https://app.example.evil.example/x", "https://app.example//evil.example", "x"):
        answer = browser.send("POST", "/auth/sessions/end", headers={**BROWSER, "Referer": referer})
        assert target(answer) == "/auth/confirm?next=/auth/account"


def test_an_api_token_confirms_nothing(auth: Auth, ada: User) -> None:
    request = FakeRequest("/auth/confirm", user=ada)
    request.authentication = Authentication(ada, ("*",), ambient=False)
    router = Router(auth)
    route = router.match("/auth/confirm")
    assert route is not None
    assert router.respond(route, request).status == 403
