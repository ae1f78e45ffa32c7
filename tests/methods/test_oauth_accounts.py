"""Which account an identity logs in to, and which it never joins."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from asok_auth_core.engine.message import Reply
from asok_auth_core.flows.linking import KIND, identity_key
from asok_auth_core.flows.oauth import Finished
from asok_auth_core.flows.verified_emails import mark_email_verified
from asok_auth_core.plugin import Claims, Fetch, Identity, ProviderAnswer
from asok_auth_core.providers import OAuth2Provider, OpenIDProvider
from asok_auth_core.testing.fake_provider import SUBJECT
from asok_auth_core.testing.fakes import FakeUser, MemoryUsers
from asok_auth_core.testing.oauth_app import OAuthApp, error_code, location
from asok_auth_core.types import JSON, User

ISSUER = "https://login.example"
MakeApp = Callable[..., OAuthApp]


@pytest.mark.requirement("SECURITY-14")
def test_an_identity_is_issuer_and_subject(app: OAuthApp) -> None:
    """django-allauth CVE-2025-65431: a renamed user is still the same user."""
    first, _ = app.log_in()
    app.fake.profile.update(email="other@example.com", name="Grace")
    second, _ = app.log_in()
    assert first.session.user is second.session.user
    assert len(app.users) == 1  # type: ignore[arg-type]


@pytest.mark.requirement("SECURITY-14")
@pytest.mark.parametrize("subject", ["abc ", "ABC", "abc\u0000", "\u0430bc"])
def test_a_subject_is_compared_exactly(subject: str) -> None:
    """social-app-django CVE-2024-32879: a database compared without case."""
    assert identity_key(ISSUER, "abc") != identity_key(ISSUER, subject)
    assert identity_key("ab", "c") != identity_key("a", "bc")


@pytest.mark.requirement("SECURITY-14")
def test_the_same_subject_at_another_issuer_is_another_identity(app: OAuthApp) -> None:
    app.log_in()
    assert identity_key(ISSUER, SUBJECT) != identity_key("https://second.example", SUBJECT)
    app.auth.credentials.add("1", KIND, identity_key("https://second.example", SUBJECT), {})
    assert len(app.credentials.list("1", KIND)) == 2


@pytest.mark.requirement("SECURITY-15", "SECURITY-31")
@pytest.mark.parametrize("is_verified", [False, True])
def test_a_provider_that_is_not_trusted_joins_no_account(make_app: MakeApp, is_verified: bool) -> None:
    """For example, its administrators can set any email address."""
    user = FakeUser("9", "ada@example.com")
    app = make_app(users=MemoryUsers(user))
    app.provider.trusted_email_domains = ("other.example",)
    if is_verified:
        mark_email_verified(app.auth, user, "ada@example.com")
    browser, response = app.log_in()
    assert error_code(response) == "oauth_link_required"
    assert "Log in to it first" in response.body
    assert browser.session.user is None
    assert not app.credentials.list("9", KIND)
    assert app.events == ["login.failed"]


@pytest.mark.requirement("SECURITY-15")
def test_an_account_with_a_verified_email_is_joined(make_app: MakeApp) -> None:
    user = FakeUser("9", "ada@example.com")
    app = make_app(users=MemoryUsers(user))
    mark_email_verified(app.auth, user, "ada@example.com")
    browser, response = app.log_in()
    assert location(response) == "/"
    assert browser.session.user is user


@pytest.mark.requirement("SECURITY-15")
def test_the_email_is_compared_without_case(make_app: MakeApp) -> None:
    user = FakeUser("9", "ada@example.com")
    app = make_app(users=MemoryUsers(user))
    mark_email_verified(app.auth, user, "ada@example.com")
    app.fake.profile["email"] = "Ada@Example.COM"
    browser, _ = app.log_in()
    assert browser.session.user is user


@pytest.mark.requirement("SECURITY-15")
@pytest.mark.parametrize("verified", [False, "true", 1])
def test_an_unverified_email_gets_one_answer_with_or_without_an_account(
    make_app: MakeApp, verified: JSON
) -> None:
    user = FakeUser("9", "ada@example.com")
    bodies = []
    for users in (MemoryUsers(), MemoryUsers(user)):
        app = make_app(users=users)
        mark_email_verified(app.auth, user, "ada@example.com")
        app.fake.claims["email_verified"] = verified
        browser, response = app.log_in()
        assert location(response) == "/auth/provider/email"
        page = app.send(browser.follow("/auth/provider/email"))
        bodies.append(re.sub('value="[0-9a-f]{32}"', "", page.text))
        assert not app.credentials.list("9", KIND)
    assert bodies[0] == bodies[1]


class PassesThrough(OpenIDProvider):
    """A plugin that passes on the provider's claim unchecked."""

    def identity(self, claims: Claims, fetch: Fetch, answer: ProviderAnswer) -> Identity:
        return replace(super().identity(claims, fetch, answer), email_verified=claims["email_verified"])  # type: ignore[arg-type]


