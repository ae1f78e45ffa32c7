"""Confirm it's you: the second factor instead of another login."""

from __future__ import annotations

from ..auth import Auth
from ..contracts import SecondFactor
from ..types import SessionRecord, User
from ..web import WebRequest
from .current_user import require_session_login
from .factor_policy import enrolled_factors
from .second_factor import check_second_factor
from .sessions import confirm_session


def confirming_user(auth: Auth, request: WebRequest) -> tuple[User, dict[str, SecondFactor]]:
    """The current user, and the second factors they can give, by name.

    There are none if they must log in again. Raises LoginRequired, PermissionDenied for an API token and
    during impersonation, and LoginRejected if no plugin can check the user's second factor.
    """
    user = require_session_login(request)
    return user, {} if request.session_record is None else enrolled_factors(auth, user)


def confirm_login(auth: Auth, request: WebRequest, record: SessionRecord, name: str) -> None:
    """Check the current user's second factor ``name``.

    Their login then counts as recent again. ``record`` is the session of this request. Raises as
    ``confirming_user`` does, RateLimited and CredentialRejected.
    """
    user, _ = confirming_user(auth, request)
    check_second_factor(auth, request, user, name)
    confirm_session(auth, record, name)
    auth.events.emit("recent_login.confirmed", user=user, method=name, client_ip=request.client_ip)
