"""Change the email address of an account to one that was proved, and undo that.

An address that an account has not verified voids the account when a login verifies it: see
:mod:`.accounts`. One that comes through here counts as verified from the start.
"""

from __future__ import annotations

from ..auth import Auth
from ..engine.email_address import same_account
from ..errors import AccountExists
from ..stores.rows import add_row
from ..types import User
from .api_tokens import ApiTokens
from .linking import void_identities
from .sessions import end_sessions
from .trusted_devices import forget_devices
from .verified_emails import KIND


def change_email(auth: Auth, user: User, email: str, *, keep: str | None = None) -> None:
    """Give the account of ``user`` the ``email`` address.

    The caller has made its user prove it. ``email`` comes from ``account_key``. It counts as verified, the
    former one no longer does. All sessions but the one with the id ``keep`` end, and so do logins in
    progress and mailed links. Raises AccountExists if another account has the address, and what
    ``UserDirectory.set_email`` raises: then nothing has changed.
    """
    _move(auth, user, email)
    end_sessions(auth, user, keep=keep)
    auth.events.emit("email.changed", user=user)


def restore_email(auth: Auth, user: User, email: str, *, since: float, verified: bool = True) -> None:
    """Give the account of ``user`` its former ``email`` address again.

    A reader of that mailbox has asked for it. As ``change_email``. All sessions end, trusted browsers no
    longer are, and identities and API tokens that were added at ``since`` or later (seconds since the
    epoch) are removed. Second factors stay: reading a mailbox must not be enough to remove one.

    ``verified``: whether the account had verified the address. One that it had not stays unverified, so the
    next login that verifies it voids what an attacker may have set up before.
    """
    _move(auth, user, email)
    if not verified:
        _remove_mark(auth, user, email)
    end_sessions(auth, user)
    forget_devices(auth, user)
    void_identities(auth, user, keep=None, since=since)
    tokens = ApiTokens(auth)
    for token in tokens.list(str(user.id)) if tokens.checked else ():
        if token.created_at >= int(since):
            tokens.revoke_id(token.user_id, token.id)
    auth.events.emit("email.restored", user=user)


def _move(auth: Auth, user: User, email: str) -> None:
    """Set the address, marked as verified first.

    Without that, the next login would void the account.
    """
    user_id, former = str(user.id), auth.users.email_of(user)
    owner = auth.users.by_email(email)
    if owner is not None and str(owner.id) != user_id:
        raise _taken()
    added = _claim(auth, user_id, email)
    try:
        auth.users.set_email(user, email)
    except BaseException:
        if added:
            _remove_mark(auth, user, email)
        raise
    if former is not None and former != email:
        _remove_mark(auth, user, former)


def _remove_mark(auth: Auth, user: User, email: str) -> None:
    """Forget that ``user`` has verified ``email``."""
    row = auth.credentials.find(KIND, email)
    if row is not None and row.user_id == str(user.id):
        auth.credentials.remove(row)


def _claim(auth: Auth, user_id: str, email: str) -> bool:
    """Mark ``email`` as verified for the user; True if it was not.

    Raises AccountExists.
    """
    held = auth.credentials.find(KIND, email)
    if held is not None and held.user_id != user_id:
        owner = auth.users.by_id(held.user_id)
        if owner is not None and same_account(auth.users.email_of(owner), email):
            raise _taken()
        # An account that had the address once.
        auth.credentials.remove(held)
    claimed = add_row(auth.credentials, user_id, KIND, email, {})
    if claimed.row.user_id != user_id:
        raise _taken()
    return claimed.added


def _taken() -> AccountExists:
    return AccountExists("Another account has this email address.")
