"""The contract suites of providers, as classes of tests to inherit.

    class TestGitLab(OpenIDProviderContract):
        provider = GitLab()

    class TestForge(OAuth2ProviderContract):
        provider = Forge()
        profile = {"id": 7, "login": "ada"}
        replies = {"https://forge.example/api/emails": [{"email": "ada@example.com", "verified": True}]}
        subject = "7"
        email = "ada@example.com"

Needs pytest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, cast

import pytest

from ..engine.message import Claims, Reply
from ..errors import OAuthError
from ..flows.linking import KIND, identity_key
from ..paths import PROVIDER_EMAIL_PATH
from ..providers import OAuth2Provider, OpenIDProvider, ProviderAnswer
from ..types import JSON, Identity
from .fake_provider import SUBJECT
from .oauth_app import CREDENTIALS, OAuthApp, location
from .raises import raises_code

ODD: tuple[JSON, ...] = (None, "", "text", 7, -1, True, [], [None], {}, {"a": []})
"""Values that replace each part of a reply in turn."""


class OAuth2ProviderContract:
    """Inherit, name the class ``Test…`` and set the attributes."""

    provider: ClassVar[OAuth2Provider]
    """An instance of your provider, without a client id."""
    profile: ClassVar[Mapping[str, JSON]]
    """A real reply of the provider's user endpoint, or the claims of an ID token."""
    replies: ClassVar[Mapping[str, JSON]] = {}
    """The replies to further calls of ``fetch``, by URL."""
    form: ClassVar[Mapping[str, str]] = {}
    """Fields that come through the browser with ``response_mode = "form_post"``."""
    subject: ClassVar[str]
    """The permanent id that ``identity`` must find in ``profile``."""
    subject_claim: ClassVar[str] = "id"
    """The member of ``profile`` that has it."""
    email: ClassVar[str | None]
    """The email address that ``identity`` must find; None if the provider sends none."""
    verifies_email: ClassVar[bool] = True
    """False for a provider that never says that it verified an email address."""

    def test_it_can_be_configured(self) -> None:
        made = self.provider.configured(dict(CREDENTIALS))
        assert made.client().id == CREDENTIALS["client_id"]
        assert made.endpoints

    def test_a_user_logs_in(self, tmp_path: Path) -> None:
        app = self._app(tmp_path)
        browser, response = app.log_in(next_url="/welcome")
        if not self.verifies_email:
            assert location(response) == PROVIDER_EMAIL_PATH, "the core verifies an address by mail"
            assert browser.session.user is None
            return
        assert location(response) == "/welcome"
        user = browser.session.user
        assert user is not None
        assert app.users.email_of(user) == self.email
        assert app.credentials.find(KIND, identity_key(self._issuer, self.subject)) is not None

    def test_the_identity_is_right(self) -> None:
        identity = self._identity(self.profile, self.replies)
        assert (identity.subject, identity.email) == (self.subject, self.email)
        assert identity.email_verified is self.verifies_email

    @pytest.mark.requirement("SECURITY-14")
    def test_a_user_who_changes_name_and_email_stays_the_same(self) -> None:
        changed = {
            name: "changed" if isinstance(value, str) and name != self.subject_claim else value
            for name, value in self.profile.items()
        }
        assert self._identity(changed, self.replies).subject == self.subject

    @pytest.mark.requirement("SECURITY-14")
    @pytest.mark.parametrize("value", [None, "", " ", True, [], {}, 1.5])
    def test_a_reply_without_a_subject_is_rejected(self, value: JSON) -> None:
        with raises_code("oauth_subject"):
            self._identity({**self.profile, self.subject_claim: value}, self.replies)

    @pytest.mark.requirement("SECURITY-15")
    @pytest.mark.parametrize("value", [False, None, "true", 1, [True]])
    def test_only_the_boolean_true_verifies_an_email(self, value: JSON) -> None:
        profile = cast("dict[str, JSON]", _instead_of_true(dict(self.profile), value))
        replies = cast("dict[str, JSON]", _instead_of_true(dict(self.replies), value))
        assert self._identity(profile, replies).email_verified is not True

    def test_a_malformed_reply_is_read_or_rejected(self) -> None:
        for profile in _oddities(dict(self.profile)):
            if isinstance(profile, dict):
                self._read_or_reject(profile, self.replies)
        for url, reply in self.replies.items():
            for odd in _oddities(reply):
                self._read_or_reject(self.profile, {**self.replies, url: odd})

    def _read_or_reject(self, profile: Mapping[str, JSON], replies: Mapping[str, JSON]) -> None:
        try:
            identity = self._identity(profile, replies)
        except OAuthError:
            return
        assert isinstance(identity.subject, str)
        assert identity.subject
        for text in (identity.email, identity.name, identity.picture):
            assert text is None or isinstance(text, str)
        assert isinstance(identity.email_verified, bool)

    def _identity(self, profile: Mapping[str, JSON], replies: Mapping[str, JSON]) -> Identity:
        return self.provider.identity(
            Claims(profile), lambda url: replies[url], ProviderAnswer(Claims({}), dict(self.form))
        )

    @property
    def _issuer(self) -> str:
        return self.provider.issuer

    def _app(self, root: Path) -> OAuthApp:
        app = OAuthApp(self.provider, root, profile=self.profile)
        for url, reply in self.replies.items():
            app.fake.replies[url] = Reply(200, json.dumps(reply).encode())
        return app


class OpenIDProviderContract(OAuth2ProviderContract):
    """Inherit and set ``provider``; that is enough if it sends the standard claims.

    For a provider with one issuer per tenant, set ``issuer`` to that of a tenant.
    """

    profile: ClassVar[Mapping[str, JSON]] = {
        "sub": SUBJECT,
        "email": "ada@example.com",
        "email_verified": True,
        "name": "Ada",
        "picture": "https://pictures.example/ada.png",
    }
    subject: ClassVar[str] = SUBJECT
    subject_claim: ClassVar[str] = "sub"
    email: ClassVar[str] = "ada@example.com"
    issuer: ClassVar[str] = ""
    """The issuer of the ID token, if it is not ``provider.issuer``; ``profile`` then has the claims that
    ``accepts_issuer`` reads."""

    @property
    def _issuer(self) -> str:
        return self.issuer or super()._issuer

    def _app(self, root: Path) -> OAuthApp:
        app = super()._app(root)
        app.fake.claims["iss"] = self._issuer
        return app

    def test_it_is_an_openid_provider(self) -> None:
        assert isinstance(self.provider, OpenIDProvider)

    @pytest.mark.requirement("SECURITY-9")
    def test_an_id_token_of_another_login_is_rejected(self, tmp_path: Path) -> None:
        app = self._app(tmp_path)
        app.fake.claims["nonce"] = "another"
        browser, response = app.log_in()
        assert "oauth_nonce" in response.body
        assert browser.session.user is None


def _instead_of_true(value: JSON, other: JSON) -> JSON:
    if value is True:
        return other
    if isinstance(value, dict):
        return {name: _instead_of_true(item, other) for name, item in value.items()}
    return [_instead_of_true(item, other) for item in value] if isinstance(value, list) else value


def _oddities(value: JSON) -> Iterator[JSON]:
    """All variants of ``value`` with one part replaced or removed."""
    yield from ODD
    if isinstance(value, dict):
        for name, item in value.items():
            yield {other: kept for other, kept in value.items() if other != name}
            yield from ({**value, name: odd} for odd in _oddities(item))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from ([*value[:place], odd, *value[place + 1 :]] for odd in _oddities(item))
