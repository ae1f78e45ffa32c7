"""The second factor: attempts, the challenge of a pending login, and enrolling."""

from __future__ import annotations

from collections.abc import Callable

from ..auth import Auth
from ..errors import CredentialRejected, LoginExpired, SecondFactorRequired
from ..paths import ACCOUNT_PATH, SECOND_FACTOR_PATH
from ..types import User
from ..web import WebRequest
from .factor_policy import enrolled_factors
from .login import amend_login, finish_login, pending_login
from .recent_login import require_login, require_recent_login
from .trusted_devices import FIELD, forget_devices, trust_device

ACCOUNT_ATTEMPTS = 10
CLIENT_ATTEMPTS = 300
"""More than an office behind one address logs in with; successes count too."""
ATTEMPT_WINDOW = 900
DAILY_ATTEMPTS = 100
"""As many wrong guesses in a row as NIST SP 800-63B-4, section 3.2.2, allows; here in a day."""
DAY = 86_400

Proof = Callable[[WebRequest, User], bool]
"""Says whether a second factor is proved: False, or CredentialRejected with what to tell the person."""


def complete_second_factor(auth: Auth, request: WebRequest, name: str, proof: Proof | None = None) -> str:
    """Check the second factor ``name`` and finish the pending login.

    ``proof`` says whether the factor is proved; by default the form in ``request`` does. Returns
    where to go next. Raises LoginExpired, RateLimited, CredentialRejected, LoginRejected.
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
    """Count and check one attempt of ``user`` at the factor ``name``, without logging anybody in.

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
    """Count one guess at the second factor ``name``, per account and per client. Raises RateLimited.

    Each factor has its own count, so guesses at one do not keep the account's owner from another.
    """
    auth.limits.hit_client("second-factor", request.client_ip, limit=CLIENT_ATTEMPTS, window=ATTEMPT_WINDOW)
    subject = f"{name}:{user.id}"
    auth.limits.hit("second-factor", subject, limit=ACCOUNT_ATTEMPTS, window=ATTEMPT_WINDOW)
    auth.limits.hit("second-factor:day", subject, limit=DAILY_ATTEMPTS, window=DAY)


def enrolling_user(auth: Auth, request: WebRequest) -> User:
    """Who may set up a second factor in this browser: who is logged in, or who must before that.

    The second is a pending login of somebody who has no factor yet; one who has must give it first.
    Raises LoginRequired or RecentLoginRequired without such a login, SecondFactorRequired.
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
    """``user`` has just proved the new factor ``name``: finish the login that waited for it, if any.

    Browsers that were trusted with another factor are not any more. Returns where to go next.
    Raises LoginExpired, LoginRejected.
    """
    auth.events.emit("second_factor.enrolled", user=user, method=name, client_ip=request.client_ip)
    forget_devices(auth, user, client_ip=request.client_ip)
    if request.user is not None:
        amend_login(request.session, "factor", name)
        return ACCOUNT_PATH
    pending, waiting = pending_login(auth, request)
    if str(waiting.id) != str(user.id):
        raise LoginExpired("This login has expired. Please start again.")
    return finish_login(auth, request, pending, user, name)


def factor_removed(auth: Auth, request: WebRequest, user: User, name: str) -> None:
    """``user`` has given up the factor ``name``; browsers that were trusted with it are not any more."""
    auth.events.emit("second_factor.disabled", user=user, method=name, client_ip=request.client_ip)
    forget_devices(auth, user, client_ip=request.client_ip)
