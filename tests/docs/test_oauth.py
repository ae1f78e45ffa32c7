"""docs/oauth.md names every error code a login at a provider can end with, and every setting."""

from __future__ import annotations

from pathlib import Path

from asok_auth_core import oauth_errors
from asok_auth_core.errors import OAuthError
from asok_auth_core.providers import OpenIDProvider

PAGE = (Path(__file__).parents[2] / "docs" / "oauth.md").read_text("utf-8")


def test_every_code_is_documented() -> None:
    kinds = [
        kind
        for kind in vars(oauth_errors).values()
        if isinstance(kind, type) and issubclass(kind, OAuthError)
    ]
    codes = {kind.code for kind in kinds if kind is not OAuthError}
    assert len(codes) == len(kinds) - 1, "every class has a code of its own"
    assert {code for code in codes if f"`{code}`" not in PAGE} == set()


def test_every_setting_is_documented() -> None:
    provider = OpenIDProvider()
    names = {
        name for name in dir(provider) if not name.startswith("_") and not callable(getattr(provider, name))
    }
    assert {name for name in names - {"name", "endpoints"} if f"`{name}`" not in PAGE} == set()
