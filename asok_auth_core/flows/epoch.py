"""A user's epoch: raising it voids every login that is not complete yet.

Half logins, receipts and mailed links lie under handles that cannot be listed by user. Each carries the
epoch of its user from when it was made, and is void once that has been raised.
"""

from __future__ import annotations

from contextlib import suppress

from ..auth import Auth
from ..errors import CredentialExists, LoginExpired, StoreUnavailable

KIND = "epoch"
TRIES = 5


def epoch(auth: Auth, user_id: str) -> int:
    """The user's epoch; 0 until it is first raised."""
    row = auth.credentials.find(KIND, user_id)
    return 0 if row is None else row.version


def raise_epoch(auth: Auth, user_id: str, *, since: int | None = None) -> int:
    """Raise it and return the new one; with ``since``, only if it is that: of several callers, one wins.

    Raises LoginExpired if it is not ``since``, StoreUnavailable if concurrent calls keep winning.
    """
    for _ in range(TRIES):
        row = auth.credentials.find(KIND, user_id)
        if since is not None and since != (0 if row is None else row.version):
            raise LoginExpired("This login has expired. Please start again.")
        if row is None:
            try:
                made = auth.credentials.add(user_id, KIND, user_id, {})
            except CredentialExists:
                continue
            # A rollback of the app's transaction undoes what was added, unlike what was replaced.
            auth.credentials.repeat_after_transaction(lambda: _keep_first(auth, user_id))
            return made.version
        changed = auth.credentials.replace(row, {})
        if changed is not None:
            return changed.version
    raise StoreUnavailable("This account's sessions are being ended by other requests. Please try again.")


def _keep_first(auth: Auth, user_id: str) -> None:
    with suppress(CredentialExists):
        auth.credentials.add(user_id, KIND, user_id, {})
