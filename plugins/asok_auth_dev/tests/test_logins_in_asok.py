"""Whole logins at the local provider, in a real Asok app."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from asok.testing import TestClient, TestResponse
from asok_auth_dev.provider import DevProvider

from asok_auth_core.testing import asok_app
from asok_auth_core.testing.waiting import PATIENCE

APP_URL = "http://localhost"
START = """\
def get(request):
    auth_url = request.auth.oauth.get_auth_url(
        provider_name="{name}",
        client_id="dev-client",
        redirect_uri="http://localhost/own/{name}/callback",
        state=request.session.get("oauth_state")
    )
    return request.redirect(auth_url)
"""
CALLBACK = """\
from models.user import User

def get(request):
    code = request.query.get("code")
    user_info = request.auth.oauth.callback(
        provider_name="{name}",
        client_id="dev-client",
        client_secret="dev-secret",
        code=code,
        redirect_uri="http://localhost/own/{name}/callback"
    )
    user = User.find(email=user_info["email"])
    if not user:
        user = User.create(email=user_info["email"], name=user_info["name"])

    request.login(user)
    return request.redirect("/")
"""
REDIRECT = """\
def get(request):
    return request.redirect(request.query.get("to"))
"""
OWN_LOGIN = """\
<h1>Enter</h1>
{{ oauth_buttons("/welcome") }}
"""
PAGES = {
    "enter.html": OWN_LOGIN,
    **{f"own/{name}/start.py": START.format(name=name) for name in ("google", "github")},
    **{f"own/{name}/callback.py": CALLBACK.format(name=name) for name in ("google", "github")},
    "redirect.py": REDIRECT,
}


@pytest.fixture
def local() -> Iterator[DevProvider]:
    with DevProvider(APP_URL, debug=True) as provider:
        yield provider


@pytest.fixture
def client(local: DevProvider, tmp_path: Path) -> Iterator[TestClient]:
    auth = {"PROVIDERS": local.settings()}
    with asok_app(tmp_path, pages=PAGES, auth=auth) as app:
        yield TestClient(app)


def who(client: TestClient) -> str:
    """The user that the home page names, without the script that DEBUG adds."""
    return str(client.get("/").text.split()[0].split("<")[0])


def press(client: TestClient, name: str, next_url: str = "") -> str:
    """Press the provider's button on the login page; where the browser is sent."""
    page = client.get(f"/auth/login?next={next_url}")
    form = page.text.split(f'action="/auth/{name}/login"')[1].split("</form>")[0]
    fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', form))
    response = client.post(f"/auth/{name}/login", data=fields)
    assert response.status_code == 303, response.text
    return str(response.headers["Location"])


def choose(url: str, account: str) -> str:
    """Choose ``account`` at the provider; return the callback path."""
    answer = requests.post(url, data={"account": account}, allow_redirects=False, timeout=PATIENCE)
    return answer.headers["Location"].removeprefix(APP_URL)


def come_back(client: TestClient, path: str) -> TestResponse:
    return client.get(path)


@pytest.mark.parametrize("name", ["google", "github"])
def test_the_button_logs_in(client: TestClient, name: str) -> None:
    response = come_back(client, choose(press(client, name, "/welcome"), "1001"))
    assert response.status_code == 303, response.text
    assert response.headers["Location"] == "/welcome"
    assert who(client) == "ada@example.com"


def test_an_apps_own_template_can_show_the_buttons(client: TestClient) -> None:
    page = client.get("/enter").text
    assert page.count("<form") == 2
    form = page.split('action="/auth/github/login"')[1].split("</form>")[0]
    fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', form))
    started = client.post("/auth/github/login", data=fields)
    response = come_back(client, choose(str(started.headers["Location"]), "1001"))
    assert response.headers["Location"] == "/welcome"


def test_both_buttons_lead_to_one_account(client: TestClient) -> None:
    come_back(client, choose(press(client, "google"), "1001"))
    other = TestClient(client.app)
    come_back(other, choose(press(other, "github"), "1001"))
    account = other.get("/auth/account").text
    assert "Unlink Google" in account
    assert "Unlink GitHub" in account


@pytest.mark.parametrize("name", ["google", "github"])
def test_the_documented_pages_log_in(client: TestClient, name: str) -> None:
    start = client.get(f"/own/{name}/start")
    assert start.status_code == 302, start.text
    response = come_back(client, choose(str(start.headers["Location"]), "1001"))
    assert response.status_code == 302, response.text
    assert who(client) == "ada@example.com"


@pytest.mark.requirement("SECURITY-2")
def test_the_documented_callback_is_bound_to_the_browser(client: TestClient, local: DevProvider) -> None:
    path = choose(str(client.get("/own/google/start").headers["Location"]), "1001")
    other = TestClient(client.app)
    response = come_back(other, path)
    assert response.status_code == 400
    assert "oauth_state" in response.text
    assert who(other) == "nobody"
    assert "POST /google/token" not in local.requests


