"""Require a login, or a recent one for steps too sensitive for an unattended session."""

from __future__ import annotations

from ..auth import Auth
from ..errors import LoginRequired, PermissionDenied, RecentLoginRequired
from ..types import User
from ..web import WebRequest
from .factor_index import kept_names


def require_login(request: WebRequest) -> User:
    """The current user. Raises LoginRequired if no user is logged in."""
    user = request.user
    if user is None:
        raise LoginRequired("Please log in first.")
    return user


def require_session_login(request: WebRequest) -> User:
    """The current user, who logged in to this session; for pages about the account itself.

    Raises LoginRequired; PermissionDenied for an API token or another proof in the request itself, and
    during impersonation: neither may read or change how the user logs in.
    """
    user = require_login(request)
    if request.authentication is not None:
        raise PermissionDenied("This page needs a login. An API token cannot open it.")
    if is_impersonated(request):
        raise PermissionDenied("This page is not available during impersonation.")
    return user


def is_impersonated(request: WebRequest) -> bool:
    """True if an administrator acts as the current user: the session is the administrator's."""
    record, user = request.session_record, request.user
    return record is not None and user is not None and record.user_id != str(user.id)


def require_recent_login(auth: Auth, request: WebRequest) -> User:
    """The current user, if they logged in to this session within ``AUTH["RECENT_LOGIN"]``.

    Raises LoginRequired and PermissionDenied as :func:`require_session_login` does, and
    RecentLoginRequired if the login is older, its time is unknown, or it was completed with one factor
    and the user has a second one by now.
    """
    user = require_session_login(request)
    at, now = logged_in_at(request), auth.clock()
    recent = at is not None and now - auth.settings.recent_login <= at <= now
    if not recent or _is_older_than_factor(auth, request, user):
        auth.events.emit("recent_login.required", user=user, client_ip=request.client_ip)
        raise RecentLoginRequired("Please log in again. This step requires a recent login.")
    return user


def _is_older_than_factor(auth: Auth, request: WebRequest, user: User) -> bool:
    record = request.session_record
    return record is not None and not record.factors and bool(kept_names(auth, str(user.id)))


def logged_in_at(request: WebRequest) -> float | None:
    """When ``request.user`` completed the login of this session (seconds since the epoch), or None."""
    record = request.session_record
    return None if record is None or is_impersonated(request) else record.logged_in_at
