"""A hostile provider forges one part at a time; no forgery logs a user in."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws

from asok_auth_core.engine.message import MAX_REPLY_BYTES, Call, Reply
from asok_auth_core.engine.oidc import discovery_url
from asok_auth_core.testing.fake_provider import FakeProvider, rsa_key
from asok_auth_core.testing.fakes import FakeRequest, FrozenClock
from asok_auth_core.testing.oauth_app import OAuthApp, error_code, location
from asok_auth_core.types import JSON

ISSUER = "https://login.example"


@dataclass
class Forgery:
    name: str
    forge: Callable[[FakeProvider], None]
    code: str
    token_calls: int = 1

    def __str__(self) -> str:
        return self.name


def claim(name: str, value: JSON) -> Callable[[FakeProvider], None]:
    return lambda provider: provider.claims.update({name: value})


def profile(name: str, value: JSON) -> Callable[[FakeProvider], None]:
    return lambda provider: provider.profile.update({name: value})


def header(name: str, value: JSON) -> Callable[[FakeProvider], None]:
    return lambda provider: provider.header.update({name: value})


def answer(name: str, value: str | None) -> Callable[[FakeProvider], None]:
    return lambda provider: provider.answer.update({name: value})


def metadata(name: str, value: JSON) -> Callable[[FakeProvider], None]:
    return lambda provider: provider.metadata.update({name: value})


def announced_but(value: str | None) -> Callable[[FakeProvider], None]:
    def forge(provider: FakeProvider) -> None:
        provider.metadata["authorization_response_iss_parameter_supported"] = True
        provider.answer["iss"] = value

    return forge


def token_reply(body: bytes, status: int = 200) -> Callable[[FakeProvider], None]:
    return lambda provider: provider.replies.update({provider.token_endpoint: Reply(status, body)})


def unsigned(provider: FakeProvider) -> None:
    provider.sign = lambda head, claims: f"{segment({**head, 'alg': 'none'})}.{segment(claims)}."


def public_key_as_secret(form: str) -> Callable[[FakeProvider], None]:
    """CVE-2017-11424, CVE-2022-29217: the RSA public key as an HMAC secret."""

    def forge(provider: FakeProvider) -> None:
        raw = provider.key.public_key
        secret = {
            "pem": raw.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "pem stripped": raw.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).strip(),
            "der": raw.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            "pkcs1": raw.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
            "jwk": json.dumps(provider.key.as_dict(private=False)).encode(),
        }[form]

        def sign(head: dict[str, JSON], claims: dict[str, JSON]) -> str:
            message = f"{segment({**head, 'alg': 'HS256'})}.{segment(claims)}"
            return f"{message}.{b64(hmac.digest(secret, message.encode(), 'sha256'))}"

        provider.sign = sign

    return forge


def other_key(provider: FakeProvider) -> None:
    """Signed by another key, under the published one's name."""
    provider.key = rsa_key("another")
    provider.header["kid"] = "first"


def embedded_key(provider: FakeProvider) -> None:
    """Signed by the attacker, who sends their key along (RFC 8725 section 3.10)."""
    provider.key = rsa_key("another")
    provider.header.update(kid="first", jwk=dict(provider.key.as_dict(private=False)))


def weak_key(provider: FakeProvider) -> None:
    provider.key = rsa_key("weak", 1024)
    provider.keys = [provider.key]


def tampered(provider: FakeProvider) -> None:
    """A good signature, over another payload."""
    sign = provider.sign

    def forged(head: dict[str, JSON], claims: dict[str, JSON]) -> str:
        first, _, last = str(sign(head, claims)).split(".")
        return f"{first}.{segment({**claims, 'sub': 'another user'})}.{last}"

    provider.sign = forged


def token(text: str | None) -> Callable[[FakeProvider], None]:
    def forge(provider: FakeProvider) -> None:
        provider.sign = lambda head, claims: text

    return forge


def userinfo_of_another(provider: FakeProvider) -> None:
    provider.claims["email"] = None
    provider.replies[f"{ISSUER}/userinfo_endpoint"] = Reply(
        200, b'{"sub": "another user", "email": "a@b.example"}'
    )


def keys_that_fail(provider: FakeProvider) -> None:
    provider.replies[provider.jwks_uri] = Reply(500, b'{"keys": []}')


