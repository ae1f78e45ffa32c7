"""The number that a user's sessions must carry; raising it voids all that carry an older one."""

from __future__ import annotations

from ..auth import Auth
from ..errors import CredentialExists, StoreUnavailable

KIND = "sessions"
GENERATION = "generation"
"""Where the session's login record keeps it."""
TRIES = 5


def generation(auth: Auth, user_id: str) -> int:
    """The number that sessions of this user must carry; 0 until others were ended for the first time."""
    row = auth.credentials.find(KIND, user_id)
    return 0 if row is None else row.version


def raise_generation(auth: Auth, user_id: str) -> int:
    """Raise it; returns the new number. Raises StoreUnavailable if others do so all the time."""
    for _ in range(TRIES):
        row = auth.credentials.find(KIND, user_id)
        if row is None:
            try:
                return auth.credentials.add(user_id, KIND, user_id, {}).version
            except CredentialExists:
                continue
        changed = auth.credentials.replace(row, {})
        if changed is not None:
            return changed.version
    raise StoreUnavailable("The sessions of this account are being ended by others. Please try again.")
