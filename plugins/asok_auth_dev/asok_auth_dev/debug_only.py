"""The one rule of this distribution: it does nothing unless DEBUG is on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asok_auth_core.errors import PluginError

if TYPE_CHECKING:
    from asok_auth_core.settings import Settings


def require_debug(settings: Settings) -> None:
    """Raise PluginError unless DEBUG is on, which keeps the plugin out and says why."""
    if not settings.app.debug:
        raise PluginError(
            "asok-auth-dev shows everybody's mails and logs anybody in; it works only with DEBUG on. "
            "Uninstall it in production"
        )
