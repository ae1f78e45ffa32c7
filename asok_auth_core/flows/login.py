"""The login pipeline, for login methods and for ``request.login(user)``.

A login has no lasting effect until it is complete: the account of a newcomer is created only after
``before_login`` admitted them, and everything else (the identity, the verified email, the session) is
stored by :func:`_settle`, after the second factor.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn, TypeVar

import msgspec

from ..auth import Auth
from ..engine.keys import digest, new_handle
from ..errors import (
    ConfigurationError,
    LoginExpired,
    LoginRejected,
    LoginUnfinished,
    SecondFactorRequired,
    StoreUnavailable,
)
from ..paths import ENROL_PATH, SECOND_FACTOR_PATH, SIGN_UP_PATH
from ..types import JSON, Newcomer, Proof, RedactedStruct, User
from ..web import WebRequest
from .accounts import newly_verifies, open_account, settle_proof
from .attempts import StoredIdentity, login_attempt, pending_cookie
from .epoch import epoch
from .factor_policy import backup_factors, enrolled_factors, second_factor_required
from .last_method import remember_method
from .linking import is_linked
from .receipts import (
    KeptReceipt,
    Receipt,
    find_receipt,
    keep_receipt,
    receipt_for,
    start_receipt,
    void_receipt,
)
from .sessions import abandon_session, begin_session, end_session, resume_session
from .sign_up import (
    SIGN_UP_LIFETIME,
    PendingSignUp,
    drop_sign_up,
    find_sign_up,
    keep_sign_up,
    next_step,
    take_sign_up,
)
from .trusted_devices import is_trusted
from .user_data import remove_rows

logger = logging.getLogger("asok_auth")

PENDING_LIFETIME = 600

T = TypeVar("T")


_SESSION, _PENDING = "session", "login"
"""The two handles that are derived from a receipt."""


class PendingLogin(RedactedStruct, frozen=True):
    """A login whose first factor was verified; it grants nothing yet."""

    shown = ("user_id", "method", "remember", "at", "is_new")

    user_id: str
    method: str
    email: str | None
    trusted: bool
    identity: StoredIdentity | None
    next_url: str
    remember: bool
    at: float
    epoch: int
    is_new: bool
    """True if this login created the account."""

    @property
    def proof(self) -> Proof:
        """What the first factor proved."""
        identity = None if self.identity is None else self.identity.identity
        return Proof(self.method, self.email, identity, trusted=self.trusted)


def complete_login(
    auth: Auth,
    request: WebRequest,
    user: User | Newcomer,
    proof: Proof,
    *,
    factors: Sequence[str] = (),
    remember: bool = False,
    next_url: str | None = None,
    receipt: Receipt | None = None,
    since: int | None = None,
) -> str:
    """Log ``user`` in after the first factor gave ``proof``; return the next URL.

    Calls the ``before_login`` hooks, asks a newcomer the app's questions and creates the account, requires
    the second factor if the user has one or must have one, then starts the session and notifies observers.
    ``factors`` names the app's second factors that the proof includes: a passkey with user verification is
    two factors, and no other one is asked for. The caller must have checked ``next_url``. ``receipt``: see
    :func:`log_in_once`. ``since`` is the epoch of ``user`` that the caller has read for the proof
    (:attr:`VerifiedEmail.epoch`), so that it is not read again.

    Raises LoginRejected, StoreUnavailable, and LoginUnfinished: the user is not logged in yet, and its
    ``location`` is the page to go on with. That is SecondFactorRequired if the second factor is to be
    entered or set up there.
    """
    location = next_url or auth.settings.login_redirect
    return _log_in(
        auth,
        request,
        user,
        proof,
        factors=factors,
        remember=remember,
        location=location,
        receipt=receipt,
        since=since,
    )


def _log_in(
    auth: Auth,
    request: WebRequest,
    user: User | Newcomer,
    proof: Proof,
    *,
    factors: Sequence[str],
    remember: bool,
    location: str,
    receipt: Receipt | None = None,
    answers: Mapping[str, JSON] | None = None,
    since: int | None = None,
) -> str:
    """See :func:`complete_login`. ``answers`` are those of a newcomer, by step."""
    factors = _included(auth, factors)
    is_new = False
    if isinstance(user, Newcomer):
        _admit(auth, request, user, proof)
        answered = answers or {}
        step = next_step(auth, login_attempt(auth, request, user, proof), answered)
        if step is not None:
            pending = PendingSignUp.of(
                user, proof, factors=factors, remember=remember, next_url=location, answers=answered
            )
            _ask_newcomer(auth, request, pending, step.name, receipt)
        user, is_new = open_account(auth, request, user, proof, answered)
        since = None  # the account may have been another's
    # Before it is admitted: what ends all logins of the account meanwhile, its deletion too, ends this one.
    since = epoch(auth, str(user.id)) if since is None else since
    if not is_new:
        _admit(auth, request, user, proof)
    enrolled = bool(enrolled_factors(auth, user))
    # A login that voids the account voids its trusted browsers too, so they do not count for it.
    trusted = enrolled and not newly_verifies(auth, user, proof) and is_trusted(auth, request, user)
    if not (factors or trusted) and (enrolled or second_factor_required(auth, user)):
        identity = proof.identity
        waiting = PendingLogin(
            str(user.id),
            proof.method,
            proof.email,
            proof.trusted,
            None if identity is None else StoredIdentity.of(identity),
            location,
            remember,
            auth.clock(),
            since,
            is_new,
        )
        _suspend(auth, request, waiting, receipt)
        auth.events.emit(
            "login.second_factor_required",
            user=user,
            method=proof.method,
            client_ip=request.client_ip,
            enrolled=enrolled,
        )
        page = SECOND_FACTOR_PATH if enrolled else ENROL_PATH
        if receipt is not None:
            keep_receipt(auth, receipt, session_id=None, location=page)
        if enrolled:
            raise SecondFactorRequired("Your second factor is needed to log in.", page)
        raise SecondFactorRequired("Your account needs a second factor before you can log in.", page)
    _drop_pending(auth, request)
    given = factors or (("trusted_device",) if trusted else ())
    session_id = _settle(
        auth,
        request,
        user,
        proof,
        since=since,
        is_new=is_new,
        factors=given,
        remember=remember,
        secret=None if receipt is None else receipt.handle(_SESSION),
    )
    if receipt is not None:
        keep_receipt(auth, receipt, session_id=session_id, location=location)
    return location


def log_in_once(
    auth: Auth,
    request: WebRequest,
    secret: str,
    consume: Callable[[], T],
    log_in: Callable[[T, Receipt | None], str],
    give_back: Callable[[T], None] | None = None,
) -> str:
    """Log in once with what ``consume`` returns for ``secret``; return the next URL.

    ``log_in`` hands its second argument to :func:`complete_login`. If this browser did the same in the last
    30 seconds, it gets the same login again, while that is in force: see :mod:`.receipts`. If a store fails
    and nobody is logged in, ``give_back`` makes the secret usable again. Raises what the functions raise;
    CredentialRejected if the secret was used.
    """

    def use(receipt: Receipt | None) -> str:
        consumed = consume()
        try:
            return log_in(consumed, receipt)
        except StoreUnavailable:
            if give_back is not None:
                give_back(consumed)
            raise

    receipt = receipt_for(auth, request, secret)
    if receipt is None:
        return use(None)
    if not start_receipt(auth, receipt):
        found = find_receipt(auth, receipt)
        location = None if found is None else _resume(auth, request, *found)
        return location or use(None)
    try:
        return use(receipt)
    except LoginUnfinished:
        raise
    except BaseException:
        void_receipt(auth, receipt)
        raise


def pending_login(auth: Auth, request: WebRequest) -> tuple[PendingLogin, User]:
    """The login that this browser started and has not finished, and its user.

    Raises LoginExpired if there is none.
    """
    found = _find_pending(auth, request.cookies.get(pending_cookie(request)))
    if found is None:
        raise LoginExpired("This login has expired. Please start again.")
    return found


def finish_login(
    auth: Auth,
    request: WebRequest,
    pending: PendingLogin,
    user: User,
    factor: str,
    *,
    is_enrolment: bool = False,
) -> str:
    """Finish a pending login of ``user`` after the second ``factor`` was verified.

    ``is_enrolment``: the factor was set up in this login, with its backups such as recovery codes. Returns
    the URL to go to next. Raises LoginExpired, for all but one of several concurrent callers too, and
    LoginRejected; StoreUnavailable, after which the login waits for a factor again.
    """
    if not _drop_pending(auth, request):
        raise LoginExpired("This login was already completed. Please start again.")
    try:
        _admit(auth, request, user, pending.proof)
        _settle(
            auth,
            request,
            user,
            pending.proof,
            since=pending.epoch,
            is_new=pending.is_new,
            factors=(factor,),
            backups=backup_factors(auth) if is_enrolment else (),
            remember=pending.remember,
        )
    except StoreUnavailable:
        _suspend(auth, request, pending, None)
        raise
    return pending.next_url


def answer_step(auth: Auth, request: WebRequest, name: str, answer: JSON) -> str:
    """Go on with this browser's sign-up after its newcomer took the step ``name``.

    The caller has checked that this is the step to take, and the ``answer``. Returns the URL to go to next.
    Raises what ``complete_login`` raises, and LoginExpired: for all but one of several concurrent callers,
    and if the newcomer has an account by now.
    """
    pending = take_sign_up(auth, request)
    newcomer, proof = pending.newcomer, pending.proof
    has_account = auth.users.by_email(newcomer.email) is not None
    if has_account or (proof.identity is not None and is_linked(auth, proof.identity)):
        raise LoginExpired("This login has expired. Please start again.")
    return _log_in(
        auth,
        request,
        newcomer,
        proof,
        factors=pending.factors,
        remember=pending.remember,
        location=pending.next_url,
        answers={**pending.answers, name: answer},
    )


def log_out(auth: Auth, request: WebRequest) -> str:
    """End the session and any pending login; return the URL to go to next."""
    user = request.user
    _drop_pending(auth, request)
    end_session(auth, request)
    auth.events.emit("logout", user=user, client_ip=request.client_ip)
    return auth.settings.logout_redirect


def _included(auth: Auth, factors: Sequence[str]) -> tuple[str, ...]:
    """``factors``, each a second factor of the app. Raises ConfigurationError."""
    names, known = tuple(factors), auth.second_factors
    if isinstance(factors, str) or any(name not in known for name in names):
        raise ConfigurationError(
            f"complete_login was called with factors={factors!r}. Pass a sequence of the names of second "
            f"factors that the proof includes; this app has {', '.join(sorted(known)) or 'none'}."
        )
    return names


def _admit(auth: Auth, request: WebRequest, user: User | Newcomer, proof: Proof) -> None:
    """Raise LoginRejected, with an event, if this user may not log in now."""
    reason = None
    if not isinstance(user, Newcomer) and not auth.users.is_active(user):
        reason, plugin = "This account is disabled.", "asok_auth_core"
    else:
        attempt = login_attempt(auth, request, user, proof)
        rejection = auth.plugins.before_login(attempt, on_error=_reject_or_raise)
        if rejection is not None:
            plugin, reason = rejection
    if reason is not None:
        auth.events.emit(
            "login.rejected", user=user, method=proof.method, client_ip=request.client_ip, plugin=plugin
        )
        raise LoginRejected(reason)


def _ask_newcomer(
    auth: Auth, request: WebRequest, pending: PendingSignUp, step: str, receipt: Receipt | None
) -> NoReturn:
    """Keep the sign-up until the newcomer takes ``step``; raise LoginUnfinished."""
    handle = new_handle(auth.random) if receipt is None else receipt.handle(_PENDING)
    keep_sign_up(auth, handle, pending)
    request.set_cookie(pending_cookie(request), handle, max_age=SIGN_UP_LIFETIME, path="/")
    auth.events.emit(
        "login.sign_up_step_required", method=pending.method, client_ip=request.client_ip, step=step
    )
    if receipt is not None:
        keep_receipt(auth, receipt, session_id=None, location=SIGN_UP_PATH)
    raise LoginUnfinished("Your account needs an answer from you before it can be opened.", SIGN_UP_PATH)


def _suspend(auth: Auth, request: WebRequest, pending: PendingLogin, receipt: Receipt | None) -> None:
    lifetime = int(pending.at + PENDING_LIFETIME - auth.clock())
    if lifetime < 1:
        return
    handle = new_handle(auth.random) if receipt is None else receipt.handle(_PENDING)
    auth.state.put(_pending_key(handle), msgspec.json.encode(pending), lifetime)
    request.set_cookie(pending_cookie(request), handle, max_age=lifetime, path="/")


def _resume(auth: Auth, request: WebRequest, receipt: Receipt, kept: KeptReceipt) -> str | None:
    """Give this browser the login of ``receipt`` again; None if that has ended."""
    if kept.session_id is not None:
        again = resume_session(auth, request, kept.session_id, receipt.handle(_SESSION))
    else:
        handle = receipt.handle(_PENDING)
        signs_up = find_sign_up(auth, handle) is not None
        again = signs_up or _find_pending(auth, handle) is not None
        if again:
            lifetime = SIGN_UP_LIFETIME if signs_up else PENDING_LIFETIME
            request.set_cookie(pending_cookie(request), handle, max_age=lifetime, path="/")
    return kept.location if again else None


def _find_pending(auth: Auth, handle: str | None) -> tuple[PendingLogin, User] | None:
    raw = auth.state.get(_pending_key(handle)) if handle else None
    pending = None if raw is None else msgspec.json.decode(raw, type=PendingLogin)
    user = None if pending is None else auth.users.by_id(pending.user_id)
    if pending is None or user is None or epoch(auth, pending.user_id) != pending.epoch:
        return None
    return pending, user


def _drop_pending(auth: Auth, request: WebRequest) -> bool:
    """Void this browser's pending login; one of several callers gets True."""
    handle = request.cookies.get(pending_cookie(request))
    if handle is None:
        return False
    request.set_cookie(pending_cookie(request), "", max_age=0)
    drop_sign_up(auth, handle)
    return auth.state.take(_pending_key(handle)) is not None


