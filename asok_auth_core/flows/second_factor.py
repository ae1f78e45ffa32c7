"""The second factor: attempts, the challenge of a pending login, and enrollment."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from ..auth import Auth
from ..contracts import SecondFactor
from ..errors import (
    ConfigurationError,
    CredentialRejected,
    LoginExpired,
    PermissionDenied,
    PluginFailed,
    SealError,
    SecondFactorRequired,
    StoreUnavailable,
)
from ..paths import ACCOUNT_PATH, ENROL_PATH, SECOND_FACTOR_PATH
from ..types import User
from ..web import WebRequest
from .epoch import raise_epoch
from .factor_policy import (
    available_factors,
    backup_factors,
    change_factor_names,
    enrolled_factors,
    factor_names,
    second_factor_required,
)
from .login import PendingLogin, finish_login, pending_login
from .plugin_faults import ask, verdict
from .recent_login import require_recent_login
from .recovery_codes import recovery_codes
from .sessions import add_factor
from .trusted_devices import FIELD, forget_devices, trust_device

logger = logging.getLogger("asok_auth")

ACCOUNT_ATTEMPTS = 10
CLIENT_ATTEMPTS = 300
"""More logins than an office behind one IP makes; successful attempts count too."""
ATTEMPT_WINDOW = 900
DAILY_ATTEMPTS = 100
"""The limit of NIST SP 800-63B-4, section 3.2.2, for consecutive failures; here per day."""
DAY = 86_400

FactorCheck = Callable[[WebRequest, User], bool]
"""Verifies a second factor: False or CredentialRejected (with a message for the user) rejects it."""


def complete_second_factor(
    auth: Auth, request: WebRequest, name: str, proof: FactorCheck | None = None
) -> str:
    """Check the second factor ``name`` and finish the pending login.

    ``proof`` verifies the factor; by default ``factor.verify`` does, with the form in ``request``.
    Returns the URL to go to next. Raises LoginExpired, RateLimited, CredentialRejected, LoginRejected.
    """
    pending, user = pending_login(auth, request)
    check_second_factor(auth, request, user, name, proof)
    location = finish_login(auth, request, pending, user, name)
    if request.form.get(FIELD) == "1":
        try:
            trust_device(auth, request, user)
        except StoreUnavailable:
            # The login is complete; the next one asks for the factor again.
            logger.warning("A browser could not be trusted.", exc_info=True)
    return location


def check_second_factor(
    auth: Auth, request: WebRequest, user: User, name: str, proof: FactorCheck | None = None
) -> None:
    """Count and check one attempt of ``user`` at a factor, without logging in.

    Raises RateLimited, CredentialRejected, and SealError if the key that the factor needs is missing.
    """
    names = factor_names(auth, user)
    factor = available_factors(auth, user, names).get(name)
    if factor is None:
        raise CredentialRejected("This second factor is not set up for your account.")
    count_factor_attempt(auth, request, user, name)
    try:
        if verdict(auth, factor, proof or factor.verify, request, user) is not True:
            raise CredentialRejected("The code is incorrect. Check it and try again.")
    except (CredentialRejected, PluginFailed, SealError) as error:
        if isinstance(error, SealError):
            logger.error("Cannot check the factor %r of user %s: %s", name, user.id, error.message)
        auth.events.emit("second_factor.failed", user=user, method=name, client_ip=request.client_ip)
        raise
    if names.confirmed:
        change_factor_names(auth, user, lambda kept: kept | names.confirmed)
    auth.events.emit("second_factor.succeeded", user=user, method=name, client_ip=request.client_ip)


def challenge_factors(auth: Auth, user: User) -> dict[str, SecondFactor]:
    """The factors that the user of a pending login can give, by name: at least one.

    Raises LoginRejected if none is available, SecondFactorRequired for a user who must set one up, and
    LoginExpired for one who no longer needs any.
    """
    factors = enrolled_factors(auth, user)
    if factors:
        return factors
    if second_factor_required(auth, user):
        raise SecondFactorRequired("Your account needs a second factor before you can log in.", ENROL_PATH)
    raise LoginExpired("This login has expired. Please start again.")


def count_factor_attempt(auth: Auth, request: WebRequest, user: User, name: str) -> None:
    """Count an attempt at a factor, per account and client. Raises RateLimited.

    Factors are counted separately, so guesses at one do not lock the account's owner out of another.
    """
    auth.limits.hit_client("second-factor", request.client_ip, limit=CLIENT_ATTEMPTS, window=ATTEMPT_WINDOW)
    subject = f"{name}:{user.id}"
    auth.limits.hit("second-factor", subject, limit=ACCOUNT_ATTEMPTS, window=ATTEMPT_WINDOW)
    auth.limits.hit("second-factor:day", subject, limit=DAILY_ATTEMPTS, window=DAY)


def enrolling_user(auth: Auth, request: WebRequest) -> User:
    """The user who may set up a second factor: pending or logged in.

    Raises SecondFactorRequired if the user of the pending login already has a factor, which must be
    given first; RecentLoginRequired if the current user's login is too old; LoginRequired without
    a login.
    """
    pending = waiting_login(auth, request)
    if pending is None:
        return require_recent_login(auth, request)
    user = pending[1]
    if enrolled_factors(auth, user):
        raise SecondFactorRequired("Your second factor is needed to log in.", SECOND_FACTOR_PATH)
    return user


def waiting_login(auth: Auth, request: WebRequest) -> tuple[PendingLogin, User] | None:
    """The pending login that a factor is given or set up for; None: current user.

    A browser's pending login is newer than its session, which may be another user's.
    """
    try:
        return pending_login(auth, request)
    except LoginExpired:
        return None


def complete_enrolment(auth: Auth, request: WebRequest, user: User, name: str) -> str:
    """Finish setting up the factor ``name``, which ``user`` just confirmed.

    Completes the login that waited for it, if any. Browsers trusted so far no longer are. Returns the
    URL to go to next.
    Raises LoginExpired, LoginRejected.
    """
    factor = auth.second_factors.get(name)
    if factor is None or factor.backup:
        raise ConfigurationError(f"{name!r} is not a second factor that completes an enrollment.")
    waiting = waiting_login(auth, request)
    current = request.user if waiting is None else waiting[1]
    if current is None or str(current.id) != str(user.id):
        raise LoginExpired("This login has expired. Please start again.")
    change_factor_names(auth, user, lambda kept: kept | {name})
    auth.events.emit("second_factor.enrolled", user=user, method=name, client_ip=request.client_ip)
    forget_devices(auth, user, client_ip=request.client_ip)
    if waiting is not None:
        return finish_login(auth, request, waiting[0], user, name, is_enrolment=True)
    if request.session_record is not None:
        add_factor(auth, request.session_record, name)
    return ACCOUNT_PATH


def import_factor(
    auth: Auth, user_id: str, name: str, store: Callable[[], None], *, backup_codes: Sequence[str] = ()
) -> None:
    """Import the factor ``name`` of a user from another system, by ``store``.

    ``backup_codes`` are hashes as in :class:`~asok_auth_core.contracts.FrameworkFactor`; they count as
    recovery codes. Raises what ``store`` raises. Run again, it completes an import that was interrupted.
    """
    # The factor is stored after its codes, because that marks the user as done.
    recovery_codes(auth).adopt(user_id, backup_codes)
    store()
    user = auth.users.by_id(user_id)
    if user is not None:
        change_factor_names(auth, user, lambda kept: kept | {name})
    auth.events.emit("second_factor.imported", user=user, method=name)


def remove_factor(auth: Auth, request: WebRequest, user: User, name: str) -> bool:
    """Remove the factor ``name`` of the current ``user``; False if there is none.

    Without another factor, backups such as recovery codes are removed too. Browsers trusted so far no
    longer are. Raises LoginRequired, RecentLoginRequired, and PermissionDenied if ``user`` is not the
    current user, could not log in without it, or must have a second factor and has no other.
    """
    if str(require_recent_login(auth, request).id) != str(user.id):
        raise PermissionDenied("You can remove only your own second factors.")
    required = second_factor_required(auth, user)

    def may_remove(left: frozenset[str]) -> None:
        if left & auth.second_factors.keys():
            return
        if left:
            raise PermissionDenied(
                "Your other second factor is not available at the moment. Without this one you could not log "
                "in."
            )
        if required:
            raise PermissionDenied(
                "Your account must have a second factor. Set up another one before you remove this one."
            )

    if not _remove(auth, user, {name}, may_remove):
        return False
    auth.events.emit("second_factor.disabled", user=user, method=name, client_ip=request.client_ip)
    forget_devices(auth, user, client_ip=request.client_ip)
    return True


def reset_factors(auth: Auth, user: User, name: str | None = None) -> frozenset[str]:
    """Remove second factors of ``user`` as an operator; return their names.

    ``name``: only that one. The data of a factor whose plugin is not loaded stays, and counts again once it
    is loaded.
    """
    names = factor_names(auth, user).all if name is None else {name}
    removed = _remove(auth, user, names, lambda left: None)
    for one in sorted(removed):
        auth.events.emit("second_factor.reset", user=user, method=one)
    forget_devices(auth, user)
    return removed


def _remove(
    auth: Auth, user: User, names: AbstractSet[str], check: Callable[[frozenset[str]], None]
) -> frozenset[str]:
    """Remove those of ``names`` that ``user`` has; ``check`` may raise to stop it.

    Logins in progress are void. ``check`` gets the names of the factors that are left.
    """
    known = factor_names(auth, user)
    backups = set(backup_factors(auth))
    removed = (known.all | backups) & names
    if not removed:
        return removed
    others = known.confirmed | known.doubtful

    def without(kept: frozenset[str]) -> frozenset[str]:
        left = (kept | others) - names
        check(left)
        return left & (kept | known.confirmed)

    # First the names, by compare and swap: of two concurrent removals, the second sees the first.
    left = change_factor_names(auth, user, without)
    raise_epoch(auth, str(user.id))
    for name, factor in auth.second_factors.items():
        if name in removed or (name in backups and not left):
            ask(auth, factor, factor.reset, user)
    return removed
