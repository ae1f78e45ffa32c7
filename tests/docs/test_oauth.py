"""docs/oauth.md names every error code and every setting."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from asok_auth_core.errors import IDTokenCode, OAuthCode, OAuthDenied
from asok_auth_core.providers import FIXED, OpenIDProvider

PAGE = (Path(__file__).parents[2] / "docs" / "oauth.md").read_text("utf-8")


def test_every_code_is_documented() -> None:
    codes = {*get_args(OAuthCode), *get_args(IDTokenCode), OAuthDenied.code}
    assert len(codes) == 30
    assert {code for code in codes if f"`{code}`" not in PAGE} == set()


def test_every_setting_is_documented() -> None:
    provider = OpenIDProvider()
    names = {
        name for name in dir(provider) if not name.startswith("_") and not callable(getattr(provider, name))
    }
    assert {name for name in names - FIXED if f"`{name}`" not in PAGE} == set()
