"""Notices by mail and self-service for accounts."""

from __future__ import annotations

from asok_auth_core.plugin import Auth, Event, PluginManifest, hookimpl

from .notices import observe
from .settings import AccountSettings

asok_auth_plugin = PluginManifest(api=">=1.0,<2", section="ACCOUNT", settings=AccountSettings, required=True)


@hookimpl
def asok_auth_event(event: Event, auth: Auth) -> None:
    observe(auth, event)
