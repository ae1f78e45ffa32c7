"""The documented calls of ``request.auth.oauth``, and ``AUTH["ON_LOGIN"]``."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest

from asok_auth_core.methods.oauth_api import OAuthApi
from asok_auth_core.providers import OpenIDProvider
from asok_auth_core.testing.fake_provider import SUBJECT
from asok_auth_core.testing.fakes import FakeRequest
from asok_auth_core.testing.oauth_app import OAuthApp, error_code, location
from asok_auth_core.testing.raises import raises_code
from asok_auth_core.types import JSON, Proof

ISSUER = "https://login.example"
MakeApp = Callable[..., OAuthApp]


def documented(app: OAuthApp, **more: str | None) -> tuple[FakeRequest, str]:
    request = FakeRequest("/start")
    url = OAuthApi(app.oauth.flow).get_auth_url(
        request, provider_name="example", client_id="own-id", redirect_uri="https://app.example/own", **more
    )
    return request, url


def test_the_documented_calls_handle_state_themselves(app: OAuthApp) -> None:
    request, url = documented(app, state=None)
    callback = app.fake.authorize(url)
    request = request.follow(callback.removeprefix("https://app.example"))
    info = OAuthApi(app.oauth.flow).callback(
        request,
        provider_name="example",
        client_id="own-id",
        client_secret="own-secret",
        code=request.query.get("code"),
        redirect_uri="https://app.example/own",
    )
    assert (info["email"], info["name"], info["provider_id"]) == ("ada@example.com", "Ada", SUBJECT)
    assert (info["provider"], info["issuer"], info["email_verified"]) == ("example", ISSUER, True)
    assert info["picture"] is None
    assert isinstance(info["raw"], dict)
    assert json.dumps(info)
    assert request.proofs == [(Proof("example", "ada@example.com"), None)]
    form = app.fake.calls[-2].form
    headers = app.fake.calls[-2].headers
    assert form is not None
    assert form["redirect_uri"] == "https://app.example/own"
    basic = base64.b64decode(headers["Authorization"].split()[1])
    assert basic == b"own-id:own-secret"


@pytest.mark.parametrize(
    ("passed", "works"),
    [
        ({"state": "s" * 43, "expected_state": "s" * 43}, True),
        ({"expected_state": "s" * 43}, True),
        ({"state": "s" * 43, "expected_state": "t" * 43}, False),
        ({"expected_state": ""}, False),
        ({"state": "t" * 43}, False),
        ({"redirect_uri": "https://app.example/another"}, False),
    ],
)
def test_the_callers_own_state_is_checked(app: OAuthApp, passed: dict[str, str], works: bool) -> None:
    request, url = documented(app, state="s" * 43)
    assert parse_qs(urlsplit(url).query)["state"] == ["s" * 43]
    request = request.follow(app.fake.authorize(url).removeprefix("https://app.example"))
    api = OAuthApi(app.oauth.flow)
    if works:
        assert api.callback(request, "example", "own-id", "own-secret", **passed)["email"]
    else:
        with raises_code("oauth_state"):
            api.callback(request, "example", "own-id", "own-secret", **passed)


@pytest.mark.requirement("SECURITY-15")
def test_documented_pages_never_get_an_unverified_email(app: OAuthApp) -> None:
    app.fake.claims["email_verified"] = False
    request, url = documented(app)
    request = request.follow(app.fake.authorize(url).removeprefix("https://app.example"))
    with raises_code("oauth_email_unverified"):
        OAuthApi(app.oauth.flow).callback(request, "example", "own-id", "own-secret")
    assert request.proofs == []


def test_pages_that_look_up_by_issuer_and_subject_may_get_one(app: OAuthApp) -> None:
    app.fake.claims["email_verified"] = False
    request, url = documented(app)
    request = request.follow(app.fake.authorize(url).removeprefix("https://app.example"))
    api = OAuthApi(app.oauth.flow)
    info = api.callback(request, "example", "own-id", "own-secret", require_verified_email=False)
    assert (info["provider_id"], info["email_verified"]) == (SUBJECT, False)
    assert request.proofs == []


def test_missing_credentials_are_reported(make_app: MakeApp) -> None:
    app = make_app()
    app.auth.providers["example"] = OpenIDProvider.named("example", label="Example", issuer=ISSUER)
    api = OAuthApi(app.oauth.flow)
    with raises_code("oauth_not_configured", match="client id is missing"):
        api.get_auth_url(FakeRequest(), "example")
    with raises_code("oauth_not_configured"):
        api.get_auth_url(FakeRequest(), "nobody", "id")
    request, url = documented(app)
    request = request.follow(app.fake.authorize(url).removeprefix("https://app.example"))
    with raises_code("oauth_not_configured", match="client secret is missing"):
        api.callback(request, "example", "own-id")
    assert app.fake.count(app.fake.token_endpoint) == 0


@pytest.mark.requirement("SECURITY-10")
@pytest.mark.parametrize("uri", ["http://app.example/own", "/own", "https://", "javascript:alert(1)"])
def test_redirect_uris_must_be_https(app: OAuthApp, uri: str) -> None:
    request = FakeRequest("/start")
    with raises_code("oauth_url_insecure", match="must be https"):
        OAuthApi(app.oauth.flow).get_auth_url(request, "example", "own-id", redirect_uri=uri)
    assert not request.sent_cookies
    assert app.fake.calls == []


@pytest.mark.requirement("SECURITY-10")
def test_redirect_uris_may_be_http_in_debug(make_app: MakeApp) -> None:
    app = make_app(debug=True)
    api = OAuthApi(app.oauth.flow)
    url = api.get_auth_url(FakeRequest(), "example", "own-id", redirect_uri="http://localhost:8000/own")
    assert parse_qs(urlsplit(url).query)["redirect_uri"] == ["http://localhost:8000/own"]


def test_on_login_is_called_as_asok_auth_providers_did(make_app: MakeApp) -> None:
    seen: list[tuple[object, dict[str, JSON]]] = []
    app = make_app(config={"ON_LOGIN": lambda request, info: seen.append((request, info))})
    _, response = app.log_in(next_url="/after")
    assert location(response) == "/after"
    ((_, info),) = seen
    assert {"provider", "provider_id", "email", "name", "picture", "raw"} <= set(info)
    assert len(app.users) == 0  # type: ignore[arg-type]
    app.fake.claims["email_verified"] = False
    _, response = app.log_in()
    assert error_code(response) == "oauth_email_unverified"
    assert len(seen) == 1


def test_on_login_gets_the_wanted_url(make_app: MakeApp) -> None:
    """The next URL must survive a second factor that the login requires."""
    seen: list[FakeRequest] = []
    app = make_app(config={"ON_LOGIN": lambda native, info: None})
    seen.append(app.log_in(next_url="/after")[0])
    assert [wanted for _, wanted in seen[0].proofs] == ["/after"]
    seen.append(app.log_in(next_url="https://evil.example/")[0])
    assert [wanted for _, wanted in seen[1].proofs] == [None]