def payload(raw: bytes) -> Callable[[FakeProvider], None]:
    """A good signature, over something that is no set of claims."""

    def forge(provider: FakeProvider) -> None:
        def sign(head: dict[str, JSON], claims: dict[str, JSON]) -> str:
            message = f"{segment(head)}.{b64(raw)}"
            algorithm = jws.JWSRegistry.algorithms["RS256"]
            return f"{message}.{b64(algorithm.sign(message.encode(), provider.key))}"

        provider.sign = sign

    return forge


NOW = int(FrozenClock()())
FORGERIES = [
    # The answer to the authorization request
    Forgery("iss of another provider", answer("iss", "https://evil.example"), "oauth_response_issuer", 0),
    Forgery("iss announced and stripped", announced_but(None), "oauth_response_issuer", 0),
    Forgery("iss announced, with a slash", announced_but(f"{ISSUER}/"), "oauth_response_issuer", 0),
    Forgery("code missing", answer("code", None), "oauth_rejected", 0),
    Forgery("code empty", answer("code", ""), "oauth_rejected", 0),
    Forgery("error beside a code", answer("error", "server_error"), "oauth_rejected", 0),
    Forgery("state missing", answer("state", None), "oauth_state", 0),
    Forgery("state unknown", answer("state", "x" * 43), "oauth_state", 0),
    Forgery("state enormous", answer("state", "x" * 100_000), "oauth_state", 0),
    # The token endpoint
    Forgery(
        "error with status 200", token_reply(b'{"error": "bad_verification_code"}'), "oauth_token_rejected"
    ),
    Forgery(
        "error beside a token", token_reply(b'{"error": "x", "access_token": "a"}'), "oauth_token_rejected"
    ),
    Forgery("HTML instead of JSON", token_reply(b"<html>busy</html>"), "oauth_reply"),
    Forgery("a list", token_reply(b"[]"), "oauth_reply"),
    Forgery("nested without end", token_reply(b"[" * 100_000), "oauth_reply"),
    Forgery("not UTF-8", token_reply(b'{"access_token": "\xff"}'), "oauth_reply"),
    Forgery("a name twice", token_reply(b'{"access_token": "a", "access_token": "b"}'), "oauth_reply"),
    Forgery("huge", token_reply(b" " * (MAX_REPLY_BYTES + 1)), "oauth_reply"),
    Forgery("status 500 with a token", token_reply(b'{"access_token": "a"}', 500), "oauth_reply"),
    Forgery("no access token", token_reply(b'{"id_token": "a.b.c"}'), "oauth_reply"),
    Forgery("header injection", token_reply(b'{"access_token": "a\\r\\nX: y"}'), "oauth_reply"),
    Forgery("another token type", token_reply(b'{"access_token": "a", "token_type": "mac"}'), "oauth_reply"),
    # The ID token: form, header, key
    Forgery("no ID token", token(None), "oauth_id_token"),
    Forgery("empty", token(""), "oauth_id_token"),
    Forgery("not a token", token("hello"), "oauth_id_token"),
    Forgery("five parts (JWE)", token("eyJhbGciOiJSUzI1NiJ9.a.b.c.d"), "oauth_id_token"),
    Forgery("40 kB", token("a" * 40_000), "oauth_id_token"),
    Forgery("alg none", unsigned, "oauth_algorithm"),
    *(
        Forgery(f"HS256 with the public key as {form}", public_key_as_secret(form), "oauth_algorithm")
        for form in ("pem", "pem stripped", "der", "pkcs1", "jwk")
    ),
    Forgery("alg RS512, not the registered one", header("alg", "RS512"), "oauth_algorithm"),
    Forgery("alg in another case", header("alg", "rs256"), "oauth_algorithm"),
    Forgery("alg missing", header("alg", None), "oauth_algorithm"),
    Forgery("crit unknown", header("crit", ["exp"]), "oauth_critical"),
    Forgery("crit empty", header("crit", []), "oauth_critical"),
    Forgery("b64 false", header("b64", False), "oauth_critical"),
    Forgery("kid unknown", header("kid", "nobody"), "oauth_key_unknown"),
    Forgery("kid a path", header("kid", "../../etc/passwd"), "oauth_key_unknown"),
    Forgery("kid SQL", header("kid", "' OR 1=1 --"), "oauth_key_unknown"),
    Forgery("kid a number", header("kid", 1), "oauth_id_token"),
    Forgery("kid 10 kB", header("kid", "x" * 10_000), "oauth_id_token"),
    Forgery("signed by another key", other_key, "oauth_signature"),
    Forgery("key embedded in the header", embedded_key, "oauth_signature"),
    Forgery("payload exchanged", tampered, "oauth_signature"),
    Forgery("signed text", payload(b"hello"), "oauth_id_token"),
    Forgery("signed list", payload(b"[]"), "oauth_id_token"),
    Forgery("signed claim twice", payload(b'{"sub": "a", "sub": "b"}'), "oauth_id_token"),
    Forgery("keys with status 500", keys_that_fail, "oauth_reply"),
    Forgery("RSA with 1,024 bits", weak_key, "oauth_key_weak"),
    # The ID token: claims
    Forgery("iss another", claim("iss", "https://evil.example"), "oauth_issuer"),
    Forgery("iss with a slash", claim("iss", f"{ISSUER}/"), "oauth_issuer"),
    Forgery("iss in capitals", claim("iss", ISSUER.upper()), "oauth_issuer"),
    Forgery("iss longer (CVE-2024-53861)", claim("iss", f"{ISSUER}.evil.example"), "oauth_issuer"),
    Forgery("iss shorter", claim("iss", ISSUER[:-1]), "oauth_issuer"),
    Forgery("iss a list", claim("iss", [ISSUER]), "oauth_issuer"),
    Forgery("iss missing", claim("iss", None), "oauth_issuer"),
    Forgery("aud another", claim("aud", "another-app"), "oauth_audience"),
    Forgery("aud a prefix", claim("aud", "app-at"), "oauth_audience"),
    Forgery("aud longer", claim("aud", "app-at-provider-2"), "oauth_audience"),
    Forgery("aud an object", claim("aud", {"app-at-provider": 1}), "oauth_audience"),
    Forgery("aud with a number in it", claim("aud", ["app-at-provider", 1]), "oauth_audience"),
    Forgery("aud missing", claim("aud", None), "oauth_audience"),
    Forgery("two audiences without azp", claim("aud", ["app-at-provider", "b"]), "oauth_authorized_party"),
    Forgery("azp another", claim("azp", "another-app"), "oauth_authorized_party"),
    Forgery("azp a list", claim("azp", ["app-at-provider"]), "oauth_authorized_party"),
    Forgery("exp over", claim("exp", NOW - 61), "oauth_expired"),
    Forgery("exp text", claim("exp", str(NOW + 300)), "oauth_expired"),
    Forgery("exp true", claim("exp", True), "oauth_expired"),
    Forgery("exp missing", claim("exp", None), "oauth_expired"),
    Forgery("iat in the future", claim("iat", NOW + 3600), "oauth_issued_at"),
    Forgery("iat text", claim("iat", "now"), "oauth_issued_at"),
    Forgery("iat missing", claim("iat", None), "oauth_issued_at"),
    Forgery("nbf in the future", claim("nbf", NOW + 3600), "oauth_issued_at"),
    Forgery("nonce another", claim("nonce", "n" * 43), "oauth_nonce"),
    Forgery("nonce missing", claim("nonce", None), "oauth_nonce"),
    Forgery("nonce a list", claim("nonce", []), "oauth_nonce"),
    Forgery("sub missing", claim("sub", None), "oauth_subject"),
    Forgery("sub a number", claim("sub", 7), "oauth_subject"),
    Forgery("sub empty", claim("sub", " "), "oauth_subject"),
    Forgery("sub 300 characters", claim("sub", "s" * 300), "oauth_subject"),
    # The user
    Forgery("UserInfo about another user", userinfo_of_another, "oauth_subject"),
    Forgery(
        "two addresses in one", claim("email", "ada@example.com,eve@evil.example"), "oauth_email_unverified"
    ),
]


