"""Start a second factor's challenge once per login, and again on request."""

from __future__ import annotations

from ..auth import Auth
from ..contracts import SecondFactor
from ..engine.keys import digest
from ..types import User
from ..web import WebRequest
from .login import PENDING_LIFETIME
from .plugin_faults import ask

ACCOUNT_STARTS = 10
CLIENT_STARTS = 100
START_WINDOW = 900
DAILY_STARTS = 50
"""Challenges of one factor per account: each may be a text message."""
DAY = 86_400


def begin_challenge(
    auth: Auth, request: WebRequest, user: User, factor: SecondFactor, handle: str, *, again: bool = False
) -> None:
    """Call ``factor.begin`` unless ``handle`` has; with ``again``, anyway.

    ``handle`` names what the challenge is for, a pending login or a confirmation in a session; the caller
    has checked that it is that of ``user``. Raises RateLimited, and what ``begin`` raises: then the next
    call tries again.
    """
    if not has_begin(factor):
        return
    key = f"challenge:{factor.name}:{digest(handle)}"
    if not auth.state.add(key, b"1", PENDING_LIFETIME) and not again:
        return
    try:
        name, subject = "second-factor-start", f"{factor.name}:{user.id}"
        auth.limits.hit_client(name, request.client_ip, limit=CLIENT_STARTS, window=START_WINDOW)
        auth.limits.hit(name, subject, limit=ACCOUNT_STARTS, window=START_WINDOW)
        auth.limits.hit(f"{name}:day", subject, limit=DAILY_STARTS, window=DAY)
        ask(auth, factor, factor.begin, request, user)
    except BaseException:
        auth.state.delete(key)
        raise


def has_begin(factor: SecondFactor) -> bool:
    """True if something is sent or made when the challenge of ``factor`` starts."""
    return type(factor).begin is not SecondFactor.begin
