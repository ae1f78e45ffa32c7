"""Who may open an account, with any login method."""

from __future__ import annotations

from asok_auth_core.plugin import Auth, LoginAttempt, Newcomer, current_request

from .emails import is_reserved


def rejection(auth: Auth, attempt: LoginAttempt) -> str | None:
    """Why a newcomer may not open an account, or None."""
    if not isinstance(attempt.user, Newcomer):
        return None
    request = current_request(auth)
    if is_reserved(auth, attempt.user.email):
        return RESERVED if request is None else request.translate(RESERVED)
    return None


RESERVED = (
    "This email address was that of another account until recently, and that account can still have it back. "
    "Open the link in the email that said so, or try again later."
)
