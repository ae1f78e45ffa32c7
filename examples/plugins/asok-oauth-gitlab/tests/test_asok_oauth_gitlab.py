"""Run the provider's contract suite; it needs no network."""

from __future__ import annotations

from asok_auth_core.testing import OpenIDProviderContract

from asok_oauth_gitlab import GitLab


class TestGitLab(OpenIDProviderContract):
    provider = GitLab()
