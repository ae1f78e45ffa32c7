"""Logins at the local provider, over real HTTP on loopback."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from asok_auth_dev.provider import DevProvider
from asok_oauth_github import GitHub
from asok_oauth_google import Google

from asok_auth_core.engine.message import Call
from asok_auth_core.engine.oauth2 import code_challenge
from asok_auth_core.http_client import Transport
from asok_auth_core.methods.oauth import OAuthMethod
from asok_auth_core.pages.router import Router
from asok_auth_core.plugin import ConfigurationError, OAuth2Provider, OAuthError, hookimpl
from asok_auth_core.testing import FakeRequest, OAuthApp, error_code, location
from asok_auth_core.testing.oauth_app import BASE_URL
from asok_auth_core.testing.waiting import PATIENCE

VERIFIER = "v" * 43


@pytest.fixture
def local() -> Iterator[DevProvider]:
    with DevProvider(BASE_URL, debug=True) as provider:
        yield provider


class LocalApp:
    """An app whose calls go over the network to the local provider."""

    def __init__(self, provider: OAuth2Provider, local: DevProvider, root: Path) -> None:
        settings = {provider.name: local.settings()[provider.name]}
        self.app = OAuthApp(provider, root, config={"PROVIDERS": settings}, debug=True)
        self.transport = Transport(debug=True, read_timeout=PATIENCE, deadline=PATIENCE)
        self.app.oauth = OAuthMethod(self.app.auth, send=self.transport)
        self.app.auth.login_methods["oauth"] = self.app.oauth
        self.app.router = Router(self.app.auth)
        self.app.clock.now = time.time()

    def log_in(self, account: str, browser: FakeRequest | None = None) -> tuple[FakeRequest, str]:
        """Choose ``account`` at the provider.

        Returns the browser's request, and its next URL or the error code.
        """
        request, url = self.app.start(browser or FakeRequest())
        page = requests.get(url, timeout=PATIENCE)
        assert page.status_code == 200
        assert "Choose an account" in page.text
        answer = requests.post(url, data={"account": account}, allow_redirects=False, timeout=PATIENCE)
        request, response = self.app.finish(request, answer.headers["Location"])
        return request, location(response) if response.status == 303 else error_code(response)


@pytest.fixture(params=[Google, GitHub], ids=["google", "github"])
def app(request: pytest.FixtureRequest, local: DevProvider, tmp_path: Path) -> Iterator[LocalApp]:
    made = LocalApp(request.param(), local, tmp_path)
    yield made
    made.transport.close()


@pytest.fixture
def google(local: DevProvider, tmp_path: Path) -> Iterator[LocalApp]:
    made = LocalApp(Google(), local, tmp_path)
    yield made
    made.transport.close()


@pytest.fixture
def github(local: DevProvider, tmp_path: Path) -> Iterator[LocalApp]:
    made = LocalApp(GitHub(), local, tmp_path)
    yield made
    made.transport.close()


def test_a_user_with_a_verified_email_logs_in(app: LocalApp) -> None:
    browser, place = app.log_in("1001")
    assert place == "/"
    assert browser.session.user is not None
    assert app.app.users.email_of(browser.session.user) == "ada@example.com"


@pytest.mark.requirement("SECURITY-15")
@pytest.mark.parametrize("account", ["1002", "1003"])
def test_an_unverified_or_missing_email_makes_no_account(app: LocalApp, account: str) -> None:
    assert app.log_in(account)[1] == "/auth/provider/email"
    assert len(app.app.users) == 0  # type: ignore[arg-type]


def test_a_denied_consent_is_reported(app: LocalApp) -> None:
    assert app.log_in("")[1] == "oauth_denied"


@pytest.mark.requirement("SECURITY-13")
def test_a_provider_that_is_down_is_reported(app: LocalApp, local: DevProvider) -> None:
    request, url = app.app.start(FakeRequest())
    answer = requests.post(url, data={"account": "1001"}, allow_redirects=False, timeout=PATIENCE)
    local.down = True
    _, response = app.app.finish(request, answer.headers["Location"])
    assert error_code(response) == "oauth_unavailable"


@pytest.mark.requirement("SECURITY-13")
def test_a_slow_provider_times_out(app: LocalApp, local: DevProvider) -> None:
    request, url = app.app.start(FakeRequest())
    answer = requests.post(url, data={"account": "1001"}, allow_redirects=False, timeout=PATIENCE)
    local.delay = 1
    impatient = Transport(debug=True, read_timeout=0.2, deadline=0.2)
    app.app.oauth.flow._send = impatient
    _, response = app.app.finish(request, answer.headers["Location"])
    impatient.close()
    assert error_code(response) == "oauth_unavailable"


@pytest.mark.requirement("SECURITY-13")
def test_rotated_keys_are_followed(google: LocalApp, local: DevProvider) -> None:
    assert google.log_in("1001")[1] == "/"
    local.rotate_keys(keep=False)
    assert google.log_in("1001")[1] == "/"
    assert local.requests.count("GET /google/jwks") == 2


@pytest.mark.requirement("SECURITY-13")
def test_logins_with_known_keys_survive_a_key_outage(google: LocalApp, local: DevProvider) -> None:
    assert google.log_in("1001")[1] == "/"
    google.app.clock.advance(3605)  # keys are an hour old, tokens not yet over
    send = google.transport

    def no_keys(call: Call) -> object:
        if call.url.endswith("/jwks"):
            raise OAuthError("down", code="oauth_unavailable")
        return send(call)

    google.app.oauth.flow._documents._send = no_keys  # type: ignore[assignment]
    assert google.log_in("1001")[1] == "/"


def test_googles_workspace_domain_is_in_raw(google: LocalApp) -> None:
    seen: list[object] = []
    google.app.auth.plugins.registry.register(_Attempts(seen), "attempts")
    google.log_in("1001")
    (attempt,) = seen
    assert attempt.identity.raw["hd"] == "example.com"  # type: ignore[attr-defined]
    assert attempt.method == "google"  # type: ignore[attr-defined]


def test_githubs_email_is_the_primary_one(github: LocalApp, local: DevProvider) -> None:
    github.log_in("1001")
    assert "GET /github/user/emails" in local.requests


def test_githubs_token_errors_come_with_status_200(local: DevProvider) -> None:
    url, headers = f"{local.url}/github/token", {"Accept": "application/json"}
    body = {"grant_type": "authorization_code", "code": "no"}
    body |= {"client_id": "dev-client", "client_secret": "dev-secret"}
    reply = requests.post(url, data=body, headers=headers, timeout=PATIENCE)
    assert reply.status_code == 200
    assert reply.json()["error"] == "invalid_grant"


@pytest.mark.requirement("SECURITY-12")
@pytest.mark.parametrize(
    "change", ["no challenge", "plain", "another verifier", "no verifier", "another client"]
)
def test_the_provider_enforces_pkce(local: DevProvider, change: str) -> None:
    asked = {
        "response_type": "code", "client_id": "dev-client",
        "redirect_uri": f"{BASE_URL}/auth/google/callback", "scope": "openid", "state": "s", "nonce": "n",
        "code_challenge": code_challenge(VERIFIER), "code_challenge_method": "S256",
    }  # fmt: skip
    if change == "no challenge":
        del asked["code_challenge"]
    if change == "plain":
        asked["code_challenge_method"] = "plain"
    answer = requests.post(
        f"{local.url}/google/authorize",
        params=asked,
        data={"account": "1001"},
        allow_redirects=False,
        timeout=PATIENCE,
    )
    if change in ("no challenge", "plain"):
        assert answer.status_code == 400
        return
    code = answer.headers["Location"].split("code=")[1].split("&")[0]
    form = {
        "grant_type": "authorization_code", "code": code, "redirect_uri": asked["redirect_uri"],
        "client_id": "dev-client", "client_secret": "dev-secret", "code_verifier": VERIFIER,
    }  # fmt: skip
    if change == "another verifier":
        form["code_verifier"] = "w" * 43
    if change == "no verifier":
        del form["code_verifier"]
    if change == "another client":
        form["client_secret"] = "wrong"
    reply = requests.post(f"{local.url}/google/token", data=form, timeout=PATIENCE)
    assert reply.status_code in (400, 401)
    assert "access_token" not in reply.text


def test_another_redirect_uri_is_rejected(local: DevProvider) -> None:
    asked = {"response_type": "code", "client_id": "dev-client", "redirect_uri": "https://evil.example/"}
    answer = requests.post(
        f"{local.url}/google/authorize",
        params=asked,
        data={"account": "1001"},
        allow_redirects=False,
        timeout=PATIENCE,
    )
    assert answer.status_code == 400


@pytest.mark.parametrize("debug", [False, None, "true", 1])
def test_it_does_not_run_outside_debug(debug: object) -> None:
    with pytest.raises(ConfigurationError, match="DEBUG"):
        DevProvider(debug=debug)  # type: ignore[arg-type]


class _Attempts:
    def __init__(self, seen: list[object]) -> None:
        self._seen = seen

    @hookimpl
    def asok_auth_before_login(self, attempt: object) -> None:
        self._seen.append(attempt)


@pytest.mark.parametrize("host", ["rebound.example", "127.0.0.1.rebound.example:80", ""])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pages_of_another_website_cannot_use_it(local: DevProvider, host: str, method: str) -> None:
    """DNS rebinding, as for the mailbox."""
    for path in ("/google/.well-known/openid-configuration", "/google/authorize", "/github/user"):
        answer = requests.request(method, local.url + path, headers={"Host": host}, data={}, timeout=PATIENCE)
        assert answer.status_code == 403
    known = requests.get(
        f"{local.url}/google/.well-known/openid-configuration",
        headers={"Host": "localhost"},
        timeout=PATIENCE,
    )
    assert known.status_code == 200
