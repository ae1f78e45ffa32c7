"""Log in with Contoso (OpenID Connect), where each customer is a tenant.

Each tenant has an issuer of its own; Microsoft's identity platform works like this. ``AUTH["PROVIDERS"]["contoso"]["tenants"]`` lists the tenants whose
users may log in.
"""

from __future__ import annotations

from asok_auth_core.plugin import Claims, OpenIDProvider, hookimpl


class Contoso(OpenIDProvider):
    name = "contoso"
    label = "Contoso"
    issuer = "https://login.contoso.example/{tenantid}/v2.0"
    discovery_url = "https://login.contoso.example/common/v2.0/.well-known/openid-configuration"
    tenants: tuple[str, ...] = ()

    def accepts_issuer(self, issuer: str, claims: Claims) -> bool:
        tenant = claims.text("tid")
        return tenant in self.tenants and issuer == self.issuer.replace("{tenantid}", tenant)


@hookimpl
def asok_auth_providers() -> list[OpenIDProvider]:
    return [Contoso()]