def discovery_status(status: int) -> Callable[[FakeProvider], None]:
    def forge(provider: FakeProvider) -> None:
        honest = provider(Call(discovery_url(ISSUER), {}))
        provider.calls.clear()
        provider.replies[discovery_url(ISSUER)] = Reply(status, honest.body)

    return forge


DISCOVERIES = [
    Forgery("status 500", discovery_status(500), "oauth_reply"),
    Forgery("status 302", discovery_status(302), "oauth_reply"),
    Forgery("issuer another", metadata("issuer", "https://evil.example"), "oauth_discovery"),
    Forgery("issuer with a slash", metadata("issuer", f"{ISSUER}/"), "oauth_discovery"),
    Forgery("issuer in capitals", metadata("issuer", "https://LOGIN.example"), "oauth_discovery"),
    Forgery("issuer a look-alike", metadata("issuer", "https://l\u043egin.example"), "oauth_discovery"),
    Forgery("issuer missing", metadata("issuer", None), "oauth_discovery"),
    Forgery("no token endpoint", metadata("token_endpoint", None), "oauth_discovery"),
    Forgery("keys over http", metadata("jwks_uri", "http://login.example/keys"), "oauth_url_insecure"),
    Forgery("keys from a file, CVE-2026-48522", metadata("jwks_uri", "file:///etc"), "oauth_url_insecure"),
    Forgery(
        "endpoint with a user name",
        metadata("authorization_endpoint", "https://a@evil.example/"),
        "oauth_url_insecure",
    ),
]


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def segment(value: object) -> str:
    return b64(json.dumps(value).encode())


