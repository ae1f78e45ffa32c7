"""Which login method this browser used last, so that the login page can say so.

Only a hint: nothing depends on this cookie, and it says nothing of the user.
"""

from __future__ import annotations

from ..auth import Auth
from ..web import WebRequest

COOKIE = "asok_auth_last"
LIFETIME = 365 * 86_400


def remember_method(auth: Auth, request: WebRequest, name: str) -> None:
    """Keep in this browser that its user logged in with the method ``name``."""
    if _is_offered(auth, name):
        request.set_cookie(COOKIE, name, max_age=LIFETIME)


def last_method(auth: Auth, request: WebRequest) -> str | None:
    """The login method or provider that was used last, if the app has it."""
    name = request.cookies.get(COOKIE)
    return name if name is not None and _is_offered(auth, name) else None


def _is_offered(auth: Auth, name: str) -> bool:
    return name in auth.login_methods or name in auth.providers
