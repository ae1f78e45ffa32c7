"""Keep the plugin from loading unless DEBUG is on."""

from __future__ import annotations

from asok_auth_core.plugin import ConfigurationError, Settings


def require_debug(settings: Settings) -> None:
    """Raise ConfigurationError unless DEBUG is on, which quarantines the plugin."""
    if not settings.app.debug:
        raise ConfigurationError(
            "asok-auth-dev shows all emails and lets anyone log in as any user, so it works only with DEBUG "
            "on. Uninstall it in production",
            code="plugin",
        )
