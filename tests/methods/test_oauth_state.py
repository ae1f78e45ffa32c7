"""A provider login belongs to the browser that started it and finishes once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest

from asok_auth_core.errors import StoreUnavailable
from asok_auth_core.flows.oauth_state import LIFETIME, MAX_FLOWS
from asok_auth_core.providers import OpenIDProvider
from asok_auth_core.testing.fakes import FakeRequest
from asok_auth_core.testing.oauth_app import OAuthApp, error_code, location

MakeApp = Callable[..., OAuthApp]


@pytest.mark.requirement("SECURITY-2")
def test_code_and_state_are_useless_in_another_browser(app: OAuthApp) -> None:
    """Authlib CVE-2025-68158, 2026-41425: state was not bound to the browser."""
    victim, url = app.start(FakeRequest())
    callback = app.fake.authorize(url)
    attacker, response = app.finish(FakeRequest(), callback)
    assert error_code(response) == "oauth_state"
    assert attacker.session.user is None
    assert app.fake.count(app.fake.token_endpoint) == 0
    # The attempt does not consume the victim's login.
    victim, response = app.finish(victim, callback)
    assert location(response) == "/"
    assert victim.session.user is not None


@pytest.mark.requirement("SECURITY-2")
def test_the_cookie_of_another_login_is_rejected(app: OAuthApp) -> None:
    """An attacker renames the cookie of a login to that of the victim's."""
    victim, url = app.start(FakeRequest())
    callback = app.fake.authorize(url)
    attacker, _ = app.start(FakeRequest())
    (own,) = [value for value, _, _ in attacker.sent_cookies.values()]
    (stolen,) = victim.sent_cookies
    _, response = app.finish(FakeRequest(cookies={stolen: own}), callback)
    assert error_code(response) == "oauth_state"
    assert app.fake.count(app.fake.token_endpoint) == 0


@pytest.mark.requirement("SECURITY-1")
def test_the_same_callback_twice_is_one_login(app: OAuthApp) -> None:
    browser, url = app.start(FakeRequest())
    callback = app.fake.authorize(url)
    _, first = app.finish(browser, callback)
    _, second = app.finish(browser, callback)  # the tab that still has its cookie
    assert location(first) == "/"
    assert error_code(second) == "oauth_state"
    assert app.events.count("login.succeeded") == 1
    assert app.fake.count(app.fake.token_endpoint) == 1


