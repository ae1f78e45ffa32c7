"""Checked by mypy, never run: ``auth.api`` returns the class it is asked for."""

from asok_totp.api import TotpApi
from typing_extensions import assert_type

from asok_auth_core.plugin import Auth, OAuthApi, TokenApi


def apis(auth: Auth) -> None:
    assert_type(auth.api(TokenApi), TokenApi)
    assert_type(auth.api(OAuthApi), OAuthApi)
    assert_type(auth.api(TotpApi), TotpApi)
    auth.api(TokenApi).no_such_method()  # type: ignore[attr-defined]
