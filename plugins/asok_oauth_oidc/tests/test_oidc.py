from __future__ import annotations

import asok_oauth_oidc
import pytest

from asok_auth_core.flows.provider_setup import configured_providers
from asok_auth_core.plugin import OAuth2Provider, OpenIDProvider, SettingError
from asok_auth_core.settings import read
from asok_auth_core.testing import OpenIDProviderContract


class TestAnyProvider(OpenIDProviderContract):
    provider = OpenIDProvider.named("company", label="Company", issuer="https://login.example/realms/staff")


def start(providers: dict[str, dict[str, object]]) -> dict[str, OAuth2Provider]:
    settings = read({"AUTH": {"PROVIDERS": providers}}, {})
    given = {provider.name: provider for provider in asok_oauth_oidc.asok_auth_providers(settings)}
    return configured_providers(given, settings, {})


def entry(issuer: str, **more: object) -> dict[str, object]:
    return {"type": "oidc", "issuer": issuer, "client_id": "a", "client_secret": "b", **more}


def test_several_providers_can_be_configured() -> None:
    made = start(
        {
            "company": entry("https://login.example/realms/staff", label="Company account"),
            "git-lab": entry("https://gitlab.example", id_token_algorithm="ES256"),
        }
    )
    assert [provider.label for provider in made.values()] == ["Company account", "Git Lab"]
    assert [provider.issuer for provider in made.values()] == [
        "https://login.example/realms/staff",
        "https://gitlab.example",
    ]


@pytest.mark.parametrize("issuer", ["", "http://login.example", "login.example", "https://login.example/#x"])
def test_an_invalid_issuer_is_named_at_start_up(issuer: str) -> None:
    with pytest.raises(SettingError, match='AUTH\\["PROVIDERS"\\]\\["company"\\]\\["issuer"\\]'):
        start({"company": entry(issuer)})
