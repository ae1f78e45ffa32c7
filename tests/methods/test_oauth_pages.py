"""Buttons, redirects and the login pipeline behind the provider pages."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from markupsafe import Markup

from asok_auth_core.plugin import SecondFactor, hookimpl
from asok_auth_core.testing.fakes import FakeRequest
from asok_auth_core.testing.oauth_app import OAuthApp, error_code, location
from asok_auth_core.types import LoginAttempt, User
from asok_auth_core.web import WebRequest

ISSUER = "https://login.example"
MakeApp = Callable[..., OAuthApp]


def test_the_login_page_has_a_button_for_each_provider(app: OAuthApp) -> None:
    body = app.send(FakeRequest("/auth/login?next=/there")).body
    assert "Continue with Example" in body
    assert 'action="/auth/example/login"' in body
    assert 'value="/there"' in body
    assert "csrf_token" in body


def test_the_provider_of_the_last_login_is_named(app: OAuthApp) -> None:
    request, _ = app.log_in()
    assert "Last used" in app.send(request.follow("/auth/login")).text
    assert "Last used" not in app.send(FakeRequest("/auth/login")).text


def test_a_provider_without_credentials_has_no_button_and_no_pages(make_app: MakeApp) -> None:
    app = make_app(config={"PROVIDERS": {}})
    assert "Example" not in app.send(FakeRequest("/auth/login")).body
    assert app.router.match("/auth/example/login") is None


@pytest.mark.requirement("SECURITY-17")
def test_a_get_request_starts_nothing(app: OAuthApp) -> None:
    """OmniAuth CVE-2015-9284: a login started by a cross-site GET."""
    request = FakeRequest("/auth/example/login?next=/there")
    response = app.send(request)
    assert response.status == 200
    assert 'method="post"' in response.body
    assert 'value="/there"' in response.body
    assert not request.sent_cookies
    assert app.router.match("/auth/example/login").csrf  # type: ignore[union-attr]


@pytest.mark.requirement("SECURITY-16")
@pytest.mark.parametrize(
    "place",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "/%2f%2fevil.example",
        "/\tx",
        "javascript:1",
    ],
)
def test_next_never_leads_out_of_the_app(app: OAuthApp, place: str) -> None:
    _, response = app.log_in(next_url=place)
    assert location(response) == "/"


@pytest.mark.requirement("SECURITY-16")
def test_redirects_go_to_the_authorization_endpoint_only(app: OAuthApp) -> None:
    _, url = app.start(FakeRequest())
    assert app.oauth.allows_redirect(url)
    endpoint = f"{ISSUER}/authorization_endpoint"
    for other in (
        f"{ISSUER}/",
        f"{endpoint}/x",
        f"{endpoint}#x",
        f"{endpoint}@evil.example",
        f"https://evil.example/?{endpoint}",
        "https://login.example.evil.example/authorization_endpoint",
        f"http{endpoint[5:]}",
        f"{endpoint}?a=\r\nX:1",
        "//login.example/authorization_endpoint",
    ):
        assert not app.oauth.allows_redirect(other), other


def test_a_page_leads_to_an_endpoint_of_another_origin(app: OAuthApp) -> None:
    """Browsers apply form-action to redirects; the CSP names the issuer's origin."""
    app.fake.metadata["authorization_endpoint"] = "https://other.example/authorize"
    response = app.send(FakeRequest("/auth/example/login", form={}))
    assert response.status == 200
    assert '<meta http-equiv="refresh" content="0; url=https://other.example/authorize?' in response.body
    assert app.oauth.form_action_origins() == ["https://other.example"]


def test_a_canceled_login_is_no_error_page(app: OAuthApp) -> None:
    browser, url = app.start(FakeRequest())
    app.fake.answer.update(code=None, error="access_denied")
    browser, response = app.finish(browser, app.fake.authorize(url))
    assert error_code(response) == "oauth_denied"
    assert "You canceled the login with Example" in response.body
    assert "/auth/login" in response.body
    assert browser.session.user is None


@pytest.mark.requirement("SECURITY-18")
def test_a_login_gives_the_session_a_new_id(app: OAuthApp) -> None:
    browser = FakeRequest()
    before = browser.session.id
    browser, _ = app.log_in(browser)
    assert browser.session.id != before


class Pin(SecondFactor):
    """Every user has it."""

    name = "pin"
    label = "PIN"

    def is_enrolled(self, user: User) -> bool:
        return True

    def reset(self, user: User) -> None:
        return

    def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
        return Markup('<input name="pin">')

    def verify(self, request: WebRequest, user: User) -> bool:
        return request.form.get("pin") == "1234"


@pytest.mark.requirement("SECURITY-19")
def test_the_second_factor_is_asked_for_after_a_provider_too(app: OAuthApp) -> None:
    app.auth.second_factors["pin"] = Pin()
    browser, response = app.log_in(next_url="/welcome")
    assert location(response) == "/auth/second-factor"
    assert browser.session.user is None
    wrong = browser.follow("/auth/second-factor", form={"factor": "pin", "pin": "0"})
    assert app.send(wrong).status == 400
    right = wrong.follow("/auth/second-factor", form={"factor": "pin", "pin": "1234"})
    assert location(app.send(right)) == "/welcome"
    assert right.session.user is not None


class OnlyExampleCom:
    @hookimpl
    def asok_auth_before_login(self, attempt: LoginAttempt) -> str | None:
        hosted = attempt.identity is not None and attempt.identity.raw.get("hd") == "example.com"
        return None if hosted else "Only users of example.com may log in."


def test_a_before_login_hook_sees_the_identity_and_may_reject(make_app: MakeApp) -> None:
    app = make_app(plugins=(OnlyExampleCom(),))
    browser, response = app.log_in()
    assert error_code(response) == "login_rejected"
    assert "Only users of example.com" in response.body
    assert browser.session.user is None
    app.fake.claims["hd"] = "example.com"
    assert location(app.log_in()[1]) == "/"
