"""Differences between providers: issuers, form_post, secrets, nonce, PKCE."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.jwk import ECKey

from asok_auth_core.errors import SettingError
from asok_auth_core.flows.linking import KIND, identity_key
from asok_auth_core.plugin import (
    Claims,
    Fetch,
    Identity,
    OAuth2Provider,
    OpenIDProvider,
    ProviderAnswer,
)
from asok_auth_core.testing import FakeRequest, OAuthApp, error_code, location, raises_code
from asok_auth_core.testing.fake_provider import SUBJECT
from asok_auth_core.testing.oauth_app import BASE_URL, CREDENTIALS

EVE = {"email": "eve@example.com", "email_verified": True}
TENANT = "https://login.example/{}/v2.0"


class Tenants(OpenIDProvider):
    """One issuer per tenant, of which two are allowed."""

    name = "tenants"
    label = "Tenants"
    issuer = TENANT.format("{tenantid}")
    discovery_url = "https://login.example/common/v2.0/.well-known/openid-configuration"
    allowed: tuple[str, ...] = ("a", "b")

    def accepts_issuer(self, issuer: str, claims: Claims) -> bool:
        tenant = claims.text("tid")
        return tenant in self.allowed and issuer == TENANT.format(tenant)


class Truthy(Tenants):
    def accepts_issuer(self, issuer: str, claims: Claims) -> bool:
        return "yes"  # type: ignore[return-value]


class Raising(Tenants):
    def accepts_issuer(self, issuer: str, claims: Claims) -> bool:
        raise LookupError("no list of tenants")


def tenants(root: Path, provider: OpenIDProvider | None = None, **claims: object) -> OAuthApp:
    app = OAuthApp(provider or Tenants(), root, profile=EVE)
    app.fake.claims.update({"iss": TENANT.format("a"), "tid": "a", **claims})  # type: ignore[arg-type]
    return app


def test_a_token_of_an_allowed_tenant_logs_in_under_the_tenants_own_issuer(tmp_path: Path) -> None:
    app = tenants(tmp_path)
    browser, answer = app.log_in()
    assert location(answer) == "/"
    assert browser.session.user is not None
    assert app.credentials.find(KIND, identity_key(TENANT.format("a"), SUBJECT)) is not None
    assert app.fake.count(Tenants.discovery_url) == 1


def test_the_same_subject_of_another_tenant_is_another_identity(tmp_path: Path) -> None:
    app = tenants(tmp_path)
    app.log_in()
    app.fake.claims.update({"iss": TENANT.format("b"), "tid": "b", "email": "bob@example.com"})
    browser, _ = app.log_in()
    user = browser.session.user
    assert user is not None
    assert app.users.email_of(user) == "bob@example.com"


@pytest.mark.requirement("SECURITY-12")
@pytest.mark.parametrize(
    ("provider", "claims"),
    [
        (Tenants(), {"iss": TENANT.format("c"), "tid": "c"}),
        (Tenants(), {"iss": TENANT.format("b")}),
        (Tenants(), {"iss": TENANT.format("{tenantid}"), "tid": "{tenantid}"}),
        (Tenants(), {"iss": "https://evil.example/a/v2.0"}),
        (Tenants(), {"iss": None}),
        (Tenants(), {"iss": ["https://login.example/a/v2.0"]}),
        (Tenants(), {"tid": None}),
        (Truthy(), {}),
        (Raising(), {}),
    ],
    ids=["tenant", "other", "template", "host", "none", "list", "no tid", "truthy", "raises"],
)
def test_any_other_issuer_is_rejected(
    tmp_path: Path, provider: OpenIDProvider, claims: dict[str, object]
) -> None:
    app = tenants(tmp_path, provider, **claims)
    browser, answer = app.log_in()
    assert error_code(answer) == "oauth_issuer"
    assert browser.session.user is None


@pytest.mark.parametrize("sent", [TENANT.format("b"), TENANT.format("{tenantid}"), ""])
def test_an_answer_that_names_another_tenant_than_its_token_is_rejected(tmp_path: Path, sent: str) -> None:
    """RFC 9207, section 2.4."""
    app = tenants(tmp_path)
    app.fake.answer["iss"] = sent
    browser, answer = app.log_in()
    assert error_code(answer) == "oauth_response_issuer"
    assert browser.session.user is None
    app.fake.answer["iss"] = TENANT.format("a")
    browser, _ = app.log_in()
    assert browser.session.user is not None


# -- form_post -----------------------------------------------------------------------------------


class Posting(OpenIDProvider):
    """Posts its answer, with the user's name in a field the first time."""

    name = "posting"
    label = "Posting"
    issuer = "https://posting.example"
    response_mode = "form_post"

    def identity(self, claims: Claims, fetch: Fetch, answer: ProviderAnswer) -> Identity:
        name = json.loads(answer.form.get("user", "{}")).get("name")
        return Identity(
            self.issuer,
            claims.subject("sub"),
            email=claims.text("email"),
            email_verified=claims.is_true("email_verified"),
            name=name,
            raw={"seen": sorted(answer.form), "beside": dict(answer.tokens)},
        )


