"""Log in with the OpenID providers in ``AUTH["PROVIDERS"]`` (type ``oidc``)."""

from __future__ import annotations

from asok_auth_core.plugin import OpenIDProvider, Settings, hookimpl


@hookimpl
def asok_auth_providers(settings: Settings) -> list[OpenIDProvider]:
    return [
        OpenIDProvider.named(name, label=name.replace("-", " ").replace("_", " ").title())
        for name, options in settings.providers.items()
        if options.get("type") == "oidc"
    ]
