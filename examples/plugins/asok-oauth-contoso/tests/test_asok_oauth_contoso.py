"""Run the provider's contract suite, and log in from unlisted tenants, offline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from asok_auth_core.plugin import JSON
from asok_auth_core.testing import OAuthApp, OpenIDProviderContract, error_code

from asok_oauth_contoso import Contoso

ACME = "https://login.contoso.example/acme/v2.0"


class OfAcme(Contoso):
    tenants = ("acme",)


class TestContoso(OpenIDProviderContract):
    provider = OfAcme()
    issuer = ACME
    profile: ClassVar[Mapping[str, JSON]] = {**OpenIDProviderContract.profile, "tid": "acme"}


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://login.contoso.example/evil/v2.0", "tid": "evil"},
        {"iss": "https://login.contoso.example/evil/v2.0", "tid": "acme"},
        {"iss": ACME, "tid": "evil"},
        {"iss": ACME},
    ],
)
def test_users_of_other_tenants_stay_out(tmp_path: Path, claims: dict[str, JSON]) -> None:
    app = OAuthApp(OfAcme(), tmp_path, profile={"email": "eve@example.com", "email_verified": True})
    app.fake.claims.update(claims)
    browser, answer = app.log_in()
    assert error_code(answer) == "oauth_issuer"
    assert browser.user is None


def test_tenants_are_a_setting(tmp_path: Path) -> None:
    providers = {"contoso": {"client_id": "app", "client_secret": "secret", "tenants": ["acme"]}}
    app = OAuthApp(Contoso(), tmp_path, config={"PROVIDERS": providers})
    app.fake.claims.update({"iss": ACME, "tid": "acme", "email": "ada@example.com", "email_verified": True})
    browser, _ = app.log_in()
    assert browser.user is not None