@pytest.mark.requirement("SECURITY-1")
def test_the_same_callback_from_eight_threads_is_one_login(app: OAuthApp) -> None:
    browser, url = app.start(FakeRequest())
    callback = app.fake.authorize(url)
    barrier, answers = threading.Barrier(8), []

    def finish() -> None:
        barrier.wait()
        answers.append(app.finish(browser, callback)[1].status)

    threads = [threading.Thread(target=finish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [303, *[400] * 7]
    assert len(app.users) == 1  # type: ignore[arg-type]


@pytest.mark.requirement("SECURITY-2")
def test_three_interleaved_logins_in_one_browser_all_finish(app: OAuthApp) -> None:
    browser, urls = FakeRequest(), []
    for page in ("/one", "/two", "/three"):
        browser, url = app.start(browser, next_url=page)
        urls.append(url)
    places = []
    for url in (urls[1], urls[2], urls[0]):
        browser, response = app.finish(browser, app.fake.authorize(url))
        places.append(location(response))
    assert places == ["/two", "/three", "/one"]
    assert len(app.users) == 1  # type: ignore[arg-type]
    assert not [name for name in browser.follow("/").cookies if "oauth" in name]


@pytest.mark.requirement("SECURITY-2")
def test_a_login_started_on_one_worker_finishes_on_another(app: OAuthApp, make_app: MakeApp) -> None:
    other = make_app(same_as=app)
    browser, url = app.start(FakeRequest(), next_url="/welcome")
    browser, response = other.finish(browser, app.fake.authorize(url))
    assert location(response) == "/welcome"
    assert browser.session.user is not None


@pytest.mark.requirement("SECURITY-2")
def test_an_expired_login_is_rejected(app: OAuthApp) -> None:
    browser, url = app.start(FakeRequest())
    app.clock.advance(LIFETIME + 1)
    _, response = app.finish(browser, app.fake.authorize(url))
    assert error_code(response) == "oauth_state"


@pytest.mark.requirement("SECURITY-2")
def test_the_number_of_login_cookies_is_limited(app: OAuthApp) -> None:
    browser, first = app.start(FakeRequest())
    for _ in range(MAX_FLOWS + 3):
        app.clock.advance(1)
        browser, last = app.start(browser)
    assert sum("oauth" in name for name in browser.follow("/").cookies) == MAX_FLOWS
    _, response = app.finish(browser, app.fake.authorize(first))
    assert error_code(response) == "oauth_state"
    _, response = app.finish(browser, app.fake.authorize(last))
    assert location(response) == "/"


@pytest.mark.requirement("SECURITY-11")
def test_the_answer_of_another_provider_is_rejected(make_app: MakeApp) -> None:
    """Mix-up attack: the answer arrives at another provider's callback."""
    app = make_app()
    second = OpenIDProvider.named("second", label="Second", issuer="https://second.example")
    app.auth.providers["second"] = second.configured({"client_id": "a", "client_secret": "b"})
    app.router = type(app.router)(app.auth)
    browser, url = app.start(FakeRequest())
    callback = app.fake.authorize(url).replace("/auth/example/", "/auth/second/")
    _, response = app.finish(browser, callback)
    assert error_code(response) == "oauth_state"
    assert app.fake.count(app.fake.token_endpoint) == 0


@pytest.mark.requirement("SECURITY-26")
def test_a_head_request_to_the_callback_consumes_nothing(app: OAuthApp) -> None:
    browser, url = app.start(FakeRequest())
    callback = app.fake.authorize(url)
    head = browser.follow(callback.removeprefix("https://app.example"), method="HEAD")
    assert app.send(head).status == 200
    assert location(app.finish(browser, callback)[1]) == "/"


@pytest.mark.requirement("SECURITY-30")
def test_no_secret_is_in_the_state_store_or_the_log(app: OAuthApp, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    kept: list[bytes] = []
    put = app.auth.state.put
    app.auth.state.put = lambda key, value, ttl: (kept.extend((key.encode(), value)), put(key, value, ttl))[1]  # type: ignore[method-assign]
    browser, url = app.start(FakeRequest())
    callback = app.fake.authorize(url)
    browser, response = app.finish(browser, callback)
    asked = parse_qs(urlsplit(url).query)
    verifier = app.fake.calls[-2].form["code_verifier"] if app.fake.calls[-2].form else ""
    (cookie,) = [value for request in [browser] for value in request.cookies.values()]
    secrets = [asked["state"][0], asked["nonce"][0], verifier, cookie.partition(".")[2], "a-secret", "code-1"]
    assert all(secrets)
    for secret in secrets:
        assert not [item for item in kept if secret.encode() in item]
        assert secret not in caplog.text
        assert secret not in response.body
    assert location(response) == "/"


@pytest.mark.requirement("SECURITY-32")
def test_no_user_logs_in_while_the_store_is_down(app: OAuthApp) -> None:
    browser, url = app.start(FakeRequest())
    callback = app.fake.authorize(url)

    def fail(*_: object) -> None:
        raise StoreUnavailable("The state store does not answer.")

    app.auth.state.take = fail  # type: ignore[assignment, method-assign]
    browser, response = app.finish(browser, callback)
    assert response.status == 503
    assert browser.session.user is None
    assert app.fake.count(app.fake.token_endpoint) == 0


@pytest.mark.requirement("SECURITY-33")
def test_started_logins_are_limited_for_each_client(app: OAuthApp) -> None:
    app.auth.state.incr = lambda key, ttl: 301  # type: ignore[method-assign]
    response = app.send(FakeRequest("/auth/example/login", form={}))
    assert response.status == 429