CALLBACK = "/auth/posting/callback"


def posting(root: Path) -> OAuthApp:
    app = OAuthApp(Posting(), root, profile=EVE)
    app.fake.answer["user"] = json.dumps({"name": "Eve"})
    return app


def post(app: OAuthApp, form: Mapping[str, str]) -> str:
    """What the provider's page makes the browser do: a POST without cookies of ours."""
    answer = app.send(FakeRequest(CALLBACK, method="POST", form=dict(form), auth=app.auth))
    assert dict(answer.headers)["Cache-Control"] == "no-store"
    return location(answer)


def test_a_posted_answer_logs_in(tmp_path: Path) -> None:
    app = posting(tmp_path)
    browser, url = app.start(FakeRequest(auth=app.auth), next_url="/inbox")
    assert parse_qs(urlsplit(url).query)["response_mode"] == ["form_post"]
    app.fake.authorize(url)
    passed_on = post(app, app.fake.sent)
    assert not [text for text in app.fake.sent.values() if text in passed_on], "the answer is in the URL"
    browser = browser.follow(passed_on)
    answer = app.send(browser)
    assert location(answer) == "/inbox"
    user = browser.session.user
    assert user is not None
    assert getattr(user, "name", None) == "Eve"


@pytest.mark.requirement("SECURITY-10")
def test_a_posted_answer_counts_once_and_only_in_the_browser_that_asked(tmp_path: Path) -> None:
    app = posting(tmp_path)
    browser, url = app.start(FakeRequest(auth=app.auth))
    app.fake.authorize(url)
    fields = dict(app.fake.sent)
    other = FakeRequest(post(app, fields), auth=app.auth)
    assert error_code(app.send(other)) == "oauth_state", "another browser"
    passed_on = post(app, fields)
    first = browser.follow(passed_on)
    assert app.send(first).status == 303, "the rejected attempt did not use up the answer"
    assert first.session.user is not None
    again = first.follow(passed_on)
    assert error_code(app.send(again)) == "oauth_state", "the same handle"
    replayed = first.follow(post(app, fields))
    assert error_code(app.send(replayed)) == "oauth_state", "the same fields, posted again"


def test_an_answer_in_the_query_is_rejected_where_a_posted_one_is_expected(tmp_path: Path) -> None:
    app = posting(tmp_path)
    browser, url = app.start(FakeRequest(auth=app.auth))
    callback = app.fake.authorize(url).removeprefix(BASE_URL)
    assert error_code(app.send(browser.follow(callback))) == "oauth_state"
    assert error_code(app.send(browser.follow(f"{CALLBACK}?answer={'x' * 600}"))) == "oauth_state"


