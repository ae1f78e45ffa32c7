"""Authentication for the Asok web framework; every login method is a plugin.

What an app imports. A plugin imports :mod:`asok_auth_core.plugin`, a test :mod:`asok_auth_core.testing`.
The names below are loaded when they are first used, so that the engine can be imported without a web
framework.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .adapters.asok import AuthExtension as AuthExtension
    from .adapters.asok.decorators import requires as requires
    from .adapters.asok.decorators import requires_recent_login as requires_recent_login

__version__ = "0.1.0"

_HOMES = {
    "AuthExtension": "adapters.asok",
    "requires": "adapters.asok.decorators",
    "requires_recent_login": "adapters.asok.decorators",
}

__all__ = sorted(["__version__", *_HOMES])


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
