"""From a request, or from nothing, to the extension whose app it belongs to."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from asok.request import Request

if TYPE_CHECKING:
    from .extension import AuthExtension

ATTRIBUTE = "_asok_auth_extension"

IMPERSONATOR_KEY = "impersonator_id"
"""Where Asok's Admin keeps in the session who acts as its user."""

_registered: list[weakref.ref[AuthExtension]] = []


def app_auth_of(request: Request) -> AuthExtension | None:
    """The extension of the app that handles ``request``, or None."""
    return getattr(request.environ.get("asok.app"), ATTRIBUTE, None)


def remember(extension: AuthExtension) -> None:
    """Note an extension, for what runs outside of a request."""
    _registered[:] = [known for known in _registered if known() is not None]
    _registered.append(weakref.ref(extension))


def latest() -> AuthExtension | None:
    """The extension that was registered last: a process that works outside of requests has one app."""
    return next((found for known in reversed(_registered) if (found := known()) is not None), None)
