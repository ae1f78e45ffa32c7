"""The login pipeline, for every login method and for an app's own ``request.login(user)``."""

from __future__ import annotations

import logging

import msgspec

from ..auth import Auth
from ..engine.email_address import same_account
from ..engine.encoding import b64url_encode
from ..engine.keys import handle_digest
from ..errors import (
    LoginExpired,
    LoginRejected,
    SecondFactorRequired,
)
from ..paths import ENROL_PATH, SECOND_FACTOR_PATH
from ..types import JSON, Identity, LoginAttempt, RedactedStruct, User
from ..web import Session, WebRequest
from .factor_policy import enrolled_factors, second_factor_required
from .generation import GENERATION, generation
from .trusted_devices import is_trusted
from .verified_emails import mark_email_verified

logger = logging.getLogger("asok_auth")

LOGIN_KEY = "asok_auth.login"
"""The session key under which the time and method of the login are stored."""

PENDING_COOKIE = "asok_auth_login"
PENDING_LIFETIME = 600


class PendingLogin(RedactedStruct, frozen=True):
    """A login whose first factor was verified. It grants nothing; it is kept in the StateStore."""

    shown = ("user_id", "method", "remember", "at")

    user_id: str
    method: str
    next_url: str
    remember: bool
    at: float


def complete_login(
    auth: Auth,
    request: WebRequest,
    user: User,
    *,
    method: str,
    identity: Identity | None = None,
    remember: bool = False,
    next_url: str | None = None,
) -> str:
    """Log ``user`` in after the first factor ``method``, and return the URL to go to next.

    Calls the ``before_login`` hooks, requires the second factor if the user has one or must have one,
    then gives the session a new id and notifies observers. The caller must have checked ``next_url``.

    Raises LoginRejected, StoreUnavailable, and SecondFactorRequired: the user is not logged in yet, and
    its ``location`` is the page on which to enter the second factor or set it up.
    """
    location = next_url or auth.settings.login_redirect
    _admit(auth, request, user, method, identity)
    own = auth.users.email_of(user)
    if own is not None and same_account(request.verified_email, own):
        mark_email_verified(auth, user, own)
    enrolled = bool(enrolled_factors(auth, user))
    trusted = enrolled and is_trusted(auth, request, user)
    if not trusted and (enrolled or second_factor_required(auth, user)):
        _suspend(auth, request, PendingLogin(str(user.id), method, location, remember, auth.clock()))
        auth.events.emit(
            "login.second_factor_required",
            user=user,
            method=method,
            client_ip=request.client_ip,
            enrolled=enrolled,
        )
        if enrolled:
            raise SecondFactorRequired("Your second factor is needed to log in.", SECOND_FACTOR_PATH)
        raise SecondFactorRequired("Your account needs a second factor before you can log in.", ENROL_PATH)
    factor = "trusted_device" if trusted else None
    _begin(auth, request, user, method, factor=factor, remember=remember)
    return location


def pending_login(auth: Auth, request: WebRequest) -> tuple[PendingLogin, User]:
    """The login that this browser started and has not finished, and its user.

    Raises LoginExpired if there is none.
    """
    handle = request.cookies.get(PENDING_COOKIE)
    raw = auth.state.get(_pending_key(handle)) if handle else None
    if raw is None:
        raise LoginExpired("This login has expired. Please start again.")
    pending = msgspec.json.decode(raw, type=PendingLogin)
    user = auth.users.by_id(pending.user_id)
    if user is None:
        raise LoginExpired("This login has expired. Please start again.")
    return pending, user


def log_out(auth: Auth, request: WebRequest) -> str:
    """End the session; return the URL to go to next."""
    user = request.user
    request.session.end()
    auth.events.emit("logout", user=user, client_ip=request.client_ip)
    return auth.settings.logout_redirect


def logged_in_at(request: WebRequest) -> float | None:
    """When ``request.user`` completed the login of this session (seconds since the epoch), or None."""
    record = request.session.get(LOGIN_KEY)
    if request.user is None or not isinstance(record, dict) or record.get("user") != str(request.user.id):
        return None
    at = record.get("at")
    return float(at) if isinstance(at, (int, float)) else None


def amend_login(session: Session, name: str, value: JSON) -> None:
    """Change one entry of the login record in ``session``, if it has one."""
    record = session.get(LOGIN_KEY)
    if isinstance(record, dict):
        session.set(LOGIN_KEY, {**record, name: value})


def _admit(auth: Auth, request: WebRequest, user: User, method: str, identity: Identity | None) -> None:
    """Raise LoginRejected, with an event, if this user may not log in now."""
    reason = None
    if not auth.users.is_active(user):
        reason, plugin = "This account is disabled.", "asok_auth_core"
    else:
        attempt = LoginAttempt(user, method, request.client_ip, auth.clock(), identity)
        rejection = auth.plugins.before_login(attempt, on_error=_log_hook_error)
        if rejection is not None:
            plugin, reason = rejection
    if reason is not None:
        auth.events.emit(
            "login.rejected", user=user, method=method, client_ip=request.client_ip, plugin=plugin
        )
        raise LoginRejected(reason)


def _suspend(auth: Auth, request: WebRequest, pending: PendingLogin) -> None:
    handle = b64url_encode(auth.random(32)).decode()
    auth.state.put(_pending_key(handle), msgspec.json.encode(pending), PENDING_LIFETIME)
    request.set_cookie(PENDING_COOKIE, handle, max_age=PENDING_LIFETIME, path="/")


def finish_login(auth: Auth, request: WebRequest, pending: PendingLogin, user: User, factor: str) -> str:
    """Finish a pending login of ``user`` after the second ``factor`` was verified.

    Returns the URL to go to next. Raises LoginExpired, for all but one of several concurrent callers
    too, and LoginRejected.
    """
    if auth.state.take(_pending_key(request.cookies[PENDING_COOKIE])) is None:
        raise LoginExpired("This login was already completed. Please start again.")
    request.set_cookie(PENDING_COOKIE, "", max_age=0)
    _admit(auth, request, user, pending.method, None)
    _begin(auth, request, user, pending.method, factor=factor, remember=pending.remember)
    return pending.next_url


def _begin(
    auth: Auth, request: WebRequest, user: User, method: str, *, factor: str | None, remember: bool
) -> None:
    request.session.begin(user, remember=remember)
    record: dict[str, JSON] = {"user": str(user.id), "at": auth.clock(), "method": method, "factor": factor}
    if number := generation(auth, str(user.id)):
        record[GENERATION] = number
    request.session.set(LOGIN_KEY, record)
    auth.events.emit("login.succeeded", user=user, method=method, client_ip=request.client_ip, factor=factor)


def _pending_key(handle: str) -> str:
    return f"login:{handle_digest(handle)}"


def _log_hook_error(plugin: str, error: Exception) -> None:
    logger.error("Plugin %r raised in asok_auth_before_login; the login is rejected.", plugin, exc_info=error)
