"""Providers as data: overrides, credentials, and mistakes that are named."""

from __future__ import annotations

import logging

import pytest

from asok_auth_core.engine.message import Claims
from asok_auth_core.errors import SettingError
from asok_auth_core.flows.provider_setup import configured_providers
from asok_auth_core.providers import OAuth2Provider, OpenIDProvider, ProviderAnswer
from asok_auth_core.settings import read
from asok_auth_core.types import JSON, Identity


class Plain(OAuth2Provider):
    name = "plain"
    label = "Plain"
    issuer = "https://plain.example"
    authorization_endpoint = "https://plain.example/authorize"
    token_endpoint = "https://plain.example/token"
    userinfo_endpoint = "https://plain.example/me"
    extra_endpoint = "https://plain.example/extra"
    scopes = ("read",)
    sandbox = False


def named(name: str = "example") -> OpenIDProvider:
    return OpenIDProvider.named(name, label="Example", issuer="https://login.example")


def test_every_attribute_can_be_overridden_and_the_class_stays_as_it_is() -> None:
    made = Plain().configured(
        {
            "client_id": "a",
            "scopes": "read write",
            "extra_endpoint": "https://own.example/extra",
            "authorize_parameters": {"prompt": "login"},
            "label": "Own",
            "sandbox": True,
        }
    )
    assert made.sandbox
    assert (made.client_id, made.scopes, made.label) == ("a", ("read", "write"), "Own")
    assert made.extra_endpoint == "https://own.example/extra"
    assert made.authorize_parameters == {"prompt": "login"}
    assert (Plain().client_id, Plain().scopes, Plain().authorize_parameters) == ("", ("read",), {})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"client_idd": "a"}, "Did you mean 'client_id'"),
        ({"nonsense": "a"}, "Known:"),
        ({"name": "other"}, "is not a setting"),
        ({"identity": "x"}, "is not a setting"),
        ({"client_id": 7}, "must be a string, got int"),
        ({"scopes": [1]}, "must be a list of strings"),
        ({"authorize_parameters": {"a": 1}}, "must be a mapping of strings"),
        ({"trusted_email_domains": ["*"]}, "must be a list of domains such as"),
        ({"trusted_email_domains": ["@example.com"]}, "must be a list of domains such as"),
        ({"trusted_email_domains": ["Example.com"]}, "in lowercase"),
        ({"trusted_email_domains": ["com"]}, "must be a list of domains such as"),
        ({"authorize_parameters": {"state": "fixed"}}, "cannot set 'state'"),
        ({"issuer": "http://login.example"}, "must be an https URL"),
        ({"issuer": ""}, "is missing"),
        ({"token_endpoint": "https://a@evil.example/"}, "must be an https URL"),
        ({"token_auth": "private_key_jwt"}, "must be 'client_secret_post'"),
        ({"label": ""}, "is missing"),
        ({"sandbox": "yes"}, "must be True or False, got str"),
    ],
)
def test_a_configuration_mistake_is_named(options: dict[str, JSON], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        Plain().configured(options)


@pytest.mark.requirement("SECURITY-3")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"id_token_algorithm": "HS256"}, "must be one of"),
        ({"id_token_algorithm": "none"}, "must be one of"),
        ({"scopes": ["email"]}, "must contain 'openid'"),
    ],
)
def test_no_setting_makes_an_id_token_unsafe(options: dict[str, JSON], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        named().configured(options)


@pytest.mark.parametrize("name", ["Upper", "größe", "a b", "a/b", "..", ""])
def test_a_providers_name_must_fit_into_a_path(name: str) -> None:
    with pytest.raises(SettingError):
        named(name).configured({})


def test_a_loopback_issuer_is_for_debug() -> None:
    options: dict[str, JSON] = {"issuer": "http://127.0.0.1:8000"}
    with pytest.raises(SettingError):
        named().configured(options)
    assert named().configured(options, debug=True).issuer == "http://127.0.0.1:8000"


def test_credentials_come_from_three_places_in_order() -> None:
    given = {"example": named()}
    environ = {"EXAMPLE_CLIENT_ID": "environment", "EXAMPLE_CLIENT_SECRET": "s"}
    older = {"Example": {"client_id": "older", "client_secret": None, "label": "Old"}}
    for config, wanted in (
        ({}, "environment"),
        ({"OAUTH_PROVIDERS": older}, "older"),
        ({"OAUTH_PROVIDERS": older, "AUTH": {"PROVIDERS": {"example": {"client_id": "own"}}}}, "own"),
    ):
        made = configured_providers(given, read(config, {}), environ)["example"]
        assert (made.client_id, made.client_secret) == (wanted, "s")


def test_an_unknown_provider_is_named() -> None:
    with pytest.raises(SettingError, match="Did you mean 'example'"):
        configured_providers({"example": named()}, read({"AUTH": {"PROVIDERS": {"exampel": {}}}}, {}), {})
    with pytest.raises(SettingError, match="asok-oauth-oidc for any OpenID provider"):
        configured_providers({}, read({"AUTH": {"PROVIDERS": {"gitlab": {}}}}, {}), {})


def test_asoks_settings_of_providers_not_installed_are_warned_about_and_skipped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    settings = read({"OAUTH_PROVIDERS": {"twitch": {"client_id": "a", "client_secret": "canary"}}}, {})
    assert configured_providers({}, settings, {}) == {}
    assert '["twitch"]: no plugin registers this provider' in caplog.text
    assert "asok-oauth-twitch" not in caplog.text, "anyone can register that package"
    assert "canary" not in caplog.text


def test_a_missing_client_secret_is_an_error_at_start_up() -> None:
    with pytest.raises(SettingError, match="EXAMPLE_CLIENT_SECRET"):
        configured_providers({"example": named()}, read({}, {}), {"EXAMPLE_CLIENT_ID": "a"})
    public = {"AUTH": {"PROVIDERS": {"example": {"token_auth": "none"}}}}
    made = configured_providers({"example": named()}, read(public, {}), {"EXAMPLE_CLIENT_ID": "a"})
    assert made["example"].client().auth == "none"


def test_a_provider_without_an_identity_mapping_is_an_error() -> None:
    with pytest.raises(NotImplementedError, match="Plain"):
        Plain().identity(Claims({}), lambda url: None, ProviderAnswer(Claims({})))


@pytest.mark.requirement("SECURITY-15")
@pytest.mark.parametrize(
    ("email", "trusted"),
    [
        ("ada@example.com", True),
        ("ada@EXAMPLE.com", True),
        ("ada@sub.example.com", False),
        ("ada@badexample.com", False),
        ("ada@example.com.evil.example", False),
        ("example.com@evil.example", False),
        ("", False),
        (None, False),
    ],
)
def test_a_provider_is_trusted_only_for_the_domains_of_its_setting(email: str | None, trusted: bool) -> None:
    identity = Identity("https://login.example", "1", "example", email, True)
    made = named().configured({"trusted_email_domains": ["example.com", "example.org"]})
    assert made.trusted_for_email(identity) is trusted
    assert named().trusted_for_email(identity) is False
