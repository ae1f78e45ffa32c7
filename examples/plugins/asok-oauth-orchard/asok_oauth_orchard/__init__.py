"""Log in with Orchard (OpenID Connect), a provider with Apple's oddities.

Apple works like this: the client secret is a token that the app signs with a key of its team, the answer comes as
a POST, and the user's name is a field of the first answer only.
"""

from __future__ import annotations

import json

from asok_auth_core.plugin import Claims, Fetch, Identity, OpenIDProvider, ProviderAnswer, hookimpl
from joserfc import jwt
from joserfc.jwk import ECKey

LIFETIME = 300


class Orchard(OpenIDProvider):
    name = "orchard"
    label = "Orchard"
    issuer = "https://orchard.example"
    scopes = ("openid", "email", "name")
    response_mode = "form_post"
    token_auth = "client_secret_post"
    team_id: str = ""
    key_id: str = ""
    private_key: str = ""
    """PEM; a setting, as the other two."""

    def client_secret_for(self, now: float) -> str:
        header = {"alg": "ES256", "kid": self.key_id}
        times = {"iat": int(now), "exp": int(now) + LIFETIME}
        claims = {"iss": self.team_id, "sub": self.client_id, "aud": self.issuer, **times}
        return jwt.encode(header, claims, ECKey.import_key(self.private_key))

    def identity(self, claims: Claims, fetch: Fetch, answer: ProviderAnswer) -> Identity:
        return Identity(
            issuer=self.issuer,
            subject=claims.subject("sub"),
            email=claims.text("email"),
            email_verified=claims.is_true("email_verified"),
            name=_name(answer.form.get("user", "")),
            raw=claims,
        )


def _name(sent: str) -> str | None:
    """The name in the field ``user``. The user can change it, so it is only shown."""
    try:
        match json.loads(sent):
            case {"name": {"firstName": str(first), "lastName": str(last)}}:
                return f"{first} {last}".strip() or None
    except (ValueError, RecursionError):
        pass
    return None


@hookimpl
def asok_auth_providers() -> list[OpenIDProvider]:
    return [Orchard()]
