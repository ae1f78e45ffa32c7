"""OAuth 2.0's messages."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asok_auth_core.engine.message import Claims, Reply, read_json
from asok_auth_core.engine.oauth2 import (
    VERIFIER,
    Client,
    TokenAuth,
    authorization_url,
    code_challenge,
    derive,
    read_token_response,
    token_request,
)
from asok_auth_core.errors import OAuthError
from asok_auth_core.testing.raises import raises_code

APPENDIX_B = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"


@pytest.mark.requirement("SECURITY-12")
def test_the_pkce_challenge_matches_rfc_7636_appendix_b() -> None:
    assert code_challenge(APPENDIX_B) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.mark.requirement("SECURITY-12")
@pytest.mark.parametrize("verifier", ["", "a" * 42, "a" * 129, "a" * 42 + "=", "a" * 42 + "\u00e9"])
def test_a_verifier_has_43_to_128_allowed_characters(verifier: str) -> None:
    with pytest.raises(ValueError, match="43 to 128"):
        code_challenge(verifier)


@pytest.mark.requirement("SECURITY-12")
@given(st.text(min_size=1, max_size=80))
def test_derived_verifiers_and_nonces_are_valid_and_differ(secret: str) -> None:
    verifier, nonce = derive(secret, "verifier"), derive(secret, "nonce")
    assert VERIFIER.fullmatch(verifier)
    assert verifier != nonce


def test_extra_parameters_replace_no_standard_ones() -> None:
    extra = {
        "prompt": "login",
        "state": "x",
        "code_challenge_method": "plain",
        "redirect_uri": "https://evil.example",
    }
    url = authorization_url(
        "https://login.example/authorize?tenant=a",
        client_id="id",
        redirect_uri="https://app.example/cb",
        scope="openid",
        state="s",
        verifier=APPENDIX_B,
        nonce="n",
        extra=extra,
    )
    asked = parse_qs(urlsplit(url).query)
    assert asked["prompt"] == ["login"]
    assert asked["tenant"] == ["a"]
    assert asked["state"] == ["s"]
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["redirect_uri"] == ["https://app.example/cb"]


def test_credentials_with_odd_characters_survive_basic_authentication() -> None:
    """RFC 6749 section 2.3.1: form-encoded before they are joined."""
    client = Client("i:d", "s e:c%", "client_secret_basic")
    call = token_request("https://login.example/token", client, code="c", redirect_uri="r", verifier="v")
    assert base64.b64decode(call.headers["Authorization"].removeprefix("Basic ")) == b"i%3Ad:s+e%3Ac%25"
    assert call.form is not None
    assert "client_secret" not in call.form


@pytest.mark.requirement("SECURITY-12")
@pytest.mark.parametrize(
    ("auth", "sent"),
    [
        ("none", {"client_id": "id"}),
        ("client_secret_post", {"client_id": "id", "client_secret": "s"}),
        ("client_secret_basic", {}),
    ],
)
def test_the_client_secret_is_sent_by_the_chosen_method_only(auth: TokenAuth, sent: dict[str, str]) -> None:
    """RFC 6749, section 2.3: one method; without a secret, only PKCE."""
    call = token_request(
        "https://login.example/token", Client("id", "s", auth), code="c", redirect_uri="r", verifier="v"
    )
    assert call.form is not None
    assert call.form["code_verifier"] == "v"
    assert {name: text for name, text in call.form.items() if name.startswith("client_")} == sent
    assert ("Authorization" in call.headers) is (auth == "client_secret_basic")


@pytest.mark.requirement("SECURITY-30")
def test_calls_and_replies_do_not_show_secrets() -> None:
    client = Client("id", "canary")
    call = token_request(
        "https://login.example/token", client, code="canary", redirect_uri="r", verifier="canary"
    )
    reply = Reply(200, b'{"access_token": "canary"}')
    for value in (client, call, reply, read_token_response(reply), Claims({"email": "canary"})):
        assert "canary" not in repr(value)


@pytest.mark.requirement("SECURITY-8")
@given(st.binary(max_size=200))
def test_any_reply_is_read_or_rejected(body: bytes) -> None:
    # Random bytes contain no access token, so they are always rejected, with no other exception.
    with pytest.raises(OAuthError):
        read_token_response(Reply(200, body))


@pytest.mark.requirement("SECURITY-8")
@pytest.mark.parametrize("text", [b"NaN", b'{"a": Infinity}', b'{"a": 1, "a": 2}', b"\xff", b"", b"{" * 9999])
def test_json_is_read_strictly(text: bytes) -> None:
    with pytest.raises(OAuthError):
        read_json(text)


@pytest.mark.requirement("SECURITY-14")
@pytest.mark.parametrize("value", [None, "", "  ", True, 1.5, [], {}, "x" * 256])
def test_a_subject_is_text_or_a_whole_number(value: object) -> None:
    """The framework makes the subject "None" of a reply without one."""
    with raises_code("oauth_subject"):
        Claims({"id": value}).subject("id")  # type: ignore[dict-item]
    assert Claims({"id": 583231}).subject("id") == "583231"
    assert Claims({"id": "a"}).subject("id") == "a"


def test_claims_are_a_mapping_that_shows_names_only() -> None:
    claims = Claims({"sub": "7", "email": "ada@example.com"})
    assert len(claims) == 2
    assert dict(claims) == {"sub": "7", "email": "ada@example.com"}
    assert repr(claims) == "<Claims ['email', 'sub']>"
