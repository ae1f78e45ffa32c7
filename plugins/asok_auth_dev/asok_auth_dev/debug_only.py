"""Keep the plugin from loading unless DEBUG is on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asok_auth_core.errors import ConfigurationError

if TYPE_CHECKING:
    from asok_auth_core.settings import Settings


def require_debug(settings: Settings) -> None:
    """Raise ConfigurationError unless DEBUG is on; the core then quarantines the plugin."""
    if not settings.app.debug:
        raise ConfigurationError(
            "asok-auth-dev shows all emails and lets anyone log in as any user, so it works only with DEBUG "
            "on. Uninstall it in production",
            code="plugin",
        )
