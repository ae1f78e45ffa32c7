"""Log in with Google (OpenID Connect)."""

from __future__ import annotations

from asok_auth_core import OpenIDProvider, hookimpl


class Google(OpenIDProvider):
    name = "google"
    label = "Google"
    issuer = "https://accounts.google.com"


@hookimpl
def asok_auth_providers() -> list[OpenIDProvider]:
    return [Google()]
