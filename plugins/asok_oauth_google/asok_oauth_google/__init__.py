"""Log in with Google (OpenID Connect)."""

from asok_auth_core.plugin import Identity, OpenIDProvider, hookimpl


class Google(OpenIDProvider):
    name = "google"
    label = "Google"
    issuer = "https://accounts.google.com"

    def trusted_for_email(self, identity: Identity) -> bool:
        # Google is the authority for gmail.com and for the domains of its customers (the claim hd). Any other
        # address was verified once, by mail, and may belong to another user by now.
        domain = (identity.email or "").rpartition("@")[2].lower()
        own = self.issuer == Google.issuer and domain in ("gmail.com", identity.raw.get("hd"))
        return (own and domain != "") or super().trusted_for_email(identity)


@hookimpl
def asok_auth_providers() -> list[OpenIDProvider]:
    return [Google()]
