"""A user's epoch: raising it voids every login that is not complete yet.

Pending logins, receipts and mailed links are stored under handles that cannot be listed by user. Each carries
the epoch of its user from when it was made, and is void once that has been raised.
"""

from __future__ import annotations

from contextlib import suppress

from ..auth import Auth
from ..errors import CredentialExists, LoginExpired, StoreUnavailable
from ..stores.rows import change_row
from ..types import JSON, Credential

KIND = "epoch"


def epoch(auth: Auth, user_id: str) -> int:
    """The user's epoch; 0 until it is first raised."""
    row = auth.credentials.find(KIND, user_id)
    return 0 if row is None else row.version


def raise_epoch(auth: Auth, user_id: str, *, since: int | None = None) -> int:
    """Raise and return it; with ``since``, only if it is that: one caller wins.

    Raises LoginExpired if it is not ``since``, StoreUnavailable if concurrent calls keep winning.
    """

    def change(row: Credential | None) -> JSON:
        if since is not None and since != (0 if row is None else row.version):
            raise LoginExpired("This login has expired. Please start again.")
        return {}

    busy = "This account's sessions are being ended by other requests. Please try again."
    changed = change_row(auth.credentials, KIND, user_id, change, owner=user_id, busy=busy)
    if changed is None:
        raise StoreUnavailable(busy)
    if changed.added:
        # A rollback of the app's transaction undoes what was added, unlike what was replaced.
        auth.credentials.repeat_after_transaction(lambda: _keep_first(auth, user_id))
    return changed.row.version


def _keep_first(auth: Auth, user_id: str) -> None:
    with suppress(CredentialExists):
        auth.credentials.add(user_id, KIND, user_id, {})
