"""Run the provider's contract suite, and check what it posts and signs, offline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from asok_auth_core.testing import OAuthApp, OpenIDProviderContract
from joserfc import jwt
from joserfc.jwk import ECKey

from asok_oauth_orchard import Orchard

KEY = ECKey.generate_key("P-256")
NAMED = json.dumps({"name": {"firstName": "Ada", "lastName": "Lovelace"}})


class OfTeam(Orchard):
    team_id = "TEAM"
    key_id = "KEY"
    private_key = KEY.as_pem(private=True).decode()


class TestOrchard(OpenIDProviderContract):
    provider = OfTeam()
    form: ClassVar[Mapping[str, str]] = {"user": NAMED}


def app_of(root: Path) -> OAuthApp:
    return OAuthApp(OfTeam(), root, profile={"email": "ada@example.com", "email_verified": True})


def test_each_token_request_has_a_secret_of_its_own(tmp_path: Path) -> None:
    app = app_of(tmp_path)
    secrets = set()
    for _ in range(2):
        browser, _ = app.log_in()
        assert browser.user is not None
        [call] = [one for one in app.fake.calls if one.url == app.fake.token_endpoint][-1:]
        assert call.form is not None
        secret = call.form["client_secret"]
        token = jwt.decode(secret, KEY)
        assert token.header == {"typ": "JWT", "alg": "ES256", "kid": "KEY"}
        assert token.claims["aud"] == "https://orchard.example"
        assert token.claims["exp"] == int(app.clock()) + 300
        secrets.add(secret)
        app.clock.advance(60)
    assert len(secrets) == 2


@pytest.mark.parametrize(
    ("user", "name"),
    [
        (NAMED, "Ada Lovelace"),
        ("", None),
        ("{", None),
        ("[" * 10_000, None),
        ('{"name": "Ada"}', None),
        ('{"name": {"firstName": 7, "lastName": null}}', None),
    ],
)
def test_the_name_is_in_the_first_answer(tmp_path: Path, user: str, name: str | None) -> None:
    app = app_of(tmp_path)
    app.fake.answer["user"] = user
    browser, _ = app.log_in()
    assert getattr(browser.user, "name", None) == name
