"""Some steps need a login that is not long ago: a session left open must not be enough for them."""

from __future__ import annotations

from ..auth import Auth
from ..errors import LoginRequired, RecentLoginRequired
from ..types import User
from ..web import WebRequest
from .login import logged_in_at


def require_recent_login(auth: Auth, request: WebRequest) -> User:
    """Who is logged in, if that was within ``AUTH["RECENT_LOGIN"]``.

    Raises LoginRequired if nobody is; RecentLoginRequired if it was longer ago or nobody knows when
    (an API token does not log in, so it never passes).
    """
    user = request.user
    if user is None:
        raise LoginRequired("Please log in first.")
    at = logged_in_at(request)
    now = auth.clock()
    if at is None or not now - auth.settings.recent_login <= at <= now:
        auth.events.emit("recent_login.required", user=user, client_ip=request.client_ip)
        raise RecentLoginRequired("Please log in again: this step needs a login from the last few minutes.")
    return user
