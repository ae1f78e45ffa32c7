"""Log in with GitHub (OAuth 2.0)."""

from __future__ import annotations

from asok_auth_core.plugin import Claims, Fetch, Identity, OAuth2Provider, ProviderAnswer, hookimpl


class GitHub(OAuth2Provider):
    name = "github"
    label = "GitHub"
    issuer = "https://github.com/login/oauth"
    authorization_endpoint = "https://github.com/login/oauth/authorize"
    token_endpoint = "https://github.com/login/oauth/access_token"  # noqa: S105 - an address
    userinfo_endpoint = "https://api.github.com/user"
    emails_endpoint = "https://api.github.com/user/emails"
    scopes = ("read:user", "user:email")

    def identity(self, claims: Claims, fetch: Fetch, answer: ProviderAnswer) -> Identity:
        # The profile has only the public email, which is often null and never marked as verified.
        emails = Claims.each(fetch(self.emails_endpoint))
        primary = next((one for one in emails if one.is_true("primary")), Claims({}))
        return Identity(
            issuer=self.issuer,
            subject=claims.subject("id"),
            email=primary.text("email"),
            email_verified=primary.is_true("verified"),
            name=claims.text("name") or claims.text("login"),
            picture=claims.text("avatar_url"),
            raw=claims,
        )

    def trusted_for_email(self, identity: Identity) -> bool:
        # It is the primary address, which GitHub verifies by mail and uses itself. An Enterprise Server's
        # administrators can set any address.
        return self.issuer == GitHub.issuer or super().trusted_for_email(identity)


@hookimpl
def asok_auth_providers() -> list[OAuth2Provider]:
    return [GitHub()]
