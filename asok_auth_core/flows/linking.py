"""Find the account of an identity; link and unlink identities.

An identity is keyed by (issuer, subject). It is linked to an existing account by email
address only if the provider verified that address and is trusted for it.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress

import msgspec

from ..auth import Auth
from ..engine.email_address import account_key, parse_email, same_account
from ..errors import AuthError, CredentialExists, EmailInvalid, OAuthError
from ..stores.rows import add_row
from ..types import JSON, Credential, Identity, Newcomer, Proof, User
from .plugin_faults import verdict

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
    """The identifier: a digest, so that no database folds case or trims it."""
    return hashlib.sha256(json.dumps([issuer, subject]).encode()).hexdigest()


def account_for(auth: Auth, proof: Proof) -> User | Newcomer:
    """The account that the identity of ``proof`` logs in to, or the newcomer.

    Stores nothing. Raises OAuthError: ``oauth_email_unverified`` without an email address the provider
    verified, ``oauth_link_required`` if an account has that email address and the provider is not trusted
    for it.
    """
    identity = _identity_of(proof)
    user = _owner(auth, identity)
    if user is not None:
        return user
    email = _address(identity)
    if email is None or identity.email_verified is not True:
        # The same message whether or not an account has this email address: it must not reveal which do.
        raise OAuthError(
            "The provider did not send a verified email address. Verify it there, or log in another way and "
            "link the provider on your account page.",
            code="oauth_email_unverified",
        )
    user = auth.users.by_email(email)
    if user is None:
        return Newcomer(email, identity.name)
    if proof.verified_email is None:
        raise _link_required()
    return user


def is_linked(auth: Auth, identity: Identity) -> bool:
    """True if the identity belongs to an account."""
    return _owner(auth, identity) is not None


def check_link(auth: Auth, user: User, proof: Proof, *, is_new: bool) -> None:
    """Check that a complete login's identity may be linked to its ``user``.

    ``is_new``: the login created the account. Raises OAuthError if another account has the identity by now,
    or if ``user`` no longer has its email address.
    """
    identity = _identity_of(proof)
    owner = _owner(auth, identity)
    if owner is not None:
        if str(owner.id) != str(user.id):
            raise _taken(auth, user, identity)
    elif not is_new and not same_account(proof.verified_email, auth.users.email_of(user)):
        raise _link_required()


def link(auth: Auth, user: User, identity: Identity) -> None:
    """Link ``identity`` to ``user``, or note its use.

    Raises OAuthError if another account has it.
    """
    row = auth.credentials.find(KIND, identity_key(identity.issuer, identity.subject))
    if row is not None and auth.users.by_id(row.user_id) is None:
        auth.credentials.remove(row)
        row = None
    if row is None:
        row = _add(auth, user, identity)
    elif row.user_id == str(user.id):
        auth.credentials.touch(row, auth.clock())
    if row.user_id != str(user.id):
        raise _taken(auth, user, identity)


def void_identities(auth: Auth, user: User, *, keep: Identity | None, since: float = 0) -> int:
    """Remove the identities of ``user`` but ``keep`` and those from before ``since``.

    Returns their number.
    """
    kept = None if keep is None else identity_key(keep.issuer, keep.subject)
    removed = 0
    for row in auth.credentials.list(str(user.id), KIND):
        if row.identifier != kept and row.created_at >= since and auth.credentials.remove(row):
            removed += 1
            auth.events.emit("identity.unlinked", user=user, method=str(_data(row).get("provider", "")))
    return removed


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

    Raises OAuthError ``oauth_last_login_method`` if it is their last login method.
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
        raise OAuthError(
            "This is your only login method. Add another one first.", code="oauth_last_login_method"
        )
    auth.events.emit("identity.unlinked", user=user, method=str(_data(row).get("provider", "")))


def _restore(auth: Auth, row: Credential) -> None:
    """Link a removed identity again, unless it is linked or its user is gone."""
    data: JSON = dict(_data(row))
    if auth.users.by_id(row.user_id) is not None:
        with suppress(CredentialExists):
            auth.credentials.add(row.user_id, KIND, row.identifier, data)


def _identity_of(proof: Proof) -> Identity:
    if proof.identity is None:
        raise ValueError("A proof without an identity leads to no account by an identity.")
    return proof.identity


def _address(identity: Identity) -> str | None:
    """The provider's email address, normalized; None if it is invalid."""
    try:
        return account_key(parse_email(identity.email)) if identity.email else None
    except EmailInvalid:
        return None


def _owner(auth: Auth, identity: Identity) -> User | None:
    row = auth.credentials.find(KIND, identity_key(identity.issuer, identity.subject))
    return None if row is None else auth.users.by_id(row.user_id)


def _link_required() -> OAuthError:
    return OAuthError(
        "An account with this email address already exists. Log in to it first, then link the "
        "provider on your account page. This protects your account from takeover.",
        code="oauth_link_required",
    )


def _taken(auth: Auth, user: User, identity: Identity) -> OAuthError:
    auth.events.emit("identity.rejected", user=user, method=identity.provider)
    return OAuthError(
        "This login is linked to another account. Log in to that account and unlink it there first.",
        code="oauth_identity_taken",
    )


def _add(auth: Auth, user: User, identity: Identity) -> Credential:
    """Add the identity; if another login was faster, the row that it added."""
    data: JSON = {
        "provider": identity.provider,
        "issuer": identity.issuer,
        "subject": identity.subject,
        "email": identity.email,
    }
    key = identity_key(identity.issuer, identity.subject)
    added = add_row(auth.credentials, str(user.id), KIND, key, data)
    if added.added:
        auth.events.emit("identity.linked", user=user, method=identity.provider)
    return added.row


def has_linked_login(auth: Auth, user: User) -> bool:
    """True if an identity of a provider that is in use is linked to ``user``."""
    rows = auth.credentials.list(str(user.id), KIND)
    providers = (auth.providers.get(str(_data(row).get("provider", ""))) for row in rows)
    return any(provider is not None and provider.client_id for provider in providers)


def _has_login_method(auth: Auth, user: User) -> bool:
    for method in auth.login_methods.values():
        with suppress(AuthError):
            if verdict(auth, method, method.can_log_in, user) is True:
                return True
    return False


def _data(row: Credential) -> dict[str, JSON]:
    data = json.loads(row.data)
    return data if isinstance(data, dict) else {}
