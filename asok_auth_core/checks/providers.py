"""Check that users can log in with the installed providers."""

from __future__ import annotations

from collections.abc import Iterator

from ..auth import Auth
from ..errors import OAuthError
from ..flows.provider_documents import ProviderDocuments
from ..http_client import Transport
from ..providers import OpenIDProvider
from ..types import Finding


def providers(auth: Auth) -> Iterator[Finding]:
    """Report missing credentials and unusable discovery documents."""
    transport = Transport(debug=auth.settings.app.debug)
    documents = ProviderDocuments(transport, auth.clock, debug=auth.settings.app.debug)
    try:
        for name, provider in sorted(auth.providers.items()):
            prefix = name.upper().replace("-", "_")
            if not provider.client_id:
                yield Finding(
                    "providers",
                    "warning",
                    f"{provider.label} ({name}) has no client id, so the login page shows no button for it.",
                    f"Set {prefix}_CLIENT_ID and {prefix}_CLIENT_SECRET in the environment, or uninstall it.",
                )
            elif isinstance(provider, OpenIDProvider):
                try:
                    documents.metadata(provider.issuer, provider.discovery_url)
                except OAuthError as error:
                    yield Finding(
                        "providers",
                        "error",
                        f"The discovery document of {provider.label} ({name}) at {provider.issuer} "
                        f"is unusable: {error.message}",
                        f'Check AUTH["PROVIDERS"]["{name}"]["issuer"], the network and the proxy.',
                    )
    finally:
        transport.close()