@pytest.mark.requirement("SECURITY-9")
def test_an_honest_provider_logs_in(app: OAuthApp) -> None:
    browser, response = app.log_in(next_url="/welcome")
    assert dict(response.headers)["Location"] == "/welcome"
    assert browser.session.user is not None
    assert app.events == ["account.created", "identity.linked", "login.succeeded"]


@pytest.mark.requirement(
    "SECURITY-3", "SECURITY-4", "SECURITY-5", "SECURITY-7", "SECURITY-9", "SECURITY-11", "SECURITY-13"
)
@pytest.mark.parametrize("forgery", FORGERIES, ids=str)
def test_a_forgery_has_its_error_code_and_logs_no_user_in(app: OAuthApp, forgery: Forgery) -> None:
    browser = FakeRequest()
    before = browser.session.id
    forgery.forge(app.fake)
    browser, url = app.start(browser)
    browser, response = app.finish(browser, app.fake.authorize(url))
    assert error_code(response) == forgery.code
    assert 400 <= response.status < 600
    assert browser.session.user is None
    assert browser.session.id == before
    assert "login.succeeded" not in app.events
    assert app.fake.count(app.fake.token_endpoint) == forgery.token_calls
    assert not app.credentials.list("1")


@pytest.mark.requirement("SECURITY-15")
@pytest.mark.parametrize(
    "forge",
    [
        *(claim("email_verified", value) for value in ("true", 1, False)),
        profile("email", ["ada@example.com"]),
    ],
)
def test_an_email_that_is_not_verified_logs_no_user_in(
    app: OAuthApp, forge: Callable[[FakeProvider], None]
) -> None:
    forge(app.fake)
    browser, response = app.log_in()
    assert location(response) == "/auth/provider/email"
    assert browser.session.user is None
    assert app.events == []
    assert not app.credentials.list("1")


@pytest.mark.requirement("SECURITY-10")
@pytest.mark.parametrize("forgery", DISCOVERIES, ids=str)
def test_a_forged_discovery_document_is_rejected(app: OAuthApp, forgery: Forgery) -> None:
    forgery.forge(app.fake)
    request = FakeRequest("/auth/example/login", form={})
    response = app.send(request)
    assert error_code(response) == forgery.code
    assert not request.sent_cookies
    assert [call.url for call in app.fake.calls] == [discovery_url(ISSUER)]


def test_error_codes_tell_forgeries_apart() -> None:
    assert len({forgery.code for forgery in FORGERIES + DISCOVERIES}) >= 20


@pytest.mark.requirement("SECURITY-12")
def test_the_verifier_of_another_login_is_rejected(app: OAuthApp) -> None:
    """Code injection: PKCE rejects the code of another login."""
    _, first_url = app.start(FakeRequest())
    second, second_url = app.start(FakeRequest())
    stolen = app.fake.authorize(first_url).split("code=")[1].split("&")[0]
    state = second_url.split("state=")[1].split("&")[0]
    browser, response = app.finish(second, f"/auth/example/callback?code={stolen}&state={state}")
    assert error_code(response) == "oauth_token_rejected"
    assert browser.session.user is None


@pytest.mark.requirement("SECURITY-12")
def test_only_s256_is_sent(app: OAuthApp) -> None:
    _, url = app.start(FakeRequest())
    assert "code_challenge_method=S256" in url
    challenge = url.split("code_challenge=")[1].split("&")[0]
    assert len(challenge) == len(b64(hashlib.sha256(b"").digest()))
    assert "code_verifier" not in url