def _settle(
    auth: Auth,
    request: WebRequest,
    user: User,
    proof: Proof,
    *,
    since: int,
    is_new: bool,
    factors: Sequence[str],
    remember: bool,
    backups: Sequence[str] = (),
    secret: str | None = None,
) -> str:
    """Store what a complete login leaves behind; return the session's id.

    ``since`` is the user's epoch when the login started: if it was raised by another request meanwhile, the
    login is void. ``secret``: see ``begin_session``.
    """
    user_id = str(user.id)
    if epoch(auth, user_id) != since:
        raise LoginExpired("This login has expired. Please start again.")
    voided = settle_proof(
        auth, request, user, proof, since=since, is_new=is_new, keep_factors=(*factors, *backups)
    )
    record = begin_session(
        auth, request, user, method=proof.method, factors=factors, remember=remember, secret=secret
    )
    try:
        is_void = epoch(auth, user_id) != since + voided
    except StoreUnavailable:
        abandon_session(auth, request, record)
        raise
    if is_void:
        # All sessions were ended while this one started.
        end_session(auth, request, record)
        if auth.users.by_id(user_id) is None:
            remove_rows(auth, user_id)  # the account was deleted, and what was settled came after that
        raise LoginExpired("This login has expired. Please start again.")
    remember_method(auth, request, proof.method)
    auth.events.emit(
        "login.succeeded",
        user=user,
        method=proof.method,
        client_ip=request.client_ip,
        factor=factors[0] if factors else None,
    )
    return record.id


def _pending_key(handle: str) -> str:
    return f"login:{digest(handle)}"


def _reject_or_raise(plugin: str, error: Exception) -> None:
    """Log it: the login is rejected.

    Raises StoreUnavailable if the plugin did: the user may try again.
    """
    if isinstance(error, StoreUnavailable):
        raise error
    logger.error("Plugin %r raised in asok_auth_before_login; the login is rejected.", plugin, exc_info=error)