def test_a_post_alone_changes_nothing_and_is_limited_in_size(tmp_path: Path) -> None:
    app = posting(tmp_path)
    _, url = app.start(FakeRequest(auth=app.auth))
    app.fake.authorize(url)
    post(app, app.fake.sent)
    assert app.fake.count(app.fake.token_endpoint) == 0
    assert app.events == []
    huge = FakeRequest(CALLBACK, method="POST", form={"user": "x" * 20_000}, auth=app.auth)
    assert error_code(app.send(huge)) == "oauth_reply"
    route = app.router.match("/auth/posting/callback")
    assert route is not None
    assert route.csrf is False


def test_other_providers_take_no_post(tmp_path: Path) -> None:
    app = tenants(tmp_path)
    route = app.router.match("/auth/tenants/callback")
    assert route is not None
    assert route.post is None


def test_identity_gets_what_stands_beside_the_tokens_but_no_token(tmp_path: Path) -> None:
    app = posting(tmp_path)
    app.fake.beside.update({"scope": "email", "refresh_token": "secret-refresh"})
    request, url = app.start(FakeRequest(auth=app.auth))
    app.fake.authorize(url)
    finished = app.oauth.flow.finish(request.follow(CALLBACK), app.provider, answer=app.fake.sent)
    assert finished.identity.raw == {
        "seen": ["user"],
        "beside": {"scope": "email", "token_type": "bearer"},
    }


# -- client secrets, nonce, PKCE -----------------------------------------------------------------


class Signing(OpenIDProvider):
    """Its client secret is a token that the app signs for each request, as Apple's."""

    name = "signing"
    label = "Signing"
    issuer = "https://signing.example"
    token_auth = "client_secret_post"
    key = ec.generate_private_key(ec.SECP256R1())

    def client_secret_for(self, now: float) -> str:
        claims = {"iss": "team", "iat": int(now), "exp": int(now) + 300, "aud": self.issuer}
        return jwt.encode({"alg": "ES256"}, claims, ECKey.import_key(self.key))


class Broken(Signing):
    def client_secret_for(self, now: float) -> str:
        raise ValueError("-----BEGIN PRIVATE KEY----- canary")


def test_a_client_secret_is_made_for_each_request(tmp_path: Path) -> None:
    app = OAuthApp(Signing(), tmp_path, profile=EVE)
    secrets = []
    for _ in range(2):
        app.log_in()
        [call] = [one for one in app.fake.calls if one.url == app.fake.token_endpoint][-1:]
        assert call.form is not None
        secret = call.form["client_secret"]
        claims = jwt.decode(secret, ECKey.import_key(Signing.key.public_key())).claims
        assert claims["iat"] == int(app.clock())
        secrets.append(secret)
        app.clock.advance(60)
    assert len(set(secrets)) == 2


def test_it_needs_no_client_secret_in_the_settings(tmp_path: Path) -> None:
    settings = {"PROVIDERS": {"signing": {"client_id": CREDENTIALS["client_id"]}}}
    app = OAuthApp(Signing(), tmp_path, profile=EVE, config=settings)
    browser, _ = app.log_in()
    assert browser.session.user is not None


@pytest.mark.requirement("SECURITY-30")
def test_a_secret_that_cannot_be_made_rejects_the_login_and_leaks_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = OAuthApp(Broken(), tmp_path, profile=EVE)
    browser, answer = app.log_in()
    assert error_code(answer) == "oauth_not_configured"
    assert browser.session.user is None
    assert "ValueError" in caplog.text
    assert "canary" not in caplog.text + answer.text


class NoNonce(OpenIDProvider):
    name = "quiet"
    label = "Quiet"
    issuer = "https://quiet.example"
    sends_nonce = False


def test_a_provider_without_nonce_is_sent_none_and_may_send_none(tmp_path: Path) -> None:
    app = OAuthApp(NoNonce(), tmp_path, profile=EVE)
    _, url = app.start(FakeRequest(auth=app.auth))
    assert "nonce" not in parse_qs(urlsplit(url).query)
    browser, _ = app.log_in()
    assert browser.session.user is not None
    app.fake.claims["nonce"] = "from another login"
    _, answer = app.log_in()
    assert error_code(answer) == "oauth_nonce"


