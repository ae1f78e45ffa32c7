"""The login pipeline, for every login method and for an app's own ``request.login(user)``.

A login has no lasting effect until it is complete: the account of a newcomer is created only after
``before_login`` admitted them, and everything else (the identity, the verified email, the session) is
stored by :func:`_settle`, after the second factor.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec
from msgspec.structs import asdict

from ..auth import Auth
from ..engine.encoding import b64url_encode
from ..engine.keys import handle_digest
from ..errors import LoginExpired, LoginRejected, SecondFactorRequired
from ..paths import ENROL_PATH, SECOND_FACTOR_PATH
from ..types import Identity, LoginAttempt, Newcomer, Proof, RedactedStruct, User
from ..web import WebRequest
from .accounts import open_account, settle_proof
from .epoch import epoch
from .factor_policy import enrolled_factors, second_factor_required
from .sessions import begin_session, end_session
from .trusted_devices import is_trusted

logger = logging.getLogger("asok_auth")

PENDING_COOKIE = "asok_auth_login"
PENDING_LIFETIME = 600


class _StoredIdentity(msgspec.Struct, frozen=True):
    """An identity without the provider's raw answer, which is not needed to link it."""

    issuer: str
    subject: str
    provider: str
    email: str | None
    email_verified: bool
    name: str | None
    picture: str | None


class PendingLogin(RedactedStruct, frozen=True):
    """A login whose first factor was verified. It grants nothing; it is kept in the StateStore."""

    shown = ("user_id", "method", "remember", "at", "is_new")

    user_id: str
    method: str
    email: str | None
    identity: _StoredIdentity | None
    next_url: str
    remember: bool
    at: float
    epoch: int
    is_new: bool
    """True if this login created the account."""

    @property
    def proof(self) -> Proof:
        """What the first factor proved."""
        stored = self.identity
        return Proof(self.method, self.email, None if stored is None else Identity(**asdict(stored)))


def complete_login(
    auth: Auth,
    request: WebRequest,
    user: User | Newcomer,
    proof: Proof,
    *,
    factors: Sequence[str] = (),
    remember: bool = False,
    next_url: str | None = None,
) -> str:
    """Log ``user`` in after the first factor gave ``proof``, and return the URL to go to next.

    Calls the ``before_login`` hooks, creates the account of a newcomer, requires the second factor if
    the user has one or must have one, then starts the session and notifies observers. ``factors`` names
    the second factors that the proof includes: a passkey with user verification is two factors, and no
    other one is asked for. The caller must have checked ``next_url``.

    Raises LoginRejected, StoreUnavailable, and SecondFactorRequired: the user is not logged in yet, and
    its ``location`` is the page on which to enter the second factor or set it up.
    """
    location = next_url or auth.settings.login_redirect
    _admit(auth, request, user, proof)
    is_new = False
    if isinstance(user, Newcomer):
        user, is_new = open_account(auth, request, user, proof)
        if not is_new:
            _admit(auth, request, user, proof)
    enrolled = bool(enrolled_factors(auth, user))
    trusted = enrolled and is_trusted(auth, request, user)
    if not (factors or trusted) and (enrolled or second_factor_required(auth, user)):
        identity = proof.identity
        pending = PendingLogin(
            str(user.id),
            proof.method,
            proof.email,
            None if identity is None else msgspec.convert(identity, _StoredIdentity, from_attributes=True),
            location,
            remember,
            auth.clock(),
            epoch(auth, str(user.id)),
            is_new,
        )
        _suspend(auth, request, pending)
        auth.events.emit(
            "login.second_factor_required",
            user=user,
            method=proof.method,
            client_ip=request.client_ip,
            enrolled=enrolled,
        )
        if enrolled:
            raise SecondFactorRequired("Your second factor is needed to log in.", SECOND_FACTOR_PATH)
        raise SecondFactorRequired("Your account needs a second factor before you can log in.", ENROL_PATH)
    given = factors or (("trusted_device",) if trusted else ())
    _settle(auth, request, user, proof, is_new=is_new, factors=given, remember=remember)
    return location


