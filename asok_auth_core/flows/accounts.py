"""Open the account of a newcomer, and store what a complete login proved about an account."""

from __future__ import annotations

from ..auth import Auth
from ..engine.email_address import same_account
from ..errors import AccountExists, LoginExpired
from ..types import Newcomer, Proof, User
from ..web import WebRequest
from .linking import account_for, link_proved
from .verified_emails import mark_email_verified


def open_account(auth: Auth, request: WebRequest, newcomer: Newcomer, proof: Proof) -> tuple[User, bool]:
    """The account of an admitted ``newcomer``, and True if this call created it.

    Raises OAuthError as ``account_for`` does, and LoginRejected if no account can be created.
    """
    try:
        user = auth.users.create(newcomer.email, newcomer.name)
    except AccountExists:
        # Another login with this email address was faster: look it up again.
        found = (
            auth.users.by_email(newcomer.email)
            if proof.identity is None
            else account_for(auth, proof.identity)
        )
        if found is None or isinstance(found, Newcomer):
            raise LoginExpired("This login was completed in another tab. Please start again.") from None
        return found, False
    auth.events.emit("account.created", user=user, method=proof.method, client_ip=request.client_ip)
    return user, True


def settle_proof(auth: Auth, request: WebRequest, user: User, proof: Proof, *, is_new: bool) -> None:
    """Store what the ``proof`` of a complete login says about ``user``.

    ``is_new``: this login created the account. Raises OAuthError if the identity cannot be linked.
    """
    own = auth.users.email_of(user)
    if own is not None and same_account(proof.email, own):
        mark_email_verified(auth, user, own)
    if proof.identity is not None:
        link_proved(auth, user, proof.identity)
