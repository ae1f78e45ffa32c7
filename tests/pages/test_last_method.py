"""The login page names the login method that this browser used last."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest
from markupsafe import Markup

from asok_auth_core.plugin import (
    Auth,
    AuthError,
    LoginMethod,
    Proof,
    Route,
    WebRequest,
    WebResponse,
    complete_login,
    hookimpl,
)
from asok_auth_core.testing import Browser
from asok_auth_core.testing.fakes import FakeRequest


class Button(LoginMethod):
    """Logs Ada in at the press of a button."""

    def __init__(self, auth: Auth, name: str) -> None:
        self._auth = auth
        self.name = name

    def routes(self) -> Sequence[Route]:
        return [Route(f"/auth/{self.name}", post=self._press)]

    def login_block(self, request: WebRequest, problem: AuthError | None = None) -> Markup:
        return Markup("<button>{}</button>").format(self.name)

    def _press(self, request: WebRequest) -> WebResponse:
        user = self._auth.users.by_id("1")
        assert user is not None
        return WebResponse.see_other(complete_login(self._auth, request, user, Proof(self.name)))


class Buttons:
    def __init__(self, *names: str) -> None:
        self._names = names

    @hookimpl
    def asok_auth_login_methods(self, auth: Auth) -> list[Button]:
        return [Button(auth, name) for name in self._names]


MakeAuth = Callable[..., Auth]


def named(browser: Browser) -> list[str]:
    """The buttons of the login page that are said to have been used last."""
    return re.findall(r"Last used</p>\s*<button>(\w+)</button>", browser.get("/auth/login").text)


@pytest.fixture
def auth(make_auth: MakeAuth) -> Auth:
    return make_auth(plugins=[Buttons("paper", "stone")])


def test_the_method_of_the_last_login_is_named(auth: Auth) -> None:
    browser = Browser(auth)
    assert named(browser) == []
    for name in ("paper", "stone"):
        browser.post(f"/auth/{name}")
        browser.post("/auth/logout")
        assert named(browser) == [name]
    assert named(Browser(auth)) == []


def test_a_single_method_is_not_pointed_out(make_auth: MakeAuth) -> None:
    browser = Browser(make_auth(plugins=[Buttons("paper")]))
    browser.post("/auth/paper")
    assert "Last used" not in browser.get("/auth/login").text


def test_a_login_that_is_not_complete_counts_for_nothing(make_auth: MakeAuth) -> None:
    auth = make_auth(plugins=[Buttons("paper", "stone")], settings={"REQUIRE_2FA": True})
    browser = Browser(auth)
    browser.post("/auth/paper")
    assert named(browser) == []


@pytest.mark.parametrize("value", ["", "nobody", "<b>", "app", "paper\n", "a" * 5000])
def test_any_other_cookie_is_ignored(auth: Auth, value: str) -> None:
    request = FakeRequest("/auth/login", auth=auth, cookies={"asok_auth_last": value})
    assert "Last used" not in Browser(auth).repeat(request).text
