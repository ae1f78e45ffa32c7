"""Require a recent login, for steps too sensitive for an unattended session."""

from __future__ import annotations

from ..auth import Auth
from ..errors import RecentLoginRequired
from ..types import SessionRecord, User
from ..web import WebRequest
from .current_user import logged_in_at, require_session_login
from .factor_policy import factor_names


def require_recent_login(auth: Auth, request: WebRequest) -> User:
    """The current user, if they logged in to this session within ``AUTH["RECENT_LOGIN"]``.

    Raises LoginRequired and PermissionDenied as ``require_session_login`` does, and RecentLoginRequired if
    the login is older, its time is unknown, or it was completed with one factor and the user has a second
    one by now.
    """
    user = require_session_login(request)
    at, now = logged_in_at(request), auth.clock()
    recent = at is not None and now - auth.settings.recent_login <= at <= now
    if not recent or is_older_than_factor(auth, request.session_record, user):
        auth.events.emit("recent_login.required", user=user, client_ip=request.client_ip)
        raise RecentLoginRequired("Please log in again. This step requires a recent login.")
    return user


def is_older_than_factor(auth: Auth, record: SessionRecord | None, user: User) -> bool:
    """True for a session that was started with one factor, if its ``user`` has a second one by now."""
    return record is not None and not record.factors and bool(factor_names(auth, user).all)