class NoPKCE(OAuth2Provider):
    name = "old"
    label = "Old"
    issuer = "https://old.example"
    authorization_endpoint = "https://old.example/authorize"
    token_endpoint = "https://old.example/token"
    userinfo_endpoint = "https://old.example/me"
    pkce = False

    def identity(self, claims: Claims, fetch: Fetch, answer: ProviderAnswer) -> Identity:
        return Identity(
            self.issuer, claims.subject("id"), email=claims.text("email"), email_verified=True, raw=claims
        )


def test_a_provider_without_pkce_gets_no_verifier_and_its_state_is_still_bound(tmp_path: Path) -> None:
    app = OAuthApp(NoPKCE(), tmp_path, profile={"id": 7, "email": "eve@example.com"})
    request, url = app.start(FakeRequest(auth=app.auth))
    assert not {"code_challenge", "code_challenge_method"} & parse_qs(urlsplit(url).query).keys()
    callback = app.fake.authorize(url)
    _, answer = app.finish(FakeRequest(auth=app.auth), callback)
    assert error_code(answer) == "oauth_state"
    browser, _ = app.finish(request, callback)
    assert browser.session.user is not None
    [call] = [one for one in app.fake.calls if one.url == NoPKCE.token_endpoint]
    assert call.form is not None
    assert "code_verifier" not in call.form
    with pytest.raises(SettingError, match="'none' for a provider without PKCE"):
        NoPKCE().configured({"token_auth": "none"})


@pytest.mark.requirement("SECURITY-13")
@pytest.mark.parametrize("name", ["pkce", "sends_nonce", "response_mode", "name"])
def test_no_setting_of_an_app_changes_the_protocol(name: str) -> None:
    with pytest.raises(SettingError, match="is not a setting of this provider"):
        NoNonce().configured({name: False})


def test_a_response_mode_that_is_none_is_an_error() -> None:
    provider = NoNonce()
    provider.response_mode = "fragment"  # type: ignore[assignment]
    with raises_code("setting", match="'query' or 'form_post'"):
        provider.configured({})


class InTheTokenResponse(OAuth2Provider):
    """Sends the profile in the token response, and has no endpoint for it."""

    name = "beside"
    label = "Beside"
    issuer = "https://beside.example"
    authorization_endpoint = "https://beside.example/authorize"
    token_endpoint = "https://beside.example/token"
    seen: Claims

    def identity(self, claims: Claims, fetch: Fetch, answer: ProviderAnswer) -> Identity:
        type(self).seen = claims
        return Identity(
            issuer=self.issuer, subject="7", provider=self.name, email="eve@example.com", raw=claims
        )


@pytest.mark.requirement("SECURITY-30")
def test_a_profile_from_the_token_response_holds_no_token(tmp_path: Path) -> None:
    """``Identity.raw`` goes to each plugin's ``before_login`` and to the app."""
    app = OAuthApp(InTheTokenResponse(), tmp_path)
    app.log_in()
    assert not {"access_token", "refresh_token", "id_token"} & InTheTokenResponse.seen.keys()
    assert "token_type" in InTheTokenResponse.seen


@pytest.mark.parametrize("given", [None, {"subject": "7"}, 7])
def test_what_is_no_identity_is_logged(
    tmp_path: Path, given: object, caplog: pytest.LogCaptureFixture
) -> None:
    class Wrong(InTheTokenResponse):
        def identity(self, claims: Claims, fetch: Fetch, answer: ProviderAnswer) -> Identity:
            return given  # type: ignore[return-value]

    _, answer = OAuthApp(Wrong(), tmp_path).log_in()
    assert error_code(answer) == "oauth_subject"
    assert f"identity() of provider 'beside' returned {type(given).__name__}" in caplog.text