@pytest.mark.requirement("SECURITY-15")
def test_a_plugin_that_passes_claims_through_verifies_no_email(make_app: MakeApp) -> None:
    app = make_app(PassesThrough.named("example", label="Example", issuer=ISSUER))
    app.fake.claims["email_verified"] = "true"
    seen: list[Identity] = []
    finish = app.oauth.flow.finish

    def noting(*given: Any, **more: Any) -> Finished:
        finished = finish(*given, **more)
        seen.append(finished.identity)
        return finished

    app.oauth.flow.finish = noting  # type: ignore[method-assign]
    app.log_in()
    assert seen[0].email_verified is False


class BrokenMapping(OAuth2Provider):
    """A plugin whose profile mapping fails in the way ``how`` names."""

    name = "example"
    label = "Example"
    issuer = ISSUER
    authorization_endpoint = f"{ISSUER}/authorize"
    token_endpoint = f"{ISSUER}/token"
    userinfo_endpoint = f"{ISSUER}/me"
    how = ""

    def identity(self, claims: Claims, fetch: Fetch, answer: ProviderAnswer) -> Identity:
        if self.how == "missing":
            return Identity(ISSUER, str(claims["id"]))
        if self.how == "type":
            return Identity(ISSUER, claims["email"] + 1)  # type: ignore[operator]
        if self.how == "nothing":
            return None  # type: ignore[return-value]
        return Identity(ISSUER, "" if self.how == "empty" else 7)  # type: ignore[arg-type]


@pytest.mark.requirement("SECURITY-14")
@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("missing", "oauth_reply"),
        ("type", "oauth_reply"),
        ("nothing", "oauth_subject"),
        ("empty", "oauth_subject"),
        ("number", "oauth_subject"),
    ],
)
def test_a_broken_profile_mapping_logs_no_user_in(
    make_app: MakeApp, how: str, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the error for the plugin's author; users get plain text."""
    provider = BrokenMapping()
    provider.how = how
    app = make_app(provider)
    browser, response = app.log_in()
    assert error_code(response) == code
    assert browser.session.user is None
    assert len(app.users) == 0  # type: ignore[arg-type]
    assert ("Provider 'example' could not read a profile." in caplog.text) is (code == "oauth_reply")
    assert "Traceback" not in response.body


@pytest.mark.requirement("SECURITY-9")
def test_a_profile_that_is_not_an_object_logs_no_user_in(make_app: MakeApp) -> None:
    app = make_app(BrokenMapping())
    app.fake.replies[f"{ISSUER}/me"] = Reply(200, b'["ada@example.com"]')
    browser, response = app.log_in()
    assert error_code(response) == "oauth_reply"
    assert browser.session.user is None


@pytest.mark.requirement("SECURITY-23")
def test_a_disabled_account_does_not_log_in(app: OAuthApp) -> None:
    browser, _ = app.log_in()
    user = browser.session.user
    assert isinstance(user, FakeUser)
    user.is_active = False
    browser, response = app.log_in()
    assert error_code(response) == "login_rejected"
    assert browser.session.user is None


def test_an_identity_of_a_deleted_account_gets_a_new_account(app: OAuthApp) -> None:
    app.auth.credentials.add("77", KIND, identity_key(ISSUER, SUBJECT), {"provider": "example"})
    browser, response = app.log_in()
    assert location(response) == "/"
    assert browser.session.user is not None
    assert not app.credentials.list("77")


@pytest.mark.requirement("SECURITY-14")
def test_first_logins_in_two_tabs_create_one_account(app: OAuthApp) -> None:
    """The second completes while the first is still creating the account."""
    create, meanwhile = app.users.create, []

    def slow(email: str, name: str | None = None) -> User:
        app.users.create = create  # type: ignore[method-assign]
        meanwhile.append(app.log_in()[1])
        return create(email, name)

    app.users.create = slow  # type: ignore[method-assign]
    _, response = app.log_in()
    assert [location(one) for one in (response, *meanwhile)] == ["/", "/"]
    assert len(app.users) == 1  # type: ignore[arg-type]
