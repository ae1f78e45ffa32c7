"""Open a newcomer's account, store what a login proved, void an account."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..auth import Auth
from ..engine.email_address import same_account
from ..errors import AccountExists, LoginRejected, MailError
from ..types import JSON, Identity, Newcomer, OutgoingMail, Proof, User
from ..web import WebRequest
from .api_tokens import ApiTokens
from .factor_policy import void_factors
from .linking import account_for, check_link, link, void_identities
from .sessions import end_sessions
from .sign_up import keep_answers
from .trusted_devices import forget_devices
from .user_data import remove_rows
from .verified_emails import is_email_verified, mark_email_verified, void_emails

logger = logging.getLogger("asok_auth")


@dataclass(frozen=True, slots=True)
class Voided:
    """How many of each were removed, and what was done with the password."""

    sessions: int
    tokens: int
    identities: int
    browsers: int
    factors: int
    outcome: str
    """Of the password: ``cleared``, ``kept`` or ``none``."""


def open_account(
    auth: Auth,
    request: WebRequest,
    newcomer: Newcomer,
    proof: Proof,
    answers: Mapping[str, JSON] | None = None,
) -> tuple[User, bool]:
    """The account of an admitted ``newcomer``, and True if this call created it.

    ``answers`` are those to the sign-up steps, by step. Raises OAuthError as ``account_for`` does,
    LoginRejected if no account can be created, and what a step raises that cannot keep its answer.
    """
    before = auth.clock()
    try:
        user = auth.users.create(newcomer.email, newcomer.name)
    except AccountExists:
        # Another login with this email address was faster: look it up again.
        found = auth.users.by_email(newcomer.email) if proof.identity is None else account_for(auth, proof)
        if found is None or isinstance(found, Newcomer):
            raise LoginRejected(
                "An account with this email address exists, but you cannot log in to it. Please contact "
                "the administrators of {app}.",
                app=auth.settings.app_name,
            ) from None
        return found, False
    # An earlier account may have had this id and been deleted without a call of ours. Newer rows are those of
    # another login that has found this account meanwhile.
    remove_rows(auth, str(user.id), older_than=before)
    keep_answers(auth, user, answers or {})
    auth.events.emit("account.created", user=user, method=proof.method, client_ip=request.client_ip)
    return user, True


def newly_verifies(auth: Auth, user: User, proof: Proof) -> bool:
    """True if this login's ``proof`` is the first to verify the account's email."""
    return _unverified_email(auth, user, proof) is not None


def _unverified_email(auth: Auth, user: User, proof: Proof) -> str | None:
    """The account's email address, if ``proof`` verifies it and nothing did before."""
    own = auth.users.email_of(user)
    if own is None or not same_account(proof.verified_email, own) or is_email_verified(auth, user, own):
        return None
    return own


def settle_proof(
    auth: Auth,
    request: WebRequest,
    user: User,
    proof: Proof,
    *,
    since: int,
    is_new: bool,
    keep_factors: Collection[str],
) -> bool:
    """Store what a ``proof`` says about ``user``; True if the account was voided.

    ``since`` is the user's epoch when the login started. ``is_new``: this login created the account.
    ``keep_factors``: the second factors given in this login. Raises OAuthError if the identity cannot be
    linked and LoginExpired if another login voids the account at this moment, before anything is stored.
    """
    if proof.identity is not None:
        check_link(auth, user, proof, is_new=is_new)
    email = _unverified_email(auth, user, proof)
    voids = email is not None and not is_new
    if voids:
        # First: if it fails, the email address is not verified yet, so the next login does it again.
        void_account(
            auth, request, user, keep_identity=proof.identity, keep_factors=keep_factors, since=since
        )
    if email is not None:
        mark_email_verified(auth, user, email)
    if proof.identity is not None:
        link(auth, user, proof.identity)
    return voids


def void_account(
    auth: Auth,
    request: WebRequest,
    user: User,
    *,
    keep_identity: Identity | None = None,
    keep_factors: Collection[str] = (),
    since: int | None = None,
) -> Voided:
    """Remove everything set up in the account of ``user``, and tell the user.

    Sessions, logins in progress and mailed links, API tokens, identities, verified email addresses, trusted
    browsers, second factors (imported ones excepted), and the password of an account that is newer than the
    installation. ``since``: see ``raise_epoch``; of several logins that void the account at once, one wins.
    Safe to repeat after an error: raises StoreUnavailable, and what a factor raises.
    """
    # Sessions first, so that nothing can be added with them while the rest is removed.
    sessions = end_sessions(auth, user, since=since)
    tokens = ApiTokens(auth)
    voided = Voided(
        sessions=sessions,
        tokens=tokens.revoke_all(str(user.id)) if tokens.checked else 0,
        identities=void_identities(auth, user, keep=keep_identity),
        browsers=forget_devices(auth, user, client_ip=request.client_ip),
        factors=void_factors(auth, user, keep=keep_factors),
        outcome=_void_password(auth, user),
    )
    void_emails(auth, user)
    auth.events.emit(
        "account.voided",
        user=user,
        client_ip=request.client_ip,
        sessions=voided.sessions,
        tokens=voided.tokens,
        identities=voided.identities,
        browsers=voided.browsers,
        factors=voided.factors,
        password=voided.outcome,
    )
    _tell(auth, request, user, voided)
    return voided


def _void_password(auth: Auth, user: User) -> str:
    """Clear the password if the account is newer than the installation."""
    if not auth.users.has_password(user):
        return "none"
    highest = auth.installation().highest_user_id
    user_id = str(user.id)
    if highest is None or not user_id.isdecimal() or int(user_id) <= highest:
        return "kept"
    return "cleared" if auth.users.clear_password(user) is True else "kept"


def _tell(auth: Auth, request: WebRequest, user: User, voided: Voided) -> None:
    to = auth.users.email_of(user)
    removed = (voided.sessions, voided.tokens, voided.identities, voided.browsers, voided.factors)
    if to is None or not auth.outbox.can_send or (not any(removed) and voided.outcome == "none"):
        return
    app = auth.settings.app_name
    lines = [
        request.translate("This email address was verified for your account at {app}.", app=app),
        request.translate(
            "Everything set up in the account before that was removed, because someone else may have set "
            "it up: sessions, API tokens, linked logins, trusted browsers and second factors."
        ),
    ]
    if voided.outcome == "cleared":
        lines.append(
            request.translate("The account's password was removed too. Set a new one if you need one.")
        )
    if voided.outcome == "kept":
        lines.append(
            request.translate("The account's password still works. If you did not choose it, change it now.")
        )
    subject = " ".join(request.translate("Your account at {app}", app=app).split())
    try:
        auth.outbox.post(OutgoingMail(to, subject, "\n\n".join(lines) + "\n"))
    except MailError:
        logger.warning("The mail about a voided account could not be sent.", exc_info=True)