def pending_login(auth: Auth, request: WebRequest) -> tuple[PendingLogin, User]:
    """The login that this browser started and has not finished, and its user.

    Raises LoginExpired if there is none.
    """
    handle = request.cookies.get(PENDING_COOKIE)
    raw = auth.state.get(_pending_key(handle)) if handle else None
    pending = None if raw is None else msgspec.json.decode(raw, type=PendingLogin)
    user = None if pending is None else auth.users.by_id(pending.user_id)
    if pending is None or user is None or epoch(auth, pending.user_id) != pending.epoch:
        raise LoginExpired("This login has expired. Please start again.")
    return pending, user


def finish_login(auth: Auth, request: WebRequest, pending: PendingLogin, user: User, factor: str) -> str:
    """Finish a pending login of ``user`` after the second ``factor`` was verified.

    Returns the URL to go to next. Raises LoginExpired, for all but one of several concurrent callers
    too, and LoginRejected.
    """
    if not _drop_pending(auth, request):
        raise LoginExpired("This login was already completed. Please start again.")
    _admit(auth, request, user, pending.proof)
    _settle(
        auth,
        request,
        user,
        pending.proof,
        is_new=pending.is_new,
        factors=(factor,),
        remember=pending.remember,
    )
    if epoch(auth, pending.user_id) != pending.epoch:
        # All sessions were ended while this one began.
        end_session(auth, request)
        raise LoginExpired("This login has expired. Please start again.")
    return pending.next_url


def log_out(auth: Auth, request: WebRequest) -> str:
    """End the session and a login that this browser has not finished; return the URL to go to next."""
    user = request.user
    _drop_pending(auth, request)
    end_session(auth, request)
    auth.events.emit("logout", user=user, client_ip=request.client_ip)
    return auth.settings.logout_redirect


def _admit(auth: Auth, request: WebRequest, user: User | Newcomer, proof: Proof) -> None:
    """Raise LoginRejected, with an event, if this user may not log in now."""
    reason = None
    if not isinstance(user, Newcomer) and not auth.users.is_active(user):
        reason, plugin = "This account is disabled.", "asok_auth_core"
    else:
        attempt = LoginAttempt(user, proof.method, request.client_ip, auth.clock(), proof.identity)
        rejection = auth.plugins.before_login(attempt, on_error=_log_hook_error)
        if rejection is not None:
            plugin, reason = rejection
    if reason is not None:
        auth.events.emit(
            "login.rejected", user=user, method=proof.method, client_ip=request.client_ip, plugin=plugin
        )
        raise LoginRejected(reason)


def _suspend(auth: Auth, request: WebRequest, pending: PendingLogin) -> None:
    handle = b64url_encode(auth.random(32)).decode()
    auth.state.put(_pending_key(handle), msgspec.json.encode(pending), PENDING_LIFETIME)
    request.set_cookie(PENDING_COOKIE, handle, max_age=PENDING_LIFETIME, path="/")


def _drop_pending(auth: Auth, request: WebRequest) -> bool:
    """Void the login that this browser has not finished; of any number of callers, one gets True."""
    handle = request.cookies.get(PENDING_COOKIE)
    if handle is None:
        return False
    request.set_cookie(PENDING_COOKIE, "", max_age=0)
    return auth.state.take(_pending_key(handle)) is not None


def _settle(
    auth: Auth,
    request: WebRequest,
    user: User,
    proof: Proof,
    *,
    is_new: bool,
    factors: Sequence[str],
    remember: bool,
) -> None:
    """Store everything that a complete login leaves behind."""
    settle_proof(auth, request, user, proof, is_new=is_new)
    begin_session(auth, request, user, method=proof.method, factors=factors, remember=remember)
    auth.events.emit(
        "login.succeeded",
        user=user,
        method=proof.method,
        client_ip=request.client_ip,
        factor=factors[0] if factors else None,
    )


def _pending_key(handle: str) -> str:
    return f"login:{handle_digest(handle)}"


def _log_hook_error(plugin: str, error: Exception) -> None:
    logger.error("Plugin %r raised in asok_auth_before_login; the login is rejected.", plugin, exc_info=error)
