"""Which mail address has been proved to belong to which account."""

from __future__ import annotations

from ..auth import Auth
from ..errors import CredentialExists
from ..types import User

KIND = "email"


def mark_email_verified(auth: Auth, user: User, address: str) -> None:
    """Record that ``user`` has shown to receive mail at ``address``.

    An address is proved for one account at a time: whoever proved it last has it.
    """
    user_id = str(user.id)
    held = auth.credentials.find(KIND, address)
    if held is not None and held.user_id == user_id:
        auth.credentials.touch(held, auth.clock())
        return
    if held is not None:
        auth.credentials.remove(held)
    try:
        auth.credentials.add(user_id, KIND, address, {})
    except CredentialExists:
        # Two logins of the same person at once; either row says the same.
        if not is_email_verified(auth, user, address):
            raise


def is_email_verified(auth: Auth, user: User, address: str) -> bool:
    """True if ``user`` has shown to receive mail at ``address`` and nobody else has since."""
    held = auth.credentials.find(KIND, address)
    return held is not None and held.user_id == str(user.id)
