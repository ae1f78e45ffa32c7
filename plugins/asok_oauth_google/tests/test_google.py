from __future__ import annotations

import pytest
from asok_oauth_google import Google

from asok_auth_core.plugin import JSON, Identity
from asok_auth_core.testing import OpenIDProviderContract


class TestGoogle(OpenIDProviderContract):
    provider = Google()


@pytest.mark.parametrize(
    ("email", "claims", "trusted"),
    [
        ("ada@gmail.com", {}, True),
        ("Ada@GMAIL.com", {}, True),
        ("ada@corp.example", {"hd": "corp.example"}, True),
        ("ada@other.example", {"hd": "corp.example"}, False),
        ("ada@sub.corp.example", {"hd": "corp.example"}, False),
        ("ada@corp.example", {"hd": True}, False),
        ("ada@corp.example", {"hd": ["corp.example"]}, False),
        ("ada@corp.example", {}, False),
        ("ada@gmail.com.evil.example", {}, False),
        ("", {"hd": ""}, False),
        (None, {}, False),
    ],
)
@pytest.mark.requirement("SECURITY-15")
def test_it_is_trusted_only_where_google_is_the_authority(
    email: str | None, claims: dict[str, JSON], trusted: bool
) -> None:
    identity = Identity(Google.issuer, "1", "google", email, True, raw=claims)
    assert Google().trusted_for_email(identity) is trusted


def test_another_issuer_under_its_name_is_not_trusted() -> None:
    made = Google().configured({"issuer": "https://login.example"})
    assert not made.trusted_for_email(Identity(made.issuer, "1", "google", "ada@gmail.com", True))
