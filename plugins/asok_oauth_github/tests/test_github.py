from __future__ import annotations

import json
from pathlib import Path

import pytest
from asok_oauth_github import GitHub

from asok_auth_core.engine.message import Reply
from asok_auth_core.plugin import JSON, Identity
from asok_auth_core.testing import OAuth2ProviderContract, error_code, location

EMAILS = "https://api.github.com/user/emails"


class TestGitHub(OAuth2ProviderContract):
    provider = GitHub()
    profile = {"id": 583231, "login": "ada", "name": None, "email": None, "avatar_url": "https://a.example/1"}
    replies = {
        EMAILS: [
            {"email": "583231+ada@users.noreply.example", "primary": False, "verified": True},
            {"email": "ada@example.com", "primary": True, "verified": True},
        ]
    }
    subject = "583231"
    email = "ada@example.com"

    def test_the_profiles_public_email_is_ignored(self) -> None:
        identity = self._identity({**self.profile, "email": "eve@evil.example"}, self.replies)
        assert identity.email == "ada@example.com"

    def test_the_login_replaces_a_missing_name(self) -> None:
        assert self._identity(self.profile, self.replies).name == "ada"

    @pytest.mark.requirement("SECURITY-15")
    @pytest.mark.parametrize("primary", [{"verified": False}, {"verified": "true"}, {"primary": False}])
    def test_only_the_verified_primary_email_logs_in(self, tmp_path: Path, primary: dict[str, JSON]) -> None:
        app = self._app(tmp_path)
        address = {"email": "ada@example.com", "primary": True, "verified": True, **primary}
        app.fake.replies[EMAILS] = Reply(200, json.dumps([address]).encode())
        browser, response = app.log_in()
        assert location(response) == "/auth/provider/email"
        assert browser.session.user is None

    @pytest.mark.parametrize("status", [403, 404])
    def test_without_access_to_the_addresses_a_linked_user_still_logs_in(
        self, tmp_path: Path, status: int
    ) -> None:
        app = self._app(tmp_path)
        first, _ = app.log_in()
        app.fake.replies[EMAILS] = Reply(status, b'{"message": "Not Found"}')
        browser, response = app.log_in()
        assert location(response) == "/"
        assert browser.session.user is first.session.user is not None

    def test_a_token_error_with_status_200_is_an_error(self, tmp_path: Path) -> None:
        app = self._app(tmp_path)
        body = b'{"error": "bad_verification_code", "error_description": "expired"}'
        app.fake.replies[app.fake.token_endpoint] = Reply(200, body)
        assert error_code(app.log_in()[1]) == "oauth_token_rejected"

    def test_an_enterprise_server_has_its_own_urls(self) -> None:
        made = GitHub().configured(
            {
                "issuer": "https://git.example/login/oauth",
                "authorization_endpoint": "https://git.example/login/oauth/authorize",
                "token_endpoint": "https://git.example/login/oauth/access_token",
                "userinfo_endpoint": "https://git.example/api/v3/user",
                "emails_endpoint": "https://git.example/api/v3/user/emails",
            }
        )
        assert {url.split("/")[2] for url in [*made.endpoints.values(), made.emails_endpoint]} == {
            "git.example"
        }
        identity = Identity(made.issuer, "1", "github", "ada@example.com", True)
        assert not made.trusted_for_email(identity), "its administrators can set any address"
        assert GitHub().trusted_for_email(identity)
