"""An app with one provider, trusted for its user Ada's email address."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from asok_auth_core.providers import OAuth2Provider, OpenIDProvider
from asok_auth_core.testing.oauth_app import OAuthApp
from asok_auth_core.types import JSON

PROFILE: dict[str, JSON] = {"email": "ada@example.com", "email_verified": True, "name": "Ada"}


@pytest.fixture
def make_app(tmp_path: Path) -> Callable[..., OAuthApp]:
    """Build an app: ``make_app(provider=None, **options)`` as for OAuthApp."""

    def make(provider: OAuth2Provider | None = None, **options: object) -> OAuthApp:
        example = OpenIDProvider.named("example", label="Example", issuer="https://login.example")
        example.trusted_email_domains = ("example.com",)
        return OAuthApp(provider or example, tmp_path, profile=PROFILE, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def app(make_app: Callable[..., OAuthApp]) -> OAuthApp:
    return make_app()