@pytest.mark.requirement("SECURITY-15")
def test_the_documented_callback_rejects_an_unverified_email(client: TestClient) -> None:
    response = come_back(client, choose(str(client.get("/own/github/start").headers["Location"]), "1002"))
    assert response.status_code == 403
    assert "oauth_email_unverified" in response.text
    assert who(client) == "nobody"


def test_a_denied_consent_is_a_page(client: TestClient) -> None:
    response = come_back(client, choose(press(client, "google"), ""))
    assert response.status_code == 403
    assert "You canceled the login with Google" in response.text


@pytest.mark.requirement("SECURITY-17")
def test_a_cross_site_post_starts_no_login(client: TestClient) -> None:
    """CSRF is checked: no token, or another session's."""
    assert client.post("/auth/google/login", data={}).status_code == 403
    other = TestClient(client.app).get("/auth/login").text
    (token,) = set(re.findall(r'name="csrf_token" value="([^"]+)"', other))
    assert client.post("/auth/google/login", data={"csrf_token": token}).status_code == 403
    assert not [name for name in client.cookies if "oauth" in name]


@pytest.mark.requirement("SECURITY-16")
def test_request_redirect_stays_in_the_app(client: TestClient, local: DevProvider) -> None:
    for place in ("https://evil.example/", f"{local.url}/google/", f"{local.url}/google/authorize/x"):
        assert client.get(f"/redirect?to={place}").status_code in (400, 500), place


def test_the_csp_lets_the_forms_lead_to_the_providers(client: TestClient, local: DevProvider) -> None:
    policy = client.get("/auth/login").headers["Content-Security-Policy"]
    (actions,) = [part.strip() for part in policy.split(";") if part.strip().startswith("form-action")]
    assert actions.split() == ["form-action", "'self'", local.url]


def test_three_interleaved_logins_in_one_browser(client: TestClient) -> None:
    urls = [press(client, name, f"/{place}") for place, name in enumerate(("google", "github", "google"))]
    places = [come_back(client, choose(urls[number], "1001")).headers["Location"] for number in (1, 2, 0)]
    assert places == ["/1", "/2", "/0"]


def test_linking_from_the_account_page(client: TestClient) -> None:
    come_back(client, choose(press(client, "google"), "1001"))
    page = client.get("/auth/account").text
    form = page.split('action="/auth/github/link"')[1].split("</form>")[0]
    fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', form))
    link = client.post("/auth/github/link", data=fields)
    response = come_back(client, choose(str(link.headers["Location"]), "1003"))
    assert response.headers["Location"] == "/auth/account"
    assert "Unlink GitHub" in client.get("/auth/account").text
    other = TestClient(client.app)
    come_back(other, choose(press(other, "github"), "1003"))  # no address needed any more
    assert who(other) == "ada@example.com"


def test_the_settings_of_asok_auth_providers_keep_working(local: DevProvider, tmp_path: Path) -> None:
    seen = []

    def on_login(request, user_info):  # type: ignore[no-untyped-def]
        seen.append(user_info)
        from models.user import User

        user = User.find(email=user_info["email"]) or User.create(
            email=user_info["email"], name=user_info["name"]
        )
        request.login(user)

    settings = local.settings()
    google = settings["google"]
    older = {
        "google": {name: google.pop(name) for name in ("client_id", "client_secret")} | {"label": "Workspace"}
    }
    auth = {"PROVIDERS": settings, "ON_LOGIN": on_login, "LOGIN_REDIRECT": "/dashboard"}
    with asok_app(tmp_path, auth=auth, config={"OAUTH_PROVIDERS": older}) as app:
        client = TestClient(app)
        assert "Continue with Workspace" in client.get("/auth/login").text
        response = come_back(client, choose(press(client, "google"), "1001"))
        assert response.headers["Location"] == "/dashboard"
        assert who(client) == "ada@example.com"
    assert seen[0]["provider_id"] == "1001"


def test_credentials_from_the_environment(local: DevProvider, tmp_path: Path) -> None:
    settings = local.settings()
    for provider in settings.values():
        del provider["client_id"], provider["client_secret"]
    environ = {"GOOGLE_CLIENT_ID": "dev-client", "GOOGLE_CLIENT_SECRET": "dev-secret"}
    with asok_app(tmp_path, auth={"PROVIDERS": settings}, environ=environ) as app:
        client = TestClient(app)
        assert "GitHub" not in client.get("/auth/login").text
        come_back(client, choose(press(client, "google"), "1001"))
        assert who(client) == "ada@example.com"
