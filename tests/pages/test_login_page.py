"""The login page: the order of blocks, and the problem of one method."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import pytest
from markupsafe import Markup

from asok_auth_core.plugin import (
    Auth,
    AuthError,
    CredentialRejected,
    LoginMethod,
    Route,
    TokenApi,
    WebRequest,
    WebResponse,
    error_text,
    hookimpl,
    login_page,
)
from asok_auth_core.testing import Browser, raises_code


class Password(LoginMethod):
    """Rejects every password, on the login page."""

    name = "password"

    def __init__(self, auth: Auth) -> None:
        self.auth = auth

    def routes(self) -> Iterable[Route]:
        return (Route("/auth/password", post=self.check),)

    def login_block(self, request: WebRequest, problem: AuthError | None = None) -> Markup:
        text = "" if problem is None else error_text(request, problem)
        return Markup("<p>password [{}] [{}]</p>").format(text, request.form.get("email", ""))

    def check(self, request: WebRequest) -> WebResponse:
        problem = CredentialRejected("The password is <wrong>.")
        return login_page(self.auth, request, self, problem)


class First(Password):
    name = "first"
    order = 10

    def routes(self) -> Iterable[Route]:
        return ()

    def login_block(self, request: WebRequest, problem: AuthError | None = None) -> Markup:
        return Markup("<p>first [{}]</p>").format(problem is not None)

    def account_block(self, request: WebRequest) -> Markup:
        return Markup("<p>first of the account</p>")


class Last(First):
    name = "last"
    order = 1000

    def login_block(self, request: WebRequest, problem: AuthError | None = None) -> Markup:
        return Markup("<p>last [{}]</p>").format(problem is not None)

    def account_block(self, request: WebRequest) -> Markup:
        return Markup("<p>last of the account</p>")


class Plugin:
    @hookimpl
    def asok_auth_login_methods(self, auth: Auth) -> Iterable[LoginMethod]:
        return [Last(auth), Password(auth), First(auth)]


@pytest.fixture
def auth(make_auth: Callable[..., Auth]) -> Auth:
    return make_auth(plugins=(Plugin(),))


def test_blocks_stand_in_their_order(auth: Auth, fake_users: object) -> None:
    shown = Browser(auth).get("/auth/login").text
    assert re.findall(r"<p>(\w+) \[", shown) == ["first", "password", "last"]
    user = auth.users.by_id("1")
    assert user is not None
    browser = Browser(auth)
    browser.log_in(user)
    assert re.findall(r"<p>(\w+) of the account", browser.get("/auth/account").text) == ["first", "last"]


def test_only_the_method_that_rejected_the_form_shows_why(auth: Auth) -> None:
    answer = Browser(auth).post("/auth/password", {"email": "<ada>", "next": "/inbox"})
    assert answer.status == CredentialRejected.status
    assert "password [The password is &lt;wrong&gt;.] [&lt;ada&gt;]" in answer.text
    assert "first [False]" in answer.text
    assert "last [False]" in answer.text
    assert Browser(auth).get("/auth/login").status == 200


def test_an_api_is_found_by_its_class(auth: Auth) -> None:
    assert auth.api(TokenApi) is auth.login_methods["token"].api
    with raises_code("configuration"):
        auth.api(Password)
