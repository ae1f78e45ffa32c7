"""The current user, and whether they logged in to this session themselves."""

from __future__ import annotations

from ..errors import LoginRequired, PermissionDenied
from ..types import User
from ..web import WebRequest


def require_login(request: WebRequest) -> User:
    """The current user. Raises LoginRequired if no user is logged in.

    Raises the error itself if the proof in the request could not be checked, for example because a store
    or a signer is down: the proof may be valid.
    """
    user = request.user
    if user is None:
        if request.rejected_proof is not None and request.rejected_proof.status == 503:
            raise request.rejected_proof
        raise LoginRequired("Please log in first.")
    return user


def require_session_login(request: WebRequest) -> User:
    """The current user of this session's own login, for pages about the account.

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
    """True if an administrator, whose session it is, acts as the current user."""
    record, user = request.session_record, request.user
    return record is not None and user is not None and record.user_id != str(user.id)


def logged_in_at(request: WebRequest) -> float | None:
    """When ``request.user`` logged in to this session (epoch seconds), or None."""
    record = request.session_record
    return None if record is None or is_impersonated(request) else record.logged_in_at
