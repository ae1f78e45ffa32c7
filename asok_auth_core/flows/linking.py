"""Find the account of an identity; link and unlink identities.

An identity is keyed by (issuer, subject). It is linked to an existing account by email
address only if both the provider and the account verified that address.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress

import msgspec

from ..auth import Auth
from ..engine.email_address import account_key, parse_email, same_account
from ..errors import CredentialExists, EmailInvalid, OAuthError
from ..types import JSON, Credential, Identity, Newcomer, User
from .verified_emails import is_email_verified

KIND = "identity"


class LinkedIdentity(msgspec.Struct, frozen=True):
    """An identity of an account, for its account page. ``id`` is the credential's id."""

    id: str
    provider: str
    label: str
    address: str | None
    since: float
    last_used_at: float | None


def identity_key(issuer: str, subject: str) -> str:
    """The credential's identifier: a digest, so that no database folds case or trims a subject."""
    return hashlib.sha256(json.dumps([issuer, subject]).encode()).hexdigest()


def account_for(auth: Auth, identity: Identity) -> User | Newcomer:
    """The account that ``identity`` logs in to, or the newcomer to open one for. Stores nothing.

    Raises OAuthError: ``oauth_address_unproved`` without an email address the provider verified,
    ``oauth_link_required`` if an account has that email address and never verified it.
    """
    user = _owner(auth, identity)
    if user is not None:
        return user
    email = _address(identity)
    if email is None or identity.email_verified is not True:
        # The same message whether or not an account has this email address: it must not reveal which do.
        raise OAuthError(
            "The provider did not send a verified email address. Verify it there, or log in another way and "
            "link the provider on your account page.",
            code="oauth_address_unproved",
        )
    user = auth.users.by_email(email)
    if user is None:
        return Newcomer(email, identity.name)
    if not _has_verified(auth, user, email):
        raise _link_required()
    return user


def link_proved(auth: Auth, user: User, identity: Identity) -> None:
    """Link the ``identity`` of a complete login to its ``user``, unless it is linked already.

    Raises OAuthError if another account has it by now, or if ``user`` no longer has its email address.
    """
    owner = _owner(auth, identity)
    email = _address(identity)
    if owner is None and (email is None or not _has_verified(auth, user, email)):
        raise _link_required()
    link(auth, user, identity)


def link(auth: Auth, user: User, identity: Identity) -> None:
    """Link ``identity`` to the current ``user``. Raises OAuthError if another account has it."""
    owner = _owner(auth, identity)
    if owner is None:
        _add(auth, user, identity)
    elif str(owner.id) != str(user.id):
        auth.events.emit("identity.rejected", user=user, method=identity.provider)
        raise OAuthError(
            "This login is linked to another account. Log in to that account and unlink it there first.",
            code="oauth_identity_taken",
        )


def linked(auth: Auth, user: User) -> list[LinkedIdentity]:
    """The identities of ``user``, oldest first."""
    found = []
    for row in auth.credentials.list(str(user.id), KIND):
        data = _data(row)
        provider = str(data.get("provider", ""))
        known = auth.providers.get(provider)
        address = data.get("email")
        found.append(
            LinkedIdentity(
                row.id,
                provider,
                known.label if known else provider,
                address if isinstance(address, str) else None,
                row.created_at,
                row.last_used_at,
            )
        )
    return found


def unlink(auth: Auth, user: User, credential_id: str) -> None:
    """Unlink an identity from ``user``; it is no error if it is already unlinked.

    Raises OAuthError ``oauth_last_way_in`` if it is their last login method.
    """
    rows = auth.credentials.list(str(user.id), KIND)
    row = next((row for row in rows if row.id == credential_id), None)
    if row is None or not auth.credentials.remove(row):
        return
    if not _has_login_method(auth, user):
        # Checked after the removal: at least one of two concurrent removals sees that nothing is left.
        _restore(auth, row)
        # A rollback of the app's transaction undoes what was added, but not what was removed.
        auth.credentials.repeat_after_transaction(lambda: _restore(auth, row))
        raise OAuthError("This is your only login method. Add another one first.", code="oauth_last_way_in")
    auth.events.emit("identity.unlinked", user=user, method=str(_data(row).get("provider", "")))


def _restore(auth: Auth, row: Credential) -> None:
    """Link a removed identity again, unless it is linked or its user is gone."""
    data: JSON = dict(_data(row))
    if auth.users.by_id(row.user_id) is not None:
        with suppress(CredentialExists):
            auth.credentials.add(row.user_id, KIND, row.identifier, data)


def _address(identity: Identity) -> str | None:
    """The provider's email address, normalized as for accounts; None if it is invalid."""
    try:
        return account_key(parse_email(identity.email)) if identity.email else None
    except EmailInvalid:
        return None


def _owner(auth: Auth, identity: Identity) -> User | None:
    row = auth.credentials.find(KIND, identity_key(identity.issuer, identity.subject))
    if row is None:
        return None
    user = auth.users.by_id(row.user_id)
    if user is None:
        auth.credentials.remove(row)
        return None
    auth.credentials.touch(row, auth.clock())
    return user


def _has_verified(auth: Auth, user: User, email: str) -> bool:
    """True if ``email`` is the email address of ``user``, who verified it."""
    own = auth.users.email_of(user)
    return own is not None and same_account(own, email) and is_email_verified(auth, user, own)


def _link_required() -> OAuthError:
    return OAuthError(
        "An account with this email address already exists. Log in to it first, then link the "
        "provider on your account page. This protects your account from takeover.",
        code="oauth_link_required",
    )


def _add(auth: Auth, user: User, identity: Identity) -> None:
    data: JSON = {
        "provider": identity.provider,
        "issuer": identity.issuer,
        "subject": identity.subject,
        "email": identity.email,
    }
    try:
        auth.credentials.add(str(user.id), KIND, identity_key(identity.issuer, identity.subject), data)
    except CredentialExists:
        raise OAuthError(
            "This login was just linked. Please try again.", code="oauth_identity_taken"
        ) from None
    auth.events.emit("identity.linked", user=user, method=identity.provider)


def _has_login_method(auth: Auth, user: User) -> bool:
    for row in auth.credentials.list(str(user.id), KIND):
        provider = auth.providers.get(str(_data(row).get("provider", "")))
        if provider is not None and provider.client_id:
            return True
    email = auth.users.email_of(user)
    return "magic" in auth.login_methods and email is not None and is_email_verified(auth, user, email)


def _data(row: Credential) -> dict[str, JSON]:
    data = json.loads(row.data)
    return data if isinstance(data, dict) else {}
