"""The second factor: attempts, the challenge of a pending login, and enrollment."""

from __future__ import annotations

from collections.abc import Callable

from ..auth import Auth
from ..errors import CredentialRejected, LoginExpired, SecondFactorRequired
from ..paths import ACCOUNT_PATH, SECOND_FACTOR_PATH
from ..types import User
from ..web import WebRequest
from .factor_policy import enrolled_factors
from .login import finish_login, pending_login
from .recent_login import require_login, require_recent_login
from .sessions import add_factor
from .trusted_devices import FIELD, forget_devices, trust_device

ACCOUNT_ATTEMPTS = 10
CLIENT_ATTEMPTS = 300
"""More logins than an office behind one IP makes; successful attempts count too."""
ATTEMPT_WINDOW = 900
DAILY_ATTEMPTS = 100
"""The limit of NIST SP 800-63B-4, section 3.2.2, for consecutive failures; here per day."""
DAY = 86_400

Proof = Callable[[WebRequest, User], bool]
"""Verifies a second factor: False or CredentialRejected (with a message for the user) rejects it."""


def complete_second_factor(auth: Auth, request: WebRequest, name: str, proof: Proof | None = None) -> str:
    """Check the second factor ``name`` and finish the pending login.

    ``proof`` verifies the factor; by default ``factor.verify`` does, with the form in ``request``.
    Returns the URL to go to next. Raises LoginExpired, RateLimited, CredentialRejected, LoginRejected.
    """
    pending, user = pending_login(auth, request)
    check_second_factor(auth, request, user, name, proof)
    location = finish_login(auth, request, pending, user, name)
    if request.form.get(FIELD) == "1":
        trust_device(auth, request, user)
    return location


def check_second_factor(
    auth: Auth, request: WebRequest, user: User, name: str, proof: Proof | None = None
) -> None:
    """Count and check one attempt of ``user`` at the factor ``name``, without logging the user in.

    Raises RateLimited, CredentialRejected.
    """
    factor = enrolled_factors(auth, user).get(name)
    if factor is None:
        raise CredentialRejected("This second factor is not set up for your account.")
    count_factor_attempt(auth, request, user, name)
    try:
        if not (proof or factor.verify)(request, user):
            raise CredentialRejected("The code is incorrect. Check it and try again.")
    except CredentialRejected:
        auth.events.emit("second_factor.failed", user=user, method=name, client_ip=request.client_ip)
        raise
    auth.events.emit("second_factor.succeeded", user=user, method=name, client_ip=request.client_ip)


def count_factor_attempt(auth: Auth, request: WebRequest, user: User, name: str) -> None:
    """Count one attempt at the factor ``name``, per account and client. Raises RateLimited.

    Factors are counted separately, so guesses at one do not lock the account's owner out of another.
    """
    auth.limits.hit_client("second-factor", request.client_ip, limit=CLIENT_ATTEMPTS, window=ATTEMPT_WINDOW)
    subject = f"{name}:{user.id}"
    auth.limits.hit("second-factor", subject, limit=ACCOUNT_ATTEMPTS, window=ATTEMPT_WINDOW)
    auth.limits.hit("second-factor:day", subject, limit=DAILY_ATTEMPTS, window=DAY)


def enrolling_user(auth: Auth, request: WebRequest) -> User:
    """The user who may set up a second factor: the current user, or that of a pending login.

    Raises SecondFactorRequired if the user of the pending login already has a factor, which must be
    given first; RecentLoginRequired if the current user's login is too old; LoginRequired without
    a login.
    """
    if request.user is not None:
        return require_recent_login(auth, request)
    try:
        _, user = pending_login(auth, request)
    except LoginExpired:
        return require_login(request)  # raises LoginRequired
    if enrolled_factors(auth, user):
        raise SecondFactorRequired("Your second factor is needed to log in.", SECOND_FACTOR_PATH)
    return user


def complete_enrolment(auth: Auth, request: WebRequest, user: User, name: str) -> str:
    """Finish setting up the factor ``name``, which ``user`` just confirmed.

    Completes the login that waited for it, if any. Browsers trusted so far no longer are. Returns the
    URL to go to next.
    Raises LoginExpired, LoginRejected.
    """
    auth.events.emit("second_factor.enrolled", user=user, method=name, client_ip=request.client_ip)
    forget_devices(auth, user, client_ip=request.client_ip)
    if request.user is not None:
        if request.session_record is not None:
            add_factor(auth, request.session_record, name)
        return ACCOUNT_PATH
    pending, waiting = pending_login(auth, request)
    if str(waiting.id) != str(user.id):
        raise LoginExpired("This login has expired. Please start again.")
    return finish_login(auth, request, pending, user, name)


def factor_removed(auth: Auth, request: WebRequest, user: User, name: str) -> None:
    """Record that ``user`` removed the factor ``name``; browsers trusted so far no longer are."""
    auth.events.emit("second_factor.disabled", user=user, method=name, client_ip=request.client_ip)
    forget_devices(auth, user, client_ip=request.client_ip)
