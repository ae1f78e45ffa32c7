"""Development tools: a mail server, a mailbox page and local providers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from asok_auth_core.plugin import Auth, MailTransport, PluginManifest, Route, Settings, hookimpl

from .debug_only import require_debug
from .mailbox import MailboxPages
from .settings import DevSettings
from .smtp_server import development_transport

asok_auth_plugin = PluginManifest(api=">=1.0,<2", section="DEV", settings=DevSettings)


@hookimpl
def asok_auth_mail_transports(settings: Settings) -> Mapping[str, Callable[[], MailTransport]]:
    require_debug(settings)
    return {"dev": lambda: development_transport(settings)}


@hookimpl
def asok_auth_routes(auth: Auth) -> Iterable[Route]:
    # Not called outside DEBUG: the plugin is quarantined before.
    return MailboxPages(auth).routes()
