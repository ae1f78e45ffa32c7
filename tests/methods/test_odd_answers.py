"""Odd but honest answers of providers do not break a login."""

from __future__ import annotations

import json

import pytest

from asok_auth_core.engine.message import Reply
from asok_auth_core.plugin import JSON
from asok_auth_core.testing import OAuthApp, error_code, location
from asok_auth_core.testing.fake_provider import SUBJECT

USERINFO = "https://login.example/userinfo_endpoint"


def reply(app: OAuthApp, url: str, document: JSON, status: int = 200, before: bytes = b"") -> None:
    app.fake.replies[url] = Reply(status, before + json.dumps(document).encode())


@pytest.mark.requirement("SECURITY-15")
@pytest.mark.parametrize(
    ("userinfo", "verified"),
    [
        ({"email": "ada@example.com", "email_verified": True}, True),
        ({"email": "ada@example.com", "email_verified": False}, False),
        ({"email": "ada@example.com", "email_verified": "true"}, False),
        ({"email": "ada@example.com"}, False),
        ({"email": "eve@evil.example", "email_verified": True}, False),
        ({"email_verified": True}, False),
        ({}, False),
    ],
)
def test_userinfo_may_verify_the_address_of_the_token_and_no_other(
    app: OAuthApp, userinfo: dict[str, JSON], verified: bool
) -> None:
    app.fake.claims["email_verified"] = None
    reply(app, USERINFO, {"sub": SUBJECT, **userinfo})
    browser, answer = app.log_in()
    assert (browser.session.user is not None) is verified
    if verified:
        assert app.users.email_of(browser.session.user) == "ada@example.com"  # type: ignore[arg-type]
    else:
        assert location(answer) == "/auth/provider/email"


def test_what_the_token_says_of_its_address_outweighs_userinfo(app: OAuthApp) -> None:
    app.fake.claims["email_verified"] = False
    reply(app, USERINFO, {"sub": SUBJECT, "email": "ada@example.com", "email_verified": True})
    assert location(app.log_in()[1]) == "/auth/provider/email"
    assert app.fake.count(USERINFO) == 0


@pytest.mark.parametrize(
    "broken",
    [Reply(500, b"{}"), Reply(403, b"{}"), Reply(204, b""), Reply(200, b"eyJhbGciOiJSUzI1NiJ9.e30.c2ln")],
    ids=["500", "403", "204", "a JWT"],
)
def test_userinfo_that_cannot_be_read_stops_no_linked_user(app: OAuthApp, broken: Reply) -> None:
    first, _ = app.log_in()
    app.fake.claims["email"] = None
    app.fake.replies[USERINFO] = broken
    browser, answer = app.log_in()
    assert location(answer) == "/"
    assert browser.session.user is first.session.user is not None


@pytest.mark.parametrize("error", [None, ""])
def test_an_empty_error_beside_tokens_is_none(app: OAuthApp, error: str | None) -> None:
    app.fake.beside["error"] = error
    browser, _ = app.log_in()
    assert browser.session.user is not None


def test_documents_may_start_with_a_byte_order_mark_and_come_with_status_201(app: OAuthApp) -> None:
    app.fake.claims["email"] = None
    sent = {"sub": SUBJECT, "email": "ada@example.com", "email_verified": True}
    reply(app, USERINFO, sent, 201, b"\xef\xbb\xbf")
    browser, _ = app.log_in()
    assert browser.session.user is not None


@pytest.mark.parametrize("error", ["access_denied", "user_cancelled_login", "user_cancelled_authorize"])
def test_a_login_that_the_user_canceled_is_no_fault(app: OAuthApp, error: str) -> None:
    app.fake.answer.update({"error": error, "code": None})
    _, answer = app.log_in()
    assert error_code(answer) == "oauth_denied"
    assert "You canceled" in answer.text
