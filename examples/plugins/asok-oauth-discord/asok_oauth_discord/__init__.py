"""Log in with Discord (OAuth 2.0)."""

from __future__ import annotations

from asok_auth_core.plugin import Claims, Fetch, Identity, OAuth2Provider, ProviderAnswer, hookimpl


class Discord(OAuth2Provider):
    name = "discord"
    label = "Discord"
    issuer = "https://discord.com"
    authorization_endpoint = "https://discord.com/oauth2/authorize"
    token_endpoint = "https://discord.com/api/oauth2/token"
    userinfo_endpoint = "https://discord.com/api/users/@me"
    scopes = ("identify", "email")

    def identity(self, claims: Claims, fetch: Fetch, answer: ProviderAnswer) -> Identity:
        return Identity(
            issuer=self.issuer,
            subject=claims.subject("id"),
            provider=self.name,
            email=claims.text("email"),
            email_verified=claims.is_true("verified"),
            name=claims.text("global_name") or claims.text("username"),
            raw=claims,
        )


@hookimpl
def asok_auth_providers() -> list[OAuth2Provider]:
    return [Discord()]
