"""Require a recent login, for steps too sensitive for an unattended session."""

from __future__ import annotations

from ..auth import Auth
from ..errors import RecentLoginRequired
from ..types import SessionRecord, User
from ..web import WebRequest
from .current_user import logged_in_at, require_session_login
from .factor_policy import factor_names


def require_recent_login(auth: Auth, request: WebRequest) -> User:
    """The current user, if the login is within ``AUTH["RECENT_LOGIN"]`` seconds.

    A second factor given again, on the page that asks "Confirm it's you", counts as a login.

    Raises LoginRequired and PermissionDenied as ``require_session_login`` does, and RecentLoginRequired if
    the login is older, its time is unknown, or it was completed with one factor and the user has a second
    one by now.
    """
    user = require_session_login(request)
    if not is_recent(auth, request, user):
        auth.events.emit("recent_login.required", user=user, client_ip=request.client_ip)
        raise RecentLoginRequired("Please log in again. This step requires a recent login.")
    return user


def is_recent(auth: Auth, request: WebRequest, user: User) -> bool:
    """True if ``user`` logged in or confirmed it in this session a short time ago."""
    at, now, record = logged_in_at(request), auth.clock(), request.session_record
    if at is None or record is None or is_older_than_factor(auth, record, user):
        return False
    return now - auth.settings.recent_login <= max(at, record.confirmed_at) <= now


def is_older_than_factor(auth: Auth, record: SessionRecord | None, user: User) -> bool:
    """True if the session has one factor, and its ``user`` has a second by now."""
    return record is not None and not record.factors and bool(factor_names(auth, user).all)
