"""A user's session generation: raising it voids all sessions with an older one."""

from __future__ import annotations

from ..auth import Auth
from ..errors import CredentialExists, StoreUnavailable

KIND = "sessions"
GENERATION = "generation"
"""The key of the generation in the session's login record."""
TRIES = 5


def generation(auth: Auth, user_id: str) -> int:
    """The generation that the user's sessions must have; 0 until sessions are first ended."""
    row = auth.credentials.find(KIND, user_id)
    return 0 if row is None else row.version


def raise_generation(auth: Auth, user_id: str) -> int:
    """Raise it and return the new one. Raises StoreUnavailable if concurrent calls keep winning."""
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
    raise StoreUnavailable("This account's sessions are being ended by other requests. Please try again.")
