"""Require a login, or a recent one for steps too sensitive for an unattended session."""

from __future__ import annotations

from ..auth import Auth
from ..errors import LoginRequired, RecentLoginRequired
from ..types import User
from ..web import WebRequest


def require_login(request: WebRequest) -> User:
    """The current user. Raises LoginRequired if no user is logged in."""
    user = request.user
    if user is None:
        raise LoginRequired("Please log in first.")
    return user


def require_recent_login(auth: Auth, request: WebRequest) -> User:
    """The current user, if they logged in within ``AUTH["RECENT_LOGIN"]``.

    Raises LoginRequired, and RecentLoginRequired if the login is older or its time is unknown.
    An API token never passes, because it is not a login.
    """
    user = require_login(request)
    at = logged_in_at(request)
    now = auth.clock()
    if at is None or not now - auth.settings.recent_login <= at <= now:
        auth.events.emit("recent_login.required", user=user, client_ip=request.client_ip)
        raise RecentLoginRequired("Please log in again. This step requires a recent login.")
    return user


def logged_in_at(request: WebRequest) -> float | None:
    """When ``request.user`` completed the login of this session (seconds since the epoch), or None."""
    record, user = request.session_record, request.user
    if record is None or user is None or record.user_id != str(user.id):
        return None
    return record.logged_in_at
