"""Authentication for the Asok web framework; every login method is a plugin.

The public names below are loaded when they are first used, so that the engine can be imported
without a web framework.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .adapters.asok import AuthExtension as AuthExtension
    from .adapters.asok.decorators import requires as requires
    from .adapters.asok.decorators import requires_recent_login as requires_recent_login
    from .contracts import LoginMethod as LoginMethod
    from .contracts import MailTransport as MailTransport
    from .contracts import SecondFactor as SecondFactor
    from .contracts import Signer as Signer
    from .contracts import StateStore as StateStore
    from .engine.message import Claims as Claims
    from .engine.permissions import compile_grants as compile_grants
    from .hookspecs import PluginManifest as PluginManifest
    from .hookspecs import hookimpl as hookimpl
    from .providers import Fetch as Fetch
    from .providers import OAuth2Provider as OAuth2Provider
    from .providers import OpenIDProvider as OpenIDProvider
    from .settings import Settings as Settings
    from .types import Authentication as Authentication
    from .types import Event as Event
    from .types import Finding as Finding
    from .types import Grant as Grant
    from .types import Identity as Identity
    from .types import Newcomer as Newcomer
    from .types import Proof as Proof
    from .types import StateOperation as StateOperation

__version__ = "0.1.0"

_HOMES = {
    "AuthExtension": "adapters.asok",
    "Authentication": "types",
    "Claims": "engine.message",
    "Event": "types",
    "Fetch": "providers",
    "Finding": "types",
    "Grant": "types",
    "Identity": "types",
    "LoginMethod": "contracts",
    "MailTransport": "contracts",
    "Newcomer": "types",
    "OAuth2Provider": "providers",
    "OpenIDProvider": "providers",
    "PluginManifest": "hookspecs",
    "Proof": "types",
    "SecondFactor": "contracts",
    "Settings": "settings",
    "Signer": "contracts",
    "StateOperation": "types",
    "StateStore": "contracts",
    "compile_grants": "engine.permissions",
    "hookimpl": "hookspecs",
    "requires": "adapters.asok.decorators",
    "requires_recent_login": "adapters.asok.decorators",
}

__all__ = sorted(["__version__", *_HOMES])


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
