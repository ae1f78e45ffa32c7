"""Run the provider's contract suite; it needs no network."""

from __future__ import annotations

from typing import ClassVar

from asok_auth_core.plugin import JSON
from asok_auth_core.testing import OAuth2ProviderContract

from asok_oauth_discord import Discord


class TestDiscord(OAuth2ProviderContract):
    provider = Discord()
    profile: ClassVar[dict[str, JSON]] = {
        "id": "80351110224678912",
        "username": "ada",
        "global_name": "Ada",
        "verified": True,
        "email": "ada@example.com",
    }
    subject = "80351110224678912"
    email = "ada@example.com"
