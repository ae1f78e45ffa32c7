"""Error pages: the headline names the problem, the button helps to solve it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import asok_auth_core
from asok_auth_core.auth import Auth
from asok_auth_core.errors import (
    AuthError,
    CredentialRejected,
    LoginRejected,
    LoginRequired,
    MailTemporary,
    PermissionDenied,
    RateLimited,
    RecentLoginRequired,
    StoreUnavailable,
)
from asok_auth_core.pages.problems import HEADINGS, problem
from asok_auth_core.testing import FakeRequest, FakeUser
from asok_auth_core.testing.oauth_app import error_code


def heading(body: str) -> str:
    return re.findall("<h1>(.*)</h1>", body)[0]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (LoginRequired("Please log in first."), "Please log in"),
        (RecentLoginRequired("Please log in again."), "Please log in again"),
        (PermissionDenied("You may not do this."), "Access denied"),
        (RateLimited("Try again in a minute.", 60), "Too many attempts"),
        (CredentialRejected("Request a new one."), "This link or code is no longer valid"),
        (LoginRejected("This account is disabled."), "You cannot log in"),
        (MailTemporary("Connection refused."), "The email could not be sent"),
        (StoreUnavailable("The store does not answer."), "Temporarily unavailable"),
        (AuthError("Something else."), "Something went wrong"),
    ],
    ids=lambda value: value.code if isinstance(value, AuthError) else "",
)
def test_the_headline_names_the_problem(
    make_auth: Callable[..., Auth], error: AuthError, expected: str
) -> None:
    response = problem(make_auth(), FakeRequest("/page"), error)
    assert heading(response.body) == expected
    assert f"<title>{expected} · " in response.body
    assert error_code(response) == error.code


def test_every_headline_is_for_an_error_code_that_exists() -> None:
    source = "".join(path.read_text("utf-8") for path in Path(asok_auth_core.__file__).parent.rglob("*.py"))
    unknown = [code for code in HEADINGS if source.count(f'"{code}"') < 2]
    assert unknown == []


@pytest.mark.parametrize(
    ("error", "user", "link"),
    [
        (LoginRequired("Please log in first."), None, "/auth/login?next=/page"),
        (RecentLoginRequired("Please log in again."), FakeUser("1"), "/auth/login?next=/page"),
        (PermissionDenied("You may not do this."), FakeUser("1"), "/auth/account"),
        (LoginRejected("This account is disabled."), None, "/auth/login"),
    ],
)
def test_the_button_leads_on(
    make_auth: Callable[..., Auth], error: AuthError, user: FakeUser | None, link: str
) -> None:
    body = problem(make_auth(), FakeRequest("/page", user=user), error).body
    assert re.findall('asok-auth-primary" href="([^"]*)"', body) == [link]
