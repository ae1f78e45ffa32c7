"""Find the user that the request itself authenticates."""

from __future__ import annotations

import inspect

from ..auth import Auth
from ..errors import AuthError, TokenExpired
from ..types import Authentication
from ..web import WebRequest
from .plugin_faults import plugin_failed


def authenticate(auth: Auth, request: WebRequest) -> Authentication | None:
    """The proof that the first login method finds in ``request``, or None.

    Raises the AuthError of an invalid proof, TokenExpired for one that has expired, and PluginFailed if a
    method raises anything else or returns anything but a complete Authentication.
    """
    for method in auth.login_methods.values():
        try:
            proved = method.authenticate(request)
            if proved is None:
                continue
            _check(proved)
        except AuthError:
            raise
        except Exception as error:
            raise plugin_failed(auth, method, method.authenticate, error) from error
        if proved.expires_at is not None and proved.expires_at <= auth.clock():
            raise TokenExpired("This login has expired.")
        return proved
    return None


def needs_no_csrf_token(authentication: Authentication | None) -> bool:
    """True only if the login method says that no browser sends this proof by itself."""
    return authentication is not None and authentication.ambient is False


def _check(proved: object) -> None:
    """Raise TypeError unless a login method returned a complete Authentication."""
    if inspect.iscoroutine(proved):
        proved.close()
    if not isinstance(proved, Authentication):
        raise TypeError(
            f"It returned {type(proved).__name__}, not an Authentication or None. Return "
            "asok_auth_core.types.Authentication(user)."
        )
    if getattr(proved.user, "id", None) is None:
        raise TypeError("It returned an Authentication without a stored user.")
    ambient: object = proved.ambient
    if ambient is not True and ambient is not False:
        raise TypeError("It returned an Authentication whose ambient is neither True nor False.")
    scopes: object = proved.scopes
    if scopes is not None and not (
        isinstance(scopes, tuple) and all(isinstance(scope, str) for scope in scopes)
    ):
        raise TypeError(
            "It returned an Authentication whose scopes are neither None nor a tuple of patterns."
        )
    expires_at: object = proved.expires_at
    if expires_at is not None and (isinstance(expires_at, bool) or not isinstance(expires_at, int | float)):
        raise TypeError("It returned an Authentication whose expires_at is neither None nor a number.")
