from __future__ import annotations

from asok_oauth_google import Google

from asok_auth_core.testing.providers import OpenIDProviderContract


class TestGoogle(OpenIDProviderContract):
    provider = Google()
