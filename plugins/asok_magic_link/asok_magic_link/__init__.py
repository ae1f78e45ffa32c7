"""Log in with a link and a code sent by email."""

from __future__ import annotations

from collections.abc import Iterable

from asok_auth_core.plugin import Auth, LoginMethod, PluginManifest, hookimpl

from .method import MagicLinkMethod
from .settings import MagicLinkSettings

asok_auth_plugin = PluginManifest(
    api=">=1.0,<2", section="MAGIC_LINK", settings=MagicLinkSettings, sends_mail=True
)


@hookimpl
def asok_auth_login_methods(auth: Auth) -> Iterable[LoginMethod]:
    return [MagicLinkMethod(auth)]
